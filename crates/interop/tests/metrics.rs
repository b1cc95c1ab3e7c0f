//! `/metrics` of a server, a node of a cluster and a Sentinel, and what deploy/ expects of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use quorate_interop::browser::http;
use quorate_interop::deployment::{Deployment, Make, Process};
use quorate_interop::{Server, await_that, free_port, peers};
use serde_json::Value;

fn fetch(port: u16, accept: &str) -> Option<(u16, String, String)> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    let (status, head, body) = http(port, &request).ok()?;
    Some((status, head, String::from_utf8(body).ok()?))
}

/// The value of a series, as it is written.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn a_server_tells_its_figures_in_both_formats() {
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string(), "--maxclients", "50"]);
    let mut client = server.connect();
    for request in
        [&["SET", "a", "1"][..], &["GET", "a"], &["GET", "b"], &["LPUSH", "a", "x"], &["SET", "c", "1", "EX", "100"]]
    {
        client.call(request).unwrap();
    }
    let (status, head, text) = fetch(port, "*/*").unwrap();
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for (series, expected) in [
        ("redis_up", 1.0),
        ("redis_keyspace_hits_total", 1.0),
        ("redis_keyspace_misses_total", 1.0),
        ("redis_commands_total{cmd=\"get\"}", 2.0),
        ("redis_errors_total{err=\"WRONGTYPE\"}", 1.0),
        ("redis_db_keys{db=\"db0\"}", 2.0),
        ("redis_db_keys_expiring{db=\"db0\"}", 1.0),
        ("redis_rdb_last_bgsave_status", 1.0),
        ("redis_max_clients", 50.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    let (_, head, text) = fetch(port, "application/openmetrics-text; version=1.0.0").unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0") && text.ends_with("# EOF\n"), "{head}");
    assert_eq!(fetch(port, "*/*").map(|(status, ..)| status), Some(200));
    assert_eq!(http(port, "GET /elsewhere HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap().0, 404);
}

#[test]
fn a_sentinel_tells_what_it_watches() {
    let port = free_port();
    let Some(all) = Deployment::start(&[Make::Ours; 2], &[Make::Ours; 2], "") else { return };
    let watch = format!("sentinel monitor m 127.0.0.1 {} 2\nmetrics-port {port}", all.servers[0].port());
    let _sentinel = Process::sentinel(Make::Ours, &watch);
    let labels = format!("{{master_name=\"m\",master_address=\"127.0.0.1:{}\"}}", all.servers[0].port());
    await_that("it tells of the primary and its replica", || {
        let Some((200, _, text)) = fetch(port, "*/*") else { return false };
        let is = |name: &str, expected| value(&text, &format!("{name}{labels}")) == Some(expected);
        is("redis_sentinel_master_slaves", 1.0)
            && is("redis_sentinel_master_setting_ckquorum", 2.0)
            && value(&text, "redis_sentinel_masters") == Some(1.0)
    });
}

/// What dashboards for redis_exporter read, as it publishes them: of every server, and of replicas, nodes and Sentinels beside that.
const OF_SERVERS: &str = "redis_up redis_uptime_in_seconds redis_instance_info redis_connected_clients redis_blocked_clients \
    redis_memory_used_bytes redis_memory_used_rss_bytes redis_memory_max_bytes redis_mem_fragmentation_ratio \
    redis_allocator_active_bytes redis_allocator_allocated_bytes redis_allocator_resident_bytes redis_keyspace_hits_total \
    redis_keyspace_misses_total redis_evicted_keys_total redis_expired_keys_total redis_net_input_bytes_total \
    redis_net_output_bytes_total redis_commands_total redis_commands_duration_seconds_total redis_commands_failed_calls_total \
    redis_commands_processed_total redis_connections_received_total redis_rejected_connections_total redis_errors_total \
    redis_db_keys redis_db_keys_expiring redis_db_avg_ttl_seconds redis_connected_slaves redis_connected_slave_offset_bytes \
    redis_connected_slave_lag_seconds redis_master_repl_offset redis_replication_backlog_bytes redis_replica_resyncs_full \
    redis_replica_partial_resync_accepted redis_replica_partial_resync_denied redis_rdb_last_save_timestamp_seconds \
    redis_rdb_last_bgsave_status redis_rdb_changes_since_last_save redis_aof_enabled redis_aof_last_write_status \
    redis_latest_fork_usec redis_unexpected_error_replies redis_latency_percentiles_usec";
const OF_REPLICAS: &str = "redis_master_link_up redis_master_last_io_seconds_ago redis_master_sync_in_progress redis_slave_repl_offset \
    redis_slave_info redis_slave_read_only redis_slave_priority";
const OF_NODES: &str = "redis_cluster_enabled redis_cluster_state redis_cluster_slots_assigned redis_cluster_slots_ok \
    redis_cluster_slots_pfail redis_cluster_slots_fail redis_cluster_known_nodes redis_cluster_size redis_cluster_current_epoch \
    redis_cluster_my_epoch redis_cluster_messages_sent_total redis_cluster_messages_received_total";
const OF_SENTINELS: &str = "redis_sentinel_masters redis_sentinel_tilt redis_sentinel_running_scripts \
    redis_sentinel_scripts_queue_length redis_sentinel_master_status redis_sentinel_master_slaves \
    redis_sentinel_master_sentinels redis_sentinel_master_ok_slaves redis_sentinel_master_ok_sentinels \
    redis_sentinel_master_ckquorum_status";

/// The names that are told in both formats, as Prometheus' own parser reads them; none, and a line that says so, without it.
fn samples(port: u16) -> Option<Vec<String>> {
    let mut names: Vec<Vec<String>> = Vec::new();
    for (format, accept) in [("plain", "*/*"), ("open", "application/openmetrics-text; version=1.0.0")] {
        let mut program = peers::python("prometheus_client", "metrics_prometheus.py")?;
        let (_, _, text) = fetch(port, accept).unwrap();
        let mut child = program.arg(format).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{format}: {text}");
        let samples: Value = serde_json::from_slice(&output.stdout).unwrap();
        let name = |sample: &Value| sample[0].as_str().unwrap().to_owned();
        names.push(samples.as_array().unwrap().iter().map(name).collect());
    }
    let (open, plain) = (names.pop().unwrap(), names.pop().unwrap());
    // The parser gives a counter of the older format the ending that OpenMetrics wants; Prometheus leaves it as it is.
    let is_plain = |name: &String| plain.contains(name) || plain.contains(&format!("{name}_total"));
    Some(open.into_iter().filter(is_plain).collect())
}

#[test]
fn prometheus_reads_all_that_dashboards_for_redis_exporter_ask_for() {
    let [metrics, of_replica, of_node, of_sentinel, bus] = [0; 5].map(|_| free_port());
    let server = Process::server(Make::Ours, &format!("metrics-port {metrics}"));
    let replica =
        Process::server(Make::Ours, &format!("metrics-port {of_replica}\nreplicaof 127.0.0.1 {}", server.port()));
    let _node =
        Process::server(Make::Ours, &format!("metrics-port {of_node}\ncluster-enabled yes\ncluster-port {bus}"));
    let watch = format!("metrics-port {of_sentinel}\nsentinel monitor m 127.0.0.1 {} 1", server.port());
    let _sentinel = Process::sentinel(Make::Ours, &watch);
    await_that("the replica is linked", || replica.info("replication", "master_link_status").as_deref() == Some("up"));
    // Errors and databases are told of as soon as there are any, by names that nobody foresees.
    for request in [
        &["SET", "a", "1", "EX", "100"][..],
        &["LPUSH", "a", "x"],
        &["EVAL", "return redis.error_reply('\"}\\ 1')", "0"],
    ] {
        server.call(request);
    }
    for (port, expected) in
        [(metrics, OF_SERVERS), (of_replica, OF_REPLICAS), (of_node, OF_NODES), (of_sentinel, OF_SENTINELS)]
    {
        let Some(names) = samples(port) else { return };
        let is_told = |name: &&str| names.iter().any(|one| one == name);
        let missing: Vec<&str> = expected.split_whitespace().filter(|name| !is_told(name)).collect();
        assert!(missing.is_empty(), "{missing:?} are not told");
    }
}

/// The names of metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("redis_") || word.starts_with("quorate_"))
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_names_that_there_are() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let board: Value = serde_json::from_slice(&std::fs::read(deploy.join("grafana/quorate.json")).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut expressions: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let alerts = std::fs::read_to_string(deploy.join("prometheus/alerts.yml")).unwrap();
    expressions.extend(alerts.lines().filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned())));
    assert!(expressions.len() > 30, "{expressions:?}");
    // Every name that the endpoint can tell stands in its source.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../view/src/metrics");
    let told = ["../metrics.rs", "table.rs"].map(|file| std::fs::read_to_string(source.join(file)).unwrap()).concat();
    for name in expressions.iter().flat_map(|expression| names(expression)) {
        let stem = name.trim_start_matches("redis_");
        assert!(told.contains(&format!("\"{name}\"")) || told.contains(&format!("\"{stem}\"")), "nobody tells {name}");
    }
}
