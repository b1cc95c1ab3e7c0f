//! Sessions that were kept, so that a client that comes again saves half of the handshake.
//!
//! The library's own store forgets the oldest when it is full; this one also forgets what is older than
//! `tls-session-cache-timeout`, and what is kept is used once, as TLS 1.3 wants it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;

/// What is kept of sessions.
pub(crate) struct Sessions {
    /// How many at most; 0 for as many as come.
    capacity: usize,
    lifetime: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<Vec<u8>, (u64, Instant, Vec<u8>)>,
    /// The keys in the order in which they came, by a number that grows.
    by_age: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl Sessions {
    pub(crate) fn new(capacity: usize, lifetime: Duration) -> Sessions {
        Sessions { capacity, lifetime, kept: Mutex::default() }
    }

    fn find(&self, key: &[u8], takes: bool) -> Option<Vec<u8>> {
        let mut kept = self.kept.lock();
        kept.forget_before(Instant::now().checked_sub(self.lifetime));
        if !takes {
            return kept.by_key.get(key).map(|(_, _, value)| value.clone());
        }
        let (number, _, value) = kept.by_key.remove(key)?;
        kept.by_age.remove(&number);
        Some(value)
    }
}

impl Kept {
    fn forget_before(&mut self, limit: Option<Instant>) {
        while let Some(oldest) = self.by_age.first_entry()
            && self.by_key.get(oldest.get()).is_none_or(|(_, at, _)| limit.is_some_and(|limit| *at < limit))
        {
            let key = oldest.remove();
            self.by_key.remove(&key);
        }
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut kept = self.kept.lock();
        let now = Instant::now();
        kept.forget_before(now.checked_sub(self.lifetime));
        while self.capacity > 0
            && kept.by_key.len() >= self.capacity
            && let Some((_, oldest)) = kept.by_age.pop_first()
        {
            kept.by_key.remove(&oldest);
        }
        let number = kept.next;
        kept.next += 1;
        if let Some((earlier, ..)) = kept.by_key.insert(key.clone(), (number, now, value)) {
            kept.by_age.remove(&earlier);
        }
        kept.by_age.insert(number, key);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key, false)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key, true)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Nothing of what is kept: it is secret.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sessions: &Sessions, key: &str) {
        assert!(sessions.put(key.into(), key.to_uppercase().into()));
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let sessions = Sessions::new(2, Duration::from_secs(300));
        for key in ["a", "b", "a", "c"] {
            put(&sessions, key);
        }
        assert_eq!(sessions.get(b"b"), None);
        assert_eq!(sessions.get(b"a"), Some(b"A".to_vec()));
        assert_eq!(sessions.take(b"a"), Some(b"A".to_vec()));
        assert_eq!(sessions.take(b"a"), None, "a session is used once");
        assert_eq!(sessions.take(b"c"), Some(b"C".to_vec()));
    }

    #[test]
    fn none_is_older_than_it_may_be() {
        let sessions = Sessions::new(0, Duration::ZERO);
        put(&sessions, "a");
        while sessions.kept.lock().by_key.values().any(|(_, at, _)| at.elapsed().is_zero()) {}
        assert_eq!(sessions.get(b"a"), None);
        assert!(sessions.kept.lock().by_age.is_empty());
    }
}
