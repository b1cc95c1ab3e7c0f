//! What stands between a request and its command, in the order in which it is asked.
//!
//! Each gate reads the published state only. That state changes while every network thread is quiet, so
//! what a gate saw holds until its command is done.

use std::borrow::Cow;

use quorate_commands::{Args, CommandError, Flags};

use crate::data::client::{Kind, Queued, Session};
use crate::data::guard::{self, Refusal};
use crate::data::redirect::{self, Routing, Verdict};
use crate::data::table::Command;
use crate::server::{Loading, Published, Role, Server, unix_now};

/// What a gate says.
pub enum Gate {
    /// The command may run.
    Open,
    /// It is refused with this error.
    Refused(CommandError),
    /// The client's user may not run it.
    Denied(Refusal),
    /// It has to wait until CLIENT PAUSE or a failover is over.
    Wait,
    /// It may run if its keys are here, although their slot moves.
    OpenIfPresent,
    /// It belongs to another node of the cluster, or to none.
    Elsewhere(CommandError),
}

/// What is known of a request besides its command.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its arguments.
    pub args: Args<'a>,
    /// There is no memory left for one that needs some.
    pub no_room: bool,
}

/// Asks every gate.
#[inline]
pub fn pass(
    server: &Server,
    published: &Published,
    session: &mut Session,
    command: &Command,
    asked: Asked<'_>,
) -> Gate {
    if !session.unrestricted
        && let Some(refused) = pass_guard(published, session, command, asked)
    {
        return refused;
    }
    // In the common state of a healthy primary there is nothing else to ask.
    if published.all_clear && !session.is_subscriber() && session.kind == Kind::Normal {
        return Gate::Open;
    }
    if let Some(routing) = &published.cluster
        && session.kind != Kind::Primary
    {
        return pass_in_cluster(server, published, routing, session, command, asked);
    }
    pass_slowly(server, published, session, command, asked)
}

/// Who is it, and what may that user do?
#[cold]
fn pass_guard(published: &Published, session: &Session, command: &Command, asked: Asked<'_>) -> Option<Gate> {
    if !session.authenticated && published.needs_auth && !command.spec.flags.has(Flags::NO_AUTH) {
        return Some(Gate::Refused(CommandError::text("NOAUTH Authentication required.")));
    }
    match guard::judge(session, command, asked.args)? {
        // What is queued is judged again when it is to run.
        Refusal::Reaches(_) if session.transaction.is_some() => None,
        refusal => Some(Gate::Denied(refusal)),
    }
}

/// As a node of a cluster: where the request belongs comes first.
fn pass_in_cluster(
    server: &Server,
    published: &Published,
    routing: &Routing,
    session: &mut Session,
    command: &Command,
    asked: Asked<'_>,
) -> Gate {
    if session.kind == Kind::Importer {
        return pass_import(server, published, routing, session, command, asked);
    }
    let open = match redirect::judge(server, routing, session, command, asked.args) {
        Verdict::Here => Gate::Open,
        Verdict::IfPresent => Gate::OpenIfPresent,
        Verdict::Held => return Gate::Wait,
        Verdict::Refused(error) => return Gate::Elsewhere(error),
    };
    if published.calm && !session.is_subscriber() && session.kind == Kind::Normal {
        return open;
    }
    match pass_slowly(server, published, session, command, asked) {
        Gate::Open => open,
        other => other,
    }
}

/// From a node that sends what its slots hold: as long as we want that.
fn pass_import(
    server: &Server,
    published: &Published,
    routing: &Routing,
    session: &Session,
    command: &Command,
    asked: Asked<'_>,
) -> Gate {
    match redirect::refuse_import(routing, session, command, asked.args) {
        Some(error) => Gate::Refused(error),
        None => pass_slowly(server, published, session, command, asked),
    }
}

