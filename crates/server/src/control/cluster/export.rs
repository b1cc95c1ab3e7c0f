//! The source of a migration: a thread that copies slots to another node, and then passes on what the log says of them.
//!
//! ```text
//!   slots, one bite after the other, under their locks ──┐
//!                                                        ├─► requests ─► the target, which confirms marks among them
//!   the log, up to where it stood at each bite ──────────┘
//! ```
//!
//! A bite is taken under a slot's lock, and so is the look at where the log ends then: what stands before that is passed on
//! first. So the target goes through the same states as we do, key by key; `tail` says what has to be passed on. Nobody waits
//! for this thread but whoever needs the slot during a bite, and its socket is its own to wait for.
//!
//! It decides nothing: it tells the machine how far it has come, and does what that says.

mod copy;
mod tail;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use quorate_cluster::{Epoch, GivingNews, Input, NodeId, Slots, TransferId};
use quorate_feed::Position;
use quorate_formats::rdb::WriteOptions;
use quorate_keyspace::{Db, Expiry, Member, Slot, SlotSet};
use quorate_resp::{Limits, Parsed, RequestParser, encode_request};
use quorate_stdx::{Offset, Rng};
use quorate_tls::Connection;

use copy::{Pace, Partial};
use tail::{Progress, Unmovable};

use crate::log;
use crate::server::{Server, unix_now};

/// Entries of a bite, and bytes after which it ends.
const BITE: usize = 64;
const BITE_BYTES: usize = 64 << 10;
/// What may be on its way and not confirmed: so much the target's other clients may have to wait for, and we when we hand over.
const WINDOW: u64 = 1 << 20;
/// After so many bytes the target is asked to confirm.
const STRIDE: u64 = 64 << 10;
/// How much of the log is looked at before the target's answers are.
const STRETCH: usize = 256 << 10;
/// How often the machine hears of it.
const NEWS: Duration = Duration::from_millis(10);
/// How long there may be nothing new at all.
const IDLE: Duration = Duration::from_millis(1);
/// So often a mark is sent at least, to show that we live.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long connecting may take, and how long the target may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long we ask whether the target is free of what an earlier migration has left, and knows that the slots are ours.
const TIDY_UP: Duration = Duration::from_secs(30);
/// A copy that was spoiled so often goes on while nobody writes.
const MOST_SPOILED: u32 = 2;

/// What the machine wants.
enum Go {
    Drain(Offset),
    Grant(Epoch),
}

/// An export under way; dropping it ends it.
pub(super) struct Export(Sender<Go>);

impl Export {
    pub(super) fn drain(&self, upto: u64) {
        self.tell(Go::Drain(Offset(upto)));
    }

    pub(super) fn grant(&self, epoch: Epoch) {
        self.tell(Go::Grant(epoch));
    }

    fn tell(&self, go: Go) {
        // The thread may have ended, and has said so.
        let _ = self.0.send(go);
    }
}

/// What is to be moved, and where to.
pub(super) struct Job {
    pub(super) id: TransferId,
    pub(super) me: NodeId,
    pub(super) slots: Slots,
    pub(super) ip: String,
    pub(super) port: u16,
}

/// Begins an export.
///
/// # Errors
/// There can be no thread.
pub(super) fn start(server: &Arc<Server>, job: Job) -> io::Result<Export> {
    let (orders, received) = unbounded();
    let server = Arc::clone(server);
    std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        let id = job.id;
        if let Err(End::Failed(news)) = run(&server, job, &received) {
            if let GivingNews::Broken(why) = &news {
                log::notice(&format!("Migration {id}: {why}"));
            }
            tell(&server, id, news);
        }
    })?;
    Ok(Export(orders))
}

/// Asks a target whether it has taken slots, once; no answer is no news.
pub(super) fn ask_verdict(server: &Arc<Server>, job: Job) {
    let server = Arc::clone(server);
    let ask = move || {
        let Ok(mut pipe) = Pipe::open(&server, &job) else { return };
        let mut words = vec![b"CLUSTER".to_vec(), b"SYNCSLOTS".to_vec(), b"VERDICT".to_vec()];
        words.extend(job.words());
        match pipe.call(&words) {
            Ok(word) if word == "TAKEN" => tell(&server, job.id, GivingNews::Verdict(true)),
            Ok(word) if word == "NEVER" => tell(&server, job.id, GivingNews::Verdict(false)),
            _ => {}
        }
    };
    if let Err(error) = std::thread::Builder::new().name("verdict".to_owned()).spawn(ask) {
        log::warning(&format!("Can't ask the target of a migration: {error}")); // The machine asks again.
    }
}

