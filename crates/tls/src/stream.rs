//! One encrypted connection over a socket that doesn't block.
//!
//! **Theory.** A [`Stream`] behaves towards its caller as the socket does, so that what reads and writes plain sockets by
//! readiness need not know of it:
//!
//! - A read that brings less than there was room for has emptied the socket: what comes next raises a new event.
//! - Bytes that a write has taken are with the kernel, encrypted. A record that the socket takes only in part is kept, and
//!   the write *would block*; whoever repeats it, with the same bytes in front, is told of them when the record has gone.
//!   So nobody but this module has to remember that something waits.
//!
//! Two things are new. A write may have to wait for a read, as long as the handshake lasts; so after a read that brought
//! nothing a write is worth another try. And bytes may have to go although the caller has none: [`Stream::advance`] is for
//! that, when the socket can take more.
//!
//! Several threads may hold the same connection, as they may hold copies of a descriptor; a lock makes them take turns, and
//! nobody waits for the socket while it has it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags};
use rustls::Connection;

/// How much is read from the socket at once: two records of full length.
const READ: usize = 32 << 10;
/// How much is encrypted before the socket is asked whether it takes it.
const PORTION: usize = 64 << 10;

/// An encrypted connection; the socket is handed in with each call.
pub struct Stream {
    inner: Mutex<Inner>,
    /// Whether the other end has been let in.
    established: AtomicBool,
}

struct Inner {
    connection: Connection,
    /// Bytes of the caller that are encrypted and have not gone as a whole: the write that brought them will be repeated.
    owed: usize,
    /// What was read and not looked at yet, because the caller had no room for what is in it.
    raw: Vec<u8>,
    /// The socket is at its end.
    ended: bool,
    /// Why nothing can be said or heard any more.
    failed: Option<String>,
}

/// The socket, as the library wants it.
struct Wire<'a>(BorrowedFd<'a>);

impl io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    pub(crate) fn new(mut connection: Connection) -> Stream {
        // What is accepted of the caller is bounded here, by PORTION.
        connection.set_buffer_limit(None);
        let inner = Inner { connection, owed: 0, raw: Vec::new(), ended: false, failed: None };
        Stream { inner: Mutex::new(inner), established: AtomicBool::new(false) }
    }

    /// Whether the handshake is over.
    pub fn is_established(&self) -> bool {
        self.established.load(Ordering::Acquire)
    }

    /// Reads what has come for the caller; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has; anything else if the other end says what can't be understood or is not trusted.
    pub fn read(&self, socket: impl AsFd, into: &mut [u8]) -> io::Result<usize> {
        self.inner.lock().read(socket.as_fd(), into, &self.established)
    }

    /// The same into the room that `buffer` has behind what is in it.
    ///
    /// # Errors
    /// As [`Stream::read`].
    pub fn read_behind(&self, socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let before = buffer.len();
        loop {
            // Room is made clean a piece at a time: there may be much of it, and little that has come.
            let from = buffer.len();
            let room = (buffer.capacity() - from).min(PORTION);
            buffer.resize(from + room, 0);
            let result = self.read(&socket, &mut buffer[from..]);
            let count = *result.as_ref().unwrap_or(&0);
            buffer.truncate(from + count);
            if result.is_err() && from == before {
                return result;
            }
            if count < room || buffer.len() == buffer.capacity() {
                return Ok(buffer.len() - before);
            }
        }
    }

    /// Writes as much of `bytes` as the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing, or not the rest of what was given before: see the module's text.
    pub fn write(&self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner.lock();
        inner.flush(socket.as_fd())?;
        if inner.owed > 0 {
            let count = inner.owed.min(bytes.len());
            inner.owed -= count;
            return Ok(count);
        }
        if inner.connection.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = inner.connection.writer().write(&bytes[..bytes.len().min(PORTION)])?;
        match inner.flush(socket.as_fd()) {
            Ok(()) => Ok(taken),
            Err(error) => {
                inner.owed = taken;
                Err(error)
            }
        }
    }

    /// Sends what waits of the handshake and of earlier writes. To be called when the socket can take more.
    ///
    /// # Errors
    /// The connection is broken. That the socket takes no more is none.
    pub fn advance(&self, socket: impl AsFd) -> io::Result<()> {
        self.inner.lock().flush_some(socket.as_fd())
    }

    /// Goes on with the handshake as far as it goes without waiting; whether it is over, and what we said has gone. Nothing
    /// of what comes behind it is lost.
    ///
    /// # Errors
    /// The two don't agree, or the other end has gone.
    pub fn proceed(&self, socket: impl AsFd) -> io::Result<bool> {
        let mut inner = self.inner.lock();
        inner.flush_some(socket.as_fd())?;
        // Without room for bytes of the caller, those that come with the handshake stay where they are.
        match inner.read(socket.as_fd(), &mut [], &self.established) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => drop(other?),
        }
        let is_over = !inner.connection.is_handshaking();
        if inner.ended && !is_over {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(is_over && !inner.connection.wants_write())
    }

    /// Goes through the handshake, for as long as `patience` lasts.
    ///
    /// # Errors
    /// There was no end to it in time, or the two don't agree.
    pub fn shake_hands(&self, socket: impl AsFd, patience: Duration) -> io::Result<()> {
        let begun = Instant::now();
        while !self.proceed(&socket)? {
            let wants_write = self.inner.lock().connection.wants_write();
            let wanted = if wants_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let Some(left) = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
                return Err(ErrorKind::TimedOut.into());
            };
            let left = Timespec::try_from(left).ok();
            // Whatever poll says, the next turn tells what the socket's state is.
            let _ = rustix::event::poll(&mut [PollFd::new(&socket, wanted)], left.as_ref());
        }
        Ok(())
    }

    /// Says that nothing follows, as far as the socket takes it at once.
    pub fn say_goodbye(&self, socket: impl AsFd) {
        let mut inner = self.inner.lock();
        inner.connection.send_close_notify();
        // Whoever does not get it sees the socket's end.
        let _ = inner.flush(socket.as_fd());
    }
}

