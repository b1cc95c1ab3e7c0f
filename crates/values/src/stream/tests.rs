//! A stream beside a plain list of entries, and what files may bring.

use super::*;
use quorate_stdx::Rng;

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

/// Entries as they are, with nothing packed.
type Model = BTreeMap<StreamId, Vec<Vec<u8>>>;

fn texts(entry: EntryRef<'_>) -> Vec<Vec<u8>> {
    assert_eq!(entry.fields().count(), entry.len());
    entry.fields().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]).collect()
}

fn check(stream: &Stream, model: &Model, rng: &mut Rng) {
    assert_eq!(stream.len(), model.len() as u64);
    assert_eq!(stream.last_entry_id(), model.keys().next_back().copied());
    let bound = |rng: &mut Rng| id(rng.below(60), rng.below(4));
    let (start, end) = (bound(rng), bound(rng));
    let expected: Vec<_> =
        if start <= end { model.range(start..=end).map(|(id, texts)| (*id, texts.clone())).collect() } else { vec![] };
    let found: Vec<_> = stream.range(start, end).map(|entry| (entry.id, texts(entry))).collect();
    assert_eq!(found, expected);
    let mut found: Vec<_> = stream.range_rev(start, end).map(|entry| (entry.id, texts(entry))).collect();
    found.reverse();
    assert_eq!(found, expected);
    // What a file would bring back.
    let mut again = Stream::new();
    assert!(stream.nodes().all(|(base, pack)| again.push_node(base, pack.clone())));
    assert_eq!(again.len(), stream.len());
}

#[test]
fn a_stream_holds_what_a_plain_list_holds() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let limits = Limits {
            stream_node_max_entries: rng.below(6) as usize,
            stream_node_max_bytes: rng.below(3) as usize * 60,
            ..Limits::default()
        };
        let (mut stream, mut model) = (Stream::new(), Model::new());
        for _ in 0..200 {
            match rng.below(10) {
                0..6 => {
                    let last = stream.last_id;
                    let next = id(last.ms + rng.below(2), last.seq + 1 + rng.below(3));
                    let pairs: Vec<Vec<u8>> = (0..2 + 2 * rng.below(3))
                        .map(|index| match index % 2 {
                            0 => format!("field {}", index + rng.below(2)).into_bytes(),
                            _ => rng.below(1000).to_string().into_bytes(),
                        })
                        .collect();
                    let words: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
                    stream.append(next, &words, &limits).unwrap();
                    model.insert(next, pairs);
                }
                6..8 => {
                    let victim = id(rng.below(40), rng.below(20));
                    let victim = model.range(victim..).next().map_or(victim, |(id, _)| *id);
                    assert_eq!(stream.delete(victim), model.remove(&victim).is_some());
                    assert!(!stream.delete(victim));
                }
                8 => {
                    let len = rng.below(30);
                    let expected = (model.len() as u64).saturating_sub(len);
                    assert_eq!(stream.trim(Keep::Newest(len), Trim::Exactly), expected);
                    (0..expected).for_each(|_| drop(model.pop_first()));
                }
                _ => {
                    let from = id(stream.last_id.ms.saturating_sub(rng.below(5)), rng.below(9));
                    let kept = model.split_off(&from);
                    assert_eq!(stream.trim(Keep::From(from), Trim::Exactly), model.len() as u64);
                    model = kept;
                }
            }
            check(&stream, &model, &mut rng);
        }
    }
}

#[test]
fn trimming_by_nodes_keeps_what_shares_a_node_with_the_rest() {
    let limits = Limits { stream_node_max_entries: 10, ..Limits::default() };
    let mut stream = Stream::new();
    for ms in 1..=100 {
        stream.append(id(ms, 0), &[b"f", b"v"], &limits).unwrap();
    }
    let mut limited = stream.clone();
    assert_eq!(stream.trim(Keep::Newest(55), Trim::ByNodes(0)), 40);
    assert_eq!((stream.len(), stream.first_id), (60, id(41, 0)));
    assert_eq!(stream.trim(Keep::From(id(58, 0)), Trim::ByNodes(0)), 10);
    assert_eq!(limited.trim(Keep::Newest(0), Trim::ByNodes(35)), 30);
    assert_eq!(limited.trim(Keep::Newest(0), Trim::ByNodes(5)), 0);
    assert_eq!(limited.trim(Keep::Newest(0), Trim::ByNodes(0)), 70);
    assert_eq!((limited.first_id, limited.last_id, limited.nodes().len()), (StreamId::MIN, id(100, 0), 0));
}

