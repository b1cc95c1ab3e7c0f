//! Starting and stopping a server, in the order that others rely on: configuration, background, limits, threads,
//! listeners, data, and only then the word that it is ready.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use anyhow::Context as _;
use quorate_acl::{Terms, Users};
use quorate_config::{Config, Kept, Mode, ParseError, Rename};

use crate::command_line::Options;
use crate::control::observers::OBSERVERS;
use crate::data::stats::Statistics;
use crate::data::table;
use crate::data::worker::{Mail, Worker};
use crate::desk::FrontDesk;
use crate::log;
use crate::persist;
use crate::process::{self, PidFile, Supervisor, plain};
use crate::server::{Server, WorkerHandle};
use crate::users;

/// Runs a server until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    let (config, user_lines) = match configuration(options) {
        Ok(read) => read,
        Err(error) => {
            eprintln!("\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\n{error}", crate::REDIS_VERSION);
            return ExitCode::FAILURE;
        }
    };
    match serve(options, config, &user_lines) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::warning(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration and does what has to be done while errors can still be told on the terminal: renames
/// commands, changes into `dir`, and opens the log.
fn configuration(options: &Options) -> Result<(Config, Vec<Kept>), ParseError> {
    let sources = options.sources().map_err(|error| ParseError::of(format!("can't read standard input: {error}")))?;
    let loaded = quorate_config::load(Mode::Server, &sources)?;
    let mut config = loaded.config;
    if let Some((name, why)) = config.unsupported() {
        return Err(ParseError::of(format!("'{name}' can't be obeyed: {why}")));
    }
    if let Some(module) = loaded.modules.first() {
        return Err(ParseError::at(module.place.clone(), "Can't load a module: modules are not supported"));
    }
    rename_commands(&loaded.renames)?;
    if let Some(folder) = &config.general.directory {
        std::env::set_current_dir(folder.as_path())
            .map_err(|error| ParseError::of(format!("Can't chdir to '{folder}': {}", plain(&error))))?;
    }
    let here = std::env::current_dir().unwrap_or_default();
    config.general.directory = Some(std::os::unix::ffi::OsStrExt::as_bytes(here.as_os_str()).into());
    log::set_level(config.general.log_level.into());
    log::set_form(config.general.log_format, config.general.log_time);
    if config.general.syslog {
        log::set_syslog(&config.general.syslog_ident.to_string(), config.general.syslog_facility);
    }
    log::set_file(&config.general.log_file.to_string())
        .map_err(|error| ParseError::of(format!("Can't open the log file: {}", plain(&error))))?;
    Ok((config, loaded.users))
}

/// What encrypted connections are made from, if there are any.
///
/// # Errors
/// They are asked for and can't be; it has been logged why.
pub(crate) fn contexts(config: &Config) -> anyhow::Result<Option<quorate_tls::Contexts>> {
    if !config.tls.is_used() {
        return Ok(None);
    }
    let contexts = quorate_tls::Contexts::load(&config.tls).map_err(|error| {
        log::warning(&error.to_string());
        anyhow::anyhow!("Failed to configure TLS. Check logs for more info.")
    })?;
    Ok(Some(contexts))
}

/// The users at the start: those of the configuration's lines, or of the file that it names.
///
/// # Errors
/// Lines or file are wrong, or there are both.
pub(crate) fn users_of(config: &Config, lines: &[Kept], terms: Terms<'_>) -> Result<Users, String> {
    let mut users = users::of(config, terms);
    if !users::have_file(config) {
        users::read_lines(&mut users, lines, terms).map_err(|error| error.to_string())?;
        return Ok(users);
    }
    if !lines.is_empty() {
        return Err(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This \
             setup is very likely to lead to configuration errors and security holes, please define either an ACL file or \
             declare users directly in your redis.conf, but not both."
                .to_owned(),
        );
    }
    users::load(config, terms).map_err(|why| format!("Aborting Redis startup because of ACL errors: {why}"))
}

fn rename_commands(renames: &[Rename]) -> Result<(), ParseError> {
    let mut names = table::Names::default();
    for rename in renames {
        names.rename(&rename.from, &rename.to).map_err(|reason| ParseError::at(rename.place.clone(), reason))?;
    }
    names.keep();
    Ok(())
}

fn serve(options: &Options, mut config: Config, user_lines: &[Kept]) -> anyhow::Result<()> {
    // Relative names are meant from where the program was started, so this comes before anything else of the start.
    log::set_role(b'C');
    process::greet();
    let names_a_file = options.file.is_some() || options.from_stdin || !options.lines.is_empty();
    log::warning(if names_a_file {
        "Configuration loaded"
    } else {
        "Warning: no config file specified, using the default config. In order to specify a config file use quorate server \
         /path/to/redis.conf"
    });
    let supervisor = Supervisor::find(config.general.supervised);
    if config.general.daemonize && supervisor == Supervisor::None {
        process::daemonize().context("can't go to the background")?;
    }
    let pid_file = PidFile::write(&config);
    process::fit_clients(&mut config);
    log::set_role(b'M');
    if let Err(error) = process::set_oom_score(&config, config.replication.primary.is_some()) {
        log::warning(&format!("Unable to write oom_score_adj: {}", plain(&error)));
    }
    let ended = serve_in_place(options, config, user_lines);
    pid_file.remove();
    if ended.is_ok() {
        log::warning("Redis is now ready to exit, bye bye...");
    }
    ended
}

fn serve_in_place(options: &Options, config: Config, user_lines: &[Kept]) -> anyhow::Result<()> {
    let seed = rand::random();
    let threads = match config.network.threads {
        // As many as there are CPUs that the process may use, which is what this asks the kernel.
        0 => std::thread::available_parallelism().map_or(1, |count| count.get()),
        threads => threads,
    };
    let contexts = contexts(&config)?;
    let users = users_of(&config, user_lines, users::terms(&config)).map_err(anyhow::Error::msg)?;
    let mut server = Server::new(config, seed);
    server.publish(|published| published.users = Arc::new(users));
    server.config_file.clone_from(&options.file);
    server.tls.store(contexts.map(Arc::new));
    let server = Arc::new(server);
    crate::locks::begin(&server);
    let source = persist::boot::prepare(&server).map_err(|error| {
        // Whoever waits for the server's pid is to find it, although that is all there will be.
        say_hello(&server);
        log::warning("Server initialized");
        anyhow::Error::msg(error)
    })?;
    let bus = crate::control::cluster::open(&server, seed)?;
    let Ok(mut desk) = FrontDesk::open(&server) else { anyhow::bail!("can't listen") };
    let mut threads = start_workers(&server, threads, seed)?;
    threads.push(crate::data::upkeep::start(&server, !seed).context("can't start the upkeep thread")?);
    threads.push(crate::data::upkeep::start_reclaiming(&server).context("can't start the freeing thread")?);
    threads.push(persist::saver::start(&server).context("can't start the saving thread")?);
    threads.push(crate::control::observers::start(&server).context("can't start the observers' thread")?);
    threads.push(persist::aof::syncer::start(&server).context("can't start the syncing thread")?);
    threads.push(persist::aof::rewriter::start(&server).context("can't start the rewriting thread")?);
    server.memory.sample();
    server.memory_at_start.store(server.memory.used(), Ordering::Relaxed);
    crate::metrics::of_server(&server)?;
    crate::dashboard::start(&server.config.load())?;
    say_hello(&server);
    log::warning("Server initialized");
    if let Some(bus) = bus {
        threads.push(crate::control::cluster::start(bus).context("can't start the bus thread")?);
    }
    threads.push(lead_on(&server, source, seed).context("can't start the control thread")?);
    desk.run();
    process::notify("STOPPING=1");
    server.stopping.store(true, Ordering::Release);
    for worker in 0..server.workers.get().map_or(0, Vec::len) {
        // Mail wakes it, and it sees that it is to end.
        server.mail(worker, Mail::Resume);
    }
    server.wake_upkeep();
    server.space.reclaim().wake();
    server.persistence.wake();
    server.control.wake();
    server.mail(OBSERVERS, Mail::Resume);
    if let Some(node) = server.node() {
        node.wake();
    }
    server.aof.wake_threads();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    }
    Ok(())
}

