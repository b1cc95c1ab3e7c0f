//! Snapshots for replicas: begun at one moment, walked by a thread of their own, and sent as they are taken
//! or, when the machine wants them on disk first, from a file.
//!
//! A thread that sends waits for sockets; it is no member of the keyspace while it does. The log is held
//! from the snapshot's moment on until the machine ends the snapshot, and then for each replica by its
//! own position.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_keyspace::{Alone, Walk};
use quorate_replication::primary::{self, Target};
use quorate_replication::wire::Framing;
use quorate_replication::{Input, PeerId, SnapshotId};
use quorate_stdx::Offset;

use super::Inner;
use crate::data::client::ClientId;
use crate::data::replicas::Link;
use crate::log;
use crate::persist::Snapshot;
use crate::persist::save::without_keys;
use crate::process;
use crate::server::Server;
use quorate_feed::Position;

/// How often the machine hears that a snapshot moves.
const NEWS: Duration = Duration::from_secs(1);
/// How much of a file is sent at once.
const PIECE: usize = 256 << 10;

/// A snapshot that is taken, or was and is being sent.
pub(super) struct Taking {
    target: Target,
    /// What is to be sent, until its thread has started.
    begun: Option<Begun>,
    /// Who gets it as it is taken, and the mark behind it.
    live: Vec<Arc<Link>>,
    mark: [u8; 40],
    /// Where it lies, if it is taken to disk; the file has no name any more.
    file: Option<Arc<File>>,
    cancelled: Arc<AtomicBool>,
    /// The walk, to end it early.
    walk: Option<Arc<Walk>>,
    /// Holds the log from its moment on.
    hold: Option<Arc<Position>>,
}

/// What a snapshot's thread is to send.
enum Begun {
    /// The dataset as it was at this walk's moment.
    Walk(Snapshot),
    /// A file without keys, which needs no walk.
    WithoutKeys(Vec<u8>),
}

impl Begun {
    fn walk(&self) -> Option<Arc<Walk>> {
        match self {
            Begun::Walk(snapshot) => Some(Arc::clone(snapshot.walk())),
            Begun::WithoutKeys(_) => None,
        }
    }

    /// See [`Snapshot::bound`].
    fn bound(&mut self, bound: usize, patience: Duration) {
        if let Begun::Walk(snapshot) = self {
            snapshot.bound(bound, patience);
        }
    }

    /// Hands the bytes to `take`, piece by piece. If it is a walk, that is over when this returns.
    fn run(self, server: &Server, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Begun::Walk(snapshot) => snapshot.run(server, &mut server.space.join(), take),
            Begun::WithoutKeys(bytes) => take(&bytes),
        }
    }
}

impl Inner {
    pub(super) fn take_snapshot(&mut self, server: &Arc<Server>, alone: &mut Alone<'_>, order: primary::Output) {
        let primary::Output::TakeSnapshot { id, target, filter } = order else { return };
        if filter.keys && server.persistence.is_walking() {
            self.postponed = Some(order);
            return;
        }
        let file = match target {
            Target::Replicas => None,
            Target::Disk => match unnamed_file(server) {
                Ok(file) => Some(Arc::new(file)),
                Err(error) => {
                    log::warning(&format!("Can't create a file for a replica's snapshot: {error}"));
                    self.inputs.push_front(Input::Primary(primary::Input::SnapshotFailed { id }));
                    return;
                }
            },
        };
        let at = server.feed.end();
        // Who begins to read here knows no database.
        server.feed.force_select();
        let begun = match filter.keys {
            true => Begun::Walk(Snapshot::begin(server, alone)),
            false => Begun::WithoutKeys(without_keys(server)),
        };
        let taking = Taking {
            target,
            walk: begun.walk(),
            begun: Some(begun),
            live: Vec::new(),
            mark: [0; 40],
            file,
            cancelled: Arc::default(),
            hold: server.feed.read_from(at),
        };
        self.snapshots.insert(id, taking);
        self.inputs.push_front(Input::Primary(primary::Input::SnapshotTaken { id, at }));
    }

    /// Tries again what had to wait for another walk.
    pub(super) fn retry_postponed(&mut self, server: &Server) {
        if !server.persistence.is_walking()
            && let Some(order) = self.postponed.take()
        {
            self.outputs.push_back(quorate_replication::Output::Primary(order));
        }
    }

