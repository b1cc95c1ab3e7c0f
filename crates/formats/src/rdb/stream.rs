//! Streams in an RDB file.
//!
//! ```text
//! nodes     count, then for each: its id (a string of 16 bytes), its entries (a listpack in a string)
//! length    entries | last id | from form 2 on: first id, greatest deleted id, entries ever added
//! groups    count, then for each:
//!             name | last delivered id | from form 2 on: entries read
//!             pending: count, then for each: 16 bytes id, i64 delivery time, deliveries
//!             consumers: count, then for each:
//!               name | i64 seen | in form 3: i64 active | pending: count, then for each: 16 bytes id
//! ```
//!
//! An id is two lengths, or big-endian bytes where 16 of them are named. Times are milliseconds since
//! the Unix epoch, little-endian; -1 is never. Entries read are -1, as 64 bits, where they can't be told.
//!
//! What a node holds is known to `quorate-values`, which keeps it as it is; it looks at every entry first.

use std::collections::BTreeMap;
use std::io::BufRead;

use quorate_values::stream::{Group, Pending};
use quorate_values::{Listpack, Stream, StreamId};

use super::error::{Error, Malformed};
use super::reader::Sanitize;
use super::record::{Version, WriteOptions};
use super::source::Source;
use super::string::{push_length, push_string};

/// The form of a stream; each adds to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Redis 5.0 and 6.
    One,
    /// Redis 7.0.
    Two,
    /// Redis 7.2.
    Three,
}

impl Form {
    /// The one that a file of that version has.
    pub(crate) fn of(version: Version) -> Form {
        if version >= Version::Eleven { Form::Three } else { Form::Two }
    }
}

// ---- Reading -----------------------------------------------------------------------------------------

/// Reads one stream, which `source` is about to yield.
pub(crate) fn read<R: BufRead>(source: &mut Source<R>, form: Form, sanitize: Sanitize) -> Result<Stream, Error> {
    let mut stream = Stream::new();
    read_nodes(source, &mut stream)?;

    source.expected = "a stream's length and ids";
    let entries = source.length()?;
    if entries != stream.len() {
        return Err(source.malformed(Malformed("a stream of as many entries as its nodes have")));
    }
    let last_id = read_id(source)?;
    if last_id < stream.last_id {
        return Err(source.malformed(Malformed("a stream's last id not to lie before its last entry")));
    }
    stream.last_id = last_id;
    if form == Form::One {
        stream.refresh_first_id();
        stream.entries_added = entries;
    } else {
        stream.first_id = read_id(source)?;
        stream.max_deleted_id = read_id(source)?;
        stream.entries_added = source.length()?;
    }
    source.expected = "a stream's consumer group";
    for _ in 0..source.length()? {
        source.expected = "a stream's consumer group";
        let mut name = Vec::new();
        source.string(&mut name)?;
        let last_id = read_id(source)?;
        let entries_read = match form {
            Form::One => stream.entries_up_to(last_id),
            // Some have written what can't be told as another negative number.
            Form::Two | Form::Three => u64::try_from(source.length()?.cast_signed()).ok(),
        };
        let group = read_group(source, form, sanitize, Group::new(last_id, entries_read))?;
        if !stream.add_group(&name, group) {
            return Err(source.malformed(Malformed("a stream's groups to have different names")));
        }
    }
    Ok(stream)
}

fn read_id<R: BufRead>(source: &mut Source<R>) -> Result<StreamId, Error> {
    Ok(StreamId { ms: source.length()?, seq: source.length()? })
}

fn read_nodes<R: BufRead>(source: &mut Source<R>, stream: &mut Stream) -> Result<(), Error> {
    source.expected = "a stream's nodes";
    let mut id = Vec::new();
    for _ in 0..source.length()? {
        id.clear();
        source.string(&mut id)?;
        let base = id.as_slice().try_into().map(StreamId::from_bytes);
        let base = base.map_err(|_| source.malformed(Malformed("a stream node's id of 16 bytes")))?;
        let mut entries = Vec::new();
        source.string(&mut entries)?;
        let pack = Listpack::from_bytes(entries);
        let pack = pack.map_err(|_| source.malformed(Malformed("a stream node's listpack")))?;
        if !stream.push_node(base, pack) {
            return Err(source.malformed(Malformed("a stream node's entries, in their order")));
        }
    }
    Ok(())
}

