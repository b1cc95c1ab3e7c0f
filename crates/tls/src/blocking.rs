//! Connections for a thread that has nothing else to do than to wait for them: encrypted ones, and those that may be plain.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{Outgoing, Stream};

/// A connection whose reads and writes wait.
pub struct Blocking {
    socket: TcpStream,
    stream: Stream,
    patience: Option<Duration>,
}

impl Blocking {
    /// Goes through the handshake on a connection that is there. Nothing is waited for longer than `patience`.
    ///
    /// # Errors
    /// The two don't agree, or not in time.
    pub fn connect(context: &Outgoing, socket: TcpStream, patience: Option<Duration>) -> io::Result<Blocking> {
        Blocking::over(context.connect().map_err(io::Error::other)?, socket, patience)
    }

    /// The same over a stream that was begun.
    ///
    /// # Errors
    /// As [`Blocking::connect`].
    pub fn over(stream: Stream, socket: TcpStream, patience: Option<Duration>) -> io::Result<Blocking> {
        socket.set_nonblocking(true)?;
        stream.shake_hands(&socket, patience.unwrap_or(Duration::MAX))?;
        Ok(Blocking { socket, stream, patience })
    }

    /// From now on nothing is waited for longer than `patience`.
    pub fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        let patience = self.patience.and_then(|patience| Timespec::try_from(patience).ok());
        match rustix::event::poll(&mut [PollFd::new(&self.socket, wanted)], patience.as_ref()) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A connection that is encrypted or not, whose reads and writes wait.
pub enum Connection {
    /// It is not.
    Plain(TcpStream),
    /// It is.
    Encrypted(Box<Blocking>),
}

impl Connection {
    /// Over a connection that is there: encrypted if there is a context for it, after a handshake. Nothing is waited for
    /// longer than `patience`.
    ///
    /// # Errors
    /// The two don't agree, or not in time.
    pub fn over(socket: TcpStream, context: Option<&Outgoing>, patience: Duration) -> io::Result<Connection> {
        let mut connection = match context {
            None => Connection::Plain(socket),
            Some(context) => Connection::Encrypted(Box::new(Blocking::connect(context, socket, Some(patience))?)),
        };
        connection.set_patience(patience)?;
        Ok(connection)
    }

    /// From now on nothing is waited for longer than `patience`.
    ///
    /// # Errors
    /// It is zero.
    pub fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Connection::Plain(socket) => {
                socket.set_read_timeout(Some(patience))?;
                socket.set_write_timeout(Some(patience))
            }
            Connection::Encrypted(blocking) => {
                blocking.set_patience(Some(patience));
                Ok(())
            }
        }
    }

    /// Reads what is there or comes within `patience`; `None` if nothing does.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn read_within(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<Option<usize>> {
        let patience = Timespec::try_from(patience).ok();
        if let Connection::Encrypted(blocking) = self {
            match blocking.stream.read(&blocking.socket, buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other.map(Some),
            }
        }
        let ready = rustix::event::poll(&mut [PollFd::new(self.socket(), PollFlags::IN)], patience.as_ref());
        if !ready.is_ok_and(|ready| ready > 0) {
            return Ok(None);
        }
        let read = match self {
            Connection::Plain(socket) => socket.read(buffer),
            // What has come need not be anything for us.
            Connection::Encrypted(blocking) => blocking.stream.read(&blocking.socket, buffer),
        };
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Connection::Plain(socket) => socket,
            Connection::Encrypted(blocking) => &blocking.socket,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(socket) => socket.read(buffer),
            Connection::Encrypted(blocking) => blocking.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(socket) => socket.write(bytes),
            Connection::Encrypted(blocking) => blocking.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(&self.socket, buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                other => return other,
            }
        }
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(&self.socket, bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.stream.say_goodbye(&self.socket);
    }
}
