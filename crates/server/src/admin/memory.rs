//! MEMORY: what the data and the server take.

use quorate_commands::{Access, Args, Arity, CommandError, Flags, Group, Keys, Outcome, Run, Spec};
use quorate_keyspace::Db;
use tikv_jemalloc_ctl::{arenas, epoch, raw, stats};

use crate::data::call::Cx;

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static DOCTOR: Spec = sub("doctor", Arity::Exactly(2), Flags::NONE, "4.0.0", "Says what is odd about the memory.")
    .with_tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]);
static MALLOC_STATS: Spec =
    sub("malloc-stats", Arity::Exactly(2), Flags::NONE, "4.0.0", "Prints what the allocator knows of itself.")
        .with_tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]);
static PURGE: Spec = sub("purge", Arity::Exactly(2), Flags::NONE, "4.0.0", "Gives unused memory back.")
    .with_tips(&["request_policy:all_shards", "response_policy:all_succeeded"]);
static STATS: Spec = sub("stats", Arity::Exactly(2), Flags::NONE, "4.0.0", "Tells what takes how much.").with_tips(&[
    "nondeterministic_output",
    "request_policy:all_shards",
    "response_policy:special",
]);
static USAGE: Spec = Spec {
    keys: &[(Keys::At(2), Access::LOOK)],
    complexity: "O(N) in the elements of the value that are looked at.",
    ..sub("usage", Arity::AtLeast(3), Flags::READONLY, "4.0.0", "Tells what a key takes.")
};
static HELP: Spec =
    sub("help", Arity::Exactly(2), Flags::LOADING.and(Flags::STALE), "4.0.0", "Explains the subcommands.");

/// MEMORY
pub static MEMORY: Spec = Spec {
    name: "memory",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[&DOCTOR, &HELP, &MALLOC_STATS, &PURGE, &STATS, &USAGE],
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on memory.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(
    &MEMORY,
    &[
        ("doctor", doctor),
        ("malloc-stats", malloc_stats),
        ("purge", purge),
        ("stats", report),
        ("usage", usage),
        ("help", help),
    ],
)];

/// What the allocator has to say, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator {
    /// Asked for and not given back; what threads keep at hand counts.
    pub allocated: u64,
    /// Given back, and kept at hand by the thread that did so.
    pub cached: u64,
    /// In pages that hold any of that.
    pub active: u64,
    /// Of the system, mapped into memory.
    pub resident: u64,
}

impl Allocator {
    /// As it stands now.
    pub fn sample() -> Allocator {
        let of = |value: Result<usize, _>| value.unwrap_or_default() as u64;
        let _ = epoch::advance();
        Allocator {
            allocated: of(stats::allocated::read()),
            // SAFETY: the name ends in a zero byte, and the value is of the control's type. 4096 stands for all arenas.
            cached: of(unsafe { raw::read::<usize>(b"stats.arenas.4096.tcache_bytes\0") }),
            active: of(stats::active::read()),
            resident: of(stats::resident::read()),
        }
    }
}

/// Bytes of the process that are in memory.
fn resident_set() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn usage(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(2);
    let mut at = 3;
    while at < args.len() {
        // Values know what they take, so that there is nothing to be sampled.
        if !args.is(at, "SAMPLES") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        args.int_within(at + 1, 0, i64::MAX, CommandError::Syntax)?;
        at += 2;
    }
    let db = cx.session.db;
    let view = cx.view(std::iter::once(key));
    let bytes = view.peek(db, key).map(|entry| entry.heap_bytes());
    drop(view);
    match bytes {
        // A key's cell in its slot's table.
        Some(bytes) => cx.reply().count(bytes + 8),
        None => cx.reply().null(),
    }
    Ok(())
}

fn purge(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        // Pages that may stay dirty for no time are given back at once; then the old time is put back. An arena
        // that nothing was ever allocated in refuses, and has nothing to give.
        let name = format!("arena.{arena}.dirty_decay_ms\0");
        // SAFETY: the name ends in a zero byte, and the value is of the control's type.
        unsafe {
            if let Ok(before) = raw::update::<isize>(name.as_bytes(), 0) {
                let _ = raw::write::<isize>(name.as_bytes(), before);
            }
        }
    }
    cx.reply().ok();
    Ok(())
}

fn malloc_stats(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let mut text = Vec::new();
    let mut options = tikv_jemalloc_ctl::stats_print::Options::default();
    options.skip_per_arena = true;
    if tikv_jemalloc_ctl::stats_print::stats_print(&mut text, options).is_err() {
        return Err(CommandError::text("ERR the allocator does not answer"));
    }
    cx.reply().verbatim(b"txt", &text);
    Ok(())
}

/// A figure of MEMORY STATS.
enum Figure {
    Count(u64),
    Ratio(f64),
}

