//! What was denied lately (ACL LOG), the latest first. The same once more within a minute is one entry.

use std::collections::VecDeque;

/// So much is kept of a key, a channel or a user's name that was asked for, bytes: whoever is denied chooses it.
const LONGEST: usize = 1024;
/// The same within so many milliseconds is one entry.
const SAME_WITHIN: u64 = 60_000;

/// What was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Reason {
    Auth,
    Command,
    Key,
    Channel,
}

impl Reason {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
        }
    }
}

/// Where it was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// To a client.
    TopLevel,
    /// To one in a transaction.
    Multi,
    /// To a script.
    Lua,
}

impl Context {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 0 since the server started.
    pub id: u64,
    /// How often.
    pub count: u64,
    /// What.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, the key or the channel.
    pub object: Vec<u8>,
    /// To whom.
    pub user: Vec<u8>,
    /// The client, as CLIENT LIST describes it, of the last time.
    pub client: String,
    /// When first, milliseconds of the wall clock.
    pub created: u64,
    /// When last.
    pub updated: u64,
}

/// The log, and the counts of INFO.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next: u64,
    counts: [u64; 4],
}

impl Log {
    /// Notes what was denied at `now`, milliseconds of the wall clock, and keeps `most` entries.
    #[allow(clippy::too_many_arguments, reason = "they are the entry's fields")]
    pub fn note(
        &mut self,
        (reason, context): (Reason, Context),
        object: &[u8],
        user: &[u8],
        client: String,
        now: u64,
        most: usize,
    ) {
        self.counts[reason as usize] += 1;
        let [object, user] = [object, user].map(|text| &text[..text.len().min(LONGEST)]);
        let is_same = |entry: &Entry| {
            (entry.reason, entry.context) == (reason, context)
                && entry.object == object
                && entry.user == user
                && now.saturating_sub(entry.updated) <= SAME_WITHIN
        };
        let same = self.entries.iter().position(is_same).and_then(|place| self.entries.remove(place));
        let entry = match same {
            Some(entry) => Entry { count: entry.count + 1, client, updated: now, ..entry },
            None => {
                let id = self.next;
                self.next += 1;
                let (object, user) = (object.to_vec(), user.to_vec());
                Entry { id, count: 1, reason, context, object, user, client, created: now, updated: now }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(most);
    }

    /// The entries, the latest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets the entries.
    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// How often this was denied.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize]
    }

    /// Sets the counts to zero (CONFIG RESETSTAT).
    pub fn reset_counts(&mut self) {
        self.counts = [0; 4];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(log: &mut Log, object: &str, now: u64) {
        log.note((Reason::Key, Context::TopLevel), object.as_bytes(), b"u", format!("at {now}"), now, 2);
    }

    fn shown(log: &Log) -> Vec<(u64, u64, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        log.entries().map(|entry| (entry.id, entry.count, text(&entry.object), entry.client.clone())).collect()
    }

    #[test]
    fn the_same_within_a_minute_is_one_entry_and_comes_first() {
        let mut log = Log::default();
        note(&mut log, "a", 0);
        note(&mut log, "b", 1);
        note(&mut log, "a", 60_000);
        assert_eq!(shown(&log), [(0, 2, "a".into(), "at 60000".into()), (1, 1, "b".into(), "at 1".into())]);
        note(&mut log, "a", 120_001);
        assert_eq!(shown(&log), [(2, 1, "a".into(), "at 120001".into()), (0, 2, "a".into(), "at 60000".into())]);
        assert_eq!((log.count(Reason::Key), log.count(Reason::Auth)), (4, 0));
    }

    #[test]
    fn of_what_is_asked_for_no_more_is_kept_than_helps() {
        let mut log = Log::default();
        note(&mut log, &"x".repeat(LONGEST + 1), 0);
        assert_eq!(log.entries().next().unwrap().object.len(), LONGEST);
    }
}
