//! The link to our primary, up to the moment when its stream flows: a thread that connects, reads lines,
//! receives a snapshot and loads it. Then the socket goes to a network thread, which applies the stream
//! as it runs any client's requests (`data/stream.rs`), and this thread ends.
//!
//! ```text
//!   connect ─► lines ───────────────────────────────► +CONTINUE ─► Go::Stream ─► a network thread
//!                └─► $len, $EOF ─► Go::Receive ─► Go::Load ──────────┘
//! ```
//!
//! The thread tells the machine what it reads and stops where the machine has to decide; a link that is
//! ended closes the channel and the socket, and the thread ends wherever it is.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, Write};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use quorate_config::DisklessLoad;
use quorate_keyspace::{Alone, Db, Keyspace, Member};
use quorate_replication::wire::{Framing, Origin, PsyncReply, Reply, Request};
use quorate_replication::{Addr, Input, LinkId, replica};
use rustix::event::{PollFd, PollFlags};

use crate::data::client::{Client, Closing, Socket};
use crate::data::stream;
use crate::data::worker::Mail;
use crate::log;
use crate::persist::load;
use crate::server::{Loading, Server, unix_now};

/// The longest line of a handshake, and the longest INFO, that is read.
const LINE_MAX: usize = 64 << 10;
const INFO_MAX: usize = 4 << 20;
/// How long our primary may take to accept us, and then to agree how to encrypt.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a snapshot is read at once.
const PIECE: usize = 256 << 10;
/// How often the machine hears that a snapshot moves.
const NEWS: Duration = Duration::from_secs(1);

/// What the machine wants the link's thread to do next.
#[derive(Debug, Clone, Copy)]
pub enum Go {
    /// Receive the snapshot aside.
    Receive(Framing),
    /// Put it in the place of our dataset.
    Load,
    /// Give the socket to a network thread.
    Stream,
}

/// A link, as the control plane holds it.
pub struct Upstream {
    /// Its number.
    pub link: LinkId,
    go: Mutex<Option<Sender<Go>>>,
    socket: OnceLock<Socket>,
    ended: AtomicBool,
    /// The machine has said that the stream begins.
    streams: AtomicBool,
    /// The answer to INFO is awaited: a bulk string is not a snapshot then.
    awaits_info: AtomicBool,
    /// The client that applies the stream.
    client: OnceLock<Arc<Client>>,
}

/// Begins a link.
///
/// # Errors
/// The operating system has no thread for it.
pub(super) fn connect(server: &Arc<Server>, link: LinkId, to: Addr) -> io::Result<Arc<Upstream>> {
    let (go, orders) = unbounded();
    let upstream = Arc::new(Upstream {
        link,
        go: Mutex::new(Some(go)),
        socket: OnceLock::new(),
        ended: AtomicBool::new(false),
        streams: AtomicBool::new(false),
        awaits_info: AtomicBool::new(false),
        client: OnceLock::new(),
    });
    let (server, shared) = (Arc::clone(server), Arc::clone(&upstream));
    let work = move || {
        if let Err(error) = run(&server, &shared, &orders, &to)
            && !shared.has_ended()
        {
            tell(&server, replica::Input::LinkDown { link, why: error.to_string() });
        }
    };
    std::thread::Builder::new().name("upstream".to_owned()).spawn(work)?;
    Ok(upstream)
}

impl Upstream {
    /// Whether the stream was let flow.
    pub fn streams(&self) -> bool {
        self.streams.load(Ordering::Acquire)
    }

    /// Whether the link was ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Names the client that applies the stream.
    pub fn adopted(&self, client: &Arc<Client>) {
        // A link is adopted once: its socket has been moved.
        let _ = self.client.set(Arc::clone(client));
    }

    /// Says what comes next.
    pub(super) fn go(&self, go: Go) {
        if let Go::Stream = go {
            self.streams.store(true, Ordering::Release);
        }
        if let Some(sender) = &*self.go.lock() {
            // The thread may have ended with an error, which is on its way to the machine.
            let _ = sender.send(go);
        }
    }

    /// Writes a request. It is small, and the socket's buffer empty but in a crisis: a link that takes no
    /// request is broken.
    pub(super) fn send(&self, request: &Request) {
        let Some(socket) = self.socket.get() else { return };
        if let Request::Info = request {
            self.awaits_info.store(true, Ordering::Release);
        }
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        let mut to = socket;
        if !matches!(to.write(&bytes), Ok(count) if count == bytes.len()) {
            // Whoever reads from it notices.
            socket.shut();
        }
    }

