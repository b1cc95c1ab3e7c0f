//! Starting a Sentinel: its configuration, which must be a file that can be written, its listeners, and the loop.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use quorate_config::{Kept, Loaded, Mode, ParseError};
use quorate_sentinel::saved::{self, Saved};
use quorate_sentinel::settings::{Periods, Secret};
use quorate_sentinel::{RunId, Sentinel, Setup};
use quorate_stdx::Rng;

use super::commands::is_executable;
use super::shell::{Context, Listener, Shell, now};
use super::users::{self, Doors};
use crate::command_line::Options;
use crate::listen::bind_name;
use crate::log;
use crate::process::{self, PidFile, Supervisor, plain};

/// Runs a Sentinel until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    let read = configuration(options);
    let (loaded, saved) = match read {
        Ok(read) => read,
        Err(error) => {
            eprintln!("\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\n{error}", crate::REDIS_VERSION);
            return ExitCode::FAILURE;
        }
    };
    match serve(options, loaded, saved) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::warning(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn configuration(options: &Options) -> Result<(Loaded, Saved), ParseError> {
    let Some(path) = options.file.clone() else {
        return Err(ParseError::of("Sentinel needs config file on disk, can't save state.  Exiting..."));
    };
    let sources = options.sources().map_err(|error| ParseError::of(format!("can't read standard input: {error}")))?;
    let mut loaded = quorate_config::load(Mode::Sentinel, &sources)?;
    // A cut-off file would be read as one that knows less, and be written back so.
    let text = std::fs::read(&path).unwrap_or_default();
    if text.last().is_some_and(|&last| last != b'\n') && text.windows(9).any(|window| window == b"# Generat") {
        return Err(ParseError::of(format!(
            "The file {} ends in the middle of a line: it was cut off after it was written, and what is missing may be the \
             state that keeps elections safe. Restore it, or end the line if it is complete",
            path.display()
        )));
    }
    let lines: Vec<&[Vec<u8>]> = loaded.sentinel.iter().map(|kept| kept.arguments.as_slice()).collect();
    let saved = saved::parse(&lines, &Periods::default())
        .map_err(|(index, why)| ParseError::at(loaded.sentinel[index].place.clone(), why))?;
    if let Some(folder) = &loaded.config.general.directory {
        std::env::set_current_dir(folder.as_path())
            .map_err(|error| ParseError::of(format!("Can't chdir to '{folder}': {}", plain(&error))))?;
    }
    // Relative paths of scripts are meant from there.
    for (name, primary) in &saved.primaries {
        let scripts = [&primary.watch.notification_script, &primary.watch.reconfig_script];
        if let Some(script) = scripts.into_iter().flatten().find(|script| !is_executable(script)) {
            return Err(ParseError::of(format!("{name}: script {script} seems non existing or non executable.")));
        }
        if !saved.globals.resolve_hostnames && primary.addr.ip().is_none() {
            return Err(ParseError::of(format!(
                "{name}: Can't resolve instance hostname '{}' (resolve-hostnames is off).",
                primary.addr.host
            )));
        }
    }
    log::set_level(loaded.config.general.log_level.into());
    let general = &loaded.config.general;
    log::set_form(general.log_format, general.log_time);
    log::set_file(&loaded.config.general.log_file.to_string())
        .map_err(|error| ParseError::of(format!("Can't open the log file: {}", plain(&error))))?;
    let here = std::env::current_dir().unwrap_or_default();
    loaded.config.general.directory = Some(here.as_os_str().as_bytes().into());
    Ok((loaded, saved))
}

fn serve(options: &Options, loaded: Loaded, saved: Saved) -> anyhow::Result<()> {
    let mut config = loaded.config;
    log::set_role(b'X');
    process::greet();
    log::warning("Configuration loaded");
    let supervisor = Supervisor::find(config.general.supervised);
    if config.general.daemonize && supervisor == Supervisor::None {
        process::daemonize().context("can't go to the background")?;
    }
    let pid_file = PidFile::write(&config);
    process::fit_clients(&mut config);
    let ended = serve_in_place(options, config, &loaded.users, saved);
    process::notify("STOPPING=1");
    pid_file.remove();
    if ended.is_ok() {
        log::warning("Sentinel is now ready to exit, bye bye...");
    }
    ended
}

fn serve_in_place(
    options: &Options,
    config: quorate_config::Config,
    lines: &[Kept],
    saved: Saved,
) -> anyhow::Result<()> {
    let users = crate::start::users_of(&config, lines, users::terms(&config)).map_err(anyhow::Error::msg)?;
    let file = options.file.clone().context("a Sentinel has a configuration file")?;
    let tls = crate::start::contexts(&config)?;
    // The port that others are told of: the one to which links like ours come.
    let announced = if config.tls.replication && config.tls.port > 0 { config.tls.port } else { config.network.port };
    let mut listeners = Vec::new();
    for (port, is_encrypted, kind) in [(config.network.port, false, "tcp"), (config.tls.port, true, "tls")] {
        for name in config.network.bind.iter().filter(|_| port > 0) {
            let bound = bind_name(name, port, &config)
                .with_context(|| format!("Failed listening on port {port} ({kind}), aborting."))?;
            listeners.extend(bound.into_iter().map(|socket| Listener { socket, is_encrypted }));
        }
    }
    anyhow::ensure!(!listeners.is_empty(), "Configured to not listen anywhere, exiting.");
    let own_password = config.security.password.as_ref();
    let own_password = own_password.map(|secret| Secret(String::from_utf8_lossy(secret.reveal()).into_owned()));
    let (started, seed) = (Instant::now(), rand::random());
    let setup = Setup { port: announced, own_password, periods: Periods::default() };
    let machine = Sentinel::new(saved, setup, seed, now(started));
    log::notice(&format!("Running mode=sentinel, port={}.", config.network.port));
    log::warning(&format!("Sentinel ID is {}", machine.id()));
    let run_id = RunId::random(&mut Rng::new(!seed)).to_string();
    crate::metrics::of_sentinel(&config)?;
    crate::dashboard::start(&config)?;
    let doors = Doors::new(users);
    let context = Context { config, tls, doors, file, started, run_id, commands: 0, is_ending: false };
    let mut shell = Shell::new(machine, context, listeners).context("can't start the loop")?;
    process::notify("STATUS=Ready to accept connections\nREADY=1");
    process::stop_for_upstart();
    shell.run().context("the loop fails")
}
