//! INFO stats.

use quorate_acl::Reason;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Lines;
use crate::data::pubsub::Kind;
use crate::server::Server;

pub(super) fn stats(lines: &mut Lines, server: &Arc<Server>) {
    let sum = |pick: fn(&crate::data::stats::Statistics) -> i64| server.sum(pick);
    let kilo = |bytes: i64| format!("{:.2}", bytes as f64 / 1024.0);
    lines.section("Stats");
    lines.field("total_connections_received", server.connections.load(Ordering::Relaxed));
    lines.field("total_commands_processed", sum(|stats| stats.processed.get()));
    lines.field("instantaneous_ops_per_sec", sum(|stats| stats.gauges.commands_a_second.get()));
    lines.field("total_net_input_bytes", sum(|stats| stats.bytes_in.get()));
    lines.field("total_net_output_bytes", sum(|stats| stats.bytes_out.get()));
    lines.field("total_net_repl_input_bytes", 0);
    lines.field("total_net_repl_output_bytes", 0);
    lines.field("instantaneous_input_kbps", kilo(sum(|stats| stats.gauges.bytes_in_a_second.get())));
    lines.field("instantaneous_output_kbps", kilo(sum(|stats| stats.gauges.bytes_out_a_second.get())));
    lines.field("instantaneous_input_repl_kbps", "0.00");
    lines.field("instantaneous_output_repl_kbps", "0.00");
    lines.field("rejected_connections", server.rejected_connections.load(Ordering::Relaxed));
    let counts = &server.control.counts;
    for (name, count) in
        [("sync_full", &counts.full), ("sync_partial_ok", &counts.partial), ("sync_partial_err", &counts.refused)]
    {
        lines.field(name, count.load(Ordering::Relaxed));
    }
    keys(lines, server);
    lines.field("pubsub_channels", server.pubsub.len(Kind::Channel));
    lines.field("pubsub_patterns", server.pubsub.len(Kind::Pattern));
    lines.field("pubsubshard_channels", server.pubsub.len(Kind::Shard));
    lines.field("latest_fork_usec", 0);
    lines.field("total_forks", 0);
    lines.field("migrate_cached_sockets", server.migrations.count());
    lines.field("slave_expires_tracked_keys", 0);
    for name in ["hits", "misses", "key_hits", "key_misses"] {
        lines.field(format_args!("active_defrag_{name}"), 0);
    }
    lines.field("total_active_defrag_time", 0);
    lines.field("current_active_defrag_time", 0);
    lines.field("tracking_total_keys", server.space.tracking().keys());
    lines.field("tracking_total_items", server.space.tracking().items());
    lines.field("tracking_total_prefixes", server.trackers.prefixes());
    lines.field("unexpected_error_replies", 0);
    lines.field("total_error_replies", sum(|stats| stats.error_replies.get()));
    lines.field("dump_payload_sanitizations", 0);
    lines.field("total_reads_processed", sum(|stats| stats.reads.get()));
    lines.field("total_writes_processed", sum(|stats| stats.writes.get()));
    lines.field("io_threaded_reads_processed", 0);
    lines.field("io_threaded_writes_processed", 0);
    lines.field("reply_buffer_shrinks", 0);
    lines.field("reply_buffer_expands", 0);
    let denied = server.acl_log.lock();
    for (name, reason) in
        [("auth", Reason::Auth), ("cmd", Reason::Command), ("key", Reason::Key), ("channel", Reason::Channel)]
    {
        lines.field(format_args!("acl_access_denied_{name}"), denied.count(reason));
    }
}

/// What became of keys.
fn keys(lines: &mut Lines, server: &Arc<Server>) {
    let space = &server.space;
    let (exceeded, exceeded_now) = server.evictor.exceeded();
    lines.field("expired_keys", space.sum(|counters| counters.expired.get()));
    lines.field("expired_subkeys", space.sum(|counters| counters.expired_fields.get()));
    lines.field("expired_stale_perc", format_args!("{:.2}", server.expiry.stale_percent()));
    lines.field("expired_time_cap_reached_count", server.expiry.cut_short.load(Ordering::Relaxed));
    lines.field("expire_cycle_cpu_milliseconds", server.expiry.nanos.load(Ordering::Relaxed) / 1_000_000);
    lines.field("evicted_keys", space.sum(|counters| counters.evicted.get()));
    lines.field("evicted_clients", server.evicted_clients.load(Ordering::Relaxed));
    lines.field("total_eviction_exceeded_time", exceeded.as_millis());
    lines.field("current_eviction_exceeded_time", exceeded_now.as_millis());
    lines.field("keyspace_hits", space.sum(|counters| counters.hits.get()));
    lines.field("keyspace_misses", space.sum(|counters| counters.misses.get()));
}
