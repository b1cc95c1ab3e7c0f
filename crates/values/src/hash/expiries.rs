//! When the fields of a hash expire: a table beside the fields, because hardly any hash has one.
//!
//! A field whose time has come is removed by who may do that. Where nobody may (on a replica), it is hidden: the table
//! keeps the time as of which the hash is looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use quorate_stdx::UnixMs;

/// Bytes that a field costs here besides those of its name: both places where it is noted, and what they share.
const FIELD_BYTES: usize = 96;

/// See the module's text.
#[derive(Default)]
pub(super) struct Expiries {
    by_field: HashMap<Arc<[u8]>, UnixMs>,
    in_order: BTreeSet<(UnixMs, Arc<[u8]>)>,
    name_bytes: usize,
    /// Fields that expire up to then are hidden. Written by who looks at the hash, under its slot's lock.
    hidden_until: HiddenUntil,
}

struct HiddenUntil(AtomicI64);

impl Default for HiddenUntil {
    fn default() -> HiddenUntil {
        HiddenUntil(AtomicI64::new(i64::MIN))
    }
}

impl Clone for Expiries {
    fn clone(&self) -> Expiries {
        Expiries {
            by_field: self.by_field.clone(),
            in_order: self.in_order.clone(),
            name_bytes: self.name_bytes,
            hidden_until: HiddenUntil::default(),
        }
    }
}

impl Expiries {
    pub(super) fn len(&self) -> usize {
        self.by_field.len()
    }

    pub(super) fn get(&self, field: &[u8]) -> Option<UnixMs> {
        self.by_field.get(field).copied()
    }

    pub(super) fn soonest(&self) -> Option<UnixMs> {
        self.in_order.first().map(|(at, _)| *at)
    }

    pub(super) fn set(&mut self, field: &[u8], at: UnixMs) {
        let name: Arc<[u8]> = match self.by_field.get_key_value(field) {
            Some((name, before)) => {
                let name = Arc::clone(name);
                self.in_order.remove(&(*before, Arc::clone(&name)));
                name
            }
            None => {
                self.name_bytes += field.len();
                field.into()
            }
        };
        self.by_field.insert(Arc::clone(&name), at);
        self.in_order.insert((at, name));
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        let Some((name, at)) = self.by_field.remove_entry(field) else { return false };
        self.name_bytes -= name.len();
        self.in_order.remove(&(at, name));
        true
    }

    /// Takes out up to `most` fields whose time has come, the soonest first.
    pub(super) fn take_due(&mut self, now: UnixMs, most: usize) -> Vec<Arc<[u8]>> {
        let mut due = Vec::new();
        while due.len() < most && self.soonest().is_some_and(|at| at <= now) {
            let (_, name) = self.in_order.pop_first().expect("there is a soonest");
            self.by_field.remove(&name);
            self.name_bytes -= name.len();
            due.push(name);
        }
        due
    }

    /// Hides what expires up to `until`; nothing, if that is `None`.
    pub(super) fn hide(&self, until: Option<UnixMs>) {
        self.hidden_until.0.store(until.map_or(i64::MIN, |until| until.0), Ordering::Relaxed);
    }

    fn hidden_until(&self) -> UnixMs {
        UnixMs(self.hidden_until.0.load(Ordering::Relaxed))
    }

    pub(super) fn hides_any(&self) -> bool {
        self.soonest().is_some_and(|at| at <= self.hidden_until())
    }

    pub(super) fn hides(&self, field: &[u8]) -> bool {
        self.hides_any() && self.get(field).is_some_and(|at| at <= self.hidden_until())
    }

    pub(super) fn hidden(&self) -> usize {
        let until = self.hidden_until();
        self.in_order.iter().take_while(|(at, _)| *at <= until).count()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Expiries>() + self.len() * FIELD_BYTES + self.name_bytes
    }
}
