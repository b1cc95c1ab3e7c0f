//! The keyspace: 16384 slots with their locks and tables, entries, expiry and snapshots.
//!
//! Read in this order: `slot` (what a slot is), `entry` (how a key lies in memory), `space` and `quiet`
//! (who may touch what, and when), `view` (the only door to data), `walk` (snapshots). It knows no
//! sockets, no wire format and no command; values and their encodings live in `quorate-values`.

mod access;
mod bitmap;
mod counters;
mod entry;
mod extras;
mod quiet;
mod reclaim;
mod slot;
mod space;
mod sync;
mod table;
mod tracking;
mod undo;
mod view;
mod walk;

pub use access::{AccessPolicy, decayed, from_frequency, from_idle_seconds, idle_seconds};
pub use counters::{Counters, Tally};
pub use entry::{Entry, Record, ValueMut};
pub use extras::{Ticket, WatchFlag};
pub use quiet::{Participant, Quiet};
pub use reclaim::{Lazy, Reclaim};
pub use slot::{SLOTS, Slot};
pub use space::{Alone, Db, Flushed, Keyspace, Member, Place, SlotSet};
pub use tracking::{Holder, Stale, Tracking};
pub use view::by_slot::place_in_walk;
pub use view::{Bite, EntryMut, Expired, Expiry, KeyView, Notice, Scope, Sweep};
pub use walk::{Sink, Step, Walk};
