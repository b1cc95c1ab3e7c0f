//! Entries in replies.

use quorate_resp::ReplyWriter;
use quorate_values::StreamId;
use quorate_values::stream::EntryRef;

/// Writes an id.
pub(super) fn id(reply: &mut ReplyWriter<'_>, id: StreamId) {
    reply.bulk(id.to_string().as_bytes());
}

/// Writes an entry: its id, and its fields and values in turn.
pub(super) fn entry(reply: &mut ReplyWriter<'_>, entry: &EntryRef<'_>) {
    reply.array(2);
    id(reply, entry.id);
    reply.array(entry.len() * 2);
    for (field, value) in entry.fields() {
        reply.bulk(field.text(&mut itoa::Buffer::new()));
        reply.bulk(value.text(&mut itoa::Buffer::new()));
    }
}

/// Writes up to `count` entries as an array.
pub(super) fn entries<'e>(reply: &mut ReplyWriter<'_>, entries: impl Iterator<Item = EntryRef<'e>>, count: usize) {
    let at = reply.deferred();
    let mut len = 0;
    for found in entries.take(count) {
        entry(reply, &found);
        len += 1;
    }
    reply.close_array(at, len);
}
