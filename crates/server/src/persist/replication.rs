//! What persistence asks of replication.

use quorate_formats::rdb::ReplicationPoint;

use crate::server::{Role, Server};

/// The point in the replication history that the data is at; called while alone. `None` without a history that
/// anybody could go on with.
pub fn point(server: &Server) -> Option<ReplicationPoint> {
    let (id, offset) = server.control.position(server)?;
    let selected = match server.published().role {
        // What a primary appends next begins with a SELECT, if need be.
        Role::Primary => server.feed.selected().unwrap_or_default(),
        Role::Replica(_) => server.stream_db(),
    };
    Some(ReplicationPoint { selected_db: u32::from(selected.0), id, offset })
}
