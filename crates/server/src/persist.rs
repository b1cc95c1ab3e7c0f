//! Snapshots to and from bytes: the forkless walk on one side, the RDB codec on the other.

pub mod load;
pub mod save;
