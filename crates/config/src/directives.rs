//! The tables of directives, an area a file, in the order in which a reader of redis.conf meets them.
//!
//! Each file has the typed values of its area with their defaults, and below them the entries of its table. To add a
//! directive: a field, its default, an entry. Nothing else lists directives.

pub(crate) mod append_only;
pub(crate) mod clients;
pub(crate) mod cluster;
pub(crate) mod dashboard;
pub(crate) mod defrag;
pub(crate) mod encodings;
pub(crate) mod events;
pub(crate) mod general;
pub(crate) mod latency;
pub(crate) mod lazy_free;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod replication;
pub(crate) mod scripting;
pub(crate) mod security;
pub(crate) mod shutdown;
pub(crate) mod slow_log;
pub(crate) mod snapshots;
pub(crate) mod testing;
pub(crate) mod tls;

use crate::spec::Spec;

/// All tables in reading order, each with what it is about.
pub(crate) static AREAS: &[(&str, &[Spec])] = &[
    ("Addresses, ports and sockets", network::TABLE),
    ("TLS", tls::TABLE),
    ("The process, its log and its files", general::TABLE),
    ("Snapshots", snapshots::TABLE),
    ("Replication", replication::TABLE),
    ("Passwords and what is forbidden", security::TABLE),
    ("Clients", clients::TABLE),
    ("Memory", memory::TABLE),
    ("What is freed in the background", lazy_free::TABLE),
    ("What the kernel is told of the process", process::TABLE),
    ("The append-only file", append_only::TABLE),
    ("Shutdown", shutdown::TABLE),
    ("Scripts", scripting::TABLE),
    ("Cluster", cluster::TABLE),
    ("Majority locks", locks::TABLE),
    ("Metrics and probes", metrics::TABLE),
    ("The dashboard", dashboard::TABLE),
    ("Slow commands", slow_log::TABLE),
    ("Latency", latency::TABLE),
    ("Events of keys", events::TABLE),
    ("Encodings", encodings::TABLE),
    ("Defragmentation", defrag::TABLE),
    ("For tests", testing::TABLE),
];

/// Every directive, in reading order.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    AREAS.iter().flat_map(|(_, table)| table.iter())
}

/// The directive that is called `name`, by any of its names, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    all().find(|spec| spec.is_called(name))
}

/// A default that differs from that of Redis 7.2, and why.
pub(crate) struct OtherDefault {
    pub(crate) name: &'static str,
    pub(crate) redis: &'static str,
    pub(crate) why: &'static str,
}

pub(crate) static OTHER_DEFAULTS: &[OtherDefault] = &[
    OtherDefault {
        name: "repl-diskless-sync-delay",
        redis: "5",
        why: "a snapshot here costs no fork and one that is under way can be joined, so waiting for more replicas gains \
              nothing",
    },
    OtherDefault {
        name: "repl-diskless-load",
        redis: "disabled",
        why: "a replica without data has nothing to lose, and is there in half the time if it loads while the snapshot \
              arrives; one that holds data stores the snapshot first, as Redis does",
    },
    OtherDefault {
        name: "repl-backlog-size",
        redis: "1048576",
        why: "1 MB is a tenth of a second of a busy primary, and a replica that was away for longer needs a full sync; \
              the backlog is the log that replicas read anyway, and nothing is kept before the first replica came",
    },
];
