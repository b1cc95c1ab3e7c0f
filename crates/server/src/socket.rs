//! A stream socket as this program uses it: of either family, plain or encrypted, and none of them waits.
//!
//! Whoever reads and writes by readiness need not know which it is. What is different with an encrypted one is told in
//! `quorate_tls::Stream`: writes may have to wait for a read until the handshake is over, and something may have to go
//! ([`Socket::advance`]) although nothing is written.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use quorate_tls::Contexts;
use rustix::net::{RecvFlags, SendFlags};

/// A stream socket: of either family, plain or encrypted.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
    /// TLS over TCP; what is agreed with the other end is shared with copies of the descriptor.
    Tls(TcpStream, Arc<quorate_tls::Stream>),
}

impl Socket {
    /// What a poll knows it by.
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) | Socket::Tls(stream, _) => stream,
            Socket::Unix(stream) => stream,
        }
    }

    /// The TCP connection below, if there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(stream) | Socket::Tls(stream, _) => Some(stream),
            Socket::Unix(_) => None,
        }
    }

    /// Whether what goes over it is encrypted.
    #[inline]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Socket::Tls(..))
    }

    /// Whether the two ends have not agreed yet on how to encrypt: nothing can be written before.
    #[inline]
    pub fn is_shaking_hands(&self) -> bool {
        matches!(self, Socket::Tls(_, tls) if !tls.is_established())
    }

    /// Whether a connection that was begun stands, and is agreed to be encrypted where it is to be.
    ///
    /// # Errors
    /// It can't be made.
    pub fn has_connected(&self) -> io::Result<bool> {
        let Some(stream) = self.tcp() else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        match self {
            Socket::Tls(stream, tls) => tls.proceed(stream),
            Socket::Tcp(_) | Socket::Unix(_) => Ok(true),
        }
    }

    /// Lets go what waits below what was written, when the socket can take more.
    ///
    /// # Errors
    /// The connection is broken.
    #[inline]
    pub fn advance(&self) -> io::Result<()> {
        match self {
            Socket::Tls(stream, tls) => tls.advance(stream),
            Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
        }
    }

    /// Reads into the room that `buffer` has behind what is in it.
    ///
    /// # Errors
    /// As [`Read::read`].
    #[inline]
    pub fn read_behind(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if let Socket::Tls(stream, tls) = self {
            return tls.read_behind(stream, buffer);
        }
        Ok(rustix::io::read(self, rustix::buffer::spare_capacity(buffer))?)
    }

    /// Writes several pieces at once.
    ///
    /// # Errors
    /// As [`Write::write`].
    pub fn write_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            // A record holds less than most pieces.
            Socket::Tls(stream, tls) => tls.write(stream, pieces.first().map_or(&[], |piece| piece)),
            Socket::Tcp(_) | Socket::Unix(_) => Ok(rustix::io::writev(self, pieces)?),
        }
    }

    /// Another descriptor of the same connection.
    ///
    /// # Errors
    /// There is none left.
    pub fn try_clone(&self) -> io::Result<Socket> {
        let copy = self.as_fd().try_clone_to_owned()?;
        Ok(match self {
            Socket::Tcp(_) => Socket::Tcp(TcpStream::from_std(copy.into())),
            Socket::Unix(_) => Socket::Unix(UnixStream::from_std(copy.into())),
            Socket::Tls(_, tls) => Socket::Tls(TcpStream::from_std(copy.into()), Arc::clone(tls)),
        })
    }

    /// Ends both directions at once: a duplicate of the descriptor may live elsewhere for a moment.
    pub fn shut(&self) {
        // It may be closed at the other end already.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
            Socket::Tls(stream, tls) => {
                tls.say_goodbye(stream);
                stream.shutdown(std::net::Shutdown::Both)
            }
        };
    }
}

// Straight to the system: in a process of several threads the C library's calls are points of cancellation, which costs
// two atomic operations a call, for something that nothing here uses.

impl Read for &Socket {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Socket::Tls(stream, tls) = self {
            return tls.read(stream, buffer);
        }
        Ok(rustix::net::recv(self, buffer, RecvFlags::empty())?.0)
    }
}

impl Write for &Socket {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Socket::Tls(stream, tls) = self {
            return tls.write(stream, bytes);
        }
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) | Socket::Tls(stream, _) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What is spoken over a connection that somebody has opened.
///
/// # Errors
/// It is to be encrypted and can't be.
pub fn incoming(tls: Option<&Contexts>, stream: TcpStream, encrypted: bool) -> io::Result<Socket> {
    if !encrypted {
        return Ok(Socket::Tcp(stream));
    }
    let tls = tls.ok_or_else(unconfigured)?.accept().map_err(io::Error::other)?;
    Ok(Socket::Tls(stream, Arc::new(tls)))
}

/// What is spoken over a connection that we have opened.
///
/// # Errors
/// It is to be encrypted and can't be.
pub fn outgoing(tls: Option<&Contexts>, stream: TcpStream, encrypted: bool) -> io::Result<Socket> {
    if !encrypted {
        return Ok(Socket::Tcp(stream));
    }
    let tls = tls.ok_or_else(unconfigured)?.outgoing().connect().map_err(io::Error::other)?;
    Ok(Socket::Tls(stream, Arc::new(tls)))
}

fn unconfigured() -> io::Error {
    io::Error::other("TLS is not configured")
}
