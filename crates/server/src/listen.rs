//! The sockets that the server listens on, and who may come in.
//!
//! One thread accepts for all network threads and hands each connection to the next of them. What can go wrong with
//! one connection, or for a moment with all (no descriptor left), never ends the listening.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use quorate_config::{Config, Text};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};

use crate::data::client::{Peer, Socket};
use crate::data::worker::Mail;
use crate::log;
use crate::process::plain;
use crate::server::Server;

const DENIED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is \
set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect \
from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the \
command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is \
running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this \
change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and \
setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for \
testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. \
NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\
\r\n";

/// A connected client's place among `maxclients`; it is free again when this is dropped.
pub struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What accepts connections.
enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix(UnixListener, Text),
}

/// Which listeners of the network are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those of `port`.
    Plain,
    /// Those of `tls-port`.
    Tls,
    /// Both.
    All,
}

impl Which {
    fn covers(self, listener: &Listener) -> bool {
        match listener {
            Listener::Tcp(_) => self != Which::Tls,
            Listener::Tls(_) => self != Which::Plain,
            Listener::Unix(..) => false,
        }
    }
}

/// All listeners, known to the thread that accepts and to CONFIG SET.
pub struct Listeners {
    registry: Registry,
    /// Each with its token; tokens are never used twice.
    open: Vec<(Token, Listener)>,
    next_token: usize,
    taken: Arc<AtomicUsize>,
    next_worker: usize,
}

impl Listeners {
    /// None yet; events carry tokens from `first_token` on.
    pub fn new(registry: Registry, first_token: usize) -> Listeners {
        Listeners { registry, open: Vec::new(), next_token: first_token, taken: Arc::default(), next_worker: 0 }
    }

    /// Whether nobody can connect.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Listens as the configuration says: on those ports that are meant, and on the Unix socket if it is not there yet.
    /// After an error none of the new ones is left.
    ///
    /// # Errors
    /// An address that is not optional can't be listened on; it has been logged why. With it comes the port.
    pub fn open(&mut self, config: &Config, which: Which) -> Result<(), (io::Error, u16)> {
        let mut opened = Vec::new();
        if which != Which::Tls {
            let bound = bind_all(config.network.port, config)?;
            opened.extend(bound.into_iter().map(Listener::Tcp));
        }
        if which != Which::Plain {
            let bound = bind_all(config.tls.port, config)?;
            opened.extend(bound.into_iter().map(Listener::Tls));
        }
        if let Some(path) = &config.network.unix_socket
            && !self.open.iter().any(|(_, listener)| matches!(listener, Listener::Unix(..)))
        {
            let listener = bind_unix(path, config)
                .inspect_err(|error| log::warning(&format!("Failed opening Unix socket: bind: {}", plain(error))))
                .map_err(|error| (error, 0))?;
            opened.push(Listener::Unix(listener, path.clone()));
        }
        for mut listener in opened {
            let token = Token(self.next_token);
            self.next_token += 1;
            let registered = listener.source().register(&self.registry, token, Interest::READABLE);
            registered.map_err(|error| (error, config.network.port))?;
            self.open.push((token, listener));
        }
        Ok(())
    }

    /// Closes the listeners that are meant; connections stay.
    pub fn close_some(&mut self, which: Which) {
        self.open.retain(|(_, listener)| !which.covers(listener));
    }

    /// Closes all, and removes the Unix socket's file.
    pub fn close(&mut self) {
        for (_, listener) in self.open.drain(..) {
            if let Listener::Unix(_, path) = listener {
                log::notice("Removing the unix socket file.");
                // It may be gone already.
                let _ = std::fs::remove_file(path.as_path());
            }
        }
    }

    /// Accepts what waits at the listener of this token, or at all; whether some may be left because there was no
    /// descriptor for it.
    pub fn accept(&mut self, server: &Server, only: Option<Token>) -> bool {
        let mut left = false;
        for index in 0..self.open.len() {
            if only.is_none_or(|token| token == self.open[index].0) {
                left |= self.accept_all(server, index);
            }
        }
        left
    }

