//! What persistence and DEBUG ask of replication.

use crate::server::Server;

/// Gives the data a new history, so that no replica can go on with the old one (DEBUG CHANGE-REPL-ID). Without a
/// history there is nothing to do.
pub fn begin_new_history(_server: &Server) {}
