//! SLOWLOG: the commands that took longest.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_stdx::UnixMs;

use crate::admin::monitor::is_secret;
use crate::data::call::{Cx, Local};
use crate::data::client::{Blocked, Session};
use crate::data::table::Command;
use crate::server::{Server, unix_now};

/// More arguments than this are cut.
const MOST_ARGUMENTS: usize = 32;
/// A longer argument is cut, bytes.
const LONGEST_ARGUMENT: usize = 128;

const ASKING: Flags = Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static GET: Spec = sub("get", Arity::AtLeast(2), ASKING, "2.2.12", "Lists slow commands, the latest first.")
    .with_tips(&["request_policy:all_nodes", "nondeterministic_output"]);
static LEN: Spec = sub("len", Arity::Exactly(2), ASKING, "2.2.12", "Counts the slow commands that are listed.")
    .with_tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]);
static RESET: Spec = sub("reset", Arity::Exactly(2), ASKING, "2.2.12", "Forgets all slow commands.")
    .with_tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);
static HELP: Spec =
    sub("help", Arity::Exactly(2), Flags::LOADING.and(Flags::STALE), "6.2.0", "Explains the subcommands.");

/// SLOWLOG
pub static SLOWLOG: Spec = Spec {
    name: "slowlog",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[&GET, &HELP, &LEN, &RESET],
    since: "2.2.12",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on the list of slow commands.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] =
    [(&SLOWLOG, &[("get", get), ("len", len), ("reset", reset), ("help", help)])];

/// The list, the latest first. Only slow commands come near its lock.
#[derive(Default)]
pub struct SlowLog(Mutex<List>);

#[derive(Default)]
struct List {
    next: u64,
    entries: VecDeque<Entry>,
    /// Of requests that had waited and were served by the command that is under way: it comes before them.
    late: Vec<Entry>,
}

impl List {
    fn push(&mut self, entry: Entry, most: usize) {
        self.entries.push_front(Entry { id: self.next, ..entry });
        self.next += 1;
        self.entries.truncate(most);
    }

    /// Puts those that were late behind what has come first.
    fn catch_up(&mut self, most: usize) {
        for entry in std::mem::take(&mut self.late) {
            self.push(entry, most);
        }
    }
}

#[derive(Clone)]
struct Entry {
    id: u64,
    at: UnixMs,
    elapsed: Duration,
    words: Vec<Vec<u8>>,
    address: String,
    name: Vec<u8>,
}

/// Notes a command that took long, nanoseconds, for SLOWLOG and LATENCY.
#[inline]
pub fn note(server: &Server, session: &Session, local: &Local, command: &Command, args: Args<'_>, nanos: u64) {
    if nanos >= local.published.notable {
        note_slow(server, session, command, args, Duration::from_nanos(nanos));
    }
}

#[cold]
fn note_slow(server: &Server, session: &Session, command: &Command, args: Args<'_>, elapsed: Duration) {
    // What has only begun to wait is noted when it has been served.
    if matches!(session.blocked, Some(Blocked::OnKeys { .. })) {
        return;
    }
    let whose = (session.peer.remote(), session.name.clone());
    let Some(entry) = slow(server, command, args, elapsed, whose) else { return };
    let mut list = server.slow_log.0.lock();
    let most = longest(server);
    list.push(entry, most);
    list.catch_up(most);
}