    fn accept_all(&mut self, server: &Server, index: usize) -> bool {
        let inet = |(stream, remote): (TcpStream, SocketAddr)| {
            let local = stream.local_addr().unwrap_or(remote);
            (Socket::Tcp(stream), Peer::Inet { remote, local })
        };
        loop {
            let accepted = match &self.open[index].1 {
                Listener::Tcp(listener) => listener.accept().map(inet),
                Listener::Tls(listener) => match listener.accept().map(inet) {
                    Ok((Socket::Tcp(stream), peer)) => match server.incoming(stream, true) {
                        Ok(socket) => Ok((socket, peer)),
                        Err(error) => {
                            log::warning(&format!("Error accepting a client connection: {error}"));
                            continue;
                        }
                    },
                    other => other,
                },
                Listener::Unix(listener, path) => {
                    listener.accept().map(|(stream, _)| (Socket::Unix(stream), Peer::Unix(path.to_string())))
                }
            };
            match accepted {
                Ok((socket, peer)) => self.admit(server, socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The one that was to be accepted has gone; the next may be there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::warning(&format!("Accepting client connection: {}", plain(&error)));
                    return true;
                }
            }
        }
    }

    /// Hands a connection to a network thread, unless it may not come in.
    fn admit(&mut self, server: &Server, socket: Socket, peer: Peer) {
        let config = server.config.load();
        server.connections.fetch_add(1, Ordering::Relaxed);
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(Arc::clone(&self.taken));
        if before >= config.clients.max as usize {
            server.rejected_connections.fetch_add(1, Ordering::Relaxed);
            refuse(&socket, "-ERR max number of clients reached\r\n");
            return;
        }
        let is_denied = config.network.protected_mode && config.security.password.is_none() && !peer.is_local();
        if is_denied {
            server.rejected_connections.fetch_add(1, Ordering::Relaxed);
            if !socket.is_shaking_hands() {
                return refuse(&socket, DENIED);
            }
        }
        if let Some(stream) = socket.tcp() {
            tune(stream, config.network.keepalive);
        }
        let workers = server.workers.get().map_or(1, Vec::len);
        self.next_worker = server.progress().next_thread(self.next_worker, workers, server.mono());
        server.mail(
            self.next_worker,
            Mail::Adopt { socket, peer, seat: Some(seat), refusal: is_denied.then_some(DENIED) },
        );
    }
}

impl Listener {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener) | Listener::Tls(listener) => listener,
            Listener::Unix(listener, _) => listener,
        }
    }
}

/// Says why, as far as the socket takes it at once. Behind a handshake that was not there yet nobody is told anything.
fn refuse(mut socket: &Socket, text: &str) {
    // Whoever does not get the text is closed all the same.
    let _ = socket.write_all(text.as_bytes());
}

fn tune(stream: &TcpStream, keepalive: Option<Duration>) {
    // A connection that is gone already says so at its first read.
    let _ = stream.set_nodelay(true);
    if let Some(interval) = keepalive {
        let probes = (interval / 3).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(interval).with_interval(probes).with_retries(3);
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

/// Listens on a port on all that `bind` names; on none if the port is 0. With an error comes the port.
fn bind_all(port: u16, config: &Config) -> Result<Vec<TcpListener>, (io::Error, u16)> {
    let mut listeners = Vec::new();
    for name in config.network.bind.iter().filter(|_| port > 0) {
        listeners.extend(bind_name(name, port, config).map_err(|error| (error, port))?);
    }
    Ok(listeners)
}

/// Listens on every address that a name of `bind` stands for. An optional one that is not there is none.
///
/// # Errors
/// An address that is not optional can't be listened on; it has been logged why.
pub fn bind_name(name: &Text, port: u16, config: &Config) -> io::Result<Vec<TcpListener>> {
    let shown = name.to_string();
    let (name, optional) = match shown.strip_prefix('-') {
        Some(name) => (name, true),
        None => (shown.as_str(), false),
    };
    let failed = |what: &str, error: &io::Error| {
        log::warning(&format!(
            "Warning: Could not create server TCP listening socket {name}:{port}: {what}{}",
            plain(error)
        ));
    };
    let addresses: Vec<SocketAddr> = match name {
        "*" => vec![(Ipv4Addr::UNSPECIFIED, port).into()],
        "::*" => vec![(Ipv6Addr::UNSPECIFIED, port).into()],
        name => (name, port).to_socket_addrs().inspect_err(|error| failed("", error))?.collect(),
    };
    let mut listeners = Vec::new();
    for address in addresses {
        match bind_tcp(address, config) {
            Ok(listener) => listeners.push(listener),
            Err(error) if optional && is_not_there(&error) => {}
            Err(error) => {
                failed("bind: ", &error);
                return Err(error);
            }
        }
    }
    Ok(listeners)
}

/// Connects to `address` within `patience`, from the address `source` if there is one.
///
/// # Errors
/// There is nobody, or we have no such address.
pub fn connect(address: SocketAddr, source: Option<&Text>, patience: Duration) -> io::Result<std::net::TcpStream> {
    let socket = outgoing(address, source)?;
    socket.connect_timeout(&address.into(), patience)?;
    Ok(socket.into())
}

/// Begins to connect, and does not wait for it; from the address `source` if there is one.
///
/// # Errors
/// There is no way to there, or we have no such address.
pub fn begin_to_connect(address: SocketAddr, source: Option<&Text>) -> io::Result<mio::net::TcpStream> {
    let socket = outgoing(address, source)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(mio::net::TcpStream::from_std(socket.into())),
    }
}

fn outgoing(address: SocketAddr, source: Option<&Text>) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source {
        let mut own = (source.to_string().as_str(), 0).to_socket_addrs()?;
        let Some(own) = own.find(|own| own.is_ipv4() == address.is_ipv4()) else {
            return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        };
        socket.bind(&own.into())?;
    }
    Ok(socket)
}

