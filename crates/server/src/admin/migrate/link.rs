//! The connection of a MIGRATE, and what goes over it.
//!
//! A connection is kept for a while for the next MIGRATE to the same place, unless it was opened with somebody's
//! password: nobody else is to act under that name.

use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_client::{Client, Reply};
use quorate_commands::CommandError;
use quorate_tls::Outgoing;

use super::{Parcel, Request};

/// How long a connection is kept that nobody uses, and how many are.
const KEPT_FOR: Duration = Duration::from_secs(10);
const MOST_KEPT: usize = 64;

/// Connections that are kept for the next MIGRATE.
#[derive(Default)]
pub struct Links(Mutex<Vec<Link>>);

impl Links {
    /// How many there are (`migrate_cached_sockets`).
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Closes those that have not been used for long.
    pub fn close_idle(&self) {
        self.0.lock().retain(|link| link.used.elapsed() < KEPT_FOR);
    }

    fn take(&self, request: &Request<'_>) -> Option<Link> {
        let mut links = self.0.lock();
        let at = links.iter().position(|link| *link.host == *request.host && *link.port == *request.port)?;
        Some(links.swap_remove(at))
    }
}

/// A connection.
pub(super) struct Link {
    client: Client,
    host: Box<[u8]>,
    port: Box<[u8]>,
    /// The database that is selected there, if that is known.
    db: Option<i64>,
    used: Instant,
    /// It was kept from an earlier MIGRATE: the other side may have closed it since.
    is_old: bool,
    may_be_kept: bool,
}

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It was not made.
    Connecting,
    /// Something was not sent.
    Writing,
    /// Something was not answered.
    Reading,
}

impl Broken {
    /// As the client hears of it.
    pub(super) fn into_error(self) -> CommandError {
        CommandError::text(match self {
            Broken::Connecting => "IOERR error or timeout connecting to the client",
            Broken::Writing => "IOERR error or timeout writing to target instance",
            Broken::Reading => "IOERR error or timeout reading to target instance",
        })
    }
}

impl Link {
    /// A kept connection or a new one.
    pub(super) fn to(links: &Links, request: &Request<'_>, tls: Option<&Outgoing>) -> Result<Link, Broken> {
        if request.credentials.is_empty()
            && let Some(mut link) = links.take(request)
            && link.client.set_limit(request.timeout).is_ok()
        {
            link.is_old = true;
            return Ok(link);
        }
        Link::open(request, tls)
    }

    fn open(request: &Request<'_>, tls: Option<&Outgoing>) -> Result<Link, Broken> {
        let host = std::str::from_utf8(request.host).map_err(|_| Broken::Connecting)?;
        let port = std::str::from_utf8(request.port).ok().and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
        let addresses = (host, port).to_socket_addrs().map_err(|_| Broken::Connecting)?;
        let mut broken = Broken::Connecting;
        for address in addresses {
            match Client::connect_over(address, tls, request.timeout) {
                Ok(client) => {
                    return Ok(Link {
                        client,
                        host: request.host.into(),
                        port: request.port.into(),
                        db: Some(0),
                        used: Instant::now(),
                        is_old: false,
                        may_be_kept: request.credentials.is_empty(),
                    });
                }
                // Redis notices a refusal when it writes.
                Err(error) => broken = if is_timeout(&error) { Broken::Connecting } else { Broken::Writing },
            }
        }
        Err(broken)
    }

    /// Keeps the connection for the next MIGRATE.
    pub(super) fn give_back(mut self, links: &Links, was_refused: bool) {
        let mut links = links.0.lock();
        if self.may_be_kept && links.len() < MOST_KEPT {
            self.used = Instant::now();
            if was_refused {
                // It may have been the choice of the database.
                self.db = None;
            }
            links.push(self);
        }
    }

    fn send(&mut self, request: &Request<'_>, parcels: &[Parcel<'_>]) -> io::Result<()> {
        if !request.credentials.is_empty() {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(request.credentials);
            self.client.push(&words);
        }
        if self.db != Some(request.db) {
            self.client.push(&[b"SELECT".as_slice(), request.db.to_string().as_bytes()]);
        }
        for parcel in parcels {
            let ttl = parcel.ttl.to_string();
            let mut words: Vec<&[u8]> = vec![request.restore, parcel.key, ttl.as_bytes(), &parcel.payload];
            if request.replaces {
                words.push(b"REPLACE");
            }
            self.client.push(&words);
        }
        self.client.flush()
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// What became of the parcels.
#[derive(Default)]
pub(super) struct Delivery {
    /// Which of them the other server has confirmed, as far as it has answered.
    pub(super) taken: Vec<bool>,
    /// The first error that it has answered with.
    pub(super) refusal: Option<Vec<u8>>,
    /// Why there are no more answers.
    pub(super) broken: Option<Broken>,
}

/// Sends the parcels and waits for what the other server says of each. If a kept connection turns out to be
/// closed, a new one takes its place.
pub(super) fn deliver(
    link: &mut Link,
    request: &Request<'_>,
    tls: Option<&Outgoing>,
    parcels: &[Parcel<'_>],
) -> Delivery {
    if parcels.is_empty() {
        return Delivery::default();
    }
    let (mut delivery, may_retry) = attempt(link, request, parcels);
    if may_retry && link.is_old {
        match Link::open(request, tls) {
            Ok(new) => {
                *link = new;
                delivery = attempt(link, request, parcels).0;
            }
            Err(broken) => delivery.broken = Some(broken),
        }
    }
    delivery
}

/// One attempt, and whether it failed so that another connection may do better.
fn attempt(link: &mut Link, request: &Request<'_>, parcels: &[Parcel<'_>]) -> (Delivery, bool) {
    let mut delivery = Delivery::default();
    // What precedes the parcels.
    let preludes = usize::from(!request.credentials.is_empty()) + usize::from(link.db != Some(request.db));
    if let Err(error) = link.send(request, parcels) {
        delivery.broken = Some(Broken::Writing);
        return (delivery, !is_timeout(&error));
    }
    let mut is_astray = false;
    for index in 0..preludes + parcels.len() {
        let refusal = match link.client.receive() {
            Ok(Reply::Error(text)) => Some(text),
            Ok(_) => None,
            Err(error) => {
                delivery.broken = Some(Broken::Reading);
                return (delivery, index == 0 && !is_timeout(&error));
            }
        };
        if index < preludes {
            // Behind a refused AUTH or SELECT nothing counts, wherever it went.
            is_astray |= refusal.is_some();
        } else {
            delivery.taken.push(refusal.is_none() && !is_astray);
        }
        delivery.refusal = delivery.refusal.or(refusal);
    }
    link.db = Some(request.db);
    (delivery, false)
}
