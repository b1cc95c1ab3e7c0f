//! INFO memory.

use std::sync::Arc;

use super::{Lines, human};
use crate::admin::memory::Allocator;
use crate::process;
use crate::server::Server;

pub(super) fn memory(lines: &mut Lines, server: &Arc<Server>) {
    let config = server.config.load();
    let allocator = Allocator::sample();
    server.memory.sample();
    // The text that is being written here is gone in a moment.
    let used = server.memory.used().saturating_sub(lines.heap_bytes() as u64);
    let peak = server.memory.peak().max(used);
    let resident = process::resident_bytes();
    let clients = server.sum(|stats| stats.gauges.client_bytes.get()).max(0) as u64;
    let feed = server.feed.heap_bytes() as u64;
    let startup = server.memory_at_start.load(std::sync::atomic::Ordering::Relaxed);
    let overhead = (startup + clients + feed).min(used);
    lines.section("Memory");
    lines.bytes("used_memory", used);
    lines.bytes("used_memory_rss", resident);
    lines.bytes("used_memory_peak", peak);
    lines.field("used_memory_peak_perc", format_args!("{:.2}%", percent(used, peak)));
    lines.field("used_memory_overhead", overhead);
    lines.field("used_memory_startup", startup);
    lines.field("used_memory_dataset", used - overhead);
    let dataset = percent(used - overhead, used.saturating_sub(startup)).min(100.0);
    lines.field("used_memory_dataset_perc", format_args!("{dataset:.2}%"));
    lines.field("allocator_allocated", allocator.allocated);
    lines.field("allocator_active", allocator.active);
    lines.field("allocator_resident", allocator.resident);
    lines.bytes("total_system_memory", process::system_memory());
    scripts(lines, server);
    lines.bytes("maxmemory", config.memory.max);
    lines.field("maxmemory_policy", config.memory.policy_word());
    fragmentation(lines, &allocator, used, resident);
    let excess = server.feed.excess_bytes();
    lines.field("mem_not_counted_for_evict", excess);
    lines.field("mem_replication_backlog", server.feed.backlog().map_or(0, |_| feed));
    lines.field("mem_total_replication_buffers", feed);
    // What is kept of the log only because a replica has not read it yet.
    lines.field("mem_clients_slaves", if server.replicas.all().is_empty() { 0 } else { excess });
    lines.field("mem_clients_normal", clients);
    lines.field("mem_cluster_links", 0);
    lines.field("mem_aof_buffer", 0);
    lines.field("mem_allocator", "jemalloc-5.3.1");
    lines.field("active_defrag_running", 0);
    lines.field("lazyfree_pending_objects", server.space.reclaim().pending());
    lines.field("lazyfreed_objects", server.space.reclaim().freed());
}

fn scripts(lines: &mut Lines, server: &Arc<Server>) {
    let (sources, machines) = (server.scripts.bytes(), server.scripts.vm_bytes());
    let (shelf, function_machines) = (server.libraries.shelf(), server.scripts.function_vm_bytes());
    lines.field("used_memory_lua", machines);
    lines.field("used_memory_vm_eval", machines);
    lines.field("used_memory_lua_human", human(machines));
    lines.field("used_memory_scripts_eval", sources);
    lines.field("number_of_cached_scripts", server.scripts.len());
    lines.field("number_of_functions", shelf.functions());
    lines.field("number_of_libraries", shelf.libraries().len());
    lines.field("used_memory_vm_functions", function_machines);
    lines.bytes("used_memory_vm_total", machines + function_machines);
    lines.field("used_memory_functions", shelf.bytes());
    lines.bytes("used_memory_scripts", sources + shelf.bytes());
}

fn fragmentation(lines: &mut Lines, allocator: &Allocator, used: u64, resident: u64) {
    let ratio = |of: u64, to: u64| if to == 0 { 0.0 } else { of as f64 / to as f64 };
    let apart = |of: u64, to: u64| of as i64 - to as i64;
    let Allocator { allocated, active, resident: mapped, .. } = *allocator;
    lines.field("allocator_frag_ratio", format_args!("{:.2}", ratio(active, allocated)));
    lines.field("allocator_frag_bytes", apart(active, allocated));
    lines.field("allocator_rss_ratio", format_args!("{:.2}", ratio(mapped, active)));
    lines.field("allocator_rss_bytes", apart(mapped, active));
    lines.field("rss_overhead_ratio", format_args!("{:.2}", ratio(resident, mapped)));
    lines.field("rss_overhead_bytes", apart(resident, mapped));
    lines.field("mem_fragmentation_ratio", format_args!("{:.2}", ratio(resident, used)));
    lines.field("mem_fragmentation_bytes", apart(resident, used));
}

fn percent(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 * 100.0 / to as f64 }
}
