//! A connection that is encrypted or not, for those who wait without a thread. Whatever is given up half-way, nothing that
//! has come is lost.

use std::io::{self, ErrorKind};

use quorate_tls::{Outgoing, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

/// How much room is made for what comes.
const ROOM: usize = 16 << 10;

pub(crate) enum Wire {
    Plain(TcpStream),
    Encrypted(TcpStream, Box<Stream>),
}

impl Wire {
    /// Over a connection that is there: encrypted if there is a context for it, after a handshake.
    pub(crate) async fn over(socket: TcpStream, context: Option<&Outgoing>) -> io::Result<Wire> {
        let Some(context) = context else { return Ok(Wire::Plain(socket)) };
        let tls = Box::new(context.connect().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?);
        let proceed = || match tls.proceed(&socket) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        until_done(&socket, Interest::READABLE, proceed).await?;
        Ok(Wire::Encrypted(socket, tls))
    }

    /// Reads what is there, or waits for it, behind what is in `input`; 0 at the end.
    pub(crate) async fn read(&mut self, input: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read_buf(input).await,
            Wire::Encrypted(socket, tls) => {
                input.reserve(ROOM);
                until_done(socket, Interest::READABLE, || tls.read_behind(&*socket, input)).await
            }
        }
    }

    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(socket) => socket.write_all(bytes).await,
            Wire::Encrypted(socket, tls) => {
                while !bytes.is_empty() {
                    let count = until_done(socket, Interest::WRITABLE, || tls.write(&*socket, bytes)).await?;
                    bytes = &bytes[count..];
                }
                Ok(())
            }
        }
    }
}

/// Tries at once, because what is needed may be here already, and then whenever the socket is ready.
async fn until_done<R>(
    socket: &TcpStream,
    interest: Interest,
    mut attempt: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    match attempt() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => socket.async_io(interest, attempt).await,
        other => other,
    }
}
