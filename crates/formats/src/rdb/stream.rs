//! Streams in an RDB file: walked and checked, but kept as the bytes that they are.
//!
//! A value that is only carried from one file to the next needs no decoding, but it needs limits: the
//! walk finds where the stream ends, and refuses what a server could not hold.
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
//! the Unix epoch, little-endian.
//!
//! The entries of a node are a listpack of their own grammar; ids are differences to the node's id,
//! and the count at an entry's end lets it be walked backwards:
//!
//! ```text
//! node   = live, deleted, fields, field names..., 0, entry...
//! entry  = flags, ms, seq, value..., elements before            flag 2: it has the node's field names
//!        | flags, ms, seq, fields, (name, value)..., elements before
//! ```

use std::io::BufRead;

use quorate_values::Listpack;
use quorate_values::listpack::Item;

use super::error::{Error, Malformed};
use super::reader::Sanitize;
use super::source::Source;

/// How long the time is at which a consumer was last active.
pub(crate) const ACTIVE_TIME_BYTES: usize = 8;

/// An entry is marked as deleted.
const DELETED: i64 = 1;
/// An entry has the field names of its node.
const SAME_FIELDS: i64 = 2;

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

/// How closely a walk looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only as far as needed to find the end. For what has been checked before.
    Skim,
    /// What a server needs in order to hold the stream.
    Check,
    /// Also that every pending entry belongs to a consumer, as is asked of payloads from strangers.
    Sanitize,
}

impl From<Sanitize> for Depth {
    fn from(sanitize: Sanitize) -> Depth {
        match sanitize {
            Sanitize::No => Depth::Check,
            Sanitize::Yes => Depth::Sanitize,
        }
    }
}

/// What a walk has come across.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Where each consumer's time of activity lies, counted from the stream's begin. It is all that form
    /// 3 has more than form 2.
    pub(crate) active_times: Vec<usize>,
}

/// Walks over one stream, which `source` is about to yield.
pub(crate) fn walk<R: BufRead>(source: &mut Source<R>, form: Form, depth: Depth) -> Result<Walk, Error> {
    let begin = source.position();
    let nodes = walk_nodes(source, depth)?;

    source.expected = "a stream's length and ids";
    let entries = source.length()?;
    if entries > 0 && nodes == 0 {
        return Err(source.malformed(Malformed("a stream of no entries, as it has no nodes")));
    }
    let further = if form == Form::One { 2 } else { 7 };
    for _ in 0..further {
        source.length()?;
    }

    let mut walk = Walk::default();
    let mut names = Names::default();
    for _ in 0..source.length()? {
        source.expected = "a stream's consumer group";
        names.read(source, depth)?;
        for _ in 0..if form == Form::One { 2 } else { 3 } {
            source.length()?;
        }
        let mut pending = walk_pending(source, depth)?;
        walk_consumers(source, form, depth, begin, &mut pending, &mut walk)?;
        if depth == Depth::Sanitize && !pending.claimed.iter().all(|claimed| *claimed) {
            return Err(source.malformed(Malformed("a consumer for each pending entry of a stream")));
        }
    }
    if !names.are_distinct() {
        return Err(source.malformed(Malformed("a stream's groups to have different names")));
    }
    Ok(walk)
}

/// Walks over the nodes and returns how many there are.
fn walk_nodes<R: BufRead>(source: &mut Source<R>, depth: Depth) -> Result<u64, Error> {
    source.expected = "a stream's nodes";
    let nodes = source.length()?;
    if depth == Depth::Skim {
        for _ in 0..nodes {
            source.skip_string()?;
            source.skip_string()?;
        }
        return Ok(nodes);
    }
    let mut ids: Vec<[u8; 16]> = Vec::new();
    let mut scratch = Vec::new();
    for _ in 0..nodes {
        scratch.clear();
        source.string(&mut scratch)?;
        let id = scratch.as_slice().try_into();
        ids.push(id.map_err(|_| source.malformed(Malformed("a stream node's id of 16 bytes")))?);
        let mut entries = Vec::new();
        source.string(&mut entries)?;
        check_node(entries).map_err(|malformed| source.malformed(malformed))?;
    }
    if !are_distinct(&mut ids) {
        return Err(source.malformed(Malformed("a stream's nodes to have different ids")));
    }
    Ok(nodes)
}