impl Inner {
    fn read(&mut self, socket: BorrowedFd<'_>, into: &mut [u8], established: &AtomicBool) -> io::Result<usize> {
        if let Some(why) = &self.failed {
            return Err(io::Error::new(ErrorKind::InvalidData, why.clone()));
        }
        let mut space = [MaybeUninit::uninit(); READ];
        let kept = std::mem::take(&mut self.raw);
        let mut bytes = &kept[..];
        let mut filled = 0;
        loop {
            match self.connection.reader().read(&mut into[filled..]) {
                Ok(0) if filled < into.len() => return Ok(filled),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Its end without a farewell is the end all the same: what is said here has lengths of its own.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(filled),
                Err(error) => return Err(error),
            }
            let is_shaking_hands = self.connection.is_handshaking();
            if filled == into.len() && (filled > 0 || !is_shaking_hands || self.ended) {
                self.raw = bytes.to_vec();
                return if filled > 0 { Ok(filled) } else { Err(ErrorKind::WouldBlock.into()) };
            }
            if bytes.is_empty() && !self.ended {
                bytes = &[];
                match receive(socket, &mut space) {
                    Ok(received) => bytes = received,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
                    Err(error) => return Err(error),
                }
                self.ended = bytes.is_empty();
            }
            self.take_in(socket, &mut bytes)?;
            if is_shaking_hands && !self.connection.is_handshaking() {
                established.store(true, Ordering::Release);
            }
        }
    }

    /// Understands some of `bytes`: as much as the library takes at once.
    fn take_in(&mut self, socket: BorrowedFd<'_>, bytes: &mut &[u8]) -> io::Result<()> {
        if self.connection.read_tls(bytes)? == 0 {
            // Behind the other end's farewell nothing counts.
            *bytes = &[];
        }
        if let Err(error) = self.connection.process_new_packets() {
            return Err(self.fail(socket, &error));
        }
        self.flush_some(socket)
    }

    /// Nothing more can be understood; the other end is told why, if it can be.
    fn fail(&mut self, socket: BorrowedFd<'_>, error: &rustls::Error) -> io::Error {
        let _ = self.flush(socket);
        let why = error.to_string();
        self.failed = Some(why.clone());
        self.raw = Vec::new();
        io::Error::new(ErrorKind::InvalidData, why)
    }

    /// Sends of what is encrypted as much as the socket takes.
    fn flush_some(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.flush(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    /// Sends all that is encrypted.
    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut Wire(socket))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

fn receive<'a>(socket: BorrowedFd<'_>, space: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
    let ((filled, _), _) = rustix::net::recv(socket, space, RecvFlags::DONTWAIT)?;
    Ok(filled)
}
