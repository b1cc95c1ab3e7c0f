//! The end of a server: replicas catch up, the dataset is saved, and then all threads stop.
//!
//! A shutdown is asked for by SHUTDOWN or a signal and carried out by the main thread, in steps, so that it can be
//! called off. While replicas catch up, writes are paused and reads are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_config::{Saving, ShutdownOptions};
use quorate_replication::PeerView;
use quorate_stdx::UnixMs;

use crate::data::client::Client;
use crate::data::worker::Mail;
use crate::log;
use crate::process;
use crate::server::{Loading, Pause, Server, unix_now};

/// A shutdown under way.
pub struct Shutdown {
    options: ShutdownOptions,
    /// When it stops waiting for replicas.
    deadline: Instant,
    /// The pause that was in force before, to be put back when it is called off.
    pause_before: Option<Pause>,
    /// Whether writes have been paused for it.
    paused: bool,
    /// The clients that asked for it and wait.
    clients: Vec<Arc<Client>>,
}

/// What the main thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    GoOn,
    /// End.
    End,
}

/// The reply of those whose shutdown came to nothing.
pub const FAILED: &[u8] = b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n";

impl Shutdown {
    /// How long it still waits for replicas: `shutdown_in_milliseconds`.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Asks for a shutdown. A client that asks waits for its end, and gets an answer only if it comes to nothing.
pub fn begin(server: &Server, options: ShutdownOptions, client: Option<&Arc<Client>>) {
    let mut shutdown = server.desk.shutdown.lock();
    if let Some(under_way) = &mut *shutdown {
        // Who insists on now or on force gets it.
        under_way.options.now |= options.now;
        under_way.options.force |= options.force;
        under_way.clients.extend(client.cloned());
    } else {
        log::notice("User requested shutdown...");
        let timeout = server.config.load().shutdown.timeout;
        *shutdown = Some(Shutdown {
            options,
            deadline: Instant::now() + timeout,
            pause_before: None,
            paused: false,
            clients: client.cloned().into_iter().collect(),
        });
    }
    drop(shutdown);
    server.desk.wake();
}

/// Calls a shutdown off; whether there was one. The calling thread is alone.
pub fn abort(server: &Server) -> bool {
    let Some(shutdown) = server.desk.shutdown.lock().take() else { return false };
    log::warning("Shutdown manually aborted.");
    if shutdown.paused {
        server.publish(|published| published.pause = shutdown.pause_before);
    }
    tell_those_who_wait(server, shutdown);
    true
}

/// Carries a shutdown on as far as it can be now.
pub fn step(server: &Arc<Server>) -> Step {
    let lagging = lagging_replicas(server);
    let (shutdown, must_pause) = {
        let mut slot = server.desk.shutdown.lock();
        let Some(shutdown) = &*slot else { return Step::GoOn };
        let waits = !shutdown.options.now && !shutdown.time_left().is_zero() && !lagging.is_empty();
        let must_pause = waits && !shutdown.paused;
        (if waits { None } else { slot.take() }, must_pause)
    };
    match shutdown {
        Some(shutdown) => finish(server, shutdown, &lagging),
        None => {
            if must_pause {
                pause_writes(server);
            }
            Step::GoOn
        }
    }
}

fn finish(server: &Arc<Server>, shutdown: Shutdown, lagging: &[String]) -> Step {
    let replicas = server.replicas.all().len();
    for line in lagging {
        log::warning(line);
    }
    if replicas > 0 {
        log::notice(&format!("{} of {replicas} replicas are in sync when shutting down.", replicas - lagging.len()));
    }
    let saves = match shutdown.options.save {
        Saving::Always => true,
        Saving::Never => false,
        Saving::IfConfigured => !server.config.load().snapshots.save.is_empty(),
    };
    // What is only half there must not replace the file that it comes from.
    let saves = saves && server.published().loading == Loading::No;
    if saves && !save(server) {
        log::warning("Error trying to save the DB, can't exit.");
        if !shutdown.options.force {
            process::notify("STATUS=Error trying to save the DB, can't exit");
            log::warning("Errors trying to shut down the server. Check the logs for more information.");
            give_up(server, shutdown);
            return Step::GoOn;
        }
        log::warning("Ignoring errors: the shutdown is forced.");
    }
    Step::End
}

/// Saves the dataset; whether that worked.
fn save(server: &Arc<Server>) -> bool {
    log::notice("Saving the final RDB snapshot before exiting.");
    process::notify("STATUS=Saving the final RDB snapshot");
    server.space.join().alone(|alone| server.persistence.save_now(server, alone)).is_ok()
}

/// Lets writes go on, and tells those who asked that the server lives.
fn give_up(server: &Server, shutdown: Shutdown) {
    if shutdown.paused {
        let pause = shutdown.pause_before;
        server.space.join().alone(|_| server.publish(|published| published.pause = pause));
    }
    tell_those_who_wait(server, shutdown);
}

fn tell_those_who_wait(server: &Server, shutdown: Shutdown) {
    for worker in 0..server.workers.get().map_or(0, Vec::len) {
        server.mail(worker, Mail::Resume);
    }
    for client in shutdown.clients {
        server.mail(client.worker, Mail::Answer { client: client.id, reply: FAILED.to_vec() });
    }
}

/// Pauses writes for as long as it takes, unless the shutdown has been called off meanwhile.
fn pause_writes(server: &Server) {
    server.space.join().alone(|_| {
        // Nobody else is active, so nobody holds this lock.
        let mut slot = server.desk.shutdown.lock();
        let Some(shutdown) = &mut *slot else { return };
        log::notice("Waiting for replicas before shutting down.");
        process::notify("STATUS=Waiting for replicas before shutting down");
        let before = server.published().pause;
        let all = before.is_some_and(|pause| pause.all && unix_now() < pause.until);
        (shutdown.paused, shutdown.pause_before) = (true, before);
        server.publish(|published| published.pause = Some(Pause { until: UnixMs(i64::MAX), all }));
    });
}

/// A line for the log for each replica that has not acknowledged all of the log.
fn lagging_replicas(server: &Server) -> Vec<String> {
    let view = server.control.view(server);
    let lagging = view.replicas.iter().filter(|replica| replica.offset < view.offset);
    let line = |replica: &PeerView| {
        format!(
            "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
            replica.addr,
            view.offset.0 - replica.offset.0,
            replica.lag.as_secs(),
            replica.state.word()
        )
    };
    lagging.map(line).collect()
}