fn tell(server: &Arc<Server>, id: TransferId, news: GivingNews) {
    server.node().expect("only a node moves slots").submit(server, Input::Giving { id, news });
}

/// Why the thread ends.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    /// With this news.
    Failed(GivingNews),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Failed(GivingNews::Broken(format!("The connection to the target node was lost: {error}")))
    }
}

impl From<Unmovable> for End {
    fn from(Unmovable(why): Unmovable) -> End {
        End::Failed(GivingNews::Broken(why))
    }
}

impl Job {
    /// Name, source and slots, as SYNCSLOTS takes them.
    fn words(&self) -> Vec<Vec<u8>> {
        let mut words = vec![self.id.digits().to_vec(), self.me.digits().to_vec(), b"SLOTSRANGE".to_vec()];
        for (first, last) in self.slots.ranges() {
            words.push(first.to_string().into_bytes());
            words.push(last.to_string().into_bytes());
        }
        words
    }
}

// ---- the connection -------------------------------------------------------------------------------------------

/// The connection to the target.
struct Pipe {
    socket: Connection,
    input: Vec<u8>,
    out: Vec<u8>,
    /// Bytes sent in all, and those of them that are confirmed.
    sent: u64,
    confirmed: u64,
    /// Marks that are not confirmed: the bytes sent before, and the log's offset that they stand for.
    marks: VecDeque<(u64, Offset)>,
    /// How far in the log the target has come.
    reached: Offset,
    /// The target can't claim slots with the epoch that it was granted, because it knows of this one.
    outdated: Option<Epoch>,
    heard: Instant,
    marked: Instant,
}

impl Pipe {
    fn open(server: &Server, job: &Job) -> io::Result<Pipe> {
        let config = server.config.load();
        let address = (&*job.ip, job.port).to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
        let socket = crate::listen::connect(address, config.network.source_address.as_ref(), PATIENCE)?;
        socket.set_nodelay(true)?;
        let tls = server.tls.load();
        let tls = tls.as_ref().filter(|_| config.tls.cluster).map(|contexts| contexts.outgoing());
        let socket = Connection::over(socket, tls, PATIENCE)?;
        let now = Instant::now();
        let mut pipe = Pipe {
            socket,
            input: Vec::new(),
            out: Vec::new(),
            sent: 0,
            confirmed: 0,
            marks: VecDeque::new(),
            reached: Offset(0),
            outdated: None,
            heard: now,
            marked: now,
        };
        if let Some(password) = &config.replication.password {
            let mut words = vec![b"AUTH".to_vec()];
            words.extend(config.replication.user.as_ref().map(|user| user.as_bytes().to_vec()));
            words.push(password.reveal().to_vec());
            pipe.call(&words)?;
        }
        Ok(pipe)
    }

