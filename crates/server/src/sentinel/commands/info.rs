//! INFO and ROLE of a Sentinel.

use std::fmt::Write as _;

use rustix::system::uname;

use super::{Cx, Outcome};
use crate::process::{Supervisor, cpu_time};

type Section = (&'static str, fn(&mut String, &Cx<'_>));

static SECTIONS: [Section; 5] =
    [("server", server), ("clients", clients), ("cpu", cpu), ("stats", stats), ("sentinel", sentinel)];

pub(super) fn role(cx: &mut Cx<'_>) -> Outcome {
    let names: Vec<String> = cx.shell.machine.names().map(str::to_owned).collect();
    let client = cx.client();
    let mut reply = client.reply();
    reply.array(2);
    reply.bulk(b"sentinel");
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

pub(super) fn info(cx: &mut Cx<'_>) -> Outcome {
    let wanted: Vec<String> = (1..cx.words.len()).map(|index| cx.text(index).to_lowercase()).collect();
    let all = ["all", "default", "everything"];
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name || all.contains(&word.as_str()));
    let mut text = String::new();
    for (name, write) in &SECTIONS {
        if is_wanted(name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write(&mut text, cx);
        }
    }
    let client = cx.client();
    client.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn field(text: &mut String, name: impl std::fmt::Display, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

fn server(text: &mut String, cx: &Cx<'_>) {
    let context = &cx.shell.context;
    let system = uname();
    let words = [system.sysname(), system.release(), system.machine()];
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let uptime = context.started.elapsed().as_secs();
    text.push_str("# Server\r\n");
    field(text, "redis_version", crate::REDIS_VERSION);
    field(text, "redis_git_sha1", "00000000");
    field(text, "redis_git_dirty", 0);
    field(text, "server_name", "quorate");
    field(text, "quorate_version", crate::VERSION);
    field(text, "redis_mode", "sentinel");
    field(text, "os", words.map(|word| word.to_string_lossy().into_owned()).join(" "));
    field(text, "arch_bits", usize::BITS);
    field(text, "multiplexing_api", "epoll");
    field(text, "process_id", std::process::id());
    field(text, "process_supervised", Supervisor::current().word());
    field(text, "run_id", &context.run_id);
    field(text, "tcp_port", context.config.network.port);
    field(text, "server_time_usec", since.as_micros());
    field(text, "uptime_in_seconds", uptime);
    field(text, "uptime_in_days", uptime / 86_400);
    field(text, "executable", std::env::current_exe().unwrap_or_default().display());
    field(text, "config_file", context.file.display());
}

fn clients(text: &mut String, cx: &Cx<'_>) {
    text.push_str("# Clients\r\n");
    field(text, "connected_clients", cx.shell.clients.len());
    field(text, "maxclients", cx.shell.context.config.clients.max);
    field(text, "blocked_clients", 0);
}

fn cpu(text: &mut String, _: &Cx<'_>) {
    let used = cpu_time(false);
    text.push_str("# CPU\r\n");
    field(text, "used_cpu_sys", format_args!("{:.6}", used.system.as_secs_f64()));
    field(text, "used_cpu_user", format_args!("{:.6}", used.user.as_secs_f64()));
}

fn stats(text: &mut String, cx: &Cx<'_>) {
    text.push_str("# Stats\r\n");
    field(text, "total_connections_received", cx.shell.clients.total);
    field(text, "total_commands_processed", cx.shell.context.commands);
}

fn sentinel(text: &mut String, cx: &Cx<'_>) {
    let machine = &cx.shell.machine;
    let (summaries, tilt, scripts) = (machine.summaries(), machine.tilt(), machine.scripts());
    let failpoints = machine.failpoints();
    text.push_str("# Sentinel\r\n");
    field(text, "sentinel_masters", summaries.len());
    field(text, "sentinel_tilt", u8::from(tilt.is_some()));
    field(text, "sentinel_tilt_since_seconds", tilt.map_or(-1, |since| since.as_secs() as i64));
    field(text, "sentinel_running_scripts", scripts.iter().filter(|script| script.runs_for.is_some()).count());
    field(text, "sentinel_scripts_queue_length", scripts.len());
    let flags = u8::from(failpoints.after_election) + 2 * u8::from(failpoints.after_promotion);
    field(text, "sentinel_simulate_failure_flags", flags);
    for (index, primary) in summaries.iter().enumerate() {
        field(
            text,
            format_args!("master{index}"),
            format_args!(
                "name={},status={},address={},slaves={},sentinels={}",
                primary.name, primary.status, primary.addr, primary.replicas, primary.sentinels
            ),
        );
    }
}
