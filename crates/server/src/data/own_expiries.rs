//! Keys with an expiry that clients have written to a writable replica: no primary will ever remove them, so the
//! replica does, by itself and for itself.
//!
//! What the primary writes with an expiry is not among them; such a key is only hidden until the primary removes it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use quorate_commands::Origin;
use quorate_keyspace::{Db, KeyView, Member, Scope, SlotSet};

use crate::data::call::Local;
use crate::server::{Role, Server};

/// How many keys are looked at in one go.
const BITE: usize = 256;

/// The keys.
#[derive(Default)]
pub struct OwnExpiries {
    keys: Mutex<BTreeSet<(Db, Box<[u8]>)>>,
    any: AtomicBool,
}

impl OwnExpiries {
    /// How many there are (`slave_expires_tracked_keys`).
    pub fn len(&self) -> usize {
        self.keys.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Forgets all: the dataset was replaced, or the role has changed.
    pub fn clear(&self) {
        self.keys.lock().clear();
        self.any.store(false, Ordering::Relaxed);
    }

    /// Removes those that have expired, and forgets those that no longer can.
    pub fn sweep(&self, member: &mut Member, scope: &Scope) {
        let keys: Vec<(Db, Box<[u8]>)> = self.keys.lock().iter().take(BITE).cloned().collect();
        for (db, key) in keys {
            member.pause();
            let mut view = member.view(SlotSet::of_keys(std::iter::once(&*key)), scope);
            let expiry = view.peek_raw(db, &key).map(|entry| entry.expiry());
            let over = match expiry {
                Some(Some(at)) if at > scope.now => continue,
                Some(Some(_)) => {
                    view.expire_own(db, &key);
                    true
                }
                Some(None) | None => true,
            };
            drop(view);
            if over {
                self.keys.lock().remove(&(db, key));
            }
        }
        if self.keys.lock().is_empty() {
            self.any.store(false, Ordering::Relaxed);
        }
    }
}

/// Notes the keys of a command that has written here, if this is a replica.
#[cold]
pub fn note<'k>(
    server: &Server,
    local: &Local,
    view: &KeyView<'_>,
    origin: Origin,
    db: Db,
    keys: impl Iterator<Item = &'k [u8]>,
) {
    if origin == Origin::Replication || local.published.role == Role::Primary {
        return;
    }
    for key in keys {
        if view.peek_raw(db, key).is_some_and(|entry| entry.expiry().is_some()) {
            server.own_expiries.keys.lock().insert((db, key.into()));
            server.own_expiries.any.store(true, Ordering::Relaxed);
        }
    }
}