/// Notes a request that had waited, if it took long when it was served; `whose` are the client's address and name.
pub fn note_served(
    server: &Server,
    local: &Local,
    (command, args): (&Command, Args<'_>),
    nanos: u64,
    whose: &(String, Vec<u8>),
) {
    if nanos < local.published.notable {
        return;
    }
    let Some(entry) = slow(server, command, args, Duration::from_nanos(nanos), whose.clone()) else { return };
    let mut list = server.slow_log.0.lock();
    list.late.push(entry);
    let most = longest(server);
    if list.late.len() > most {
        list.catch_up(most);
    }
}

/// How many entries are kept.
fn longest(server: &Server) -> usize {
    usize::try_from(server.config.load().slow_log.len_max).unwrap_or(usize::MAX)
}

/// The entry of a command, if it was slow; its latency is noted.
fn slow(
    server: &Server,
    command: &Command,
    args: Args<'_>,
    elapsed: Duration,
    (address, name): (String, Vec<u8>),
) -> Option<Entry> {
    let event = if command.spec.flags.has(Flags::FAST) { "fast-command" } else { "command" };
    server.latency.note(server, event, elapsed);
    let config = server.config.load();
    let is_slow = config.slow_log.slower_than.is_some_and(|limit| elapsed >= limit);
    let is_kept = is_slow && !command.spec.flags.has(Flags::SKIP_SLOWLOG) && config.slow_log.len_max > 0;
    is_kept.then(|| Entry { id: 0, at: unix_now(), elapsed, words: cut(command, args), address, name })
}

/// The arguments in the length in which they are listed.
fn cut(command: &Command, args: Args<'_>) -> Vec<Vec<u8>> {
    let shown = if args.len() > MOST_ARGUMENTS { MOST_ARGUMENTS - 1 } else { args.len() };
    let mut words: Vec<Vec<u8>> = (0..shown)
        .map(|index| {
            let word = args.at(index);
            if is_secret(command, args, index) {
                return b"(redacted)".to_vec();
            }
            let Some(more) = word.len().checked_sub(LONGEST_ARGUMENT).filter(|more| *more > 0) else {
                return word.to_vec();
            };
            [&word[..LONGEST_ARGUMENT], format!("... ({more} more bytes)").as_bytes()].concat()
        })
        .collect();
    if shown < args.len() {
        words.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
    }
    words
}

fn get(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::Arity(cx.command.full_name.clone()));
    }
    let count = match args.get(2) {
        None => 10,
        Some(_) => args
            .int_within(2, -1, i64::MAX, CommandError::text("ERR count should be greater than or equal to -1"))
            .map_err(|_| CommandError::text("ERR count should be greater than or equal to -1"))?,
    };
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let entries: Vec<Entry> = {
        let mut list = cx.server.slow_log.0.lock();
        list.catch_up(longest(cx.server));
        list.entries.iter().take(most).cloned().collect()
    };
    let mut reply = cx.reply();
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.int(entry.id as i64);
        reply.int(entry.at.0 / 1000);
        reply.int(i64::try_from(entry.elapsed.as_micros()).unwrap_or(i64::MAX));
        reply.array(entry.words.len());
        for word in &entry.words {
            reply.bulk(word);
        }
        reply.bulk(entry.address.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}

fn len(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let len = {
        let list = cx.server.slow_log.0.lock();
        (list.entries.len() + list.late.len()).min(longest(cx.server))
    };
    cx.reply().count(len);
    Ok(())
}

fn reset(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let mut list = cx.server.slow_log.0.lock();
    list.entries.clear();
    list.late.clear();
    drop(list);
    cx.reply().ok();
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    The latest slow commands, 10 unless told otherwise; -1 is all. Of each: a number,",
            "    when it began (seconds), how long it took (microseconds), its arguments, the",
            "    client's address, and the client's name.",
            "LEN",
            "    How many are listed.",
            "RESET",
            "    Forgets them all.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dispatch::resolve;

    #[test]
    fn long_requests_are_cut_and_say_by_how_much() {
        let long = vec![b'x'; 200];
        let mut words: Vec<&[u8]> = vec![b"sadd", &long];
        words.resize(40, b"m");
        let args = Args::new(&words);
        let cut = cut(resolve(args).unwrap(), args);
        assert_eq!(cut.len(), 32);
        assert_eq!(cut[31], b"... (9 more arguments)");
        assert_eq!(cut[1], [&long[..128], b"... (72 more bytes)"].concat());
        assert_eq!(super::cut(resolve(Args::new(&words[..32])).unwrap(), Args::new(&words[..32])).len(), 32);
    }
}
