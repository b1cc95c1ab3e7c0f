//! A client of a cluster that keeps to a range of slots: it writes numbered values, follows MOVED and ASK, and asks anew who
//! owns what when a node fails. Several of them tell what befalls each range.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quorate_client::{Client, Reply};

const SLOTS: u16 = 16384;
/// How long a node may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a refused or broken attempt waits before the next.
const RETRY: Duration = Duration::from_millis(2);
/// How many values are read back at a time.
const BATCH: usize = 500;

/// The slot of a key without a hash tag: its CRC16 (XMODEM), as the cluster's specification has it.
fn slot(key: &str) -> u16 {
    let crc = key.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % SLOTS
}

fn key(number: u64) -> String {
    format!("demo:{number}")
}

/// Who owns which slot, by port, as far as the clients know.
#[derive(Debug)]
pub(crate) struct Routes {
    owners: Mutex<Vec<u16>>,
    /// Nodes that can be asked.
    ports: Mutex<Vec<u16>>,
}

impl Routes {
    /// Asks the nodes at these ports.
    pub(crate) fn learn(ports: Vec<u16>) -> Result<Routes> {
        let routes = Routes { owners: Mutex::new(vec![0; SLOTS.into()]), ports: Mutex::new(ports) };
        routes.refresh().context("ask a node who owns which slots")?;
        Ok(routes)
    }

    /// There is another node that can be asked.
    pub(crate) fn add(&self, port: u16) {
        locked(&self.ports).push(port);
    }

    /// The port of the owner of a slot; 0 if it has none.
    pub(crate) fn owner(&self, slot: u16) -> u16 {
        locked(&self.owners)[usize::from(slot)]
    }

    /// How many slots the node at this port owns.
    pub(crate) fn count(&self, port: u16) -> usize {
        locked(&self.owners).iter().filter(|&&owner| owner == port).count()
    }

    /// Asks again; the first node that answers is believed.
    pub(crate) fn refresh(&self) -> Result<()> {
        let ports = locked(&self.ports).clone();
        let map = ports.into_iter().find_map(|port| slots_by(port).ok()).context("no node tells its slots")?;
        *locked(&self.owners) = map;
        Ok(())
    }

    fn moved(&self, slot: u16, port: u16) {
        locked(&self.owners)[usize::from(slot)] = port;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(port: u16) -> std::io::Result<Client> {
    Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)
}

fn slots_by(port: u16) -> Result<Vec<u16>> {
    let Reply::Array(ranges) = connect(port)?.call(&["CLUSTER", "SLOTS"])? else { bail!("CLUSTER SLOTS is no array") };
    let mut map = vec![0; SLOTS.into()];
    for range in &ranges {
        let Reply::Array(parts) = range else { bail!("a range is no array") };
        let [Reply::Int(first), Reply::Int(last), Reply::Array(owner), ..] = &parts[..] else { bail!("no range") };
        let Some(&Reply::Int(port)) = owner.get(1) else { bail!("an owner has no port") };
        for slot in usize::try_from(*first)?..=usize::try_from(*last)? {
            *map.get_mut(slot).context("there is no such slot")? = u16::try_from(port)?;
        }
    }
    Ok(map)
}

/// The client, on a thread of its own.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    range: RangeInclusive<u16>,
    routes: Arc<Routes>,
    /// Of the numbers up to this those whose keys are in the range are acknowledged.
    acknowledged: AtomicU64,
    /// How many these are.
    count: AtomicU64,
    stop: AtomicBool,
    pause: Mutex<Pause>,
}

/// The longest time without an acknowledgement.
#[derive(Clone, Copy)]
struct Pause {
    last: Instant,
    longest: Duration,
}

impl Lane {
    pub(crate) fn start(routes: &Arc<Routes>, range: RangeInclusive<u16>) -> Lane {
        let shared = Arc::new(Shared {
            range,
            routes: Arc::clone(routes),
            acknowledged: AtomicU64::new(0),
            count: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            pause: Mutex::new(Pause { last: Instant::now(), longest: Duration::ZERO }),
        });
        let writing = Arc::clone(&shared);
        let thread = std::thread::spawn(move || writing.run());
        Lane { shared, thread: Some(thread) }
    }