    /// Whether something has come that was not read.
    pub(super) fn has_unread(&self) -> bool {
        self.socket.get().is_some_and(|socket| rustix::io::ioctl_fionread(socket).is_ok_and(|count| count > 0))
    }

    /// Stops what is received or loaded.
    pub(super) fn abort(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Applies what has come and was not read, if the stream flows: see [`stream::drain`].
    pub(super) fn drain(&self, server: &Arc<Server>, alone: &mut Alone<'_>, more_may_come: bool) {
        if let Some(client) = self.client.get().filter(|_| self.streams() && !self.has_ended()) {
            stream::drain(server, alone, client, more_may_come);
        }
    }

    /// Ends the link. If it streams, the caller is alone: no byte is applied after this.
    pub(super) fn end(&self, server: &Server) {
        self.ended.store(true, Ordering::Release);
        *self.go.lock() = None;
        if let Some(socket) = self.socket.get() {
            socket.shut();
        }
        if let Some(client) = self.client.get() {
            debug_assert!(self.streams());
            // SAFETY: the caller is alone.
            unsafe { client.session() }.closing = Some(Closing::Now);
            client.condemn();
            server.mail(client.worker, Mail::Look(client.id));
        }
    }
}

fn tell(server: &Arc<Server>, input: replica::Input) {
    server.control.submit(server, Input::Replica(input));
}

/// What the parts of the thread need.
#[derive(Clone, Copy)]
struct Job<'a> {
    server: &'a Arc<Server>,
    upstream: &'a Arc<Upstream>,
}

/// The thread. An error is the news that the link is down.
fn run(server: &Arc<Server>, upstream: &Arc<Upstream>, orders: &Receiver<Go>, to: &Addr) -> io::Result<()> {
    let link = upstream.link;
    let socket = dial(server, to)?;
    // The first to set it; the control plane only reads.
    let _ = upstream.socket.set(socket.try_clone()?);
    if let Socket::Tls(stream, tls) = &socket
        && !upstream.has_ended()
    {
        tls.shake_hands(stream, PATIENCE)?;
    }
    if upstream.has_ended() {
        return Ok(());
    }
    tell(server, replica::Input::LinkUp { link });
    let mut input = BufReader::with_capacity(PIECE, Waiting(socket));
    let job = Job { server, upstream };
    let mut related = false;
    loop {
        let reply = read_reply(&mut input, upstream)?;
        if let PsyncReply::FullResync { id, .. } = PsyncReply::parse(&reply) {
            related = server.control.history.load().knows(id);
        }
        let decides = match &reply {
            Reply::Snapshot(_) => true,
            Reply::Status(text) => text.starts_with("CONTINUE"),
            _ => false,
        };
        tell(server, replica::Input::Replied { link, reply });
        if !decides {
            continue;
        }
        // The sender is dropped when the link is ended.
        match orders.recv() {
            Ok(Go::Stream) => break,
            Ok(Go::Receive(framing)) => {
                match synchronise(&job, orders, &mut input, framing, related) {
                    Ok(Some(db)) => server.set_stream_db(db),
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        if !upstream.has_ended() {
                            tell(server, replica::Input::LoadFailed { link, why: error.to_string() });
                        }
                        return Ok(());
                    }
                }
                match orders.recv() {
                    Ok(Go::Stream) => break,
                    _ => return Ok(()),
                }
            }
            Ok(Go::Load) | Err(_) => return Ok(()),
        }
    }
    let early = input.buffer().to_vec();
    server.follow(input.into_inner().0, early, Arc::clone(upstream))
}

/// Connects, from the address of `bind-source-addr` if there is one. With `tls-replication` what follows is encrypted,
/// behind a handshake that is still to come.
fn dial(server: &Server, to: &Addr) -> io::Result<Socket> {
    let config = server.config.load();
    let source = config.network.source_address.as_ref();
    let mut last = None;
    for address in (to.host.as_str(), to.port).to_socket_addrs()? {
        match crate::listen::connect(address, source, PATIENCE) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                return server.outgoing(mio::net::TcpStream::from_std(socket), config.tls.replication);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{} has no address", to.host))))
}

/// A socket whose reads wait for what comes.
struct Waiting(Socket);

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.0).read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Whatever it says, the next read tells what the socket's state is.
                    let _ = rustix::event::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None);
                }
                other => return other,
            }
        }
    }
}

