//! The fields of INFO that are one figure each, with the names that dashboards read.

use super::encoder::Kind;

pub(super) struct Field {
    /// In INFO.
    pub(super) info: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What the figure is multiplied by.
    pub(super) scale: f64,
    pub(super) help: &'static str,
}

const fn gauge(info: &'static str, name: &'static str, help: &'static str) -> Field {
    Field { info, name, kind: Kind::Gauge, scale: 1.0, help }
}

const fn counter(info: &'static str, name: &'static str, help: &'static str) -> Field {
    Field { info, name, kind: Kind::Counter, scale: 1.0, help }
}

const fn odd(info: &'static str, name: &'static str, help: &'static str) -> Field {
    Field { info, name, kind: Kind::OddCounter, scale: 1.0, help }
}

pub(super) static FIELDS: &[Field] = &[
    gauge("uptime_in_seconds", "redis_uptime_in_seconds", "Seconds since the start."),
    gauge("process_id", "redis_process_id", "The process."),
    // Clients
    gauge("connected_clients", "redis_connected_clients", "Connections of clients."),
    gauge("blocked_clients", "redis_blocked_clients", "Clients that wait in a blocking command."),
    gauge("tracking_clients", "redis_tracking_clients", "Clients that are told of changes."),
    gauge("maxclients", "redis_max_clients", "Connections that are allowed."),
    gauge("cluster_connections", "redis_cluster_connections", "Connections of the bus."),
    // Memory
    gauge("used_memory", "redis_memory_used_bytes", "Bytes that were allocated."),
    gauge("used_memory_rss", "redis_memory_used_rss_bytes", "Bytes that are resident."),
    gauge("used_memory_peak", "redis_memory_used_peak_bytes", "The most bytes that were allocated."),
    gauge("used_memory_overhead", "redis_memory_used_overhead_bytes", "Bytes that hold no data."),
    gauge("used_memory_startup", "redis_memory_used_startup_bytes", "Bytes at the start."),
    gauge("used_memory_dataset", "redis_memory_used_dataset_bytes", "Bytes that hold data."),
    gauge("used_memory_lua", "redis_memory_used_lua_bytes", "Bytes of scripts' engines."),
    gauge("used_memory_scripts", "redis_memory_used_scripts_bytes", "Bytes of scripts."),
    gauge("maxmemory", "redis_memory_max_bytes", "Bytes that are allowed; 0 is no limit."),
    gauge("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", "Resident bytes for each that was allocated."),
    gauge(
        "mem_fragmentation_bytes",
        "redis_mem_fragmentation_bytes",
        "Resident bytes beyond those that were allocated.",
    ),
    gauge("mem_clients_normal", "redis_mem_clients_normal", "Bytes of clients' buffers."),
    gauge("mem_clients_slaves", "redis_mem_clients_slaves", "Bytes of replicas' buffers."),
    gauge("mem_not_counted_for_evict", "redis_mem_not_counted_for_eviction_bytes", "Bytes that evict nothing."),
    gauge("allocator_active", "redis_allocator_active_bytes", "Bytes in the allocator's pages."),
    gauge("allocator_allocated", "redis_allocator_allocated_bytes", "Bytes that the allocator has given out."),
    gauge("allocator_resident", "redis_allocator_resident_bytes", "Bytes of the allocator that are resident."),
    gauge("allocator_frag_bytes", "redis_allocator_frag_bytes", "Bytes in pages beyond those given out."),
    gauge("allocator_frag_ratio", "redis_allocator_frag_ratio", "Bytes in pages for each given out."),
    gauge("allocator_rss_bytes", "redis_allocator_rss_bytes", "Resident bytes beyond those in pages."),
    gauge("allocator_rss_ratio", "redis_allocator_rss_ratio", "Resident bytes for each in pages."),
    gauge("lazyfree_pending_objects", "redis_lazyfree_pending_objects", "Values that wait to be freed."),
    // Persistence
    gauge("loading", "redis_loading_dump_file", "Whether a dataset is being loaded."),
    gauge("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", "Changes that no snapshot holds."),
    gauge("rdb_bgsave_in_progress", "redis_rdb_bgsave_in_progress", "Whether a snapshot is being written."),
    gauge("rdb_last_save_time", "redis_rdb_last_save_timestamp_seconds", "When the last snapshot was written."),
    gauge("rdb_last_bgsave_status", "redis_rdb_last_bgsave_status", "Whether the last snapshot succeeded."),
    gauge("rdb_last_bgsave_time_sec", "redis_rdb_last_bgsave_duration_sec", "How long the last snapshot took."),
    gauge("rdb_current_bgsave_time_sec", "redis_rdb_current_bgsave_duration_sec", "For how long one is being written."),
    gauge("rdb_last_cow_size", "redis_rdb_last_cow_size_bytes", "Bytes that the last snapshot copied."),
    counter("rdb_saves", "redis_rdb_saves_total", "Snapshots that were written."),
    gauge("aof_enabled", "redis_aof_enabled", "Whether there is an append-only file."),
    gauge("aof_rewrite_in_progress", "redis_aof_rewrite_in_progress", "Whether it is being rewritten."),
    gauge("aof_rewrite_scheduled", "redis_aof_rewrite_scheduled", "Whether it is to be rewritten."),
    gauge("aof_last_rewrite_time_sec", "redis_aof_last_rewrite_duration_sec", "How long the last rewrite took."),
    gauge(
        "aof_current_rewrite_time_sec",
        "redis_aof_current_rewrite_duration_sec",
        "For how long it is being rewritten.",
    ),
    gauge("aof_last_bgrewrite_status", "redis_aof_last_bgrewrite_status", "Whether the last rewrite succeeded."),
    gauge("aof_last_write_status", "redis_aof_last_write_status", "Whether the last write to it succeeded."),
    gauge("aof_last_cow_size", "redis_aof_last_cow_size_bytes", "Bytes that the last rewrite copied."),
    gauge("aof_current_size", "redis_aof_current_size_bytes", "Its size."),
    gauge("aof_base_size", "redis_aof_base_size_bytes", "Its size after the last rewrite."),
    gauge("aof_pending_bio_fsync", "redis_aof_pending_bio_fsync", "Syncs that wait."),
    gauge("aof_delayed_fsync", "redis_aof_delayed_fsync", "Writes that waited for a sync."),
    // Stats
    counter("total_connections_received", "redis_connections_received_total", "Connections that came."),
    counter("total_commands_processed", "redis_commands_processed_total", "Commands that ran."),
    counter("rejected_connections", "redis_rejected_connections_total", "Connections that were too many."),
    counter("total_net_input_bytes", "redis_net_input_bytes_total", "Bytes that came."),
    counter("total_net_output_bytes", "redis_net_output_bytes_total", "Bytes that went."),
    counter("total_net_repl_input_bytes", "redis_net_repl_input_bytes_total", "Bytes that came for replication."),
    counter("total_net_repl_output_bytes", "redis_net_repl_output_bytes_total", "Bytes that went for replication."),
    counter("expired_keys", "redis_expired_keys_total", "Keys that expired."),
    counter("evicted_keys", "redis_evicted_keys_total", "Keys that were evicted."),
    counter("evicted_clients", "redis_evicted_clients_total", "Clients that were evicted."),
    counter("keyspace_hits", "redis_keyspace_hits_total", "Keys that were found."),
    counter("keyspace_misses", "redis_keyspace_misses_total", "Keys that were not."),
    counter("total_error_replies", "redis_total_error_replies_total", "Errors that were answered."),
    counter("total_reads_processed", "redis_total_reads_processed_total", "Reads from sockets."),
    counter("total_writes_processed", "redis_total_writes_processed_total", "Writes to sockets."),
    odd(
        "unexpected_error_replies",
        "redis_unexpected_error_replies",
        "Errors that a primary or a log should not give.",
    ),
    odd("dump_payload_sanitizations", "redis_dump_payload_sanitizations", "Payloads that were checked deeply."),
    gauge("instantaneous_ops_per_sec", "redis_instantaneous_ops_per_sec", "Commands a second."),
    gauge("pubsub_channels", "redis_pubsub_channels", "Channels that somebody listens to."),
    gauge("pubsub_patterns", "redis_pubsub_patterns", "Patterns that somebody listens to."),
    gauge("pubsubshard_channels", "redis_pubsubshard_channels", "Sharded channels that somebody listens to."),
    gauge("latest_fork_usec", "redis_latest_fork_usec", "Always 0: nothing forks."),
    gauge(
        "slave_expires_tracked_keys",
        "redis_slave_expires_tracked_keys",
        "Keys that a writable replica expires itself.",
    ),
    // Replication
    gauge("connected_slaves", "redis_connected_slaves", "Replicas that are connected."),
    gauge("master_repl_offset", "redis_master_repl_offset", "The end of the log, in bytes."),
    gauge("slave_repl_offset", "redis_slave_repl_offset", "How much of the primary's log was applied, in bytes."),
    gauge("slave_read_only", "redis_slave_read_only", "Whether a replica takes no writes of clients."),
    gauge("slave_priority", "redis_slave_priority", "Who is promoted first: the lowest but 0."),
    gauge(
        "second_repl_offset",
        "redis_second_repl_offset",
        "Up to where the history before the promotion can be gone on with.",
    ),
    gauge("repl_backlog_active", "redis_repl_backlog_is_active", "Whether the log's past is kept."),
    gauge("repl_backlog_size", "redis_replication_backlog_bytes", "Bytes of the log's past that are kept."),
    gauge("repl_backlog_first_byte_offset", "redis_repl_backlog_first_byte_offset", "Where what is kept begins."),
    gauge("repl_backlog_histlen", "redis_repl_backlog_history_bytes", "Bytes that are kept now."),
    odd("sync_full", "redis_replica_resyncs_full", "Full synchronizations."),
    odd("sync_partial_ok", "redis_replica_partial_resync_accepted", "Synchronizations that went on where they were."),
    odd("sync_partial_err", "redis_replica_partial_resync_denied", "Requests to go on that were refused."),
    // CPU
    counter("used_cpu_sys", "redis_cpu_sys_seconds_total", "Time in the kernel."),
    counter("used_cpu_user", "redis_cpu_user_seconds_total", "Time in the program."),
    counter("used_cpu_sys_children", "redis_cpu_sys_children_seconds_total", "Time of children in the kernel."),
    counter("used_cpu_user_children", "redis_cpu_user_children_seconds_total", "Time of children in their programs."),
    gauge("cluster_enabled", "redis_cluster_enabled", "Whether it is a node of a cluster."),
];