#[test]
fn what_has_been_read_is_counted_as_long_as_nothing_is_deleted_in_between() {
    let mut stream = Stream::new();
    assert_eq!(stream.entries_up_to(id(1, 0)), Some(0));
    for ms in 1..=5 {
        stream.append(id(ms, 0), &[b"f", b"v"], &Limits::default()).unwrap();
    }
    assert_eq!(stream.entries_up_to(StreamId::MIN), Some(0));
    assert_eq!(stream.entries_up_to(id(1, 0)), Some(1));
    assert_eq!(stream.entries_up_to(id(3, 0)), None);
    assert_eq!(stream.entries_up_to(id(5, 0)), Some(5));
    assert_eq!(stream.entries_up_to(id(6, 0)), None);
    let group = Group::new(id(3, 0), Some(3));
    assert_eq!(stream.lag(&group), Some(2));
    assert!(stream.delete(id(4, 0)));
    stream.max_deleted_id = id(4, 0);
    assert_eq!(stream.lag(&group), None);
    assert_eq!(stream.lag(&Group::new(id(5, 0), None)), Some(0));
}

#[test]
fn a_pending_entry_has_one_consumer() {
    let mut group = Group::new(StreamId::MIN, None);
    let (alice, bob) = (group.add_consumer(b"alice", 1), group.add_consumer(b"bob", 1));
    for seq in 0..10 {
        group.set_pending(id(1, seq), Pending { delivered: 5, deliveries: 1, consumer: alice });
    }
    group.set_pending(id(1, 3), Pending { delivered: 6, deliveries: 2, consumer: bob });
    assert_eq!((group.consumer(alice).pending_len(), group.consumer(bob).pending_len()), (9, 1));
    assert!(group.acknowledge(id(1, 3)) && !group.acknowledge(id(1, 3)));
    assert_eq!(group.pending_range(id(1, 2), id(1, 5)).count(), 3);
    assert_eq!(group.pending_range(id(1, 5), id(1, 2)).count(), 0);
    assert_eq!(group.remove_consumer(b"alice"), Some(9));
    assert_eq!((group.pending_len(), group.remove_consumer(b"alice")), (0, None));
    assert_eq!(group.add_consumer(b"carol", 1), alice);
    assert_eq!(group.consumers().map(Consumer::name).collect::<Vec<_>>(), [&b"bob"[..], b"carol"]);
}

/// A listpack of numbers and words.
fn pack(elements: &str) -> Listpack {
    let mut pack = Listpack::new();
    elements.split_whitespace().for_each(|element| pack.push_back(element.as_bytes()));
    pack
}

#[test]
fn a_node_from_a_file_is_taken_only_if_it_follows_the_grammar() {
    let mut stream = Stream::new();
    assert!(stream.push_node(id(1, 0), pack("2 1 2 name age 0  2 0 0 ada 36 5  3 1 0 bob 41 5  0 2 0 1 only this 6")));
    assert_eq!((stream.len(), stream.last_id), (2, id(3, 0)));
    assert!(!stream.push_node(id(3, 0), pack("1 0 1 name 0  2 0 0 eve 4")), "its id is none behind the last");
    assert!(stream.push_node(id(3, 1), pack("1 0 1 name 0  2 0 0 eve 4")));
    for broken in [
        "",
        "1 0 1 name",
        "1 0 1 name 0",
        "0 0 1 name 0",
        "1 0 1 name 1  2 0 0 eve 4",
        "1 0 -1 0  2 0 0 eve 4",
        "1 0 9223372036854775807 name 0",
        "9223372036854775807 9223372036854775807 0 0",
        "1 0 1 name 0  2 0 0 eve 5",
        "1 0 1 name 0  2 0 0 eve",
        "1 0 1 name 0  2 0 0 4",
        "1 0 1 name 0  0 0 0 1 name eve 5",
        "1 0 1 name 0  0 0 0 9223372036854775807 name eve 5",
        "1 0 1 name 0  0 0 0 -1 3",
        "1 0 1 name 0  x 0 0 eve 4",
        "1 0 1 name 0  7 0 0 eve 4",
        "1 0 1 name 0  3 0 0 eve 4",
        "0 1 1 name 0  2 0 0 eve 4",
        "1 0 1 name 0  2 0 0 eve 4  2 1 0 bob 4",
        "-1 2 1 name 0  3 0 0 eve 4",
        "2 0 1 name 0  2 0 0 eve 4  2 0 0 bob 4",
        "2 0 1 name 0  2 0 1 eve 4  2 0 0 bob 4",
        "1 0 1 name 0  2 -1 0 eve 4",
    ] {
        assert!(!stream.clone().push_node(id(100, 0), pack(broken)), "{broken}");
    }
}