fn read_reply(input: &mut impl BufRead, upstream: &Upstream) -> io::Result<Reply> {
    let mut line = Vec::new();
    input.take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(match line.len() {
            LINE_MAX => io::Error::new(ErrorKind::InvalidData, "a line of the handshake has no end"),
            _ => ErrorKind::UnexpectedEof.into(),
        });
    }
    let is_blank = line.trim_ascii().is_empty();
    if is_blank || !upstream.awaits_info.swap(false, Ordering::AcqRel) {
        return Ok(Reply::parse(&line));
    }
    let length: Option<usize> =
        line.strip_prefix(b"$").and_then(|text| std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok());
    match length {
        None => Ok(Reply::parse(&line)),
        Some(length) if length > INFO_MAX => Err(io::Error::new(ErrorKind::InvalidData, "an INFO of absurd length")),
        Some(length) => {
            let mut info = vec![0; length + 2];
            input.read_exact(&mut info)?;
            Ok(Reply::Info(Origin::parse(&info)))
        }
    }
}

/// Receives a snapshot, lets the machine judge it, and loads it. `db` becomes the database in which the
/// stream goes on.
fn synchronise(
    job: &Job<'_>,
    orders: &Receiver<Go>,
    input: &mut impl BufRead,
    framing: Framing,
    related: bool,
) -> io::Result<Option<Db>> {
    let (server, ours) = (job.server, job.server.keys());
    let loaded = match server.config.load().replication.diskless_load {
        DisklessLoad::SwapDb => beside(job, orders, input, framing, related)?,
        DisklessLoad::FlushBeforeLoad => directly(job, orders, input, framing)?,
        DisklessLoad::OnEmptyDb if ours == 0 => directly(job, orders, input, framing)?,
        DisklessLoad::OnEmptyDb | DisklessLoad::Disabled => from_file(job, orders, input, framing)?,
    };
    let Some(loaded) = loaded else { return Ok(None) };
    server.took_over(&loaded);
    tell(server, replica::Input::Loaded { link: job.upstream.link });
    Ok(Some(Db(loaded.stream_db)))
}

/// Whether the machine wants the snapshot that it was told of.
fn is_wanted(job: &Job<'_>, orders: &Receiver<Go>, theirs: Option<u64>) -> bool {
    let ours = job.server.keys();
    tell(job.server, replica::Input::Offered { link: job.upstream.link, theirs, ours });
    matches!(orders.recv(), Ok(Go::Load))
}

/// Stores the snapshot first, so that a link that breaks half-way costs nothing.
fn from_file(
    job: &Job<'_>,
    orders: &Receiver<Go>,
    input: &mut impl BufRead,
    framing: Framing,
) -> io::Result<Option<load::Loaded>> {
    let mut received = Received::create(Path::new("."))?;
    receive(job, input, framing, &mut received.file)?;
    received.file.rewind()?;
    let theirs = load::peek_keys(BufReader::new(&received.file)).map_err(corrupt)?;
    if !is_wanted(job, orders, theirs) {
        return Ok(None);
    }
    received.file.rewind()?;
    let length = received.file.metadata()?.len();
    let mut source = Watched::new(job, BufReader::with_capacity(PIECE, &received.file));
    replace(job.server, length, |member| load::load(job.server, member, &mut source, false)).map(Some)
}

/// Loads the snapshot as it arrives, in the place of what we hold.
fn directly(
    job: &Job<'_>,
    orders: &Receiver<Go>,
    input: &mut impl BufRead,
    framing: Framing,
) -> io::Result<Option<load::Loaded>> {
    // Its beginning tells whether it has keys; if not enough has arrived to tell, it has.
    let theirs = load::peek_keys(input.fill_buf()?).ok().flatten();
    if !is_wanted(job, orders, theirs) {
        return Ok(None);
    }
    let mut source = Watched::new(job, input);
    let length = total(framing);
    replace(job.server, length, |member| arriving(job.server, member, &mut source, framing)).map(Some)
}