    /// How many writes are acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Acquire)
    }

    /// Whether a write was acknowledged since.
    pub(crate) fn has_written_since(&self, since: Instant) -> bool {
        locked(&self.shared.pause).last > since
    }

    /// The longest time without an acknowledgement since this was asked last.
    pub(crate) fn longest_pause(&self) -> Duration {
        std::mem::take(&mut locked(&self.shared.pause).longest)
    }

    pub(crate) fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // What it had acknowledged before a panic counts all the same.
            let _ = thread.join();
        }
    }

    /// Reads back what was acknowledged; how much of it is not there.
    pub(crate) fn missing(&self) -> Result<u64> {
        let Shared { range, routes, acknowledged, .. } = &*self.shared;
        let numbers = 1..=acknowledged.load(Ordering::Acquire);
        let mut of: HashMap<u16, Vec<u64>> = HashMap::new();
        for number in numbers {
            let slot = slot(&key(number));
            if range.contains(&slot) {
                of.entry(routes.owner(slot)).or_default().push(number);
            }
        }
        let mut missing = 0;
        for (port, numbers) in of {
            let mut client = connect(port)?;
            for batch in numbers.chunks(BATCH) {
                batch.iter().for_each(|&number| client.push(&["GET", &key(number)]));
                client.flush()?;
                for &number in batch {
                    match client.receive()? {
                        Reply::Bulk(value) if value == number.to_string().as_bytes() => {}
                        Reply::Error(text) => bail!("GET {}: {}", key(number), String::from_utf8_lossy(&text)),
                        _ => missing += 1,
                    }
                }
            }
        }
        Ok(missing)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What became of one attempt.
enum Attempt {
    Done,
    /// The node at this port takes the next one, and only that.
    Ask(u16),
    Again,
}

impl Shared {
    fn run(&self) {
        let mut clients = HashMap::new();
        for number in 1.. {
            let (key, slot) = (key(number), slot(&key(number)));
            if !self.range.contains(&slot) {
                continue;
            }
            let mut asked = None;
            loop {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                match self.attempt(&mut clients, slot, asked.take(), [&key, &number.to_string()]) {
                    Attempt::Done => break,
                    Attempt::Ask(port) => asked = Some(port),
                    Attempt::Again => {}
                }
            }
            let mut pause = locked(&self.pause);
            let now = Instant::now();
            pause.longest = pause.longest.max(now.duration_since(pause.last));
            pause.last = now;
            self.acknowledged.store(number, Ordering::Release);
            self.count.fetch_add(1, Ordering::Release);
        }
    }

    fn attempt(
        &self,
        clients: &mut HashMap<u16, Client>,
        slot: u16,
        asked: Option<u16>,
        [key, value]: [&str; 2],
    ) -> Attempt {
        let port = asked.unwrap_or_else(|| self.routes.owner(slot));
        let mut set = || {
            let client = match clients.remove(&port) {
                Some(client) => client,
                None => connect(port)?,
            };
            let client = clients.entry(port).or_insert(client);
            if asked.is_some() {
                client.call(&["ASKING"])?;
            }
            client.call(&["SET", key, value])
        };
        let reply = set();
        match reply {
            Ok(Reply::Simple(text)) if text == b"OK" => return Attempt::Done,
            Ok(Reply::Error(text)) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let words: Vec<&str> = text.split(' ').collect();
                let to = words.get(2).and_then(|address| address.rsplit_once(':')?.1.parse().ok());
                match (words[0], to) {
                    ("MOVED", Some(to)) => {
                        self.routes.moved(slot, to);
                        return Attempt::Again;
                    }
                    ("ASK", Some(to)) => return Attempt::Ask(to),
                    _ => {}
                }
            }
            // What the connection still brings belongs to what was asked before.
            Ok(_) | Err(_) => drop(clients.remove(&port)),
        }
        std::thread::sleep(RETRY);
        // If nobody answers, the next attempt fails as well, and comes here again.
        let _ = self.routes.refresh();
        Attempt::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!([slot("foo"), slot("hello"), slot("")], [12182, 866, 0]);
    }
}