    pub(super) fn send_snapshot(&mut self, server: &Arc<Server>, id: SnapshotId, link: Arc<Link>, framing: Framing) {
        let Some(taking) = self.snapshots.get_mut(&id) else { return };
        link.write_line(format!("{}\r\n", framing.line()).as_bytes());
        match (framing, &taking.file) {
            (Framing::Mark(mark), _) => {
                taking.mark = mark;
                taking.live.push(link);
            }
            (Framing::Length(bytes), Some(file)) => {
                let (file, cancelled) = (Arc::clone(file), Arc::clone(&taking.cancelled));
                let (sender, client) = (Arc::clone(server), link.client);
                let send = move |()| send_file(&sender, id, &link, &file, bytes, &cancelled);
                if let Err(((), error)) = start(named("send-rdb"), (), send) {
                    report_refusal(&error);
                    server.condemn(client);
                }
            }
            (Framing::Length(_), None) => unreachable!("only what was written to disk has a length"),
        }
    }

    pub(super) fn end_snapshot(&mut self, server: &Server, id: SnapshotId) {
        let Some(taking) = self.snapshots.get_mut(&id) else { return };
        taking.cancelled.store(true, Ordering::Release);
        if let Some(walk) = &taking.walk {
            walk.cancel();
        }
        if let Some(hold) = taking.hold.take() {
            server.feed.forget(&hold);
        }
        // A walk that has begun is ended by its thread, also if that has not started yet.
        if taking.begun.is_none() {
            self.snapshots.remove(&id);
        }
    }

    /// Starts the threads of snapshots whose members are known.
    pub(super) fn start_snapshots(&mut self, server: &Arc<Server>) {
        let ids: Vec<SnapshotId> =
            self.snapshots.iter().filter(|(_, taking)| taking.begun.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            let untold = |input: &Input| matches!(input, Input::Primary(primary::Input::SnapshotTaken { id: of, .. }) if *of == id);
            if self.inputs.iter().any(untold) {
                continue; // Its members are not known yet.
            }
            let Some(taking) = self.snapshots.get_mut(&id) else { continue };
            let Some(snapshot) = taking.begun.take() else { continue };
            let cancelled = Arc::clone(&taking.cancelled);
            let taker = Arc::clone(server);
            let started = match (&taking.file, taking.target) {
                (Some(file), Target::Disk) => {
                    let file = Arc::clone(file);
                    let work = move |snapshot| write_file(&taker, id, snapshot, &file, &cancelled);
                    start(named("save-for-replicas"), snapshot, work)
                }
                _ => {
                    let (links, mark) = (std::mem::take(&mut taking.live), taking.mark);
                    let work = move |snapshot| send_live(&taker, id, snapshot, links, &mark, &cancelled);
                    start(named("send-rdb"), snapshot, work)
                }
            };
            if let Err((snapshot, error)) = started {
                // A walk is ended by a thread of its own also when it is given up; that is tried at each turn.
                taking.begun = Some(snapshot);
                self.give_up_snapshot(id, &error);
                return;
            }
            if taking_is_over(self.snapshots.get(&id)) {
                self.snapshots.remove(&id);
            }
        }
    }
}

impl Inner {
    /// No thread can take this snapshot now: the machine lets its replicas go, and they will ask again.
    fn give_up_snapshot(&mut self, id: SnapshotId, error: &io::Error) {
        let Some(taking) = self.snapshots.get(&id) else { return };
        // Told once; afterwards it is only to be ended.
        if !taking.cancelled.swap(true, Ordering::AcqRel) {
            report_refusal(error);
            if let Some(walk) = &taking.walk {
                walk.cancel();
            }
            self.inputs.push_back(Input::Primary(primary::Input::SnapshotFailed { id }));
        }
    }
}

fn taking_is_over(taking: Option<&Taking>) -> bool {
    taking.is_some_and(|taking| taking.cancelled.load(Ordering::Acquire))
}

fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

fn report_refusal(error: &io::Error) {
    log::warning(&format!("Can't start a thread for a replica's snapshot: {error}"));
}

/// Starts a thread that works on `subject`, or gives that back if the operating system refuses.
fn start<T: Send + 'static>(
    thread: Builder,
    subject: T,
    work: impl FnOnce(T) + Send + 'static,
) -> Result<(), (T, io::Error)> {
    let subject = Arc::new(Mutex::new(Some(subject)));
    let taken = Arc::clone(&subject);
    let run = move || {
        process::step_back();
        let subject = taken.lock().take().expect("it was put there for this thread alone");
        work(subject);
    };
    match thread.spawn(run) {
        Ok(_) => Ok(()),
        Err(error) => Err((subject.lock().take().expect("no thread has taken it"), error)),
    }
}

