//! Commands on streams.
//!
//! Entries and groups are the same on replicas because what depends on the time, on trimming by whole nodes or on who was
//! quicker goes out as what came of it: XADD with the id, trimming with the exact threshold, a read of a group as the XCLAIM
//! of each entry.

pub(crate) mod add;
pub(crate) mod claim;
pub(crate) mod edit;
pub(crate) mod group;
mod ids;
pub(crate) mod info;
pub(crate) mod pending;
pub(crate) mod range;
pub(crate) mod read;
mod reply;

use quorate_keyspace::ValueMut;
use quorate_values::Limits;
use quorate_values::stream::{ConsumerNumber, Group, Pending, Stream, StreamId};

use crate::{Class, CommandError, Exec, Spec};

const STREAM: Spec = Spec { group: crate::Group::Stream, since: "5.0.0", ..Spec::BLANK };

/// Lets `change` work on the stream at `key`; `None` if there is no such key.
fn with_stream<R>(
    cx: &mut Exec<'_, '_>,
    key: &[u8],
    change: impl FnOnce(&mut Stream, &Limits) -> R,
) -> Result<Option<R>, CommandError> {
    let limits = &cx.settings.limits;
    let Some(mut entry) = cx.keys.modify(cx.db, key) else { return Ok(None) };
    match entry.value_mut() {
        ValueMut::Stream(stream) => Ok(Some(change(stream, limits))),
        _ => Err(CommandError::WrongType),
    }
}

/// The error that a group is missing, or the key that should have it.
fn no_group(key: &[u8], group: &[u8], tail: &[u8]) -> CommandError {
    CommandError::Bytes([b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'", tail].concat())
}

/// The error that the key has no such group.
fn no_such_group(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::Bytes([b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"].concat())
}

/// A consumer of a group, as requests name it.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
}

impl Reader<'_> {
    /// The consumer's number; it is made if it is not there, and was seen now. Whether it was made.
    fn appear(self, group: &mut Group, now: i64) -> (ConsumerNumber, bool) {
        let found = group.find_consumer(self.consumer);
        let number = found.unwrap_or_else(|| group.add_consumer(self.consumer, now));
        group.consumer_mut(number).seen = now;
        (number, found.is_none())
    }

    /// Tells that the consumer was made.
    fn tell_made(self, cx: &mut Exec<'_, '_>) {
        cx.changed(1);
        cx.notify(Class::STREAM, "xgroup-createconsumer", self.key);
    }

    /// Passes on that the consumer was made, where nothing else that is passed on makes it.
    fn propagate_made(self, cx: &mut Exec<'_, '_>) {
        cx.propagate(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, self.consumer]);
    }

    /// Passes on that an entry waits for a consumer, as an XCLAIM that does just that.
    fn propagate_claim(self, cx: &mut Exec<'_, '_>, id: StreamId, pending: Pending, last_id: StreamId) {
        cx.changed(1);
        cx.propagate(&[
            b"XCLAIM",
            self.key,
            self.group,
            self.consumer,
            b"0",
            id.to_string().as_bytes(),
            b"TIME",
            pending.delivered.to_string().as_bytes(),
            b"RETRYCOUNT",
            pending.deliveries.to_string().as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last_id.to_string().as_bytes(),
        ]);
    }

    /// Passes on how far the group has read.
    fn propagate_position(self, cx: &mut Exec<'_, '_>, last_id: StreamId, entries_read: Option<u64>) {
        cx.changed(1);
        let read = entries_read.map_or("-1".to_owned(), |read| read.to_string());
        let last_id = last_id.to_string();
        let words: [&[u8]; 7] =
            [b"XGROUP", b"SETID", self.key, self.group, last_id.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
        cx.propagate(&words);
    }
}
