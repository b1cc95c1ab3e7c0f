//! Whether a request's keys are here: what a node of a cluster asks before anything else.
//!
//! The slot map is published like everything else that threads depend on, while all are quiet: so a request that was let
//! in runs before the map changes. Only where a slot moves does it depend on the keys too; then they are looked for under
//! the locks under which the command runs, so that none can be handed over in between.

use std::borrow::Cow;
use std::sync::Arc;

use quorate_cluster::{Address, Asked, Map, Place, Route};
use quorate_commands::{Args, CommandError, Flags, Origin};
use quorate_config::{Config, EndpointKind};
use quorate_keyspace::{KeyView, Scope, Slot};

use crate::data::call::{Access, Local};
use crate::data::client::{Kind, Session};
use crate::data::table::{Command, Runner};
use crate::server::{Published, Server};

/// The slot map, and what the configuration says of its use.
#[derive(Debug)]
pub struct Routing {
    /// The map.
    pub map: Arc<Map>,
    reads_when_down: bool,
    pubsub_when_down: bool,
    endpoint: EndpointKind,
    /// Nodes speak TLS among themselves, and the first port of each is for that.
    encrypted: bool,
}

impl Routing {
    /// From a map and the configuration.
    pub fn new(map: Arc<Map>, config: &Config) -> Routing {
        Routing {
            map,
            reads_when_down: config.cluster.reads_when_down,
            pubsub_when_down: config.cluster.pubsub_when_down,
            endpoint: config.cluster.endpoint,
            encrypted: config.tls.cluster,
        }
    }

    /// What clients are told to connect to.
    pub fn endpoint<'p>(&self, place: &'p Place) -> &'p str {
        match self.endpoint {
            EndpointKind::Ip => &place.ip,
            EndpointKind::Hostname if place.hostname.is_empty() => "?",
            EndpointKind::Hostname => &place.hostname,
            EndpointKind::Unknown => "",
        }
    }

    /// Whether a client speaks TLS where nodes don't, or the other way round: it is told other ports.
    pub fn speaks_otherwise(&self, session: &Session) -> bool {
        session.socket.is_encrypted() != self.encrypted
    }

    /// The ports of a node without TLS and with it; 0 where there is none.
    pub fn ports(&self, address: &Address) -> (u16, u16) {
        let Address { port, second_port, .. } = *address;
        if self.encrypted { (second_port, port) } else { (port, second_port) }
    }

    /// The kind of endpoint that clients are told.
    pub fn endpoint_kind(&self) -> EndpointKind {
        self.endpoint
    }
}

/// What the map says of a request.
pub enum Verdict {
    /// It may run.
    Here,
    /// It may run if its keys are here, which is to be asked under their locks.
    IfPresent,
    /// It may run later: writes to its slot are held back until it has changed hands.
    Held,
    /// It may not.
    Refused(CommandError),
}

const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
const TRY_AGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";

/// What the map says of a request of a client. Takes back what ASKING said.
pub fn judge(server: &Server, routing: &Routing, session: &mut Session, command: &Command, args: Args<'_>) -> Verdict {
    let spec = command.spec;
    let asking = session.asking || spec.flags.has(Flags::ASKING);
    if session.transaction.is_none() && spec.name != "multi" || matches!(spec.name, "exec" | "discard" | "reset") {
        session.asking = false;
    }
    let mut asked = Asked {
        writes: writes(server, command, args),
        readonly: session.readonly,
        asking,
        moves_keys: spec.name == "migrate",
    };
    let mut slot = None;
    let mut is_split = false;
    let mut note = |key: &[u8]| {
        let of = Slot::of(key);
        is_split |= *slot.get_or_insert(of) != of;
    };
    if spec.name == "exec" {
        for queued in session.transaction.iter().flat_map(|transaction| &transaction.queue) {
            let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
            asked.writes |= writes(server, queued.command, Args::new(&words));
            routed_keys(queued.command, Args::new(&words)).into_iter().for_each(|index| note(words[index]));
        }
    } else {
        routed_keys(command, args).into_iter().for_each(|index| note(args.at(index)));
    }
    let Some(slot) = slot else { return Verdict::Here };
    if is_split {
        return Verdict::Refused(CommandError::text(CROSS_SLOT));
    }
    let may_write = asked.writes || spec.flags.has(Flags::MAY_REPLICATE);
    match decide(routing, command, slot, asked, routing.speaks_otherwise(session)) {
        Verdict::Here if may_write && routing.map.is_held(slot.index() as u16) => Verdict::Held,
        verdict => verdict,
    }
}

