//! Commands that need the server: connections, configuration, Pub/Sub, replication, persistence.

pub mod acl;
pub mod client;
pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod debug;
pub mod flush;
pub mod function;
pub mod info;
pub mod latency;
pub mod lolwut;
pub mod memory;
pub mod migrate;
pub mod monitor;
pub mod persistence;
pub mod process;
pub mod pubsub;
pub mod replication;
pub mod script;
pub mod slowlog;
pub mod tenure;
pub mod transactions;

use quorate_commands::Spec;

use crate::data::call::Cx;
use crate::data::table::ServerRun;

/// A command and the functions of it and its subcommands, by name ("" is the command itself).
pub type Entry = (&'static Spec, &'static [(&'static str, ServerRun)]);

/// Every command of the server.
pub fn table() -> Vec<Entry> {
    let mut table: Vec<Entry> = Vec::new();
    table.extend(acl::RUNS);
    table.extend(connection::RUNS);
    table.extend(client::RUNS);
    table.extend(cluster::RUNS);
    table.extend(command::RUNS);
    table.extend(config::RUNS);
    table.extend(debug::RUNS);
    table.extend(persistence::RUNS);
    table.extend(flush::RUNS);
    table.extend(function::RUNS);
    table.extend(info::RUNS);
    table.extend(process::RUNS);
    table.extend(latency::RUNS);
    table.extend(lolwut::RUNS);
    table.extend(memory::RUNS);
    table.extend(migrate::RUNS);
    table.extend(monitor::RUNS);
    table.extend(pubsub::RUNS);
    table.extend(script::RUNS);
    table.extend(slowlog::RUNS);
    table.extend(transactions::RUNS);
    table.extend(replication::RUNS);
    table.extend(tenure::RUNS);
    table
}

/// Answers a HELP subcommand in Redis' form: lines, with a heading and HELP itself added.
pub fn help(cx: &mut Cx<'_, '_>, command: &str, lines: &[&str]) {
    let heading = format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let mut reply = cx.reply();
    reply.array(lines.len() + 3);
    reply.simple(&heading);
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
