//! Keyspace notifications: what happened to which key, for those who subscribed to it.

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
}

impl Events {
    /// Notes an event if its class is wanted.
    #[inline]
    pub fn note(&mut self, class: Class, name: &'static str, db: Db, key: &[u8]) {
        if self.mask.intersects(class) {
            self.list.push(Event { class, name, db, key: key.into() });
        }
    }

    /// The events, once, in order.
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.list)
    }

    /// Whether nothing was noted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