/// A group's pending entries for which no consumer has been named yet: when and how often each was delivered.
type Unclaimed = BTreeMap<StreamId, (i64, u64)>;

fn read_group<R: BufRead>(
    source: &mut Source<R>,
    form: Form,
    sanitize: Sanitize,
    mut group: Group,
) -> Result<Group, Error> {
    source.expected = "a stream's pending entry";
    let mut unclaimed = Unclaimed::new();
    for _ in 0..source.length()? {
        let id = StreamId::from_bytes(source.array()?);
        let delivered = i64::from_le_bytes(source.array()?);
        if unclaimed.insert(id, (delivered, source.length()?)).is_some() {
            return Err(source.malformed(Malformed("a group's pending entries to have different ids")));
        }
    }
    source.expected = "a stream's consumer";
    for _ in 0..source.length()? {
        read_consumer(source, form, &mut group, &mut unclaimed)?;
    }
    // A server of its own may have lost track of whose they are; nobody could acknowledge them here.
    if sanitize == Sanitize::Yes && !unclaimed.is_empty() {
        return Err(source.malformed(Malformed("a consumer for each pending entry of a stream")));
    }
    Ok(group)
}

fn read_consumer<R: BufRead>(
    source: &mut Source<R>,
    form: Form,
    group: &mut Group,
    unclaimed: &mut Unclaimed,
) -> Result<(), Error> {
    let mut name = Vec::new();
    source.string(&mut name)?;
    if group.find_consumer(&name).is_some() {
        return Err(source.malformed(Malformed("a group's consumers to have different names")));
    }
    let seen = i64::from_le_bytes(source.array()?);
    let active = if form == Form::Three { i64::from_le_bytes(source.array()?) } else { seen };
    let consumer = group.add_consumer(&name, seen);
    group.consumer_mut(consumer).active = Some(active).filter(|active| *active != -1);
    for _ in 0..source.length()? {
        let id = StreamId::from_bytes(source.array()?);
        // Were an entry pending with two consumers, acknowledging it to one would leave it with the other.
        match unclaimed.remove(&id) {
            Some((delivered, deliveries)) => group.set_pending(id, Pending { delivered, deliveries, consumer }),
            None if group.pending(id).is_some() => {
                return Err(source.malformed(Malformed("a pending entry to have one consumer")));
            }
            None => return Err(source.malformed(Malformed("a consumer's pending entry to be one of its group's"))),
        }
    }
    Ok(())
}

// ---- Writing -----------------------------------------------------------------------------------------

/// Appends a stream.
pub(crate) fn push(out: &mut Vec<u8>, stream: &Stream, options: &WriteOptions) {
    push_length(out, stream.nodes().len() as u64);
    for (base, pack) in stream.nodes() {
        push_string(out, &base.to_bytes(), false);
        push_string(out, pack.as_bytes(), options.compress);
    }
    push_length(out, stream.len());
    for id in [stream.last_id, stream.first_id, stream.max_deleted_id] {
        push_id(out, id);
    }
    push_length(out, stream.entries_added);
    push_length(out, stream.groups().len() as u64);
    for (name, group) in stream.groups() {
        push_string(out, name, options.compress);
        push_id(out, group.last_id);
        push_length(out, group.entries_read.unwrap_or(u64::MAX));
        push_group(out, group, Form::of(options.version), options);
    }
}

fn push_id(out: &mut Vec<u8>, id: StreamId) {
    push_length(out, id.ms);
    push_length(out, id.seq);
}

fn push_group(out: &mut Vec<u8>, group: &Group, form: Form, options: &WriteOptions) {
    push_length(out, group.pending_len() as u64);
    for (id, pending) in group.pending_range(StreamId::MIN, StreamId::MAX) {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&pending.delivered.to_le_bytes());
        push_length(out, pending.deliveries);
    }
    push_length(out, group.consumers().len() as u64);
    for consumer in group.consumers() {
        push_string(out, consumer.name(), options.compress);
        out.extend_from_slice(&consumer.seen.to_le_bytes());
        if form == Form::Three {
            out.extend_from_slice(&consumer.active.unwrap_or(-1).to_le_bytes());
        }
        push_length(out, consumer.pending_len() as u64);
        consumer.pending_from(StreamId::MIN).for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}

