//! INFO persistence.

use std::sync::Arc;

use super::Lines;
use crate::server::{Loading, Server, unix_now};

pub(super) fn persistence(lines: &mut Lines, server: &Arc<Server>) {
    let figures = server.persistence.figures(server);
    let loading = server.published().loading;
    let ok = |is_ok: bool| if is_ok { "ok" } else { "err" };
    lines.section("Persistence");
    lines.flag("loading", loading == Loading::Blocking);
    lines.flag("async_loading", loading == Loading::Async);
    lines.field("current_cow_peak", figures.current_cow_size);
    lines.field("current_cow_size", figures.current_cow_size);
    lines.field("current_cow_size_age", 0);
    lines.field("current_fork_perc", format_args!("{:.2}", figures.current_fork_perc));
    lines.field("current_save_keys_processed", figures.current_save_keys_processed);
    lines.field("current_save_keys_total", figures.current_save_keys_total);
    lines.field("rdb_changes_since_last_save", figures.rdb_changes_since_last_save);
    lines.flag("rdb_bgsave_in_progress", figures.rdb_bgsave_in_progress);
    lines.field("rdb_last_save_time", figures.rdb_last_save_time);
    lines.field("rdb_last_bgsave_status", ok(figures.rdb_last_bgsave_ok));
    lines.field("rdb_last_bgsave_time_sec", figures.rdb_last_bgsave_time_sec);
    lines.field("rdb_current_bgsave_time_sec", figures.rdb_current_bgsave_time_sec);
    lines.field("rdb_saves", figures.rdb_saves);
    lines.field("rdb_last_cow_size", figures.rdb_last_cow_size);
    lines.field("rdb_last_load_keys_expired", figures.rdb_last_load_keys_expired);
    lines.field("rdb_last_load_keys_loaded", figures.rdb_last_load_keys_loaded);
    let aof = server.aof.figures(server);
    lines.flag("aof_enabled", aof.aof_enabled);
    lines.flag("aof_rewrite_in_progress", aof.aof_rewrite_in_progress);
    lines.flag("aof_rewrite_scheduled", aof.aof_rewrite_scheduled);
    lines.field("aof_last_rewrite_time_sec", aof.aof_last_rewrite_time_sec);
    lines.field("aof_current_rewrite_time_sec", aof.aof_current_rewrite_time_sec);
    lines.field("aof_last_bgrewrite_status", ok(aof.aof_last_bgrewrite_ok));
    lines.field("aof_rewrites", aof.aof_rewrites);
    lines.field("aof_rewrites_consecutive_failures", aof.aof_rewrites_consecutive_failures);
    lines.field("aof_last_write_status", ok(aof.aof_last_write_ok));
    lines.field("aof_last_cow_size", aof.aof_last_cow_size);
    lines.flag("module_fork_in_progress", false);
    lines.field("module_fork_last_cow_size", 0);
    if aof.aof_enabled {
        lines.field("aof_current_size", aof.aof_current_size);
        lines.field("aof_base_size", aof.aof_base_size);
        lines.flag("aof_pending_rewrite", aof.aof_rewrite_scheduled);
        lines.field("aof_buffer_length", aof.aof_buffer_length);
        lines.field("aof_pending_bio_fsync", aof.aof_pending_bio_fsync);
        lines.field("aof_delayed_fsync", aof.aof_delayed_fsync);
    }
    if loading != Loading::No {
        let (total, loaded) = (figures.loading_total_bytes, figures.loading_loaded_bytes);
        let elapsed = (unix_now().seconds() - figures.loading_start_time).max(0) as u64;
        let left = (elapsed * total.saturating_sub(loaded)).checked_div(loaded).unwrap_or(1);
        lines.field("loading_start_time", figures.loading_start_time);
        lines.field("loading_total_bytes", total);
        lines.field("loading_rdb_used_mem", 0);
        lines.field("loading_loaded_bytes", loaded);
        let percent = if total == 0 { 0.0 } else { loaded as f64 * 100.0 / total as f64 };
        lines.field("loading_loaded_perc", format_args!("{percent:.2}"));
        lines.field("loading_eta_seconds", left);
    }
}
