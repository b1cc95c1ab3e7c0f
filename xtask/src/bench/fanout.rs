//! What it costs to pass one message on to many subscribers.
//!
//! One connection publishes, as often as it is answered; a hundred others listen, and a thread beside the load generator
//! takes in what they get. The figure is the server's CPU for each message that one subscriber gets.

use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::cases::{Batch, Part, Reply, Walk};
use super::load::{Bounds, Load};
use super::options::Effort;
use super::proc;
use super::progress;
use super::report::{Figure, Unit};
use super::server::{Kind, Launch, Launcher, Place, Server};
use super::stats::Samples;

const SUBSCRIBERS: usize = 100;
const PIPELINE: usize = 16;
const PUBLISH: &[Part] = &[Part::Word("PUBLISH"), Part::Word("channel"), Part::Value];
/// How long the last messages may be on their way.
const PATIENCE: Duration = Duration::from_secs(30);

struct Subject {
    kind: Kind,
    server: Server,
    load: Load,
    listeners: Listeners,
    nanos: Vec<f64>,
    messages_a_second: Vec<f64>,
}

pub(super) fn cost(launcher: &Launcher, kinds: &[Kind], effort: &Effort) -> Result<Vec<Figure>> {
    let mut subjects = Vec::new();
    for &kind in kinds {
        let server = launcher.start(&Launch::of(kind, Place::ServerCore))?;
        let listeners = Listeners::start(server.port)?;
        let batch = Batch::new(PUBLISH, PIPELINE, Walk::ascending(1));
        let load = Load::connect(&server.door, 1, PIPELINE, batch, Reply::Integer(SUBSCRIBERS as u64))?;
        server.pause()?;
        subjects.push(Subject { kind, server, load, listeners, nanos: Vec::new(), messages_a_second: Vec::new() });
    }
    for round in 0..effort.rounds {
        progress::show(&format!("fanout round {}/{}", round + 1, effort.rounds));
        subjects.rotate_left(usize::from(round > 0));
        for subject in &mut subjects {
            subject.round(effort).with_context(|| format!("fanout {}", subject.kind.name()))?;
        }
    }
    progress::clear();
    let mut nanos = Figure::new(format!("CPU per message to one of {SUBSCRIBERS} subscribers"), Unit::Nanos);
    let mut pace = Figure::new(format!("messages a second to {SUBSCRIBERS} subscribers, thousands"), Unit::Times);
    subjects.sort_by_key(|subject| kinds.iter().position(|&kind| kind == subject.kind));
    for subject in subjects {
        nanos.push(subject.kind, subject.nanos.iter().copied().collect::<Samples>());
        pace.push(subject.kind, subject.messages_a_second.iter().map(|pace| pace / 1000.0).collect::<Samples>());
        subject.listeners.finish()?;
    }
    Ok(vec![nanos, pace])
}

impl Subject {
    fn round(&mut self, effort: &Effort) -> Result<()> {
        self.server.resume()?;
        let pid = self.server.pid();
        let before = (self.listeners.bytes(), proc::cpu(pid)?, Instant::now());
        let bounds = Bounds { warmup: Duration::ZERO, window: effort.window, requests: u64::MAX };
        self.load.measure(bounds, || Ok(Duration::ZERO))?;
        // What was published has to arrive, too, and belongs to what was paid for.
        let messages = self.listeners.settle(before.0)?;
        let (cpu, elapsed) = (proc::cpu(pid)?.saturating_sub(before.1), before.2.elapsed());
        self.nanos.push(cpu.as_nanos() as f64 / messages as f64);
        self.messages_a_second.push(messages as f64 / elapsed.as_secs_f64());
        self.server.pause()
    }
}

/// The connections that listen, and the thread that takes in what they get.
struct Listeners {
    bytes: Arc<AtomicU64>,
    /// What one message to one of them is, bytes.
    message: u64,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Listeners {
    fn start(port: u16) -> Result<Listeners> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::with_capacity(SUBSCRIBERS);
        for token in 0..SUBSCRIBERS {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect a subscriber")?;
            subscribe(&mut stream)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN)?;
            streams.push(stream);
        }
        let (bytes, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, told) = (Arc::clone(&bytes), Arc::clone(&stop));
        let thread = std::thread::spawn(move || take_in(&epoll, &streams, &counted, &told));
        let value = "x".repeat(super::cases::VALUE_LEN);
        let message = format!("*3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n${}\r\n{value}\r\n", value.len()).len() as u64;
        Ok(Listeners { bytes, message, stop, thread: Some(thread) })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Waits until nothing more comes; how many messages have come since there were `before` bytes.
    fn settle(&self, before: u64) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let whole = self.message * SUBSCRIBERS as u64;
        loop {
            let seen = self.bytes();
            std::thread::sleep(Duration::from_millis(20));
            if self.bytes() == seen && (seen - before).is_multiple_of(whole) {
                ensure!(seen > before, "no message has come");
                return Ok((seen - before) / self.message);
            }
            ensure!(Instant::now() < deadline, "messages are missing after {PATIENCE:?}");
        }
    }

    fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("it is finished once")?;
        thread.join().unwrap_or_else(|_| bail!("a thread of the benchmark panicked"))
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn subscribe(stream: &mut TcpStream) -> Result<()> {
    use std::io::{Read as _, Write as _};
    stream.write_all(b"*2\r\n$9\r\nSUBSCRIBE\r\n$7\r\nchannel\r\n")?;
    let mut reply = [0; b"*3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n".len()];
    stream.read_exact(&mut reply).context("subscribe")?;
    ensure!(reply.ends_with(b":1\r\n"), "it does not subscribe");
    Ok(())
}

fn take_in(epoll: &OwnedFd, streams: &[TcpStream], counted: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let mut inbox = vec![0; 256 * 1024];
    let mut events = Vec::with_capacity(SUBSCRIBERS);
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !stop.load(Ordering::Acquire) {
        match epoll::wait(epoll, spare_capacity(&mut events), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            waited => waited?,
        };
        for event in events.drain(..) {
            match rustix::io::read(streams[event.data.u64() as usize].as_fd(), &mut *inbox) {
                Ok(0) => bail!("the server closed a subscriber"),
                Ok(read) => _ = counted.fetch_add(read as u64, Ordering::AcqRel),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("read messages"),
            }
        }
    }
    Ok(())
}
