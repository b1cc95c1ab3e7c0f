//! The end of a server: replicas catch up, the dataset is saved, and then all threads stop.
//!
//! A shutdown is asked for by SHUTDOWN or a signal and carried out by the main thread, in steps, so that it can be
//! called off. While replicas catch up, writes are paused and reads are answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_config::{Saving, ShutdownOptions};
use quorate_replication::PeerView;
use quorate_stdx::UnixMs;

use crate::data::client::Client;
use crate::data::worker::Mail;
use crate::log;
use crate::persist::aof::Phase;
use crate::process;
use crate::server::{Loading, Pause, Server, unix_now};

/// A shutdown under way.
pub struct Shutdown {
    options: ShutdownOptions,
    /// When it was asked for.
    since: Instant,
    /// When it stops waiting for replicas.
    deadline: Instant,
    /// The pause that was in force before, to be put back when it is called off.
    pause_before: Option<Pause>,
    /// Whether writes have been paused for it.
    paused: bool,
    /// The clients that asked for it and wait.
    clients: Vec<Arc<Client>>,
    /// The thread that saves the dataset, once it has come to that; whether it could.
    saving: Option<JoinHandle<bool>>,
}

/// What the main thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    GoOn,
    /// End.
    End,
}

/// How long it waits for the first base of an append-only file before it is called off.
const FIRST_BASE: Duration = Duration::from_secs(1);

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
            since: Instant::now(),
            deadline: Instant::now() + timeout,
            pause_before: None,
            paused: false,
            clients: client.cloned().into_iter().collect(),
            saving: None,
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
    if server.desk.shutdown.lock().is_none() {
        return Step::GoOn;
    }
    // Asked without the lock: whoever answers may be waiting for a thread that wants it.
    let lagging = lagging_replicas(server);
    let mut slot = server.desk.shutdown.lock();
    let Some(shutdown) = &mut *slot else { return Step::GoOn };
    // A signal is periodic work, which tests put off with DEBUG PAUSE-CRON to call a shutdown off in time.
    if shutdown.clients.is_empty() && server.knobs.cron_paused.load(Ordering::Relaxed) {
        return Step::GoOn;
    }
    if let Some(saving) = &shutdown.saving {
        if !saving.is_finished() {
            return Step::GoOn;
        }
        let ended = slot.take();
        drop(slot);
        return ended.map_or(Step::GoOn, |shutdown| saved(server, shutdown));
    }
    if !shutdown.options.now && !shutdown.time_left().is_zero() && !lagging.is_empty() {
        let must_pause = !shutdown.paused;
        drop(slot);
        if must_pause {
            pause_writes(server);
        }
        return Step::GoOn;
    }
    if server.aof.phase() == Phase::Begun && !shutdown.options.force && shutdown.since.elapsed() < FIRST_BASE {
        // It may be about to be complete.
        return Step::GoOn;
    }
    report_replicas(server, &lagging);
    if !may_leave_append_only_file(server, shutdown.options.force) {
        let ended = slot.take();
        drop(slot);
        if let Some(shutdown) = ended {
            log::warning("Errors trying to shut down the server. Check the logs for more information.");
            give_up(server, shutdown);
        }
        return Step::GoOn;
    }
    if !saves(server, shutdown.options) {
        return Step::End;
    }
    log::notice("Saving the final RDB snapshot before exiting.");
    process::notify("STATUS=Saving the final RDB snapshot");
    let saver = Arc::clone(server);
    // On a thread of its own, so that a signal is still heard while it takes its time.
    shutdown.saving = std::thread::Builder::new().name("last-save".to_owned()).spawn(move || save(&saver)).ok();
    Step::GoOn
}

fn report_replicas(server: &Server, lagging: &[String]) {
    let replicas = server.replicas.all().len();
    for line in lagging {
        log::warning(line);
    }
    if replicas > 0 {
        log::notice(&format!("{} of {replicas} replicas are in sync when shutting down.", replicas - lagging.len()));
    }
}

