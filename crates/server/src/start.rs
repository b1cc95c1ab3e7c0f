//! Starting and stopping a server: configuration, threads, listeners.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use anyhow::Context as _;
use quorate_config::{Config, LogLevel, Mode, ParseError};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use crate::command_line::Options;
use crate::data::client::{Peer, Socket};
use crate::data::stats::Statistics;
use crate::data::worker::{Mail, Worker};
use crate::log::{self, Level};
use crate::persist;
use crate::server::{Server, WorkerHandle};

/// Runs a server until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    let config = match configuration(options) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\n{error}", crate::REDIS_VERSION);
            return ExitCode::FAILURE;
        }
    };
    match serve(options, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::warning(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn configuration(options: &Options) -> Result<Config, ParseError> {
    let sources = options.sources().map_err(|error| ParseError::of(format!("can't read standard input: {error}")))?;
    let config = quorate_config::load(Mode::Server, &sources)?.config;
    match config.unsupported() {
        Some((name, why)) => Err(ParseError::of(format!("'{name}' can't be obeyed: {why}"))),
        None => Ok(config),
    }
}

fn serve(options: &Options, config: Config) -> anyhow::Result<()> {
    let seed = rand::random();
    log::set_level(match config.general.log_level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Verbose => Level::Verbose,
        LogLevel::Notice => Level::Notice,
        LogLevel::Warning => Level::Warning,
        LogLevel::Nothing => Level::Nothing,
    });
    let (port, threads) = (config.network.port, config.network.threads);
    let threads =
        if threads > 0 { threads } else { std::thread::available_parallelism().map_or(1, |count| count.get()) };
    let mut server = Server::new(config, seed);
    server.config_file = options.file.as_deref().map(std::path::absolute).transpose()?;
    let server = Arc::new(server);
    let source = persist::boot::prepare(&server).map_err(anyhow::Error::msg)?;
    let mut threads = start_workers(&server, threads, seed)?;
    threads.push(crate::data::upkeep::start(&server, !seed).context("can't start the upkeep thread")?);
    threads.push(crate::data::upkeep::start_reclaiming(&server).context("can't start the freeing thread")?);
    threads.push(persist::saver::start(&server).context("can't start the saving thread")?);
    let listener = listen(port)?;
    log::raw(&format!(" PID: {}\n", std::process::id()));
    log::notice("Server initialized");
    let accepting = {
        let server = Arc::clone(&server);
        std::thread::Builder::new().name("accept".to_owned()).spawn(move || accept(&server, &listener))?
    };
    if let Some(source) = source {
        persist::boot::finish(&server, source).map_err(anyhow::Error::msg)?;
    }
    log::notice("Ready to accept connections tcp");
    accepting.join().map_err(|_| anyhow::anyhow!("the accepting thread panicked"))??;
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
