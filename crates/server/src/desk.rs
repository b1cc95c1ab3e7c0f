//! The front desk: the main thread, which lets clients in, hears signals, and locks up at the end.
//!
//! It is no member of the keyspace most of the time, so nothing that commands do can keep it from hearing a signal.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Events, Poll, Token, Waker};
use parking_lot::Mutex;
use quorate_config::{ChangeError, Config};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::listen::{Listeners, Which};
use crate::log;
use crate::server::Server;
use crate::shutdown::{self, Shutdown};

const WAKE: Token = Token(0);
const TERM: Token = Token(1);
const INT: Token = Token(2);
const FIRST_LISTENER: usize = 3;

/// How long the desk waits before it tries again what failed for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);
/// How often it looks whether a shutdown can go on.
const SHUTDOWN_LOOK: Duration = Duration::from_millis(10);

/// What other threads may ask of the desk.
#[derive(Default)]
pub struct Desk {
    listeners: OnceLock<Mutex<Listeners>>,
    waker: OnceLock<Waker>,
    /// The shutdown under way, if there is one.
    pub shutdown: Mutex<Option<Shutdown>>,
}

impl Desk {
    /// Wakes the main thread, to look at what there is to do.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            // A waker fails only if its descriptor is gone, and it lives as long as the server.
            let _ = waker.wake();
        }
    }

    /// Listens elsewhere, where `which` says. If that fails, it is as before.
    ///
    /// # Errors
    /// The new address can't be listened on; `directive` is the one that asked for it.
    pub fn listen_elsewhere(
        &self,
        (old, new): (&Config, &Config),
        which: Which,
        directive: &str,
    ) -> Result<(), ChangeError> {
        let Some(listeners) = self.listeners.get() else { return Ok(()) };
        let mut listeners = listeners.lock();
        listeners.close_some(which);
        if listeners.open(new, which).is_ok() {
            return Ok(());
        }
        if let Err((error, _)) = listeners.open(old, which) {
            log::warning(&format!("Failed listening on the earlier addresses again: {error}"));
        }
        let what = if directive == "bind" {
            "Failed to bind to specified addresses."
        } else {
            "Unable to listen on this port. Check server logs."
        };
        Err(ChangeError::failed(directive, what))
    }
}

/// The main thread's own part.
pub struct FrontDesk {
    poll: Poll,
    signals: [UnixStream; 2],
    server: Arc<Server>,
}

impl FrontDesk {
    /// Hears signals from now on, and listens.
    ///
    /// # Errors
    /// There is nothing to listen on; it has been logged why.
    pub fn open(server: &Arc<Server>) -> io::Result<FrontDesk> {
        let poll = Poll::new()?;
        let hear = |signal, token| crate::process::hear(signal, poll.registry(), token);
        let signals = [hear(SIGTERM, TERM)?, hear(SIGINT, INT)?];
        // A terminal that closes does not end a server.
        signal_hook::flag::register(SIGHUP, Arc::default())?;
        let mut listeners = Listeners::new(poll.registry().try_clone()?, FIRST_LISTENER);
        let config = server.config.load();
        if let Err((error, port)) = listeners.open(&config, Which::All) {
            let kind = if port == config.tls.port && port != config.network.port { "tls" } else { "tcp" };
            log::warning(&format!("Failed listening on port {port} ({kind}), aborting."));
            return Err(error);
        }
        if listeners.is_empty() {
            log::warning("Configured to not listen anywhere, exiting.");
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let is_first = server.desk.listeners.set(Mutex::new(listeners)).is_ok()
            && server.desk.waker.set(Waker::new(poll.registry(), WAKE)?).is_ok();
        assert!(is_first, "a server has one front desk");
        Ok(FrontDesk { poll, signals, server: Arc::clone(server) })
    }

    /// Serves until the server is to end.
    pub fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        let mut left_waiting = false;
        loop {
            let patience = if self.server.desk.shutdown.lock().is_some() {
                Some(SHUTDOWN_LOOK)
            } else {
                left_waiting.then_some(RETRY)
            };
            if let Err(error) = self.poll.poll(&mut events, patience) {
                assert!(error.kind() == io::ErrorKind::Interrupted, "epoll fails for no other reason: {error}");
            }
            let server = Arc::clone(&self.server);
            let listeners = server.desk.listeners.get().expect("it was set when the desk was opened");
            if left_waiting {
                left_waiting = listeners.lock().accept(&server, None);
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    TERM => self.signal(0, "SIGTERM"),
                    INT => self.signal(1, "SIGINT"),
                    token => left_waiting |= listeners.lock().accept(&server, Some(token)),
                }
            }
            if shutdown::step(&server) == shutdown::Step::End {
                listeners.lock().close();
                return;
            }
        }
    }

    fn signal(&mut self, index: usize, name: &str) {
        // How often the signal came does not matter, only that it did.
        while io::Read::read(&mut self.signals[index], &mut [0; 64]).is_ok_and(|count| count > 0) {}
        let config = self.server.config.load();
        let options = if index == 0 { config.shutdown.on_sigterm } else { config.shutdown.on_sigint };
        if name == "SIGINT" && self.server.desk.shutdown.lock().is_some() {
            log::warning("You insist... exiting now.");
            crate::persist::file::remove_unfinished();
            std::process::exit(1);
        }
        log::warning(&format!("Received {name} scheduling shutdown..."));
        shutdown::begin(&self.server, options, None);
    }
}
