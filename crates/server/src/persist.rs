//! Snapshots on disk: written while writes go on, read at the start.

pub mod replication;