#[cold]
fn pass_slowly(server: &Server, published: &Published, session: &Session, command: &Command, asked: Asked<'_>) -> Gate {
    if session.kind == Kind::Primary {
        return Gate::Open;
    }
    let Asked { args, no_room } = asked;
    let declared = crate::admin::script::flags_of(server, command, args);
    let flags = declared.unwrap_or(command.spec.flags);
    let has = |flag| flags.has(flag) || sets_off(server, session, command, flag);
    let writes = has(Flags::WRITE);
    if matches!(session.kind, Kind::Monitor | Kind::Replica)
        && !flags.any(Flags::ADMIN)
        && flags.any(Flags::WRITE.and(Flags::READONLY))
    {
        return Gate::Refused(CommandError::text("ERR Replica can't interact with the keyspace"));
    }
    if no_room && needs_memory(session, command, flags) {
        return Gate::Refused(CommandError::text("OOM command not allowed when used memory > 'maxmemory'."));
    }
    if let Some(error) = refuse_write(server, published, command, writes) {
        return Gate::Refused(error);
    }
    if session.protocol == quorate_resp::Protocol::Resp2 && session.is_subscriber() && !allowed_in_subscription(command)
    {
        return Gate::Refused(CommandError::Text(Cow::Owned(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            command.full_name
        ))));
    }
    if let Role::Replica(replica) = &published.role
        && !replica.link_up
        && !replica.serves_stale
        && !always_has(session, command, flags, Flags::STALE)
    {
        return Gate::Refused(CommandError::text(
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        ));
    }
    match published.loading {
        Loading::No => {}
        Loading::Blocking if always_has(session, command, flags, Flags::LOADING) => {}
        Loading::Async if !flags.has(Flags::NO_ASYNC_LOADING) => {}
        Loading::Blocking | Loading::Async => {
            return Gate::Refused(CommandError::text("LOADING Redis is loading the dataset in memory"));
        }
    }
    // What a Sentinel tells the others is what may end the pause.
    let is_hello = session.observes && command.spec.name == "publish";
    if published.is_paused(writes || has(Flags::MAY_REPLICATE)) && session.kind != Kind::Replica && !is_hello {
        return Gate::Wait;
    }
    Gate::Open
}

/// Whether a pause holds our primary's stream back at this command. A failover does not: whoever hands over follows nobody.
#[inline]
pub fn holds_stream(
    server: &Server,
    published: &Published,
    session: &Session,
    command: &Command,
    args: Args<'_>,
) -> bool {
    let Some(pause) = published.pause else { return false };
    let declared = crate::admin::script::flags_of(server, command, args);
    let flags = declared.unwrap_or(command.spec.flags);
    let has = |flag| flags.has(flag) || sets_off(server, session, command, flag);
    unix_now() < pause.until && (pause.all || has(Flags::WRITE) || has(Flags::MAY_REPLICATE))
}

/// Whether a command of the transaction that this one sets off has a flag. Scripts may declare that they don't write.
fn sets_off(server: &Server, session: &Session, command: &Command, flag: Flags) -> bool {
    let has = |queued: &Queued| {
        let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
        let declared = crate::admin::script::flags_of(server, queued.command, Args::new(&words));
        declared.unwrap_or(queued.command.spec.flags).has(flag)
    };
    let transaction = session.transaction.as_ref().filter(|_| command.spec.name == "exec");
    transaction.is_some_and(|transaction| transaction.queue.iter().any(has))
}

/// Whether a command has a flag, and so has each command of the transaction that it sets off.
fn always_has(session: &Session, command: &Command, flags: Flags, flag: Flags) -> bool {
    let queued = session.transaction.as_ref().filter(|_| command.spec.name == "exec");
    flags.has(flag)
        && queued.is_none_or(|transaction| transaction.queue.iter().all(|one| one.command.spec.flags.has(flag)))
}

/// Whether a command is refused when memory is short: it says so, or one of its transaction does, or it
/// would be queued.
fn needs_memory(session: &Session, command: &Command, flags: Flags) -> bool {
    match &session.transaction {
        Some(transaction) if command.spec.name == "exec" => {
            transaction.queue.iter().any(|queued| queued.command.spec.flags.has(Flags::DENY_OOM))
        }
        Some(_) => !matches!(command.spec.name, "discard" | "quit" | "reset"),
        None => flags.has(Flags::DENY_OOM),
    }
}

pub(crate) fn refuse_write(
    server: &Server,
    published: &Published,
    command: &Command,
    writes: bool,
) -> Option<CommandError> {
    let is_primary = matches!(published.role, Role::Primary);
    if is_primary && (writes || command.spec.name == "ping") && published.refuses_writes_after_failed_save() {
        return Some(CommandError::text(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
             that may modify the data set are disabled, because this instance is configured to report errors during \
             writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
             details about the RDB error.",
        ));
    }
    if let Some(why) =
        published.append_failure.as_ref().filter(|_| is_primary && (writes || command.spec.name == "ping"))
    {
        return Some(CommandError::Text(Cow::Owned(format!("MISCONF Errors writing to the AOF file: {why}"))));
    }
    if is_primary && writes && published.min_replicas > 0 && server.replicas.good() < published.min_replicas {
        return Some(CommandError::text("NOREPLICAS Not enough good replicas to write."));
    }
    if let Role::Replica(replica) = &published.role
        && replica.read_only
        && writes
    {
        return Some(CommandError::text("READONLY You can't write against a read only replica."));
    }
    None
}

fn allowed_in_subscription(command: &Command) -> bool {
    matches!(
        command.spec.name,
        "ping"
            | "subscribe"
            | "ssubscribe"
            | "psubscribe"
            | "unsubscribe"
            | "sunsubscribe"
            | "punsubscribe"
            | "quit"
            | "reset"
    )
}