    /// Sends a request and waits for the line that answers it.
    fn call(&mut self, words: &[Vec<u8>]) -> io::Result<String> {
        encode_request(&mut self.out, words);
        self.flush()?;
        loop {
            if let Some(line) = self.take_line() {
                return match line.strip_prefix('-') {
                    Some(error) => Err(io::Error::other(error.trim_start_matches("ERR ").to_owned())),
                    None => Ok(line[1..].to_owned()),
                };
            }
            self.read()?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.out)?;
        self.sent += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let count = self.socket.read(&mut chunk)?;
        self.take_in(&chunk[..count])
    }

    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.heard = Instant::now();
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
    }

    /// Asks the target to confirm what is sent up to here, which is as far as `offset` in the log.
    fn mark(&mut self, offset: Offset) {
        encode_request(&mut self.out, &[b"CLUSTER".as_slice(), b"SYNCSLOTS", b"MARK"]);
        self.marks.push_back((self.sent + self.out.len() as u64, offset));
        self.marked = Instant::now();
    }

    /// Takes what the target has said, after waiting for it for so long at most.
    fn listen(&mut self, patience: Duration) -> Result<(), End> {
        let mut chunk = [0; 4096];
        if let Some(count) = self.socket.read_within(&mut chunk, patience)? {
            self.take_in(&chunk[..count])?;
        } else if !self.marks.is_empty() && self.heard.elapsed() > PATIENCE {
            return Err(io::Error::from(ErrorKind::TimedOut).into());
        }
        while let Some(line) = self.take_line() {
            if let Some(error) = line.strip_prefix('-') {
                match refusal(error) {
                    // It is granted another one through this connection.
                    GivingNews::Outdated(epoch) => self.outdated = Some(epoch),
                    news => return Err(End::Failed(news)),
                }
                continue;
            }
            if let Some((bytes, offset)) = self.marks.pop_front() {
                (self.confirmed, self.reached) = (bytes, offset);
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.sent + self.out.len() as u64 > self.confirmed + WINDOW
    }
}

/// What an error of the target means.
fn refusal(error: &str) -> GivingNews {
    let mut words = error.split(' ');
    match (words.next(), words.next().and_then(|epoch| epoch.parse().ok())) {
        (Some("EPOCH"), Some(epoch)) => GivingNews::Outdated(Epoch(epoch)),
        _ => GivingNews::Refused(format!("The target node refuses: {}", error.trim_start_matches("ERR "))),
    }
}

// ---- the work -------------------------------------------------------------------------------------------------

struct Work<'a> {
    server: &'a Arc<Server>,
    id: TransferId,
    member: Member,
    progress: Progress,
    pipe: Pipe,
    position: Arc<Position>,
    options: WriteOptions,
    /// What the log held last, if it ended within a request.
    rest: Vec<u8>,
    payload: Vec<u8>,
    drain: Option<Offset>,
    said: Instant,
    has_said_copied: bool,
}

fn run(server: &Arc<Server>, job: Job, orders: &Receiver<Go>) -> Result<(), End> {
    let broken =
        |error: io::Error| End::Failed(GivingNews::Broken(format!("Can't connect to the target node: {error}")));
    let mut pipe = Pipe::open(server, &job).map_err(broken)?;
    establish(&mut pipe, &job, orders)?;
    tell(server, job.id, GivingNews::Accepted);
    let from = server.feed.end();
    let Some(position) = server.feed.read_from(from) else {
        return Err(End::Failed(GivingNews::Broken("The log has moved on".to_owned())));
    };
    pipe.reached = from;
    let mut work = Work {
        server,
        id: job.id,
        member: server.space.join(),
        progress: Progress::new(job.slots),
        pipe,
        position,
        options: WriteOptions { compress: false, ..server.persistence.write_options(server) },
        rest: Vec::new(),
        payload: Vec::new(),
        drain: None,
        said: Instant::now(),
        has_said_copied: false,
    };
    let ended = work.run(orders);
    server.feed.forget(&work.position);
    ended
}

/// Whether a target that refuses may not do so in a moment: it is still deleting what it held of the slots before, or has yet to
/// hear that they are ours.
fn is_passing(refusal: &str) -> bool {
    refusal.contains("left over") || refusal.contains("as the target node knows")
}

