//! What of the log concerns slots that are being copied, while they are.
//!
//! A key is *in step* at a point of the log if the target holds what we held there. What is done to keys in step is passed on;
//! what is done to others is not, because it is contained in the copy that follows. A request on keys of both kinds is not
//! passed on either, and leaves those that were in step behind: they are copied again, as they are then. So no key needs to
//! be kept as it once was, and nothing that a request depends on is missing when the target runs it.
//!
//! A large value is copied in pieces, each at its own point of the log. Between them those requests are passed on that concern
//! single elements: whether the target has them yet or gets them later, it ends with what we hold. Anything else spoils the
//! copy, which begins anew.

use std::collections::BTreeSet;

use quorate_cluster::Slots;
use quorate_commands::Args;
use quorate_keyspace::{Slot, place_in_walk};

use super::copy::Partial;
use crate::data::dispatch;

/// Requests that concern single elements of the collection that their one key names, or the key's expiry; and what they come
/// to does not depend on elements that they don't name.
const ELEMENTWISE: &[&str] = &[
    "hdel",
    "hincrby",
    "hincrbyfloat",
    "hmset",
    "hset",
    "hsetnx",
    "persist",
    "pexpireat",
    "sadd",
    "srem",
    "zadd",
    "zincrby",
    "zrem",
    "zremrangebylex",
    "zremrangebyscore",
];

/// How far the copy has come.
pub(super) struct Progress {
    slots: Slots,
    /// The slot that is being copied; those below are copied. Beyond the last one when all are.
    slot: u32,
    /// How far in that slot: keys of a lesser place have been copied.
    cursor: u64,
    /// Keys that are behind, although their place has been passed.
    pub(super) behind: BTreeSet<Box<[u8]>>,
    /// The large value that is being copied.
    pub(super) partial: Option<Partial>,
    /// How often a copy was spoiled, in a row.
    pub(super) spoiled: u32,
    /// The requests of a transaction that are passed on, while it is not complete.
    group: Option<Vec<u8>>,
    grouped: usize,
}

/// The log holds something that a migration doesn't survive.
#[derive(Debug)]
pub(super) struct Unmovable(pub(super) String);

impl Progress {
    pub(super) fn new(slots: Slots) -> Progress {
        let mut progress = Progress {
            slots,
            slot: 0,
            cursor: 0,
            behind: BTreeSet::new(),
            partial: None,
            spoiled: 0,
            group: None,
            grouped: 0,
        };
        progress.seek(0);
        progress
    }

    /// The slot to copy from, and from where in it; nothing if all is copied.
    pub(super) fn next(&self) -> Option<(Slot, u64)> {
        Slot::new(self.slot as usize).map(|slot| (slot, self.cursor))
    }

    /// Everything below has been copied; 0 is the slot's end.
    pub(super) fn advance(&mut self, cursor: u64) {
        self.cursor = cursor;
        if cursor == 0 {
            self.seek(self.slot + 1);
        }
    }

    fn seek(&mut self, from: u32) {
        let end = u32::from(quorate_cluster::SLOTS);
        self.slot = (from..end).find(|slot| self.slots.has(*slot as u16)).unwrap_or(end);
    }

    /// Whether every key is in step.
    pub(super) fn is_complete(&self) -> bool {
        self.next().is_none() && self.behind.is_empty() && self.partial.is_none()
    }

    fn is_in_step(&self, slot: Slot, key: &[u8]) -> bool {
        let slot_number = slot.index() as u32;
        let is_passed = slot_number < self.slot || (slot_number == self.slot && place_in_walk(key) < self.cursor);
        is_passed && !self.behind.contains(key)
    }

    /// The copy in pieces is worth nothing; it begins anew.
    pub(super) fn spoil(&mut self) {
        if let Some(partial) = self.partial.take() {
            self.behind.insert(partial.key);
            self.spoiled += 1;
        }
    }

    /// Reads one request of the log, and appends it to `out` if the target has to run it.
    pub(super) fn follow(&mut self, words: &[&[u8]], raw: &[u8], out: &mut Vec<u8>) -> Result<(), Unmovable> {
        let args = Args::new(words);
        let Ok(command) = dispatch::resolve(args) else { return Ok(()) };
        match command.spec.name {
            "multi" => self.group = Some(Vec::new()),
            "exec" => self.end_group(out),
            "flushall" | "flushdb" | "swapdb" => {
                return Err(Unmovable(format!("{} was run while slots were moved", command.spec.name.to_uppercase())));
            }
            name => {
                let keys: Vec<&[u8]> = command.spec.keys_of(args).collect();
                if self.passes(name, &keys) {
                    match &mut self.group {
                        Some(group) => {
                            group.extend_from_slice(raw);
                            self.grouped += 1;
                        }
                        None => out.extend_from_slice(raw),
                    }
                }
            }
        }
        Ok(())
    }

