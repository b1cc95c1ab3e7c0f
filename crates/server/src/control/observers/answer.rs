//! What is answered to an observer although the data plane may be stuck: what needs no key, and nobody to stand still.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use quorate_commands::{Args, CommandError};
use quorate_replication::tenure::Input;
use quorate_resp::{Protocol, ReplyWriter};
use quorate_sentinel::hello::{self, CHANNEL};
use quorate_stdx::ReplId;

use super::refuse;
use crate::admin::{info, replication, script, tenure};
use crate::data::client::Client;
use crate::data::dispatch::resolve;
use crate::data::gates::refuse_write;
use crate::data::guard;
use crate::data::scripts::Kind;
use crate::data::stats::{Statistics, Verdict};
use crate::data::table::Command;
use crate::data::ticks::nanos;
use crate::server::{Loading, Role, Server};

/// Who asks.
pub(super) struct Asked<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) stats: &'a Statistics,
    pub(super) client: &'a Client,
    pub(super) protocol: Protocol,
    pub(super) is_subscriber: bool,
    /// Who confirms our tenure on this connection.
    pub(super) monitor: &'a Cell<Option<ReplId>>,
}

/// Answers a request; false, and nothing done, if that is for a network thread to do.
pub(super) fn answer(asked: &Asked<'_>, args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let Ok(command) = resolve(args) else { return false };
    // In RESP2 a subscriber may ask for little, and gets its own form of it.
    if asked.is_subscriber && asked.protocol == Protocol::Resp2 && command.spec.name != "ping" {
        return false;
    }
    // What its user may not do is told by a network thread, and noted there.
    let limits = asked.client.limits.lock().clone();
    if limits.is_some_and(|user| guard::check(&user, command, args).is_err()) {
        return false;
    }
    let began = Instant::now();
    let Some(result) = run(asked, command, args, out) else { return false };
    let verdict = if result.is_ok() { Verdict::Done } else { Verdict::Failed };
    asked.stats.called(command, nanos(began.elapsed()), verdict);
    if let Err(error) = result {
        refuse(out, asked.protocol, asked.stats, &error.wire());
    }
    *asked.client.aside.lock() = Some((asked.server.mono(), command));
    true
}

fn run(asked: &Asked<'_>, command: &Command, args: Args<'_>, out: &mut Vec<u8>) -> Option<Result<(), CommandError>> {
    let server = asked.server;
    let mut reply = ReplyWriter::new(out, asked.protocol);
    match command.full_name.as_str() {
        "ping" => return ping(asked, args, &mut reply),
        "info" => reply.verbatim(b"txt", info::text(server, args.from(1)).as_bytes()),
        "role" => replication::write_role(&mut reply, &server.control.view(server)),
        "publish" if args.at(1) == CHANNEL.as_bytes() => {
            if let Ok(hello) = hello::parse(args.at(2)) {
                server.tenure.submit(server, Input::Hello { by: hello.id, names: hello.primary.to_string() });
            }
            let count = server.pubsub.publish(server, args.at(1), args.at(2));
            if let Some(node) = server.node() {
                node.publish(server, false, args.at(1), args.at(2));
            }
            reply.count(count);
        }
        "tenure|confirm" => match tenure::take_confirmation(server, args) {
            Ok((by, stamp)) => {
                asked.monitor.set(Some(by));
                reply.int(stamp.0 as i64);
            }
            Err(error) => return Some(Err(error)),
        },
        "script|kill" => return Some(script::end(server, Kind::Script).map(|()| reply.ok())),
        _ => return None,
    }
    Some(Ok(()))
}

/// PING is the question whether we are well.
fn ping(asked: &Asked<'_>, args: Args<'_>, reply: &mut ReplyWriter<'_>) -> Option<Result<(), CommandError>> {
    if args.len() > 1 {
        return None;
    }
    if let Some(error) = ailment(asked.server, args) {
        return Some(Err(error));
    }
    if asked.is_subscriber && asked.protocol == Protocol::Resp2 {
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(b"");
    } else {
        reply.simple("PONG");
    }
    Some(Ok(()))
}

/// What is wrong with us, as far as PING tells.
fn ailment(server: &Server, args: Args<'_>) -> Option<CommandError> {
    let published = server.published();
    if published.loading == Loading::Blocking {
        return Some(CommandError::text("LOADING Redis is loading the dataset in memory"));
    }
    if let Role::Replica(replica) = &published.role
        && !replica.link_up
        && !replica.serves_stale
    {
        return Some(CommandError::text(
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        ));
    }
    if let Some(error) = resolve(args).ok().and_then(|command| refuse_write(server, &published, command, false)) {
        return Some(error);
    }
    let now = server.mono();
    let (hangs, rests_for) = {
        let progress = server.progress();
        (progress.hangs(now), progress.rests_for(now))
    };
    if !hangs {
        return None;
    }
    // A script can be ended, and this is what lets a Sentinel try.
    if server.scripts.is_busy() {
        return Some(server.scripts.busy_error());
    }
    let text = format!("HUNG No network thread has got on for {} milliseconds", rests_for.as_millis());
    Some(CommandError::Bytes(text.into_bytes()))
}