/// A builder of streams, for tests here and of the RDB reader.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// A stream in pieces, each of which a test may spoil.
    #[derive(Clone)]
    pub(crate) struct Sample {
        pub(crate) form: Form,
        /// Node ids and their entries.
        pub(crate) nodes: Vec<(Vec<u8>, Vec<u8>)>,
        pub(crate) entries: u64,
        pub(crate) groups: Vec<Readers>,
    }

    #[derive(Clone)]
    pub(crate) struct Readers {
        pub(crate) name: &'static str,
        pub(crate) pending: Vec<u64>,
        pub(crate) consumers: Vec<(&'static str, Vec<u64>)>,
    }

    pub(crate) fn id(ms: u64) -> Vec<u8> {
        [ms.to_be_bytes(), 0u64.to_be_bytes()].concat()
    }

    /// A listpack of numbers and words.
    pub(crate) fn pack(elements: &str) -> Vec<u8> {
        let mut listpack = Listpack::new();
        elements.split_whitespace().for_each(|element| listpack.push_back(element.as_bytes()));
        listpack.as_bytes().to_vec()
    }

    /// Two nodes, four entries of which one is deleted, two groups, pending entries.
    pub(crate) fn sample(form: Form) -> Sample {
        let first = pack("2 1 2 name age 0  2 0 0 ada 36 5  3 1 0 bob 41 5  0 2 0 1 only this 6");
        let second = pack("1 0 1 name 0  2 0 0 eve 4");
        let groups = vec![
            Readers { name: "g1", pending: vec![1, 3], consumers: vec![("alice", vec![3]), ("bob", vec![1])] },
            Readers { name: "g2", pending: vec![], consumers: vec![("alice", vec![])] },
        ];
        Sample { form, nodes: vec![(id(1), first), (id(9), second)], entries: 3, groups }
    }

    impl Sample {
        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut out = Vec::new();
            push_length(&mut out, self.nodes.len() as u64);
            for (id, entries) in &self.nodes {
                push_string(&mut out, id, false);
                push_string(&mut out, entries, true);
            }
            let further = [self.entries, 9, 0, 1, 0, 2, 0, 4];
            let further = if self.form == Form::One { &further[..3] } else { &further };
            further.iter().for_each(|number| push_length(&mut out, *number));
            push_length(&mut out, self.groups.len() as u64);
            for group in &self.groups {
                group.push(self.form, &mut out);
            }
            out
        }
    }

    impl Readers {
        fn push(&self, form: Form, out: &mut Vec<u8>) {
            push_string(out, self.name.as_bytes(), false);
            let numbers = if form == Form::One { &[9, 0][..] } else { &[9, 0, 4] };
            numbers.iter().for_each(|number| push_length(out, *number));
            push_length(out, self.pending.len() as u64);
            for ms in &self.pending {
                out.extend_from_slice(&id(*ms));
                out.extend_from_slice(&1_700_000_000_000u64.to_le_bytes());
                push_length(out, 2);
            }
            push_length(out, self.consumers.len() as u64);
            for (name, pending) in &self.consumers {
                push_string(out, name.as_bytes(), false);
                out.extend_from_slice(&1_700_000_000_001u64.to_le_bytes());
                if form == Form::Three {
                    out.extend_from_slice(&1_700_000_000_002u64.to_le_bytes());
                }
                push_length(out, pending.len() as u64);
                pending.iter().for_each(|ms| out.extend_from_slice(&id(*ms)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;

    fn decoded(stream: &Sample, sanitize: Sanitize) -> Result<Stream, Error> {
        let bytes = stream.bytes();
        let mut source = Source::new(&bytes[..], false);
        let read = read(&mut source, stream.form, sanitize)?;
        assert_eq!(source.position(), bytes.len() as u64, "the whole stream and no more");
        Ok(read)
    }

    #[test]
    fn a_stream_of_each_form_is_read_to_its_end_and_written_as_it_was() {
        for form in [Form::One, Form::Two, Form::Three] {
            for sanitize in [Sanitize::No, Sanitize::Yes] {
                let stream = decoded(&sample(form), sanitize).unwrap();
                assert_eq!((stream.len(), stream.nodes().len(), stream.groups().len()), (3, 2, 2));
                assert_eq!(stream.last_id, StreamId { ms: 9, seq: 0 });
                let group = stream.group(b"g1").unwrap();
                assert_eq!((group.pending_len(), group.consumers().len()), (2, 2));
                let seen = group.consumers().next().unwrap().seen;
                assert_eq!(seen, 1_700_000_000_001);
                for version in [Version::Ten, Version::Eleven] {
                    let mut out = Vec::new();
                    push(&mut out, &stream, &WriteOptions { version, ..WriteOptions::default() });
                    if Form::of(version) == form {
                        assert_eq!(out, sample(form).bytes());
                    }
                    let again = read(&mut Source::new(&out[..], false), Form::of(version), Sanitize::Yes).unwrap();
                    assert_eq!((again.len(), again.entries_added), (stream.len(), stream.entries_added));
                }
            }
        }
    }

    #[test]
    fn an_empty_stream_is_a_stream() {
        let empty = Sample { form: Form::Two, nodes: vec![], entries: 0, groups: vec![] };
        decoded(&empty, Sanitize::Yes).unwrap();
    }

    /// What is said about a sample that `spoil` has changed.
    fn spoiled(sanitize: Sanitize, spoil: impl FnOnce(&mut Sample)) -> &'static str {
        let mut stream = sample(Form::Two);
        spoil(&mut stream);
        match decoded(&stream, sanitize) {
            Err(Error::Malformed { expected, .. }) => expected,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_server_could_hold_is_refused() {
        let check = |spoil: fn(&mut Sample)| spoiled(Sanitize::No, spoil);
        assert_eq!(check(|s| s.nodes[1].0 = id(1)), "a stream node's entries, in their order");
        assert_eq!(check(|s| s.nodes[0].0.push(0)), "a stream node's id of 16 bytes");
        assert_eq!(check(|s| s.nodes[0].1 = vec![1, 2, 3]), "a stream node's listpack");
        assert_eq!(check(|s| s.nodes[0].1 = pack("1 0 1 name 0  2 0 0 4")), "a stream node's entries, in their order");
        assert_eq!(check(|s| s.nodes.clear()), "a stream of as many entries as its nodes have");
        assert_eq!(check(|s| s.entries += 1), "a stream of as many entries as its nodes have");
        assert_eq!(check(|s| s.nodes[1].0 = id(10)), "a stream's last id not to lie before its last entry");
        assert_eq!(check(|s| s.groups[1].name = "g1"), "a stream's groups to have different names");
        assert_eq!(check(|s| s.groups[0].consumers[1].0 = "alice"), "a group's consumers to have different names");
        assert_eq!(check(|s| s.groups[0].pending[1] = 1), "a group's pending entries to have different ids");
        assert_eq!(
            check(|s| s.groups[0].consumers[0].1 = vec![7]),
            "a consumer's pending entry to be one of its group's"
        );
        assert_eq!(check(|s| s.groups[0].consumers[1].1 = vec![3]), "a pending entry to have one consumer");
    }

    #[test]
    fn a_pending_entry_of_nobody_is_refused_from_strangers_only() {
        let orphan = |stream: &mut Sample| stream.groups[0].consumers[0].1.clear();
        assert_eq!(spoiled(Sanitize::Yes, orphan), "a consumer for each pending entry of a stream");
        let mut stream = sample(Form::Two);
        orphan(&mut stream);
        assert_eq!(decoded(&stream, Sanitize::No).unwrap().group(b"g1").unwrap().pending_len(), 1);
    }

    #[test]
    fn a_stream_that_is_cut_off_anywhere_is_refused() {
        let bytes = sample(Form::Three).bytes();
        for len in 0..bytes.len() {
            let mut source = Source::new(&bytes[..len], false);
            assert!(read(&mut source, Form::Three, Sanitize::Yes).is_err(), "{len} bytes");
        }
    }
}