/// Whether a request writes, as far as can be told before it runs: a script or function may declare that it doesn't, and one that
/// knows of such declarations and has made none writes.
fn writes(server: &Server, command: &Command, args: Args<'_>) -> bool {
    let flags = command.spec.flags;
    let declared = flags.has(Flags::MAY_REPLICATE).then(|| crate::admin::script::flags_of(server, command, args));
    declared.flatten().unwrap_or(flags).has(Flags::WRITE)
}

/// Why a node that sends what slots hold may not send this.
pub fn refuse_import(routing: &Routing, session: &Session, command: &Command, args: Args<'_>) -> Option<CommandError> {
    if command.spec.name == "syncslots" {
        return None;
    }
    let id = session.import.filter(|id| routing.map.is_taking(*id));
    let takes = |key: &[u8]| id.is_some_and(|id| routing.map.takes(id, Slot::of(key).index() as u16));
    (id.is_none() || !command.spec.keys_of(args).all(takes))
        .then(|| CommandError::text("ERR This migration is no more, or the key is of another slot"))
}

/// The indices of the words that decide where a request belongs: keys, and names of channels of shards.
fn routed_keys(command: &Command, args: Args<'_>) -> quorate_commands::Indices {
    match command.spec.name {
        "ssubscribe" | "sunsubscribe" => (1..args.len()).collect(),
        "spublish" => (1..args.len().min(2)).collect(),
        _ => command.spec.key_indices(args),
    }
}

fn decide(routing: &Routing, command: &Command, slot: Slot, asked: Asked, otherwise: bool) -> Verdict {
    let number = slot.index() as u16;
    let is_pubsub = command.spec.flags.has(Flags::PUBSUB);
    if routing.map.owner(number).is_none() {
        return Verdict::Refused(CommandError::text("CLUSTERDOWN Hash slot not served"));
    }
    if !routing.map.is_ok {
        let (may_read, may_publish) = (routing.reads_when_down, routing.pubsub_when_down);
        if (is_pubsub && !may_publish) || (!is_pubsub && !may_read) {
            return Verdict::Refused(CommandError::text("CLUSTERDOWN The cluster is down"));
        }
        if !is_pubsub && asked.writes {
            return Verdict::Refused(CommandError::text(
                "CLUSTERDOWN The cluster is down and only accepts read commands",
            ));
        }
    }
    // Whoever listens at a replica hears what its primary's shard hears.
    let asked = Asked { readonly: asked.readonly || is_pubsub, ..asked };
    match routing.map.route(number, asked) {
        Route::Here => Verdict::Here,
        Route::HereIfPresent if is_pubsub => Verdict::Here,
        Route::HereIfPresent => Verdict::IfPresent,
        elsewhere => Verdict::Refused(error(routing, number, elsewhere, otherwise)),
    }
}

fn error(routing: &Routing, slot: u16, route: Route<'_>, otherwise: bool) -> CommandError {
    let told = |word: &str, place: &Place| {
        let text = format!("{word} {slot} {}:{}", routing.endpoint(place), place.port_for(otherwise));
        CommandError::Text(Cow::Owned(text))
    };
    match route {
        Route::Moved(place) => told("MOVED", place),
        Route::Ask(place) => told("ASK", place),
        Route::TryAgain => CommandError::text(TRY_AGAIN),
        Route::Unserved => CommandError::text("CLUSTERDOWN Hash slot not served"),
        Route::Here | Route::HereIfPresent => unreachable!("that is no error"),
    }
}

/// Whether any of a request's keys is not here although their slot moves: then the error that says where they are. The
/// view covers them.
pub fn absent<'k>(
    routing: &Routing,
    view: &KeyView<'_>,
    session: &Session,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Option<CommandError> {
    let (mut slot, mut count, mut present) = (0, 0, 0);
    for key in keys {
        slot = Slot::of(key).index() as u16;
        count += 1;
        present += usize::from(view.peek(session.db, key).is_some());
    }
    if count == 0 || !routing.map.is_moving(slot) {
        return None;
    }
    match routing.map.route_moving(slot, count, present) {
        Route::Here => None,
        elsewhere => Some(error(routing, slot, elsewhere, routing.speaks_otherwise(session))),
    }
}