/// A file in the server's folder that goes when it is closed, whatever happens to the process.
fn unnamed_file(_server: &Server) -> io::Result<File> {
    let path = std::path::PathBuf::from(format!("temp-repl-{}-{}.rdb", std::process::id(), rand::random::<u32>()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Sends a snapshot while it is taken. Who is too slow for `repl-timeout` is dropped by the machine.
fn send_live(
    server: &Arc<Server>,
    id: SnapshotId,
    mut snapshot: Begun,
    mut links: Vec<Arc<Link>>,
    mark: &[u8; 40],
    cancelled: &AtomicBool,
) {
    // No writer ever waits for a replica: one that falls so far behind is dropped, as if it were behind in the stream.
    let limit = server.published().output_limits[1].hard;
    snapshot.bound(if limit == 0 { usize::MAX } else { limit }, Duration::ZERO);
    let told = Cell::new(Instant::now());
    let stop = || cancelled.load(Ordering::Acquire);
    // While one is waited for, all that has been written for the others moves: only that one may be stuck.
    let moved = |links: &[Arc<Link>], waits_for: Option<ClientId>| {
        if told.get().elapsed() >= NEWS {
            told.set(Instant::now());
            for link in links.iter().filter(|link| Some(link.client) != waits_for) {
                news(server, primary::Input::SnapshotMoved { replica: PeerId(link.client.0) });
            }
        }
    };
    let result = snapshot.run(server, &mut |bytes| {
        let waiting = |link: &Link| {
            moved(&links, Some(link.client));
            stop()
        };
        let gone: Vec<ClientId> = links
            .iter()
            .filter(|link| link.write_all(bytes, &|| waiting(link)).is_err())
            .map(|link| link.client)
            .collect();
        links.retain(|link| !gone.contains(&link.client));
        if links.is_empty() {
            return Err(io::Error::other("no replica is left to receive it"));
        }
        moved(&links, None);
        Ok(())
    });
    if let Err(error) = result {
        if !stop() {
            log::warning(&format!("The snapshot for replicas ended early: {error}"));
            news(server, primary::Input::SnapshotFailed { id });
        }
        return;
    }
    for link in &links {
        if link.write_all(mark, &stop).is_ok() {
            news(server, primary::Input::SnapshotSent { id, replica: PeerId(link.client.0) });
        }
    }
}

fn write_file(server: &Arc<Server>, id: SnapshotId, snapshot: Begun, file: &File, cancelled: &AtomicBool) {
    let mut output = BufWriter::with_capacity(PIECE, file);
    let written = snapshot.run(server, &mut |bytes| {
        if cancelled.load(Ordering::Acquire) {
            return Err(io::Error::other("no replica is left to receive it"));
        }
        output.write_all(bytes)
    });
    let length = written.and_then(|()| output.flush()).and_then(|()| Ok(file.metadata()?.len()));
    drop(output);
    match length {
        Ok(bytes) => news(server, primary::Input::SnapshotWritten { id, bytes }),
        Err(error) => {
            if !cancelled.load(Ordering::Acquire) {
                log::warning(&format!("Writing a snapshot for replicas failed: {error}"));
                news(server, primary::Input::SnapshotFailed { id });
            }
        }
    }
}

fn send_file(server: &Arc<Server>, id: SnapshotId, link: &Link, file: &File, bytes: u64, cancelled: &AtomicBool) {
    let replica = PeerId(link.client.0);
    let mut piece = vec![0; PIECE];
    let mut told = Instant::now();
    let mut at = Offset(0);
    while at.0 < bytes {
        let wanted = usize::try_from(bytes - at.0).unwrap_or(PIECE).min(PIECE);
        // Several replicas read the same file: each at its own place.
        let read = std::os::unix::fs::FileExt::read_at(file, &mut piece[..wanted], at.0);
        match read {
            Ok(count) if count > 0 => {
                if link.write_all(&piece[..count], &|| cancelled.load(Ordering::Acquire)).is_err() {
                    return;
                }
                at = at.advance(count);
            }
            outcome => {
                log::warning(&format!("Reading a replica's snapshot back failed at byte {at}: {outcome:?}"));
                return server.condemn(link.client);
            }
        }
        if told.elapsed() >= NEWS {
            told = Instant::now();
            news(server, primary::Input::SnapshotMoved { replica });
        }
    }
    news(server, primary::Input::SnapshotSent { id, replica });
}

fn news(server: &Arc<Server>, input: primary::Input) {
    server.control.submit(server, Input::Primary(input));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_thread_can_be_started_for_is_given_back() {
        let (told, news) = crossbeam_channel::bounded(1);
        assert!(start(named("good"), 7, move |subject| told.send(subject).expect("somebody listens")).is_ok());
        assert_eq!(news.recv(), Ok(7));
        // No machine has room for such a stack.
        let refused = start(named("refused").stack_size(1 << 46), 7, |_| unreachable!("there is no such thread"));
        assert_eq!(refused.map_err(|(subject, _)| subject), Err(7));
    }
}