/// Whether an address, or its whole family, does not exist on this machine.
fn is_not_there(error: &io::Error) -> bool {
    let missing = [
        libc::EADDRNOTAVAIL,
        libc::ENOPROTOOPT,
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::EPFNOSUPPORT,
        libc::EAFNOSUPPORT,
    ];
    error.raw_os_error().is_some_and(|number| missing.contains(&number))
}

fn bind_tcp(address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if config.network.mark != 0 {
        socket.set_mark(config.network.mark)?;
    }
    socket.bind(&address.into())?;
    socket.listen(config.network.tcp_backlog as i32)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_unix(path: &Text, config: &Config) -> io::Result<UnixListener> {
    let path = path.as_path();
    // What an earlier server left would be in the way.
    let _ = std::fs::remove_file(path);
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    if config.network.unix_socket_mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.network.unix_socket_mode))?;
    }
    socket.listen(config.network.tcp_backlog as i32)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_config::{Mode, Source as Lines, load};

    fn config(lines: &str) -> Config {
        load(Mode::Server, &[Lines::Text(lines.as_bytes().to_vec())]).unwrap().config
    }

    fn listeners() -> (mio::Poll, Listeners) {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        (poll, Listeners::new(registry, 10))
    }

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn an_optional_address_may_be_missing_and_another_may_not() {
        let port = free_port();
        let (_poll, mut all) = listeners();
        all.open(&config(&format!("port {port}\nbind -192.0.2.1 127.0.0.1")), Which::All).unwrap();
        assert_eq!(all.open.len(), 1);
        let (_poll, mut none) = listeners();
        assert!(none.open(&config(&format!("port {port}\nbind 192.0.2.1")), Which::All).is_err());
        assert!(none.is_empty());
    }

    #[test]
    fn a_taken_port_is_an_error_until_it_is_given_up() {
        let port = free_port();
        let wanted = config(&format!("port {port}\nbind 127.0.0.1"));
        let ((_first_poll, mut first), (_second_poll, mut second)) = (listeners(), listeners());
        first.open(&wanted, Which::All).unwrap();
        assert!(second.open(&wanted, Which::All).is_err());
        first.close_some(Which::All);
        second.open(&wanted, Which::All).unwrap();
    }

    #[test]
    fn a_connection_comes_from_the_address_that_it_is_told_to_come_from() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = connect(address, Some(&"127.0.0.2".into()), Duration::from_secs(5)).unwrap();
        assert_eq!(ours.local_addr().unwrap().ip().to_string(), "127.0.0.2");
        assert!(connect(address, Some(&"192.0.2.1".into()), Duration::from_secs(5)).is_err());
    }

    #[test]
    fn the_file_of_a_unix_socket_has_its_mode_and_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_poll, mut all) = listeners();
        all.open(&config(&format!("port 0\nunixsocket {}\nunixsocketperm 600", path.display())), Which::All).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        all.close();
        assert!(!path.exists());
    }
}