/// The same for a command on keys that a client has sent, under the locks under which it is about to run.
#[cold]
pub fn absent_here(
    local: &Local,
    view: &KeyView<'_>,
    origin: Origin,
    command: &Command,
    session: &Session,
    args: Args<'_>,
) -> Option<CommandError> {
    let routing = local.published.cluster.as_ref().filter(|routing| routing.map.has_moving())?;
    if origin != Origin::Client || command.spec.flags.has(Flags::ASKING) {
        return None; // What comes by RESTORE-ASKING is to be here when it has run.
    }
    absent(routing, view, session, command.spec.keys_of(args))
}

/// The same while alone, for a request that does not look itself.
pub fn absent_while_alone(
    published: &Published,
    access: &mut Access<'_, '_>,
    scope: &Scope,
    session: &Session,
    command: &Command,
    args: Args<'_>,
) -> Option<CommandError> {
    let routing = published.cluster.as_ref().filter(|routing| routing.map.has_moving())?;
    if matches!(session.kind, Kind::Primary | Kind::Importer) || looks_itself(command) || command.spec.name == "migrate"
    {
        return None;
    }
    let Access::Alone(alone) = access else { return None };
    absent_of_any(routing, &alone.view(scope), session, command, args)
}

fn absent_of_any(
    routing: &Routing,
    view: &KeyView<'_>,
    session: &Session,
    command: &Command,
    args: Args<'_>,
) -> Option<CommandError> {
    if command.spec.name != "exec" {
        return absent(routing, view, session, command.spec.keys_of(args));
    }
    let queue = session.transaction.iter().flat_map(|transaction| &transaction.queue);
    let keys: Vec<&[u8]> = queue
        .flat_map(|queued| {
            let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
            let indices = queued.command.spec.key_indices(Args::new(&words));
            indices.into_iter().map(|index| &*queued.words[index]).collect::<Vec<_>>()
        })
        .collect();
    absent(routing, view, session, keys.into_iter())
}

/// Whether a request looks for its keys itself, under its own locks.
pub fn looks_itself(command: &Command) -> bool {
    matches!(command.runner, Runner::Data(_))
}

/// What a script gets that touches a key of another node.
pub const NOT_LOCAL: CommandError =
    CommandError::text("ERR Script attempted to access a non local key in a cluster node");

/// Why a script may not call a command with these keys. `single` is the slot of the keys that it has touched so far, if
/// all must be in one.
pub fn elsewhere_for_script(
    routing: &Routing,
    session: &Session,
    command: &Command,
    args: Args<'_>,
    single: Option<&mut Option<Slot>>,
) -> Option<CommandError> {
    const CROSS: CommandError =
        CommandError::text("ERR Script attempted to access keys that do not hash to the same slot");
    let mut keys = routed_keys(command, args).into_iter().map(|index| Slot::of(args.at(index)));
    let slot = keys.next()?;
    if keys.any(|other| other != slot) {
        return Some(CROSS);
    }
    let writes = command.spec.flags.has(Flags::WRITE);
    let asked = Asked { writes, readonly: session.readonly, asking: true, moves_keys: false };
    if !routing.map.is_ok {
        let text = match routing.reads_when_down {
            false => "ERR Script attempted to execute a command while the cluster is down",
            true => "ERR Script attempted to execute a write command while the cluster is down and readonly",
        };
        if writes || !routing.reads_when_down {
            return Some(CommandError::text(text));
        }
    }
    match routing.map.route(slot.index() as u16, asked) {
        Route::Here | Route::HereIfPresent => {}
        _ => return Some(NOT_LOCAL),
    }
    let before = single?.get_or_insert(slot);
    (*before != slot).then_some(CROSS)
}

/// What follows for clients when the map has changed: whoever waits for keys that are elsewhere now is told so.
pub fn after_change(server: &Arc<Server>) {
    let published = server.published();
    let Some(routing) = &published.cluster else { return };
    let is_down = !routing.map.is_ok && !routing.reads_when_down;
    crate::data::blocked::redirect(server, |slots, is_encrypted| {
        if is_down {
            return Some(CommandError::text("CLUSTERDOWN The cluster is down"));
        }
        let moved = slots.iter().find(|slot| !routing.map.is_held_here(slot.index() as u16))?;
        let number = moved.index() as u16;
        Some(match routing.map.owner(number) {
            Some(place) => error(routing, number, Route::Moved(place), is_encrypted != routing.encrypted),
            None => error(routing, number, Route::Unserved, false),
        })
    });
}
