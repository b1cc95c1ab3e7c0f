//! What persistence and DEBUG ask of replication, in one place.

use quorate_formats::rdb::ReplicationPoint;

use crate::server::Server;

/// The point in the replication history that the data is at; called while alone. `None` without a history that
/// anybody could go on with.
pub fn point(_server: &Server) -> Option<ReplicationPoint> {
    None
}

/// Gives the data a new history, so that no replica can go on with the old one (DEBUG CHANGE-REPL-ID). Without a
/// history there is nothing to do.
pub fn begin_new_history(_server: &Server) {}