    /// What of a transaction is passed on stays one.
    fn end_group(&mut self, out: &mut Vec<u8>) {
        let group = self.group.take().unwrap_or_default();
        match std::mem::take(&mut self.grouped) {
            0 | 1 => out.extend_from_slice(&group),
            _ => {
                out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
                out.extend_from_slice(&group);
                out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
            }
        }
    }

    /// Whether a request is passed on. If it is not, none of its keys is in step any more.
    fn passes(&mut self, name: &str, keys: &[&[u8]]) -> bool {
        let Some(first) = keys.first() else { return false };
        let slot = Slot::of(first);
        if !self.slots.has(slot.index() as u16) {
            return false;
        }
        if let Some(partial) = &self.partial
            && keys.contains(&&*partial.key)
        {
            if keys.len() == 1 && ELEMENTWISE.contains(&name) {
                return true;
            }
            self.spoil();
        }
        let (in_step, behind): (Vec<&[u8]>, Vec<&[u8]>) = keys.iter().partition(|key| self.is_in_step(slot, key));
        if behind.is_empty() {
            return true;
        }
        self.behind.extend(in_step.into_iter().map(Box::from));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(progress: &mut Progress, request: &str) -> String {
        let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        progress.follow(&words, request.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Every key begins with this slot's tag, so only the places within the slot differ.
    fn halfway() -> (Progress, String, String) {
        let slot = Slot::of(b"{t}");
        let mut progress = Progress::new(std::iter::once(slot.index() as u16).collect());
        let mut keys: Vec<String> = (0..10).map(|number| format!("{{t}}{number}")).collect();
        keys.sort_by_key(|key| place_in_walk(key.as_bytes()));
        progress.advance(place_in_walk(keys[5].as_bytes()));
        (progress, keys.swap_remove(0), keys.swap_remove(8))
    }

    #[test]
    fn what_is_done_to_a_key_is_passed_on_once_it_has_been_copied() {
        let (mut progress, copied, later) = halfway();
        let request = format!("INCR {copied}");
        assert_eq!(follow(&mut progress, &request), request);
        assert_eq!(follow(&mut progress, &format!("INCR {later}")), "");
        assert_eq!(follow(&mut progress, "SET elsewhere 1"), "");
        progress.advance(0);
        let request = format!("INCR {later}");
        assert_eq!(follow(&mut progress, &request), request);
        assert!(progress.is_complete());
    }

    #[test]
    fn a_request_on_keys_of_both_kinds_leaves_all_of_them_to_be_copied() {
        let (mut progress, copied, later) = halfway();
        assert_eq!(follow(&mut progress, &format!("RENAME {later} {copied}")), "");
        assert!(progress.behind.contains(copied.as_bytes()));
        assert_eq!(
            follow(&mut progress, &format!("SET {copied} 1")),
            "",
            "it is behind until it has been copied again"
        );
        progress.behind.clear();
        let request = format!("SET {copied} 1");
        assert_eq!(follow(&mut progress, &request), request);
    }

    #[test]
    fn of_a_transaction_what_is_passed_on_stays_together() {
        let (mut progress, copied, later) = halfway();
        follow(&mut progress, "MULTI");
        assert_eq!(follow(&mut progress, &format!("INCR {copied}")), "");
        follow(&mut progress, &format!("INCR {later}"));
        assert_eq!(follow(&mut progress, "EXEC"), format!("INCR {copied}"));
        follow(&mut progress, "MULTI");
        follow(&mut progress, &format!("INCR {copied}"));
        follow(&mut progress, &format!("DECR {copied}"));
        let whole = follow(&mut progress, "EXEC");
        assert!(whole.starts_with("*1\r\n$5\r\nMULTI") && whole.ends_with("EXEC\r\n"), "{whole}");
    }

    #[test]
    fn what_replaces_everything_ends_it() {
        let (mut progress, ..) = halfway();
        assert!(progress.follow(&[b"FLUSHALL"], b"", &mut Vec::new()).is_err());
    }
}