/// Whether the append-only file is no reason to stay. What it lacks is written; a rewrite that is under way is ended.
fn may_leave_append_only_file(server: &Server, force: bool) -> bool {
    let aof = &server.aof;
    if aof.phase() == Phase::Begun {
        if !force {
            log::warning("Writing initial AOF, can't exit.");
            process::notify("STATUS=Writing initial AOF, can't exit.");
            return false;
        }
        log::warning("Writing initial AOF. Exit anyway.");
    }
    if aof.cancel_rewrite() {
        log::warning("There is a child rewriting the AOF. Killing it!");
    }
    // An error is in the log, and the process ends all the same.
    aof.flush(server);
    true
}

/// Whether the dataset is saved.
fn saves(server: &Server, options: ShutdownOptions) -> bool {
    let wanted = match options.save {
        Saving::Always => true,
        Saving::Never => false,
        Saving::IfConfigured => !server.config.load().snapshots.save.is_empty(),
    };
    // What is only half there must not replace the file that it comes from.
    wanted && server.published().loading == Loading::No
}

/// Saves the dataset; whether that worked. From then on nothing is written any more: it would not be in the file.
fn save(server: &Arc<Server>) -> bool {
    server.space.join().alone(|alone| {
        let is_saved = server.persistence.save_now(server, alone).is_ok();
        if is_saved && let Some(shutdown) = &mut *server.desk.shutdown.lock() {
            if !shutdown.paused {
                (shutdown.paused, shutdown.pause_before) = (true, server.published().pause);
            }
            server.publish(|published| published.pause = Some(Pause { until: UnixMs(i64::MAX), all: true }));
        }
        is_saved
    })
}

/// The dataset was saved, or could not be.
fn saved(server: &Arc<Server>, mut shutdown: Shutdown) -> Step {
    let saving = shutdown.saving.take();
    if saving.is_some_and(|saving| saving.join().unwrap_or(false)) {
        crate::locks::leave_proof(server);
        return Step::End;
    }
    log::warning("Error trying to save the DB, can't exit.");
    if shutdown.options.force {
        log::warning("Ignoring errors: the shutdown is forced.");
        return Step::End;
    }
    process::notify("STATUS=Error trying to save the DB, can't exit");
    log::warning("Errors trying to shut down the server. Check the logs for more information.");
    give_up(server, shutdown);
    Step::GoOn
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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_config::{Config, Mode, Source, load};

    fn server(lines: &str) -> Arc<Server> {
        let config: Config = load(Mode::Server, &[Source::Text(lines.as_bytes().to_vec())]).unwrap().config;
        Arc::new(Server::new(config, 1))
    }

    #[test]
    fn without_save_points_or_replicas_there_is_nothing_to_wait_for() {
        let server = server("save ''");
        assert_eq!(step(&server), Step::GoOn);
        begin(&server, ShutdownOptions::default(), None);
        assert_eq!(step(&server), Step::End);
    }

    #[test]
    fn what_is_half_loaded_is_not_saved() {
        let server = server("save 900 1");
        assert!(saves(&server, ShutdownOptions::default()));
        server.publish(|published| published.loading = Loading::Blocking);
        assert!(!saves(&server, ShutdownOptions { save: Saving::Always, ..ShutdownOptions::default() }));
    }

    #[test]
    fn a_shutdown_that_was_called_off_lets_the_server_live() {
        let server = server("save ''");
        server.knobs.cron_paused.store(true, Ordering::Relaxed);
        begin(&server, ShutdownOptions::default(), None);
        assert_eq!(step(&server), Step::GoOn);
        assert!(abort(&server));
        server.knobs.cron_paused.store(false, Ordering::Relaxed);
        assert_eq!(step(&server), Step::GoOn);
        assert!(!abort(&server));
    }
}
