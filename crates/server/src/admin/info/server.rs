//! INFO server and clients.

use std::sync::Arc;

use rustix::system::uname;

use super::Lines;
use crate::process::Supervisor;
use crate::server::{Server, unix_now};

pub(super) fn server(lines: &mut Lines, server: &Arc<Server>) {
    let config = server.config.load();
    let (system, uptime, now) = (uname(), server.started.elapsed().as_secs(), unix_now());
    lines.section("Server");
    lines.field("redis_version", crate::REDIS_VERSION);
    lines.field("redis_git_sha1", "00000000");
    lines.flag("redis_git_dirty", false);
    lines.field("redis_build_id", "0000000000000000");
    lines.field("server_name", "quorate");
    lines.field("quorate_version", crate::VERSION);
    let (moment, progress) = (server.mono(), server.progress());
    lines.field("data_plane", if progress.hangs(moment) { "hangs" } else { "ok" });
    lines.field("data_plane_rests_ms", progress.rests_for(moment).as_millis());
    drop(progress);
    lines.field("redis_mode", if server.node().is_some() { "cluster" } else { "standalone" });
    let words = [system.sysname(), system.release(), system.machine()];
    lines.field("os", words.map(|word| word.to_string_lossy().into_owned()).join(" "));
    lines.field("arch_bits", usize::BITS);
    lines.field("monotonic_clock", "POSIX clock_gettime");
    lines.field("multiplexing_api", "epoll");
    lines.field("atomicvar_api", "rust");
    lines.field("gcc_version", "0.0.0");
    lines.field("process_id", std::process::id());
    lines.field("process_supervised", Supervisor::current().word());
    lines.field("run_id", server.run_id);
    lines.field("tcp_port", if config.network.port > 0 { config.network.port } else { config.tls.port });
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    lines.field("server_time_usec", since.as_micros());
    lines.field("uptime_in_seconds", uptime);
    lines.field("uptime_in_days", uptime / 86400);
    lines.field("hz", config.general.timer_frequency);
    lines.field("configured_hz", config.general.timer_frequency);
    lines.field("lru_clock", now.seconds() & 0xff_ffff);
    lines.field("executable", std::env::current_exe().unwrap_or_default().display());
    lines.field("config_file", server.config_file.as_deref().unwrap_or(std::path::Path::new("")).display());
    if !config.general.availability_zone.is_empty() {
        lines.field("availability_zone", &config.general.availability_zone);
    }
    lines.flag("io_threads_active", server.workers.get().is_some_and(|workers| workers.len() > 1));
    if let Some(shutdown) = &*server.desk.shutdown.lock() {
        lines.field("shutdown_in_milliseconds", shutdown.time_left().as_millis());
    }
    listeners(lines, &config);
}

fn listeners(lines: &mut Lines, config: &quorate_config::Config) {
    let binds: String = config.network.bind.iter().map(|name| format!("bind={name},")).collect();
    // Redis numbers the kinds, and not what is there of them.
    if config.network.port > 0 {
        lines.field("listener0", format_args!("name=tcp,{binds}port={}", config.network.port));
    }
    if let Some(path) = &config.network.unix_socket {
        lines.field("listener1", format_args!("name=unix,bind={path}"));
    }
    if config.tls.port > 0 {
        lines.field("listener2", format_args!("name=tls,{binds}port={}", config.tls.port));
    }
}

pub(super) fn clients(lines: &mut Lines, server: &Arc<Server>) {
    let replicas = server.replicas.all().len();
    let connected = server.clients.lock().len().saturating_sub(replicas);
    let largest = |pick: fn(&crate::data::stats::Gauges) -> &quorate_keyspace::Tally| {
        let workers = server.workers.get().into_iter().flatten();
        workers.map(|worker| pick(&worker.stats.gauges).get()).max().unwrap_or(0)
    };
    lines.section("Clients");
    lines.field("connected_clients", connected);
    lines.field("cluster_connections", 0);
    lines.field("maxclients", server.config.load().clients.max);
    lines.field("client_recent_max_input_buffer", largest(|gauges| &gauges.longest_input));
    lines.field("client_recent_max_output_buffer", largest(|gauges| &gauges.longest_output));
    lines.field("blocked_clients", server.sum(|stats| stats.gauges.blocked.get()).max(0));
    lines.field("tracking_clients", server.trackers.len());
    lines.field("clients_in_timeout_table", server.sum(|stats| stats.gauges.with_deadline.get()));
    lines.field("total_blocking_keys", 0);
    lines.field("total_blocking_keys_on_nokey", 0);
}