/// Loads the snapshot as it arrives, beside what we hold, and exchanges the two when it is complete. What we hold is
/// served meanwhile if it is of the same history.
fn beside(
    job: &Job<'_>,
    orders: &Receiver<Go>,
    input: &mut impl BufRead,
    framing: Framing,
    related: bool,
) -> io::Result<Option<load::Loaded>> {
    let server = job.server;
    let mut member = server.space.join();
    log::notice("MASTER <-> REPLICA sync: Loading DB in memory, beside the one that is there");
    let loading = if related { Loading::Async } else { Loading::Blocking };
    member.alone(|_| begin(server, total(framing), loading));
    let staging = Arc::new(Keyspace::new(server.space.databases()));
    let mut builder = staging.join();
    let mut source = Watched::new(job, input);
    let result = arriving(server, &mut builder, &mut source, framing).map_err(corrupt);
    let loaded = match result {
        Ok(loaded) if is_wanted(job, orders, Some(loaded.keys)) => Ok(Some(loaded)),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    builder.alone(|fresh| {
        member.alone(|alone| {
            if let Ok(Some(_)) = loaded {
                alone.exchange(fresh);
            }
            end(server);
        });
    });
    loaded
}

/// Loads a snapshot that arrives, and checks that it ends where it should.
fn arriving(
    server: &Server,
    member: &mut Member,
    source: &mut impl BufRead,
    framing: Framing,
) -> Result<load::Loaded, load::LoadError> {
    let loaded = load::load(server, member, &mut *source, false)?;
    let at = loaded.bytes;
    let end = match framing {
        Framing::Length(length) if length == at => Ok(()),
        Framing::Length(length) => Err(format!("{length} bytes were announced")),
        Framing::Mark(mark) => {
            let mut end = [0; 40];
            match source.read_exact(&mut end) {
                Ok(()) if end == mark => Ok(()),
                Ok(()) => Err("it does not end with its mark".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        }
    };
    end.map_err(|why| load::LoadError::End { at, why })?;
    Ok(loaded)
}

fn total(framing: Framing) -> u64 {
    match framing {
        Framing::Length(bytes) => bytes,
        Framing::Mark(_) => 0,
    }
}

fn corrupt(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("Internal error in RDB: {error}"))
}

/// Empties the keyspace and loads into it. If that fails the keyspace is empty: half a dataset is none.
fn replace(
    server: &Arc<Server>,
    length: u64,
    load: impl FnOnce(&mut Member) -> Result<load::Loaded, load::LoadError>,
) -> io::Result<load::Loaded> {
    let mut member = server.space.join();
    let flushed = member.alone(|alone| {
        begin(server, length, Loading::Blocking);
        flush_all(server, alone)
    });
    drop(flushed);
    server.libraries.flush();
    let result = load(&mut member);
    let flushed = member.alone(|alone| {
        let flushed = result.is_err().then(|| flush_all(server, alone));
        end(server);
        flushed
    });
    drop(flushed);
    result.map_err(corrupt)
}

/// Loading begins. The caller is alone.
fn begin(server: &Server, length: u64, loading: Loading) {
    let progress = &server.persistence.loading;
    progress.total.store(length, Ordering::Relaxed);
    progress.loaded.store(0, Ordering::Relaxed);
    progress.since.store(unix_now().seconds().max(1), Ordering::Relaxed);
    server.publish(|next| next.loading = loading);
}

/// Loading is over. The caller is alone.
fn end(server: &Server) {
    server.persistence.loading.since.store(0, Ordering::Relaxed);
    server.publish(|next| next.loading = Loading::No);
    server.own_expiries.clear();
}

fn flush_all(server: &Server, alone: &mut quorate_keyspace::Alone<'_>) -> Vec<quorate_keyspace::Flushed> {
    (0..server.space.databases()).map(|number| alone.flush(Db(number as u16))).collect()
}

fn receive(job: &Job<'_>, input: &mut impl BufRead, framing: Framing, output: &mut impl Write) -> io::Result<()> {
    let Job { server, upstream } = *job;
    let mut told = Instant::now();
    let mut read = 0u64;
    let mut end = match framing {
        Framing::Length(bytes) => End::After(bytes),
        Framing::Mark(mark) => End::Mark(Box::new(memchr::memmem::Finder::new(&mark).into_owned()), Vec::new()),
    };
    loop {
        if upstream.has_ended() {
            return Err(io::Error::other("the link was ended"));
        }
        if let End::After(0) = end {
            return Ok(());
        }
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let (used, finished) = end.take(available, output).map_err(storage)?;
        input.consume(used);
        read += used as u64;
        if told.elapsed() >= NEWS {
            told = Instant::now();
            tell(server, replica::Input::Heard { link: upstream.link, read });
        }
        if finished {
            return Ok(());
        }
    }
}

fn storage(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't store the snapshot: {error}"))
}

/// How the end of a snapshot is found.
enum End {
    /// After so many more bytes.
    After(u64),
    /// At a mark; what may be the beginning of it is held back.
    Mark(Box<memchr::memmem::Finder<'static>>, Vec<u8>),
}

impl End {
    /// Stores what belongs to the snapshot; how many bytes were used, and whether that was the end.
    fn take(&mut self, available: &[u8], output: &mut impl Write) -> io::Result<(usize, bool)> {
        match self {
            End::After(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(available.len());
                output.write_all(&available[..used])?;
                *left -= used as u64;
                Ok((used, *left == 0))
            }
            End::Mark(finder, held) => {
                let before = held.len();
                held.extend_from_slice(available);
                if let Some(at) = finder.find(held) {
                    output.write_all(&held[..at])?;
                    return Ok((at + finder.needle().len() - before, true));
                }
                let sure = (held.len() + 1).saturating_sub(finder.needle().len());
                output.write_all(&held[..sure])?;
                held.drain(..sure);
                Ok((available.len(), false))
            }
        }
    }
}

/// A file that goes when nobody needs it any more.
struct Received {
    file: std::fs::File,
    path: PathBuf,
}

impl Received {
    fn create(folder: &Path) -> io::Result<Received> {
        let path = folder.join(format!("temp-{}-{}.rdb", std::process::id(), rand::random::<u32>()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).map_err(storage)?;
        Ok(Received { file, path })
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // If it can't be removed it stays, under a name that says what it was.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads a snapshot, tells the machine that it moves, and stops when the link is ended.
struct Watched<'a, R> {
    input: R,
    job: &'a Job<'a>,
    read: u64,
    told: Instant,
}

impl<'a, R> Watched<'a, R> {
    fn new(job: &'a Job<'a>, input: R) -> Watched<'a, R> {
        Watched { input, job, read: 0, told: Instant::now() }
    }
}

impl<R: BufRead> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Watched<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.job.upstream.has_ended() {
            return Err(io::Error::other("the link was ended"));
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.read += count as u64;
        // The clock is not read for every few bytes.
        if self.read % 64 < count as u64 && self.told.elapsed() >= NEWS {
            self.told = Instant::now();
            tell(self.job.server, replica::Input::Heard { link: self.job.upstream.link, read: self.read });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, bool) {
        let mut end = match framing {
            Framing::Length(bytes) => End::After(bytes),
            Framing::Mark(mark) => End::Mark(Box::new(memchr::memmem::Finder::new(&mark).into_owned()), Vec::new()),
        };
        let (mut snapshot, mut rest, mut finished) = (Vec::new(), Vec::new(), false);
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() && !finished {
                let (used, over) = end.take(piece, &mut snapshot).unwrap();
                piece = &piece[used..];
                finished = over;
            }
            rest.extend_from_slice(piece);
        }
        (snapshot, rest, finished)
    }

    #[test]
    fn a_mark_is_found_wherever_reads_are_cut() {
        let mark = *b"0123456789abcdef0123456789abcdef01234567";
        let mut whole = b"the snapshot 0123456789abcdef, nearly a mark".to_vec();
        let length = whole.len();
        whole.extend_from_slice(&mark);
        whole.extend_from_slice(b"and the stream");
        for cut in 1..whole.len() {
            let (snapshot, rest, finished) = split(Framing::Mark(mark), &[&whole[..cut], &whole[cut..]]);
            assert!(finished);
            assert_eq!((&snapshot[..], &rest[..]), (&whole[..length], &b"and the stream"[..]), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(split(Framing::Mark(mark), &bytes).0, &whole[..length]);
    }

    #[test]
    fn a_length_ends_exactly_there() {
        let (snapshot, rest, finished) = split(Framing::Length(5), &[b"abc", b"defg"]);
        assert_eq!((&snapshot[..], &rest[..], finished), (&b"abcde"[..], &b"fg"[..], true));
    }
}