impl Figure {
    fn write(&self, reply: &mut quorate_resp::ReplyWriter<'_>, name: &str) {
        reply.bulk(name.as_bytes());
        match self {
            Figure::Count(count) => reply.int(i64::try_from(*count).unwrap_or(i64::MAX)),
            Figure::Ratio(ratio) => reply.double_text(format!("{ratio}").as_bytes()),
        }
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

fn report(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    use Figure::{Count, Ratio};
    let memory = Allocator::sample();
    let process = resident_set();
    let server = cx.server;
    let clients = server.clients.lock().len() as u64 * size_of::<crate::data::client::Session>() as u64;
    let scripts = server.scripts.bytes() + server.scripts.vm_bytes();
    let functions = server.libraries.shelf().bytes() + server.scripts.function_vm_bytes();
    let backlog = server.feed.heap_bytes() as u64;
    let databases: Vec<(usize, u64, u64)> = (0..server.space.databases())
        .map(|number| {
            (number, server.space.len(Db(number as u16)) as u64, server.space.volatile(Db(number as u16)) as u64)
        })
        .filter(|(_, keys, _)| *keys > 0)
        .collect();
    let keys: u64 = databases.iter().map(|(_, keys, _)| keys).sum();
    let tables: u64 = databases.iter().map(|(_, keys, _)| keys * 12).sum();
    let overhead = server.startup_memory + backlog + clients + scripts + functions + tables;
    let data = memory.allocated.saturating_sub(overhead);
    let grown = memory.allocated.saturating_sub(server.startup_memory);
    let figures = [
        ("peak.allocated", Count(server.memory.peak())),
        ("total.allocated", Count(memory.allocated)),
        ("startup.allocated", Count(server.startup_memory)),
        ("replication.backlog", Count(backlog)),
        ("clients.slaves", Count(0)),
        ("clients.normal", Count(clients)),
        ("cluster.links", Count(0)),
        ("aof.buffer", Count(0)),
        ("lua.caches", Count(scripts)),
        ("functions.caches", Count(functions)),
    ];
    let rest = [
        ("overhead.total", Count(overhead)),
        ("keys.count", Count(keys)),
        ("keys.bytes-per-key", Count(grown / keys.max(1))),
        ("dataset.bytes", Count(data)),
        ("dataset.percentage", Ratio(100.0 * ratio(data, grown))),
        ("peak.percentage", Ratio(100.0 * ratio(memory.allocated, server.memory.peak()))),
        ("allocator.allocated", Count(memory.allocated)),
        ("allocator.active", Count(memory.active)),
        ("allocator.resident", Count(memory.resident)),
        ("allocator-fragmentation.ratio", Ratio(ratio(memory.active, memory.allocated))),
        ("allocator-fragmentation.bytes", Count(memory.active.saturating_sub(memory.allocated))),
        ("allocator-rss.ratio", Ratio(ratio(memory.resident, memory.active))),
        ("allocator-rss.bytes", Count(memory.resident.saturating_sub(memory.active))),
        ("rss-overhead.ratio", Ratio(ratio(process, memory.resident))),
        ("rss-overhead.bytes", Count(process.saturating_sub(memory.resident))),
        ("fragmentation", Ratio(ratio(process, memory.allocated))),
        ("fragmentation.bytes", Count(process.saturating_sub(memory.allocated))),
    ];
    let mut reply = cx.reply();
    reply.map(figures.len() + databases.len() + rest.len());
    for (name, figure) in &figures {
        figure.write(&mut reply, name);
    }
    for (number, keys, _) in &databases {
        reply.bulk(format!("db.{number}").as_bytes());
        reply.map(3);
        // An expiry lies in its entry, and a slot is its own table.
        Count(keys * 12).write(&mut reply, "overhead.hashtable.main");
        Count(0).write(&mut reply, "overhead.hashtable.expires");
        Count(0).write(&mut reply, "overhead.hashtable.slot-to-keys");
    }
    for (name, figure) in &rest {
        figure.write(&mut reply, name);
    }
    Ok(())
}

fn doctor(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let memory = Allocator::sample();
    let peak = cx.server.memory.peak();
    let mut text = String::new();
    if memory.allocated < 5 << 20 {
        text.push_str("There is too little in memory to say anything of it.\n");
    } else {
        if ratio(peak, memory.allocated) > 1.5 {
            text.push_str(
                "- Memory in use was half as much again before: what was freed may not have gone back yet.\n",
            );
        }
        if ratio(memory.active, memory.allocated) > 1.4 && memory.active - memory.allocated > 10 << 20 {
            text.push_str(
                "- Much of the memory lies in pages that are partly free: restarting the server would pack it.\n",
            );
        }
        if ratio(memory.resident, memory.active) > 1.1 && memory.resident - memory.active > 10 << 20 {
            text.push_str("- The allocator holds many unused pages: MEMORY PURGE gives them back.\n");
        }
        let scripts = cx.server.scripts.len();
        if scripts > 1000 {
            text.push_str(
                "- There are very many scripts: pass what varies as arguments, so that they can be the same.\n",
            );
        }
        if text.is_empty() {
            text.push_str("Nothing is odd about the memory.\n");
        }
    }
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "MEMORY",
        &[
            "DOCTOR",
            "    What is odd about the memory.",
            "MALLOC-STATS",
            "    What the allocator knows of itself.",
            "PURGE",
            "    Gives memory that is not used back to the system.",
            "STATS",
            "    What takes how much.",
            "USAGE <key> [SAMPLES <count>]",
            "    The bytes that a key and its value take.",
        ],
    );
    Ok(())
}