/// Asks the target to take the slots, again and again while what it says against it is passing.
fn establish(pipe: &mut Pipe, job: &Job, orders: &Receiver<Go>) -> Result<(), End> {
    let mut words = vec![b"CLUSTER".to_vec(), b"SYNCSLOTS".to_vec(), b"ESTABLISH".to_vec()];
    words.extend(job.words());
    let begun = Instant::now();
    loop {
        match pipe.call(&words) {
            Ok(_) => return Ok(()),
            Err(error) if is_passing(&error.to_string()) && begun.elapsed() < TIDY_UP => {
                match orders.recv_timeout(Duration::from_millis(20)) {
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Err(End::Unwanted),
                    _ => continue,
                }
            }
            Err(error) if error.kind() == ErrorKind::Other => {
                return Err(End::Failed(GivingNews::Refused(format!("The target node refuses: {error}"))));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Work<'_> {
    fn run(&mut self, orders: &Receiver<Go>) -> Result<(), End> {
        loop {
            match orders.try_recv() {
                Ok(Go::Drain(upto)) => self.drain = Some(upto),
                Ok(Go::Grant(epoch)) => self.grant(epoch)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(End::Unwanted),
            }
            if self.server.stopping.load(std::sync::atomic::Ordering::Acquire) {
                return Err(End::Unwanted);
            }
            if self.pipe.is_full() {
                self.mark_if_due();
                self.pipe.flush()?;
                self.pipe.listen(NEWS)?;
            } else {
                self.advance()?;
            }
            self.report();
        }
    }

    /// Goes a step: a bite, or what the log has.
    fn advance(&mut self) -> Result<(), End> {
        let before = (self.pipe.sent + self.pipe.out.len() as u64, self.position.get());
        if self.progress.partial.is_some() || !self.progress.behind.is_empty() {
            self.copy_behind()?;
        } else if let Some((slot, cursor)) = self.progress.next() {
            self.copy_bite(slot, cursor)?;
        } else {
            self.follow_log(self.server.feed.end())?;
        }
        self.mark_if_due();
        if !self.pipe.out.is_empty() {
            self.pipe.flush()?;
        }
        // A slot without keys is no reason to wait for anything.
        let is_idle = self.progress.is_complete() && before == (self.pipe.sent, self.position.get());
        self.pipe.listen(if is_idle { IDLE } else { Duration::ZERO })
    }

    fn mark_if_due(&mut self) {
        let pipe = &mut self.pipe;
        let marked = pipe.marks.back().map_or(pipe.confirmed, |(bytes, _)| *bytes);
        let unmarked = pipe.sent + pipe.out.len() as u64 - marked;
        let here = self.position.get();
        // What concerns other slots only needs no hurry, unless the end of the log is waited for.
        let hurries = self.drain.is_some() || pipe.marked.elapsed() > NEWS;
        let is_news = pipe.marks.is_empty() && (unmarked > 0 || (hurries && here != pipe.reached));
        if unmarked >= STRIDE || is_news || pipe.marked.elapsed() > HEARTBEAT {
            pipe.mark(here);
        }
    }

    fn report(&mut self) {
        let reached = self.pipe.reached;
        if self.progress.is_complete() && !self.has_said_copied {
            self.has_said_copied = true;
            self.say(GivingNews::Copied);
        }
        if let Some(epoch) = self.pipe.outdated.take() {
            self.say(GivingNews::Outdated(epoch));
        }
        if let Some(upto) = self.drain.filter(|upto| reached >= *upto) {
            self.drain = None;
            self.say(GivingNews::Drained(upto.0));
        }
        if self.said.elapsed() >= NEWS {
            let behind = match self.progress.spoiled > MOST_SPOILED {
                // Writers have to wait, or this value is never copied.
                true => u64::MAX,
                false => self.server.feed.end().0.saturating_sub(reached.0),
            };
            self.say(GivingNews::Behind(behind));
        }
    }

    fn say(&mut self, news: GivingNews) {
        self.said = Instant::now();
        tell(self.server, self.id, news);
    }

    fn grant(&mut self, epoch: Epoch) -> io::Result<()> {
        let epoch = epoch.to_string();
        let words: [&[u8]; 5] = [b"CLUSTER", b"SYNCSLOTS", b"TAKE", &self.id.digits(), epoch.as_bytes()];
        encode_request(&mut self.pipe.out, &words);
        self.pipe.flush()
    }

    /// Copies some keys of a slot, and passes on what the log says up to then.
    fn copy_bite(&mut self, slot: Slot, cursor: u64) -> Result<(), End> {
        let Work { server, member, options, payload, .. } = self;
        let mut bytes = Vec::new();
        let mut large: Vec<Box<[u8]>> = Vec::new();
        let scope = scope(server);
        member.enter();
        let view = member.view(SlotSet::One(slot), &scope);
        let mut next = cursor;
        // What is as large as that is taken by itself: the scan can't stop within what it was asked for.
        for _ in 0..BITE {
            next = view.scan_slot(Db(0), slot, next, 1, |entry| {
                if copy::is_large(entry.value()) {
                    large.push(entry.key().into());
                } else {
                    copy::whole(&mut bytes, entry, options, payload);
                }
            });
            if next == 0 || bytes.len() >= BITE_BYTES {
                break;
            }
        }
        let end = server.feed.end();
        drop(view);
        member.leave();
        self.follow_log(end)?;
        self.pipe.out.extend_from_slice(&bytes);
        self.progress.advance(next);
        self.progress.behind.extend(large);
        Ok(())
    }

    /// Copies a key that is behind, or the next piece of one.
    fn copy_behind(&mut self) -> Result<(), End> {
        let Some(mut partial) = self.progress.partial.take() else { return self.copy_one_behind() };
        let mut bytes = Vec::new();
        let (pace, end) = self.look(&partial.key.clone(), |entry, _, _| partial.step(entry, &mut bytes));
        self.progress.partial = Some(partial);
        self.follow_log(end)?;
        if self.progress.partial.is_none() {
            return Ok(()); // What the log says has spoiled it.
        }
        match pace {
            Pace::More => self.pipe.out.extend_from_slice(&bytes),
            Pace::Done => {
                self.pipe.out.extend_from_slice(&bytes);
                self.progress.partial = None;
                self.progress.spoiled = 0;
            }
            Pace::Spoiled => self.progress.spoil(),
        }
        Ok(())
    }

    fn copy_one_behind(&mut self) -> Result<(), End> {
        let key = self.progress.behind.first().expect("the caller has looked").clone();
        let mut bytes = Vec::new();
        let (partial, end) = self.look(&key, |entry, options, payload| {
            match entry {
                Some(entry) if !copy::is_large(entry.value()) => copy::whole(&mut bytes, entry, options, payload),
                // Whatever it was there, it is nothing now, or begins anew.
                _ => encode_request(&mut bytes, &[b"DEL".as_slice(), &key]),
            }
            entry.filter(|entry| copy::is_large(entry.value())).map(Partial::begin)
        });
        self.follow_log(end)?;
        self.pipe.out.extend_from_slice(&bytes);
        self.progress.behind.remove(&key);
        self.progress.partial = partial;
        Ok(())
    }

    /// Looks at a key under its slot's lock, and at where the log ends meanwhile.
    fn look<R>(
        &mut self,
        key: &[u8],
        look: impl FnOnce(Option<&quorate_keyspace::Record>, &WriteOptions, &mut Vec<u8>) -> R,
    ) -> (R, Offset) {
        let scope = scope(self.server);
        self.member.enter();
        let view = self.member.view(SlotSet::of_keys(std::iter::once(key)), &scope);
        let result = look(view.peek_raw(Db(0), key), &self.options, &mut self.payload);
        let end = self.server.feed.end();
        drop(view);
        self.member.leave();
        (result, end)
    }

    /// Passes on what the log says of our slots, up to `end`.
    fn follow_log(&mut self, end: Offset) -> Result<(), End> {
        let limits = Limits::authenticated(usize::MAX);
        while self.position.get() < end {
            let wanted = ((end.0 - self.position.get().0) as usize).min(STRETCH);
            let stretch = self.server.feed.stretch(&self.position, wanted);
            if stretch.is_empty() {
                let why = "The log was given up while slots were moved";
                return Err(End::Failed(GivingNews::Broken(why.to_owned())));
            }
            let mut bytes = std::mem::take(&mut self.rest);
            stretch.slices().for_each(|slice| bytes.extend_from_slice(slice));
            self.position.set(self.position.get().advance(stretch.len()));
            let mut at = 0;
            let mut parser = RequestParser::default();
            while let Parsed::Request(len) = parser.parse(&bytes[at..], &limits) {
                let words: Vec<&[u8]> = parser.arguments(&bytes[at..]).collect();
                if !words.is_empty() {
                    self.progress.follow(&words, &bytes[at..at + len], &mut self.pipe.out)?;
                }
                drop(words);
                at += len;
                parser.clear();
            }
            bytes.drain(..at);
            self.rest = bytes;
        }
        Ok(())
    }
}

/// Entries are copied whether their time has come or not: when they are removed, the log says so.
fn scope(server: &Server) -> quorate_keyspace::Scope {
    let scope = server.published().scope(unix_now(), Rng::new(0));
    quorate_keyspace::Scope { expiry: Expiry::Ignore, ..scope }
}
