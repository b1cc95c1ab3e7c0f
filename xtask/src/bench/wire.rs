//! A connection of the load generator: plain, or encrypted as clients' are.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Where a server listens for encrypted connections, and what clients trust there.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) port: u16,
    trust: Option<Arc<ClientConfig>>,
}

impl Door {
    /// One for plain connections.
    pub(super) fn plain(port: u16) -> Door {
        Door { port, trust: None }
    }

    /// One for encrypted connections; the server's certificate and key are written into `directory`, and with the door comes
    /// what a server of either make is to be told.
    pub(super) fn encrypted(port: u16, directory: &Path) -> Result<(Door, Vec<String>)> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let files = ["server.crt", "server.key"].map(|name| directory.join(name));
        std::fs::write(&files[0], made.cert.pem())?;
        std::fs::write(&files[1], made.signing_key.serialize_pem())?;
        let mut trusted = RootCertStore::empty();
        trusted.add(made.cert.der().clone())?;
        let trust = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let words = ["--tls-port".to_owned(), port.to_string(), "--tls-auth-clients".to_owned(), "no".to_owned()];
        let mut words = words.to_vec();
        for (directive, file) in ["--tls-cert-file", "--tls-key-file"].into_iter().zip(files) {
            words.extend([directive.to_owned(), file.display().to_string()]);
        }
        Ok((Door { port, trust: Some(Arc::new(trust)) }, words))
    }
}

/// A connection that does not wait.
pub(super) enum Wire {
    Plain(TcpStream),
    Encrypted(Box<ClientConnection>, TcpStream),
}

impl Wire {
    pub(super) fn connect(door: &Door) -> Result<Wire> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, door.port)).context("connect the load")?;
        stream.set_nodelay(true)?;
        let Some(trust) = &door.trust else {
            stream.set_nonblocking(true)?;
            return Ok(Wire::Plain(stream));
        };
        let mut tls = ClientConnection::new(Arc::clone(trust), ServerName::try_from("localhost")?)?;
        tls.set_buffer_limit(None);
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).context("shake hands")?;
        }
        stream.set_nonblocking(true)?;
        Ok(Wire::Encrypted(Box::new(tls), stream))
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) | Wire::Encrypted(_, stream) => stream,
        }
    }

    /// Reads what is there; 0 at the end.
    pub(super) fn read(&mut self, inbox: &mut [u8]) -> io::Result<usize> {
        let (tls, stream) = match self {
            Wire::Plain(stream) => return Ok(rustix::io::read(stream, inbox)?),
            Wire::Encrypted(tls, stream) => (tls, stream),
        };
        let mut filled = 0;
        loop {
            match tls.read_tls(stream) {
                Ok(0) => return Ok(filled),
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
            }
            match tls.reader().read(&mut inbox[filled..]) {
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all of it; waits, for `patience` at most, where the socket is full, which only fills with their long requests
    /// ever see.
    pub(super) fn write_all(&mut self, mut bytes: &[u8], patience: Duration) -> Result<()> {
        if let Wire::Encrypted(tls, _) = self {
            tls.writer().write_all(bytes)?;
        }
        loop {
            let written = match self {
                Wire::Plain(stream) => rustix::io::write(&*stream, bytes).map_err(io::Error::from),
                Wire::Encrypted(tls, stream) => tls.write_tls(stream),
            };
            match written {
                Ok(written) => {
                    let is_over = match self {
                        Wire::Plain(_) => {
                            bytes = &bytes[written..];
                            bytes.is_empty()
                        }
                        Wire::Encrypted(tls, _) => !tls.wants_write(),
                    };
                    if is_over {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
                    let mut polled = [PollFd::from_borrowed_fd(self.socket().as_fd(), PollFlags::OUT)];
                    ensure!(
                        rustix::event::poll(&mut polled, Some(&timeout))? > 0,
                        "the server has read nothing for {patience:?}"
                    );
                }
                Err(error) => return Err(error).context("write requests"),
            }
        }
    }
}