/// The pending entries of a group.
#[derive(Default)]
struct Pending {
    /// Their ids, in order.
    ids: Vec<[u8; 16]>,
    /// Which of them a consumer has named as its own.
    claimed: Vec<bool>,
}

fn walk_pending<R: BufRead>(source: &mut Source<R>, depth: Depth) -> Result<Pending, Error> {
    source.expected = "a stream's pending entry";
    let mut pending = Pending::default();
    for _ in 0..source.length()? {
        let id = source.array()?;
        let _delivered: [u8; 8] = source.array()?;
        let _deliveries = source.length()?;
        if depth != Depth::Skim {
            pending.ids.push(id);
        }
    }
    if !are_distinct(&mut pending.ids) {
        return Err(source.malformed(Malformed("a group's pending entries to have different ids")));
    }
    pending.claimed = vec![false; pending.ids.len()];
    Ok(pending)
}

fn walk_consumers<R: BufRead>(
    source: &mut Source<R>,
    form: Form,
    depth: Depth,
    begin: u64,
    pending: &mut Pending,
    walk: &mut Walk,
) -> Result<(), Error> {
    let mut names = Names::default();
    source.expected = "a stream's consumer";
    for _ in 0..source.length()? {
        names.read(source, depth)?;
        let _seen: [u8; 8] = source.array()?;
        if form == Form::Three {
            walk.active_times.push((source.position() - begin) as usize);
            let _active: [u8; ACTIVE_TIME_BYTES] = source.array()?;
        }
        for _ in 0..source.length()? {
            let id = source.array()?;
            if depth == Depth::Skim {
                continue;
            }
            // Were an entry pending with two consumers, acknowledging it to one would leave it with the other.
            match pending.ids.binary_search(&id).ok().map(|found| &mut pending.claimed[found]) {
                Some(claimed) if !*claimed => *claimed = true,
                Some(_) => return Err(source.malformed(Malformed("a pending entry to have one consumer"))),
                None => return Err(source.malformed(Malformed("a consumer's pending entry to be one of its group's"))),
            }
        }
    }
    if !names.are_distinct() {
        return Err(source.malformed(Malformed("a group's consumers to have different names")));
    }
    Ok(())
}

/// The names of groups, or of one group's consumers.
#[derive(Default)]
struct Names(Vec<Vec<u8>>);

impl Names {
    fn read<R: BufRead>(&mut self, source: &mut Source<R>, depth: Depth) -> Result<(), Error> {
        if depth == Depth::Skim {
            return source.skip_string();
        }
        let mut name = Vec::new();
        source.string(&mut name)?;
        self.0.push(name);
        Ok(())
    }

    fn are_distinct(mut self) -> bool {
        are_distinct(&mut self.0)
    }
}

/// Whether no two of `items` are equal; they are in order afterwards, as they mostly are before.
fn are_distinct<T: Ord>(items: &mut [T]) -> bool {
    items.sort_unstable();
    items.windows(2).all(|pair| pair[0] != pair[1])
}

/// Checks the grammar of a node's entries.
fn check_entries<'a>(elements: &mut impl Iterator<Item = Item<'a>>) -> Result<(), Malformed> {
    let broken = || Malformed("a stream node's entries");
    let live = next_int(elements).ok_or_else(broken)?;
    let deleted = next_int(elements).ok_or_else(broken)?;
    let fields = next_int(elements).ok_or_else(broken)?;
    pass(elements, fields).ok_or_else(broken)?;
    if live < 0 || deleted < 0 || next_int(elements) != Some(0) {
        return Err(broken());
    }
    let mut seen_deleted = 0;
    for _ in 0..live.checked_add(deleted).ok_or_else(broken)? {
        seen_deleted += i64::from(check_entry(elements, fields).ok_or_else(broken)?);
    }
    if seen_deleted != deleted || elements.next().is_some() {
        return Err(broken());
    }
    Ok(())
}

