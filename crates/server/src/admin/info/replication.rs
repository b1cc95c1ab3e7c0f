//! INFO replication, from what the machine of replication tells of itself.

use std::sync::Arc;

use quorate_config::Config;
use quorate_replication::tenure::Standing;
use quorate_replication::{LinkView, PrimaryView, RoleView, View};
use quorate_stdx::{Offset, ReplId};

use super::Lines;
use crate::server::Server;

/// The section as it stands now.
pub(super) fn section(lines: &mut Lines, server: &Arc<Server>) {
    replication(lines, &server.control.view(server), &server.config.load());
    let (standing, monitors) = server.tenure.standing();
    let word = match standing {
        Standing::Unwatched => "unwatched",
        Standing::Confirmed => "confirmed",
        Standing::Held => "held",
    };
    lines.field("tenure", word);
    lines.field("tenure_monitors", monitors);
}

/// Writes the section.
pub fn replication(lines: &mut Lines, view: &View, config: &Config) {
    lines.section("Replication");
    match &view.role {
        RoleView::Primary => lines.field("role", "master"),
        RoleView::Replica(primary) => replica(lines, primary, config.replication.read_only),
    }
    lines.field("connected_slaves", view.replicas.len());
    if config.replication.min_replicas > 0 && config.replication.max_lag.is_some() {
        lines.field("min_slaves_good_slaves", view.good_replicas);
    }
    for (index, replica) in view.replicas.iter().enumerate() {
        lines.field(
            format_args!("slave{index}"),
            format_args!(
                "ip={},port={},state={},offset={},lag={}",
                replica.addr.host,
                replica.addr.port,
                replica.state.word(),
                replica.offset.0,
                replica.lag.as_secs()
            ),
        );
    }
    lines.field("master_failover_state", view.failover);
    lines.field("master_replid", view.history.id());
    let previous = view.history.previous();
    lines.field("master_replid2", previous.map_or(ReplId::NONE, |(id, _)| id));
    lines.field("master_repl_offset", view.offset.0);
    lines.field("second_repl_offset", previous.map_or(-1, |(_, Offset(limit))| limit as i64 + 1));
    lines.flag("repl_backlog_active", view.backlog.is_some());
    lines.field("repl_backlog_size", view.backlog_size);
    lines.field("repl_backlog_first_byte_offset", view.backlog.map_or(0, |backlog| backlog.first_byte));
    lines.field("repl_backlog_histlen", view.backlog.map_or(0, |backlog| backlog.length));
}

/// What a replica tells of its primary.
fn replica(lines: &mut Lines, primary: &PrimaryView, read_only: bool) {
    let age = |age: Option<std::time::Duration>| age.map_or(-1, |age| age.as_secs() as i64);
    lines.field("role", "slave");
    lines.field("master_host", &primary.addr.host);
    lines.field("master_port", primary.addr.port);
    lines.field("master_link_status", if primary.link == LinkView::Connected { "up" } else { "down" });
    lines.field("master_last_io_seconds_ago", age(primary.last_io));
    lines.flag("master_sync_in_progress", primary.link == LinkView::Sync);
    lines.field("slave_read_repl_offset", primary.read.0);
    lines.field("slave_repl_offset", primary.offset.0);
    if let Some(sync) = &primary.sync {
        let total = sync.total.unwrap_or(0);
        let percent = if total == 0 { 0.0 } else { sync.read as f64 * 100.0 / total as f64 };
        lines.field("master_sync_total_bytes", sync.total.map_or(-1, |total| total as i64));
        lines.field("master_sync_read_bytes", sync.read);
        lines.field("master_sync_left_bytes", total as i64 - sync.read as i64);
        lines.field("master_sync_perc", format_args!("{percent:.2}"));
        lines.field("master_sync_last_io_seconds_ago", sync.last_io.as_secs());
    }
    if primary.link != LinkView::Connected {
        lines.field("master_link_down_since_seconds", age(primary.down_for));
    }
    lines.field("slave_priority", primary.priority);
    lines.flag("slave_read_only", read_only);
    lines.flag("replica_announced", primary.announced);
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_replication::{Addr, BacklogView, History, PeerId, PeerState, PeerView};
    use std::time::Duration;

    fn shown(view: &View) -> String {
        let mut lines = Lines::default();
        replication(&mut lines, view, &Config::default());
        String::from_utf8(lines.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_primary_shows_its_replicas_and_its_backlog() {
        let id = ReplId::parse(&[b'a'; 40]).unwrap();
        let text = shown(&View {
            role: RoleView::Primary,
            replicas: vec![PeerView {
                id: PeerId(1),
                addr: Addr::new("10.0.0.2", 6380),
                state: PeerState::Online,
                offset: Offset(14),
                lag: Duration::from_millis(1900),
            }],
            good_replicas: 1,
            failover: "no-failover",
            history: History::continuing(id, ReplId::NONE, Offset(9)),
            offset: Offset(14),
            backlog: Some(BacklogView { first_byte: 1, length: 14 }),
            backlog_size: 1 << 20,
        });
        for line in [
            "role:master",
            "connected_slaves:1",
            "slave0:ip=10.0.0.2,port=6380,state=online,offset=14,lag=1",
            "master_repl_offset:14",
            "second_repl_offset:10",
            "repl_backlog_active:1",
            "repl_backlog_histlen:14",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_replica_shows_its_link() {
        let mut primary = PrimaryView {
            addr: Addr::new("h", 1),
            link: LinkView::Connect,
            last_io: None,
            sync: None,
            offset: Offset(7),
            read: Offset(7),
            down_for: Some(Duration::from_secs(3)),
            refused: false,
            priority: 100,
            announced: true,
        };
        let view = |primary: &PrimaryView| View {
            role: RoleView::Replica(primary.clone()),
            replicas: vec![],
            good_replicas: 0,
            failover: "no-failover",
            history: History::new(ReplId::NONE),
            offset: Offset(7),
            backlog: None,
            backlog_size: 0,
        };
        let text = shown(&view(&primary));
        assert!(text.contains("master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n"), "{text}");
        assert!(text.contains("master_link_down_since_seconds:3\r\n"), "{text}");
        primary.link = LinkView::Connected;
        let text = shown(&view(&primary));
        assert!(text.contains("master_link_status:up") && !text.contains("down_since"), "{text}");
    }
}
