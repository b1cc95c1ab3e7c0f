//! INFO: what the server is and does, as lines of `name:value` in sections.
//!
//! Exporters and scripts find sections and fields by their names, and some by their order; both are those of Redis 7.2.
//! INFO runs beside other commands: its figures are sums over the threads' own counts, each as it stands at the moment.

mod commands;
mod memory;
mod persistence;
mod replication;
mod server;
mod stats;

use std::fmt::Display;
use std::sync::Arc;

use quorate_commands::{Args, Arity, Flags, Group, Outcome, Run, Spec};
use quorate_keyspace::Db;

pub use replication::replication;

use crate::data::call::Cx;
use crate::process;
use crate::server::Server;

/// INFO [section ...]
pub static INFO: Spec = Spec {
    name: "info",
    group: Group::Server,
    arity: Arity::AtLeast(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::SENTINEL).and(Flags::DANGEROUS),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    since: "1.0.0",
    summary: "Describes the server and what it does.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&INFO, &[("", info)])];

/// One section: its name in lower case, whether it is shown by default, and what writes it.
type Section = (&'static str, bool, fn(&mut Lines, &Arc<Server>));

static SECTIONS: [Section; 13] = [
    ("server", true, server::server),
    ("clients", true, server::clients),
    ("memory", true, memory::memory),
    ("persistence", true, persistence::persistence),
    ("stats", true, stats::stats),
    ("replication", true, replication::section),
    ("cpu", true, cpu),
    ("modules", true, |lines, _| lines.section("Modules")),
    ("commandstats", false, commands::commandstats),
    ("errorstats", true, commands::errorstats),
    ("latencystats", false, commands::latencystats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
];

/// The text of a reply as it grows.
#[derive(Default)]
pub struct Lines {
    text: String,
}

impl Lines {
    /// Begins a section.
    pub fn section(&mut self, name: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        self.text.push_str("# ");
        self.text.push_str(name);
        self.text.push_str("\r\n");
    }

    /// Adds a field.
    pub fn field(&mut self, name: impl Display, value: impl Display) {
        use std::fmt::Write as _;
        // Writing to a string can't fail.
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    /// Adds a yes or no, as 1 or 0.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.field(name, u8::from(value));
    }

    /// Adds a number of bytes, and the same for people.
    pub fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(format_args!("{name}_human"), human(bytes));
    }

    /// Bytes that the text takes.
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity()
    }

    /// What has been written.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// A number of bytes with two digits behind the point and the largest unit that fits.
fn human(bytes: u64) -> String {
    let units = [(1u64 << 50, "P"), (1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.2}{name}", bytes as f64 / unit as f64),
        None => format!("{bytes}B"),
    }
}

/// Everything, for a thread that serves no clients.
pub fn everything(server: &Arc<Server>) -> String {
    let mut lines = Lines::default();
    for (_, _, write) in &SECTIONS {
        write(&mut lines, server);
    }
    lines.text
}

fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    // What this thread has not told yet is to be in it.
    cx.local.meter.tell(&cx.server.memory);
    let lines = text(cx.server, args.from(1));
    cx.reply().verbatim(b"txt", lines.as_bytes());
    Ok(())
}

/// The sections that are asked for.
pub fn text(server: &Arc<Server>, asked: &[&[u8]]) -> Lines {
    let mut lines = Lines::default();
    for &(name, by_default, write) in &SECTIONS {
        if is_asked_for(name, by_default, asked) {
            write(&mut lines, server);
        }
    }
    lines
}

fn is_asked_for(name: &str, by_default: bool, asked: &[&[u8]]) -> bool {
    if asked.is_empty() {
        return by_default;
    }
    asked.iter().any(|asked| match asked.to_ascii_lowercase().as_slice() {
        b"default" => by_default,
        b"all" | b"everything" => true,
        asked => asked == name.as_bytes(),
    })
}

/// The time that the process has had. There is no main thread that runs commands: its fields show the whole.
fn cpu(lines: &mut Lines, _: &Arc<Server>) {
    lines.section("CPU");
    let (own, children) = (process::cpu_time(false), process::cpu_time(true));
    let seconds = |duration: std::time::Duration| format!("{:.6}", duration.as_secs_f64());
    lines.field("used_cpu_sys", seconds(own.system));
    lines.field("used_cpu_user", seconds(own.user));
    lines.field("used_cpu_sys_children", seconds(children.system));
    lines.field("used_cpu_user_children", seconds(children.user));
    lines.field("used_cpu_sys_main_thread", seconds(own.system));
    lines.field("used_cpu_user_main_thread", seconds(own.user));
}

fn cluster(lines: &mut Lines, server: &Arc<Server>) {
    lines.section("Cluster");
    lines.flag("cluster_enabled", server.config.load().cluster.enabled);
}

fn keyspace(lines: &mut Lines, server: &Arc<Server>) {
    lines.section("Keyspace");
    for index in 0..server.space.databases() {
        let db = Db(index as u16);
        let keys = server.space.len(db);
        if keys > 0 {
            let (volatile, ttl) = (server.space.volatile(db), server.expiry.average_ttl(db));
            let text = match server.space.fielded(db) {
                0 => format!("keys={keys},expires={volatile},avg_ttl={ttl}"),
                // As Redis 7.4 says it.
                fielded => format!("keys={keys},expires={volatile},avg_ttl={ttl},subexpiry={fielded}"),
            };
            lines.field(format_args!("db{index}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_separated_by_an_empty_line() {
        let mut lines = Lines::default();
        lines.section("Server");
        lines.field("a", 1);
        lines.section("CPU");
        lines.bytes("b", 1536);
        assert_eq!(lines.as_bytes(), b"# Server\r\na:1\r\n\r\n# CPU\r\nb:1536\r\nb_human:1.50K\r\n");
    }

    #[test]
    fn a_section_is_asked_for_by_name_by_group_or_by_default() {
        assert!(is_asked_for("cpu", true, &[]) && !is_asked_for("commandstats", false, &[]));
        assert!(is_asked_for("commandstats", false, &[b"ALL"]) && !is_asked_for("commandstats", false, &[b"default"]));
        assert!(is_asked_for("cpu", true, &[b"server", b"CPU"]) && !is_asked_for("cpu", true, &[b"server"]));
    }

    #[test]
    fn bytes_are_shown_with_the_largest_unit_that_fits() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (25_276_510_208, "23.54G")] {
            assert_eq!(human(bytes), text);
        }
    }
}