/// Passes over one entry; tells whether it is a deleted one, or `None` if it is no entry.
fn check_entry<'a>(elements: &mut impl Iterator<Item = Item<'a>>, node_fields: i64) -> Option<bool> {
    let flags = next_int(elements)?;
    next_int(elements)?;
    next_int(elements)?;
    let before = if flags & SAME_FIELDS != 0 {
        pass(elements, node_fields)?;
        node_fields.checked_add(3)?
    } else {
        let fields = next_int(elements)?;
        pass(elements, fields.checked_mul(2)?)?;
        fields.checked_mul(2)?.checked_add(4)?
    };
    (next_int(elements)? == before).then_some(flags & DELETED != 0)
}

fn pass<'a>(elements: &mut impl Iterator<Item = Item<'a>>, count: i64) -> Option<()> {
    for _ in 0..u64::try_from(count).ok()? {
        elements.next()?;
    }
    Some(())
}

fn next_int<'a>(elements: &mut impl Iterator<Item = Item<'a>>) -> Option<i64> {
    elements.next()?.as_int()
}

/// Checks a node's listpack and the grammar of its entries.
fn check_node(bytes: Vec<u8>) -> Result<(), Malformed> {
    let listpack = Listpack::from_bytes(bytes).map_err(|_| Malformed("a stream node's listpack"))?;
    check_entries(&mut listpack.iter())
}

