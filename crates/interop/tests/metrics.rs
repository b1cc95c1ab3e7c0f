//! `/metrics` of a server, a node of a cluster and a Sentinel, and what deploy/ expects of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use quorate_interop::browser::http;
use quorate_interop::deployment::{Deployment, Make, Process};
use quorate_interop::{Server, await_that, free_port};
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
