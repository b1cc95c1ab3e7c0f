//! Metrics for Prometheus: what a server or a Sentinel says of itself, under the names that dashboards for redis_exporter read,
//! and under names of ours (`quorate_...`) where that has none.
//!
//! It reads INFO, CLUSTER INFO and SENTINEL's replies as every client sees them, so that what is measured is what is told.
//! The text is that of OpenMetrics 1.0 for whoever accepts it, and else Prometheus' older format, version 0.0.4.

mod encoder;
mod endpoint;
mod table;

use quorate_topology::{Info, Watched};

pub use endpoint::{Told, start};

use self::encoder::{Encoder, Kind};
use self::table::{FIELDS, Field};

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`
    Open,
    /// `text/plain; version=0.0.4`
    Plain,
}

/// What is to be told.
#[derive(Debug, Default)]
pub struct Said {
    /// INFO ALL.
    pub info: Info,
    /// CLUSTER INFO, of a node of a cluster.
    pub cluster: Option<Info>,
    /// Of a Sentinel: what it watches.
    pub watched: Vec<Watched>,
}

/// The whole page.
pub fn page(said: &Said, format: Format) -> String {
    let mut page = Encoder::new(format);
    let info = &said.info;
    page.family("redis_up", Kind::Gauge, "Whether it answers.").sample(&[], 1.0);
    instance(info, &mut page);
    for field in FIELDS {
        fixed(info, field, &mut page);
    }
    keyspace(info, &mut page);
    replicas(info, &mut page);
    commands(info, &mut page);
    errors(info, &mut page);
    latencies(info, &mut page);
    if let Some(cluster) = &said.cluster {
        self::cluster(cluster, &mut page);
    }
    if info.get("redis_mode") == Some("sentinel") {
        sentinel(info, &said.watched, &mut page);
    }
    page.finish()
}

fn instance(info: &Info, page: &mut Encoder) {
    let fields = [
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
    ];
    let labels = fields.map(|field| (field, info.get(field).unwrap_or_default()));
    page.family("redis_instance_info", Kind::Gauge, "What it is, as labels; always 1.").sample(&labels, 1.0);
    if let (Some(host), Some(port)) = (info.get("master_host"), info.get("master_port")) {
        let labels = [("master_host", host), ("master_port", port)];
        page.family("redis_slave_info", Kind::Gauge, "Whom it follows, as labels; always 1.").sample(&labels, 1.0);
        let is_up = f64::from(info.get("master_link_status") == Some("up"));
        page.family("redis_master_link_up", Kind::Gauge, "Whether it is linked to its primary.").sample(&labels, is_up);
        for (field, name, help) in [
            ("master_last_io_seconds_ago", "redis_master_last_io_seconds_ago", "Seconds since the primary was heard."),
            ("master_sync_in_progress", "redis_master_sync_in_progress", "Whether it copies the primary's dataset."),
        ] {
            if let Some(value) = decimal(info.get(field)) {
                page.family(name, Kind::Gauge, help).sample(&labels, value);
            }
        }
    }
    if let Some(version) = info.get("quorate_version") {
        page.family("quorate_build_info", Kind::Gauge, "Our own version; always 1.")
            .sample(&[("version", version)], 1.0);
    }
}

fn fixed(info: &Info, field: &Field, page: &mut Encoder) {
    let Some(text) = info.get(field.info) else { return };
    let value = match text {
        "ok" => 1.0,
        "err" => 0.0,
        text => match decimal(Some(text)) {
            Some(value) => value * field.scale,
            None => return,
        },
    };
    page.family(field.name, field.kind, field.help).sample(&[], value);
}

/// A number, with a unit or a percent sign behind it at most.
fn decimal(text: Option<&str>) -> Option<f64> {
    let text = text?.trim_end_matches('%');
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn keyspace(info: &Info, page: &mut Encoder) {
    for (part, name, scale, help) in [
        ("keys", "redis_db_keys", 1.0, "Keys."),
        ("expires", "redis_db_keys_expiring", 1.0, "Keys that will expire."),
        ("avg_ttl", "redis_db_avg_ttl_seconds", 0.001, "How long keys that will expire have left, on average."),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        for (number, value) in info.numbered("db") {
            let db = format!("db{number}");
            if let Some(value) = decimal(part_of(value, part)) {
                family.sample(&[("db", &db)], value * scale);
            }
        }
    }
}

fn part_of<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn replicas(info: &Info, page: &mut Encoder) {
    for (part, name, help) in [
        ("offset", "redis_connected_slave_offset_bytes", "What a replica has acknowledged."),
        ("lag", "redis_connected_slave_lag_seconds", "Seconds since a replica was heard."),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        for (_, value) in info.numbered("slave") {
            let get = |name| part_of(value, name).unwrap_or_default();
            let labels = [("slave_ip", get("ip")), ("slave_port", get("port")), ("slave_state", get("state"))];
            if let Some(value) = decimal(part_of(value, part)) {
                family.sample(&labels, value);
            }
        }
    }
    let primary = decimal(info.get("master_repl_offset")).unwrap_or_default();
    let mut family =
        page.family("quorate_replica_lag_bytes", Kind::Gauge, "How far a replica is behind, in bytes of the log.");
    for (_, value) in info.numbered("slave") {
        let labels = ["ip", "port"].map(|name| (name, part_of(value, name).unwrap_or_default()));
        if let Some(offset) = decimal(part_of(value, "offset")) {
            family.sample(&labels, (primary - offset).max(0.0));
        }
    }
}

/// Fields named by a prefix and a word.
fn named<'a>(info: &'a Info, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    info.fields().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
}

fn commands(info: &Info, page: &mut Encoder) {
    for (part, name, scale, help) in [
        ("calls", "redis_commands_total", 1.0, "Calls."),
        ("usec", "redis_commands_duration_seconds_total", 1e-6, "Time that calls took."),
        ("rejected_calls", "redis_commands_rejected_calls_total", 1.0, "Calls that were refused before they ran."),
        ("failed_calls", "redis_commands_failed_calls_total", 1.0, "Calls that answered with an error."),
    ] {
        let mut family = page.family(name, Kind::Counter, help);
        for (command, value) in named(info, "cmdstat_") {
            if let Some(value) = decimal(part_of(value, part)) {
                family.sample(&[("cmd", command)], value * scale);
            }
        }
    }
}

fn errors(info: &Info, page: &mut Encoder) {
    let mut family =
        page.family("redis_errors_total", Kind::Counter, "Errors that were answered, by their first word.");
    for (word, value) in named(info, "errorstat_") {
        if let Some(value) = decimal(part_of(value, "count")) {
            family.sample(&[("err", word)], value);
        }
    }
}

fn latencies(info: &Info, page: &mut Encoder) {
    let help = "How long calls took, in microseconds.";
    let mut family = page.family("redis_latency_percentiles_usec", Kind::Gauge, help);
    for (command, value) in named(info, "latency_percentiles_usec_") {
        for part in value.split(',') {
            let Some((percentile, value)) = part.split_once('=') else { continue };
            let quantile = percentile.strip_prefix('p').and_then(|text| text.parse::<f64>().ok());
            if let (Some(quantile), Some(value)) = (quantile, decimal(Some(value))) {
                let quantile = format!("{}", (quantile * 1e6).round() / 1e8);
                family.sample(&[("cmd", command), ("quantile", &quantile)], value);
            }
        }
    }
}

fn cluster(info: &Info, page: &mut Encoder) {
    let is_ok = f64::from(info.get("cluster_state") == Some("ok"));
    page.family("redis_cluster_state", Kind::Gauge, "Whether the node serves requests.").sample(&[], is_ok);
    for (name, help) in [
        ("cluster_slots_assigned", "Slots that have an owner."),
        ("cluster_slots_ok", "Slots whose owner is not suspected."),
        ("cluster_slots_pfail", "Slots whose owner is suspected."),
        ("cluster_slots_fail", "Slots whose owner was found failed."),
        ("cluster_known_nodes", "Nodes that are known."),
        ("cluster_size", "Primaries that own slots."),
        ("cluster_current_epoch", "The highest epoch that was seen."),
        ("cluster_my_epoch", "The node's own epoch."),
    ] {
        if let Some(value) = decimal(info.get(name)) {
            page.family(&format!("redis_{name}"), Kind::Gauge, help).sample(&[], value);
        }
    }
    for (field, name, help) in [
        ("cluster_stats_messages_sent", "redis_cluster_messages_sent_total", "Messages that were sent on the bus."),
        ("cluster_stats_messages_received", "redis_cluster_messages_received_total", "Messages that came on the bus."),
    ] {
        if let Some(value) = decimal(info.get(field)) {
            page.family(name, Kind::Counter, help).sample(&[], value);
        }
    }
}

fn sentinel(info: &Info, watched: &[Watched], page: &mut Encoder) {
    for (field, name, help) in [
        ("sentinel_masters", "redis_sentinel_masters", "Primaries that are watched."),
        ("sentinel_tilt", "redis_sentinel_tilt", "Whether it trusts its clock so little that it only looks."),
        ("sentinel_running_scripts", "redis_sentinel_running_scripts", "Scripts that run."),
        ("sentinel_scripts_queue_length", "redis_sentinel_scripts_queue_length", "Scripts that wait."),
    ] {
        if let Some(value) = decimal(info.get(field)) {
            page.family(name, Kind::Gauge, help).sample(&[], value);
        }
    }
    type Measure = fn(&Watched) -> f64;
    let counts: [(&str, &str, Measure); 8] = [
        ("redis_sentinel_master_slaves", "Its replicas.", |one| one.replicas.len() as f64),
        ("redis_sentinel_master_ok_slaves", "Its replicas that are up.", |one| up(&one.replicas)),
        ("redis_sentinel_master_sentinels", "Sentinels that watch it.", |one| one.sentinels.len() as f64 + 1.0),
        ("redis_sentinel_master_ok_sentinels", "Sentinels that watch it and are up.", |one| up(&one.sentinels) + 1.0),
        ("redis_sentinel_master_ckquorum_status", "Whether a failover could be authorized.", |one| {
            f64::from(one.refusal.is_none())
        }),
        ("redis_sentinel_master_setting_ckquorum", "How many must find it down.", |one| one.quorum as f64),
        ("quorate_sentinel_config_epoch", "Which failover made it primary.", |one| one.epoch as f64),
        ("quorate_sentinel_failover_in_progress", "Whether a failover is under way.", |one| {
            f64::from(one.has("failover_in_progress"))
        }),
    ];
    let labels = |one: &Watched| {
        [("master_name".to_owned(), one.name.clone()), ("master_address".to_owned(), one.primary.to_string())]
    };
    for (name, help, count) in counts {
        let mut family = page.family(name, Kind::Gauge, help);
        for one in watched {
            let labels = labels(one);
            family.sample(&labels.each_ref().map(|(name, value)| (name.as_str(), value.as_str())), count(one));
        }
    }
    let mut family =
        page.family("redis_sentinel_master_status", Kind::Gauge, "Whether it is found well, with what it is found.");
    for one in watched {
        let status = if one.has("o_down") {
            "odown"
        } else if one.has("s_down") {
            "sdown"
        } else {
            "ok"
        };
        let labels = labels(one);
        let [name, address] = labels.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        family.sample(&[name, address, ("master_status", status)], f64::from(status == "ok"));
    }
}

fn up(peers: &[quorate_topology::WatchedPeer]) -> f64 {
    peers.iter().filter(|peer| !peer.is_down()).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const INFO: &str = "# Server\r\nredis_version:7.2.4\r\nquorate_version:0.1.0\r\nredis_mode:standalone\r\nuptime_in_seconds:9\r\n\
        # Memory\r\nused_memory:1024\r\nmem_fragmentation_ratio:1.5\r\n# Stats\r\ntotal_commands_processed:7\r\n\
        unexpected_error_replies:2\r\n# Replication\r\nrole:master\r\nmaster_repl_offset:100\r\n\
        slave0:ip=10.0.0.1,port=7,state=online,offset=60,lag=1\r\nslave1:ip=a\"b\\c,port=8,state=online,offset=100,lag=0\r\n\
        # Commandstats\r\ncmdstat_get:calls=3,usec=6,usec_per_call=2.00,rejected_calls=0,failed_calls=1\r\n\
        # Errorstats\r\nerrorstat_WRONGTYPE:count=1\r\n\
        # Latencystats\r\nlatency_percentiles_usec_get:p50=1.003,p99=2.007,p99.9=3.5\r\n\
        # Persistence\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n\
        # Keyspace\r\ndb0:keys=5,expires=1,avg_ttl=1500\r\n";

    fn told(info: &str, format: Format) -> String {
        page(&Said { info: Info::of(info), ..Said::default() }, format)
    }

    /// Whether each line is what the format allows there.
    fn check(text: &str, format: Format) {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let mut current = (String::new(), String::new());
        let body = match format {
            Format::Open => text.strip_suffix("# EOF\n").unwrap(),
            Format::Plain => text,
        };
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(is_name(name) && !help.is_empty(), "{line}");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "twice: {line}");
                current = (name.to_owned(), kind.to_owned());
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(series.to_owned()), "twice: {line}");
            let name = series.split('{').next().unwrap();
            let suffix = if format == Format::Open && current.1 == "counter" { "_total" } else { "" };
            assert_eq!(name, format!("{}{suffix}", current.0), "{line}");
            if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
            }
        }
    }

    #[test]
    fn both_formats_are_well_formed() {
        for format in [Format::Open, Format::Plain] {
            check(&told(INFO, format), format);
            check(&told("", format), format);
        }
    }

    #[test]
    fn the_names_that_dashboards_read_are_there() {
        let text = told(INFO, Format::Plain);
        for line in [
            "redis_up 1",
            "redis_uptime_in_seconds 9",
            "redis_memory_used_bytes 1024",
            "redis_mem_fragmentation_ratio 1.5",
            "redis_commands_processed_total 7",
            "redis_unexpected_error_replies 2",
            "redis_rdb_last_bgsave_status 1",
            "redis_aof_enabled 0",
            "redis_db_keys{db=\"db0\"} 5",
            "redis_db_avg_ttl_seconds{db=\"db0\"} 1.5",
            "redis_commands_total{cmd=\"get\"} 3",
            "redis_commands_duration_seconds_total{cmd=\"get\"} 0.000006",
            "redis_errors_total{err=\"WRONGTYPE\"} 1",
            "redis_latency_percentiles_usec{cmd=\"get\",quantile=\"0.999\"} 3.5",
            "redis_connected_slave_lag_seconds{slave_ip=\"10.0.0.1\",slave_port=\"7\",slave_state=\"online\"} 1",
            "quorate_replica_lag_bytes{ip=\"10.0.0.1\",port=\"7\"} 40",
            "quorate_replica_lag_bytes{ip=\"a\\\"b\\\\c\",port=\"8\"} 0",
            "quorate_build_info{version=\"0.1.0\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(told(INFO, Format::Open).contains("# TYPE redis_commands counter\n"));
    }
}
