//! Clients that write one number after the other to a set of their own, and go where they are sent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};

use super::super::written::{self, Clients, Shared, Written};
use super::{APART, CLIENTS, Deployment, Lan, NODES, PORT, SLOTS, VICTIM, host_of, share};
use crate::cluster::slot;

/// After so long without a reply a client gives a connection up.
const PATIENCE: Duration = Duration::from_millis(200);
/// For so long a client that was sent to a node that doesn't answer asks others instead.
const MISTRUST: Duration = Duration::from_millis(500);

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// On a host of its own, to the slots that the fault concerns.
    Roaming,
    /// The same, to all other slots.
    Elsewhere,
    /// On the first primary's host, to that alone.
    Pinned,
    /// To a server that is no node of the cluster.
    Apart,
}

/// Starts so many clients of one kind.
pub(super) fn start(deployment: &Deployment, kind: Kind, count: usize) -> Clients {
    let host = if kind == Kind::Pinned { VICTIM } else { CLIENTS };
    Clients::start(count, |number| {
        let door = deployment.stage.lan.door(host);
        move |shared: &Shared| door().map_or_else(|_| Vec::new(), |()| write(kind, &key(kind, number), shared))
    })
}

/// When those were acknowledged that are nowhere; `None` if nobody says.
pub(super) fn lost(deployment: &Deployment, kind: Kind, clients: &[Written]) -> Option<Vec<Instant>> {
    let mut lost = Vec::new();
    for (number, written) in clients.iter().enumerate() {
        lost.extend(written::lost(written, deployment.members(&key(kind, number))?)?);
    }
    Some(lost)
}

/// The key of a client: in the first primary's slots, or, of those who write elsewhere, in those of the others by turns.
fn key(kind: Kind, number: usize) -> String {
    let primary = if kind == Kind::Elsewhere { 1 + number % 2 } else { VICTIM };
    let (first, end) = share(primary);
    let is_there = |key: &String| (first..end).contains(&usize::from(slot(key.as_bytes())));
    (0..SLOTS).map(|try_| format!("{kind:?}:{number}:{try_}")).find(is_there).expect("a third of all keys is there")
}

/// Where a client turns to.
struct Way {
    kind: Kind,
    to: usize,
    /// Who did not answer, and when.
    silent: Option<(usize, Instant)>,
}

impl Way {
    fn may_turn(&self) -> bool {
        matches!(self.kind, Kind::Roaming | Kind::Elsewhere)
    }

    /// Nobody answers there: somebody else is asked.
    fn lose(&mut self) {
        self.silent = Some((self.to, Instant::now()));
        self.turn();
    }

    fn turn(&mut self) {
        if self.may_turn() {
            self.to = (self.to + 1) % NODES;
        }
    }

    /// What was told may be out of date; then others are asked until they know better.
    fn follow(&mut self, told: usize) {
        let is_silent = self.silent.is_some_and(|(host, at)| host == told && at.elapsed() < MISTRUST);
        if is_silent || told == self.to {
            self.turn();
        } else if self.may_turn() {
            self.to = told;
        }
    }
}

fn write(kind: Kind, key: &str, shared: &Shared) -> Written {
    let mut written = Vec::new();
    let mut way = Way { kind, to: if kind == Kind::Apart { APART } else { VICTIM }, silent: None };
    let mut next = 0u64;
    while !shared.is_over() {
        let Ok(mut client) = Client::connect(SocketAddr::from((Lan::ip(way.to), PORT)), PATIENCE) else {
            way.lose();
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        while !shared.is_over() {
            next += 1;
            let reply = client.call(&["SADD", key, &next.to_string()]);
            std::thread::sleep(Duration::from_millis(1));
            match reply {
                Ok(Reply::Int(_)) => shared.note(&mut written, next),
                Ok(Reply::Error(error)) if error.starts_with(b"MOVED ") => {
                    let text = String::from_utf8_lossy(&error).into_owned();
                    let place = text.split(' ').nth(2).and_then(|place| place.rsplit_once(':'));
                    match place.and_then(|(ip, _)| host_of(ip)) {
                        Some(told) => way.follow(told),
                        None => way.turn(),
                    }
                    break;
                }
                // It may know better in a moment, or another does already.
                Ok(_) => {
                    way.turn();
                    break;
                }
                Err(_) => {
                    way.lose();
                    break;
                }
            }
        }
    }
    written
}
