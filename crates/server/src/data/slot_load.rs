//! What each slot of a cluster costs, for those who share slots out: processor time and traffic of the commands on its keys.
//! It is counted with `cluster-slot-stats-enabled` only, by whichever thread runs a command, and shown by CLUSTER SLOT-STATS.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_commands::{Args, Spec};
use quorate_keyspace::Slot;

/// One slot's counts.
#[derive(Debug, Default)]
struct Counts {
    nanos: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What a slot has cost since it was counted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Processor time of its commands, nanoseconds.
    pub nanos: u64,
    /// Bytes of their requests.
    pub bytes_in: u64,
    /// Bytes of their replies.
    pub bytes_out: u64,
}

/// All slots' counts.
#[derive(Debug)]
pub struct SlotLoad {
    slots: Box<[Counts]>,
}

impl Default for SlotLoad {
    fn default() -> SlotLoad {
        SlotLoad { slots: (0..quorate_cluster::SLOTS).map(|_| Counts::default()).collect() }
    }
}

impl SlotLoad {
    /// Counts a command that has run; one without keys belongs to no slot.
    pub fn note(&self, spec: &Spec, args: Args<'_>, load: Load) {
        let Some(key) = spec.keys_of(args).next() else { return };
        let counts = &self.slots[Slot::of(key).index()];
        counts.nanos.fetch_add(load.nanos, Ordering::Relaxed);
        counts.bytes_in.fetch_add(load.bytes_in, Ordering::Relaxed);
        counts.bytes_out.fetch_add(load.bytes_out, Ordering::Relaxed);
    }

    /// What a slot has cost.
    pub fn of(&self, slot: Slot) -> Load {
        let Counts { nanos, bytes_in, bytes_out } = &self.slots[slot.index()];
        let [nanos, bytes_in, bytes_out] = [nanos, bytes_in, bytes_out].map(|count| count.load(Ordering::Relaxed));
        Load { nanos, bytes_in, bytes_out }
    }

    /// Begins anew with those slots that are not `kept`.
    pub fn forget(&self, kept: impl Fn(Slot) -> bool) {
        let gone = self.slots.iter().zip((0..).filter_map(Slot::new)).filter(|(_, slot)| !kept(*slot));
        for (counts, _) in gone {
            for count in [&counts.nanos, &counts.bytes_in, &counts.bytes_out] {
                count.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// How long a request is on the wire, bytes.
pub fn request_bytes(args: Args<'_>) -> usize {
    let header = |number: usize| number.checked_ilog10().unwrap_or(0) as usize + 1 + "$\r\n".len();
    let words = args.words();
    header(words.len()) + words.iter().map(|word| header(word.len()) + word.len() + "\r\n".len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::table;

    #[test]
    fn a_command_costs_its_keys_slot_and_one_without_keys_none() {
        let load = SlotLoad::default();
        let one = Load { nanos: 700, bytes_in: 20, bytes_out: 5 };
        for words in [&[&b"GET"[..], b"{a}1"][..], &[b"MGET", b"{a}1", b"{a}2"], &[b"PING"]] {
            let spec = table().find(words[0]).unwrap().spec;
            load.note(spec, Args::new(words), one);
        }
        let (slot, other) = (Slot::of(b"a"), Slot::of(b"b"));
        assert_eq!(load.of(slot), Load { nanos: 1400, bytes_in: 40, bytes_out: 10 });
        load.note(table().find(b"GET").unwrap().spec, Args::new(&[b"GET", b"b"]), one);
        load.forget(|slot| slot == other);
        assert_eq!((load.of(slot), load.of(other)), (Load::default(), one));
    }

    #[test]
    fn a_request_is_as_long_as_it_is_on_the_wire() {
        for words in [&[&b"GET"[..], b"k"][..], &[b"SET", b"key", &[b'x'; 1000]], &[b"APPEND", b"", b""]] {
            let mut wire = Vec::new();
            quorate_resp::encode_request(&mut wire, words);
            assert_eq!(request_bytes(Args::new(words)), wire.len());
        }
    }
}
