//! Starting and stopping a server: threads, listeners, signals.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use anyhow::Context as _;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use crate::data::client::{Peer, Socket};
use crate::data::stats::Statistics;
use crate::data::worker::{Mail, Worker};
use crate::log;
use crate::server::{Published, Server, WorkerHandle};

/// What a server needs to start.
pub struct Options {
    /// Its TCP port.
    pub port: u16,
    /// The number of network threads.
    pub threads: usize,
}

/// Runs a server until it is told to stop.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let seed = rand::random();
    let server = Arc::new(Server::new(16, Published::default(), seed));
    let mut threads = start_workers(&server, options.threads, seed)?;
    threads.push(crate::data::upkeep::start(&server, !seed).context("can't start the upkeep thread")?);
    threads.push(crate::data::upkeep::start_reclaiming(&server).context("can't start the freeing thread")?);
    let listener = listen(options.port)?;
    log::notice("Server initialized");
    log::notice("Ready to accept connections");
    accept(&server, &listener)?;
    server.stopping.store(true, Ordering::Release);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a network thread panicked"))?;
    }
    Ok(())
}

fn start_workers(server: &Arc<Server>, count: usize, seed: u64) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut polls = Vec::new();
    let mut handles = Vec::new();
    for _ in 0..count {
        let (poll, mailbox) = Worker::prepare().context("can't create an epoll instance")?;
        polls.push(poll);
        handles.push(WorkerHandle { mailbox, stats: Arc::new(Statistics::default()) });
    }
    assert!(server.workers.set(handles).is_ok(), "threads are started once");
    polls
        .into_iter()
        .enumerate()
        .map(|(index, poll)| {
            let server = Arc::clone(server);
            let name = format!("net-{index}");
            let run = move || Worker::new(server, index, poll, seed.wrapping_add(index as u64)).run();
            std::thread::Builder::new().name(name).spawn(run).context("can't start a network thread")
        })
        .collect()
}

fn listen(port: u16) -> anyhow::Result<RawSocket> {
    let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let socket = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).with_context(|| format!("can't bind {address}"))?;
    socket.listen(511)?;
    Ok(socket)
}

fn accept(server: &Arc<Server>, listener: &RawSocket) -> anyhow::Result<()> {
    let threads = server.workers.get().map_or(1, Vec::len);
    let mut next = 0;
    loop {
        let (socket, remote) = listener.accept()?;
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?.as_socket();
        let (Some(remote), Some(local)) = (remote.as_socket(), local) else { continue };
        let stream = mio::net::TcpStream::from_std(socket.into());
        server.connections.fetch_add(1, Ordering::Relaxed);
        server.mail(next, Mail::Adopt { socket: Socket::Tcp(stream), peer: Peer::Inet { remote, local } });
        next = (next + 1) % threads;
    }
}
