//! Keyspace notifications: what happened to which key, for those who subscribed to it.

use std::collections::HashMap;

use quorate_keyspace::Db;

/// Classes of events, as `notify-keyspace-events` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Class(pub u32);

impl Class {
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Class = Class(1);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Class = Class(1 << 1);
    /// `g`
    pub const GENERIC: Class = Class(1 << 2);
    /// `$`
    pub const STRING: Class = Class(1 << 3);
    /// `l`
    pub const LIST: Class = Class(1 << 4);
    /// `s`
    pub const SET: Class = Class(1 << 5);
    /// `h`
    pub const HASH: Class = Class(1 << 6);
    /// `z`
    pub const ZSET: Class = Class(1 << 7);
    /// `x`
    pub const EXPIRED: Class = Class(1 << 8);
    /// `e`
    pub const EVICTED: Class = Class(1 << 9);
    /// `t`
    pub const STREAM: Class = Class(1 << 10);
    /// `m`
    pub const KEY_MISS: Class = Class(1 << 11);
    /// `d`
    pub const MODULE: Class = Class(1 << 13);
    /// `n`
    pub const NEW: Class = Class(1 << 14);

    /// Whether any class of `other` is in this one.
    #[inline]
    pub fn intersects(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }
}

/// One event of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: Class,
    /// Its name (`set`, `del`, `expired` ...).
    pub name: &'static str,
    /// The database.
    pub db: Db,
    /// The key.
    pub key: Box<[u8]>,
}

/// The events of a command; with nobody interested it costs one comparison an event.
#[derive(Debug, Default)]
pub struct Events {
    /// What anybody is interested in.
    pub mask: Class,
    list: Vec<Event>,
    /// Where those of the command that runs begin.
    begun: usize,
}

impl Events {
    /// Notes an event if its class is wanted.
    #[inline]
    pub fn note(&mut self, class: Class, name: &'static str, db: Db, key: &[u8]) {
        if self.mask.intersects(class) {
            self.list.push(Event { class, name, db, key: key.into() });
        }
    }

    /// A command begins; [`Events::note_before`] goes no further back.
    #[inline]
    pub fn begin(&mut self) {
        self.begun = self.list.len();
    }

    /// Notes what befell keys, in order, before the command noted something of the same key.
    #[cold]
    pub fn note_before(&mut self, notices: impl Iterator<Item = Event>) {
        let mut own = self.list.split_off(self.begun).into_iter().peekable();
        let mut left: HashMap<(Db, Box<[u8]>), usize> = HashMap::new();
        for event in own.clone() {
            *left.entry((event.db, event.key)).or_default() += 1;
        }
        for notice in notices.filter(|notice| self.mask.intersects(notice.class)) {
            let name = (notice.db, notice.key);
            while left.get(&name).is_some_and(|&left| left > 0)
                && let Some(event) = own.next_if(|event| (event.db, &event.key) != (name.0, &name.1))
            {
                let passed = left.get_mut(&(event.db, event.key.clone())).expect("each was counted");
                *passed -= 1;
                self.list.push(event);
            }
            let (db, key) = name;
            self.list.push(Event { db, key, ..notice });
        }
        self.list.extend(own);
        self.begun = self.list.len();
    }

    /// The events, once, in order.
    pub fn take(&mut self) -> Vec<Event> {
        self.begun = 0;
        std::mem::take(&mut self.list)
    }

    /// Whether nothing was noted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(class: Class, name: &'static str, key: &str) -> Event {
        Event { class, name, db: Db(0), key: key.as_bytes().into() }
    }

    #[test]
    fn what_befell_a_key_stands_before_what_the_command_did_to_it() {
        let mut events = Events { mask: Class(Class::NEW.0 | Class::EXPIRED.0 | Class::STRING.0), ..Events::default() };
        events.note(Class::STRING, "set", Db(0), b"a");
        events.begin();
        for key in ["a", "b"] {
            events.note(Class::STRING, "set", Db(0), key.as_bytes());
        }
        let notices = [
            event(Class::EXPIRED, "expired", "a"),
            event(Class::NEW, "new", "a"),
            event(Class::EXPIRED, "expired", "c"),
            event(Class::NEW, "new", "b"),
            event(Class::GENERIC, "del", "b"),
        ];
        events.note_before(notices.into_iter());
        let told: Vec<_> = events.take().iter().map(|e| format!("{} {}", e.name, e.key.escape_ascii())).collect();
        assert_eq!(told, ["set a", "expired a", "new a", "expired c", "set a", "new b", "set b"]);
    }
}