/// Loads the dataset while the main thread already lets clients in, who are told that it is being loaded; takes up
/// replication from where the dataset stands, says that the server is ready, and becomes the control thread. A dataset
/// that can't be loaded ends the process.
fn lead_on(server: &Arc<Server>, source: Option<persist::boot::Source>, seed: u64) -> std::io::Result<JoinHandle<()>> {
    crate::control::attach(server);
    let server = Arc::clone(server);
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        let (mut left_out, mut standing) = (Vec::new(), None);
        if let Some(source) = source {
            process::notify("STATUS=Redis is loading...");
            match persist::boot::finish(&server, source) {
                Ok(mut found) => {
                    server.control.loaded(&server, &found.loaded, seed);
                    left_out = std::mem::take(&mut found.loaded.left_out);
                    standing = Some(found);
                }
                Err(error) => {
                    log::warning(&error);
                    if !server.stopping.load(Ordering::Acquire) {
                        std::process::exit(1);
                    }
                    return;
                }
            }
        }
        server.control.begin(&server, &left_out);
        if let Some(node) = server.node() {
            // SAFETY: this thread has no clients of its own, and holds no session.
            server.space.join().alone(|alone| unsafe { node.perform(&server, alone) });
        }
        if server.config.load().append_only.enabled {
            let opened =
                server.space.join().alone(|alone| persist::aof::start::open(&server, alone, standing.as_ref()));
            if let Err(error) = opened {
                log::warning(&format!("{error}. Exiting."));
                std::process::exit(1);
            }
        }
        persist::boot::open_doors(&server);
        say_ready(&server);
        server.control.run(&server);
    })
}

/// What scripts look for at the start: the pid, and how the server runs.
fn say_hello(server: &Server) {
    let config = server.config.load();
    let to_stdout = config.general.log_file.is_empty();
    let port = config.network.port;
    let is_for_people = config.general.log_format == quorate_config::LogFormat::Legacy;
    let is_seen = to_stdout && std::io::IsTerminal::is_terminal(&std::io::stdout());
    if is_for_people && (config.general.always_show_logo || is_seen) {
        log::raw(&format!(
            "\n  Quorate {}  (Redis {})  {} bit\n\n Running in standalone mode\n Port: {port}\n PID: {}\n\n",
            crate::VERSION,
            crate::REDIS_VERSION,
            usize::BITS,
            std::process::id()
        ));
    }
    let mode = if config.cluster.enabled { "cluster" } else { "standalone" };
    log::notice(&format!("Running mode={mode}, port={port}."));
}

fn say_ready(server: &Server) {
    let config = server.config.load();
    if config.network.port > 0 {
        log::notice("Ready to accept connections tcp");
    }
    if let Some(path) = &config.network.unix_socket {
        log::notice(&format!("The server is now ready to accept connections at {path}"));
        log::notice("Ready to accept connections unix");
    }
    if config.tls.port > 0 {
        log::notice("Ready to accept connections tls");
    }
    process::stop_for_upstart();
    let status = if config.replication.primary.is_some() {
        "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\nREADY=1"
    } else {
        "STATUS=Ready to accept connections\nREADY=1"
    };
    process::notify(status);
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
