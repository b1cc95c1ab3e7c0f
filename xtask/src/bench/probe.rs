//! The latency probe: one connection whose every round trip is timed, and the writers that may run beside it.
//!
//! The probe sends GET and SET in turn, one at a time, without a pause, and keeps the worst round trip only: what
//! users complain about is the one request that hung. It asks for real-time priority, since otherwise it would report
//! the times at which it had no core itself; where that is refused, compare with the quiet figures all the more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cases::{self, Batch, CLIENTS, Case, SET_P16, Walk};
use super::load::{self, Load};
use super::wire::Door;

/// A thread that runs until it is told to stop, or fails. Dropping it stops it.
struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Background {
    fn start(work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static) -> Background {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Background { stop, thread: Some(std::thread::spawn(move || work(&told))) }
    }

    fn finish(mut self) -> Result<()> {
        self.join().unwrap_or(Ok(()))
    }

    fn join(&mut self) -> Option<Result<()>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| bail!("a thread of the benchmark panicked")))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.join();
    }
}

pub(super) struct Probe {
    seen: Arc<Seen>,
    background: Background,
}

#[derive(Default)]
struct Seen {
    worst_nanos: AtomicU64,
    trips: AtomicU64,
}

impl Probe {
    /// Starts probing a server that holds `keys` keys.
    pub(super) fn start(port: u16, keys: u64) -> Result<Probe> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect the probe")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let seen = Arc::new(Seen::default());
        let ours = Arc::clone(&seen);
        let background = Background::start(move |stop| {
            become_realtime();
            probe(stream, keys, &ours, stop)
        });
        Ok(Probe { seen, background })
    }

    /// The worst round trip that ended since the last call. The one that is on its way is waited for, so that a stall
    /// counts for the time in which it began.
    pub(super) fn take_worst(&self) -> Result<Duration> {
        let trips = self.seen.trips.load(Ordering::Acquire);
        let running = || self.background.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        while self.seen.trips.load(Ordering::Acquire) == trips && running() {
            std::thread::sleep(Duration::from_micros(100));
        }
        if !running() {
            bail!("the probe has ended");
        }
        Ok(Duration::from_nanos(self.seen.worst_nanos.swap(0, Ordering::AcqRel)))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.background.finish().context("the probe")
    }
}

fn probe(mut stream: TcpStream, keys: u64, seen: &Seen, stop: &AtomicBool) -> Result<()> {
    let (get, set) = (cases::find("get")?, cases::find("set")?);
    let mut turns = [(get, get.batch(keys)), (set, set.batch(keys))];
    let mut inbox = [0; 1024];
    while !stop.load(Ordering::Relaxed) {
        for (case, batch) in &mut turns {
            let request = batch.next(1);
            let start = Instant::now();
            stream.write_all(request)?;
            let mut filled = 0;
            while load::reply_len(&inbox[..filled], case.reply)?.is_none() {
                match stream.read(&mut inbox[filled..])? {
                    0 => bail!("the server closed the connection"),
                    read => filled += read,
                }
            }
            seen.worst_nanos.fetch_max(start.elapsed().as_nanos() as u64, Ordering::AcqRel);
            seen.trips.fetch_add(1, Ordering::AcqRel);
        }
    }
    Ok(())
}

/// Real-time priority for the calling thread, if the kernel grants it.
fn become_realtime() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a live, initialised value, and the call only reads it.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
}

/// SETs of random keys in the background.
pub(super) struct Writers(Background);

/// How fast to write.
#[derive(Clone, Copy)]
pub(super) enum Rate {
    /// So many batches of 20 per second, on one connection.
    Batches(u32),
    /// As fast as the server answers, on 50 connections at pipeline 16.
    Full,
}

impl Writers {
    pub(super) fn start(port: u16, keys: u64, rate: Rate) -> Writers {
        let case: &Case = &SET_P16;
        let (clients, pipeline) = match rate {
            Rate::Batches(_) => (1, 20),
            Rate::Full => (CLIENTS, case.pipeline),
        };
        Writers(Background::start(move |stop| {
            let batch = Batch::new(case.request, pipeline, Walk::scattered(keys));
            let mut load = Load::connect(&Door::plain(port), clients, pipeline, batch, case.reply)?;
            let mut due = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                match rate {
                    Rate::Full => load.exactly(20_000)?,
                    Rate::Batches(per_second) => {
                        load.exactly(pipeline as u64)?;
                        // What could not be sent in time is left out: a burst after a stall would be a second stall.
                        due = (due + Duration::from_secs(1) / per_second).max(Instant::now());
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                }
            }
            Ok(())
        }))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.0.finish().context("the writers")
    }
}
