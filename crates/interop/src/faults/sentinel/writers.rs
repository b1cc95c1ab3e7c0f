//! Clients that write one number after the other and remember which were acknowledged, and when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};

use super::super::written::{self, Clients, Shared, Written};
use super::{CLIENTS, Deployment, Lan, NAME, SENTINEL_PORT, SENTINELS, SERVER_PORT, SERVERS, address};

/// After so long without a reply a client that may go elsewhere gives a connection up.
const PATIENCE: Duration = Duration::from_millis(200);

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// On a host of its own, to whatever the Sentinels name.
    Roaming,
    /// On the first primary's host, to that alone.
    Pinned,
}

/// Starts so many clients of one kind.
pub(super) fn start(deployment: &Deployment, kind: Kind, count: usize) -> Clients {
    let host = if kind == Kind::Pinned { 0 } else { CLIENTS };
    Clients::start(count, |number| {
        let door = deployment.stage.lan.door(host);
        move |shared: &Shared| door().map_or_else(|_| Vec::new(), |()| write(kind, &key(kind, number), shared))
    })
}

/// When those were acknowledged that a server does not have; `None` if it does not say.
pub(super) fn lost(deployment: &Deployment, server: usize, kind: Kind, clients: &[Written]) -> Option<Vec<Instant>> {
    let mut lost = Vec::new();
    for (number, written) in clients.iter().enumerate() {
        lost.extend(written::lost(written, deployment.server(server, &["SMEMBERS", &key(kind, number)])?)?);
    }
    Some(lost)
}

fn key(kind: Kind, number: usize) -> String {
    format!("{kind:?}:{number}")
}

fn write(kind: Kind, key: &str, shared: &Shared) -> Written {
    let mut written = Vec::new();
    let mut next = 0u64;
    while !shared.is_over() {
        let Some(mut client) = connect(kind) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        while !shared.is_over() {
            next += 1;
            match client.call(&["SADD", key, &next.to_string()]) {
                Ok(Reply::Int(_)) => shared.note(&mut written, next),
                // It is no primary any more, or does not answer.
                Ok(_) | Err(_) => break,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if kind == Kind::Pinned {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    written
}

fn connect(kind: Kind) -> Option<Client> {
    if kind == Kind::Pinned {
        return Client::connect(SocketAddr::from((Lan::ip(0), SERVER_PORT)), Duration::from_secs(1)).ok();
    }
    (SERVERS..SERVERS + SENTINELS).find_map(|host| {
        let mut sentinel = Client::connect(SocketAddr::from((Lan::ip(host), SENTINEL_PORT)), PATIENCE).ok()?;
        let named = address(&sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?)?;
        Client::connect(SocketAddr::from((named, SERVER_PORT)), PATIENCE).ok()
    })
}