/// A builder of streams, for tests here and of the RDB reader.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::super::string::{push_length, push_string};
    use super::*;

    /// A stream in pieces, each of which a test may spoil.
    #[derive(Clone)]
    pub(crate) struct Stream {
        pub(crate) form: Form,
        /// Node ids and their entries.
        pub(crate) nodes: Vec<(Vec<u8>, Vec<u8>)>,
        pub(crate) entries: u64,
        pub(crate) groups: Vec<Group>,
    }

    #[derive(Clone)]
    pub(crate) struct Group {
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
    pub(crate) fn sample(form: Form) -> Stream {
        let first = pack("2 1 2 name age 0  2 0 0 ada 36 5  3 1 0 bob 41 5  0 2 0 1 only this 6");
        let second = pack("1 0 1 name 0  2 0 0 eve 4");
        let groups = vec![
            Group { name: "g1", pending: vec![1, 3], consumers: vec![("alice", vec![3]), ("bob", vec![1])] },
            Group { name: "g2", pending: vec![], consumers: vec![("alice", vec![])] },
        ];
        Stream { form, nodes: vec![(id(1), first), (id(9), second)], entries: 3, groups }
    }

    impl Stream {
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

    impl Group {
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

    fn walked(stream: &Stream, depth: Depth) -> Result<Walk, Error> {
        let bytes = stream.bytes();
        let mut source = Source::new(&bytes[..], false);
        let walk = walk(&mut source, stream.form, depth)?;
        assert_eq!(source.position(), bytes.len() as u64, "the whole stream and no more");
        Ok(walk)
    }

    #[test]
    fn a_stream_of_each_form_is_walked_to_its_end() {
        for form in [Form::One, Form::Two, Form::Three] {
            for depth in [Depth::Skim, Depth::Check, Depth::Sanitize] {
                let walk = walked(&sample(form), depth).unwrap();
                assert_eq!(walk.active_times.len(), if form == Form::Three { 3 } else { 0 });
            }
        }
    }

    #[test]
    fn the_times_of_activity_are_all_that_form_three_has_more() {
        let (three, two) = (sample(Form::Three), sample(Form::Two));
        let mut bytes = three.bytes();
        for at in walked(&three, Depth::Skim).unwrap().active_times.into_iter().rev() {
            let time = bytes.drain(at..at + 8).collect::<Vec<_>>();
            assert_eq!(time, 1_700_000_000_002u64.to_le_bytes());
        }
        assert_eq!(bytes, two.bytes());
    }

    #[test]
    fn an_empty_stream_is_a_stream() {
        let empty = Stream { form: Form::Two, nodes: vec![], entries: 0, groups: vec![] };
        walked(&empty, Depth::Sanitize).unwrap();
    }

    /// What is said about a sample that `spoil` has changed.
    fn spoiled(depth: Depth, spoil: impl FnOnce(&mut Stream)) -> &'static str {
        let mut stream = sample(Form::Two);
        spoil(&mut stream);
        match walked(&stream, depth) {
            Err(Error::Malformed { expected, .. }) => expected,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_server_could_hold_is_refused() {
        let check = |spoil: fn(&mut Stream)| spoiled(Depth::Check, spoil);
        assert_eq!(check(|s| s.nodes[1].0 = id(1)), "a stream's nodes to have different ids");
        assert_eq!(check(|s| s.nodes[0].0.push(0)), "a stream node's id of 16 bytes");
        assert_eq!(check(|s| s.nodes[0].1 = vec![1, 2, 3]), "a stream node's listpack");
        assert_eq!(check(|s| s.nodes.clear()), "a stream of no entries, as it has no nodes");
        assert_eq!(check(|s| s.groups[1].name = "g1"), "a stream's groups to have different names");
        assert_eq!(check(|s| s.groups[0].consumers[1].0 = "alice"), "a group's consumers to have different names");
        assert_eq!(check(|s| s.groups[0].pending[1] = 1), "a group's pending entries to have different ids");
        assert_eq!(
            check(|s| s.groups[0].consumers[0].1 = vec![7]),
            "a consumer's pending entry to be one of its group's"
        );
        assert_eq!(check(|s| s.groups[0].consumers[0].1 = vec![1]), "a pending entry to have one consumer");
    }

    #[test]
    fn a_pending_entry_of_nobody_is_refused_from_strangers_only() {
        let orphan = |stream: &mut Stream| stream.groups[0].consumers[0].1.clear();
        assert_eq!(spoiled(Depth::Sanitize, orphan), "a consumer for each pending entry of a stream");
        let mut stream = sample(Form::Two);
        orphan(&mut stream);
        walked(&stream, Depth::Check).unwrap();
    }

    #[test]
    fn a_node_whose_entries_break_their_grammar_is_refused() {
        for broken in [
            "",
            "1 0 1 name",
            "1 0 1 name 1  2 0 0 eve 4",
            "1 0 -1 0  2 0 0 eve 4",
            "1 0 9223372036854775807 name 0",
            "9223372036854775807 9223372036854775807 0 0",
            "1 0 1 name 0",
            "1 0 1 name 0  2 0 0 eve 5",
            "1 0 1 name 0  2 0 0 eve",
            "1 0 1 name 0  2 0 0 4",
            "1 0 1 name 0  0 0 0 1 name eve 5",
            "1 0 1 name 0  0 0 0 9223372036854775807 name eve 5",
            "1 0 1 name 0  0 0 0 -1 3",
            "1 0 1 name 0  x 0 0 eve 4",
            "1 0 1 name 0  3 0 0 eve 4",
            "0 1 1 name 0  2 0 0 eve 4",
            "1 0 1 name 0  2 0 0 eve 4  2 1 0 bob 4",
            "-1 2 1 name 0  3 0 0 eve 4",
        ] {
            let expected = spoiled(Depth::Check, |stream| stream.nodes[0].1 = pack(broken));
            assert_eq!(expected, "a stream node's entries", "{broken}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_anywhere_is_refused() {
        let bytes = sample(Form::Three).bytes();
        for len in 0..bytes.len() {
            let mut source = Source::new(&bytes[..len], false);
            assert!(walk(&mut source, Form::Three, Depth::Sanitize).is_err(), "{len} bytes");
        }
    }
}
