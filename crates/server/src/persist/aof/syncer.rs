//! The thread that hands the append-only file to the disk: with `always` as soon as anybody waits for it, with
//! `everysec` once a second, and whatever network threads have left unwritten.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_config::Fsync;
use quorate_keyspace::Member;

use super::Aof;
use crate::log;
use crate::server::Server;

/// How often it looks for what nobody has told it of.
const TICK: Duration = Duration::from_millis(100);
/// The same while there is no file.
const IDLE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends soon after the server's `stopping` is set.
pub fn start(server: &Arc<Server>) -> io::Result<JoinHandle<()>> {
    let server = Arc::clone(server);
    let run = move || {
        // Nobody but this thread sets it.
        let _ = server.aof.syncer.set(std::thread::current());
        Syncer { member: server.space.join(), server, synced_at: Instant::now() }.run();
    };
    std::thread::Builder::new().name("aof-sync".to_owned()).spawn(run)
}

struct Syncer {
    server: Arc<Server>,
    member: Member,
    synced_at: Instant,
}

impl Syncer {
    fn run(mut self) {
        let server = Arc::clone(&self.server);
        let aof = &server.aof;
        while !server.stopping.load(Ordering::Acquire) {
            if aof.follows() {
                self.turn();
            }
            let due = aof.holds() && aof.durable() < aof.mark(&server.feed);
            if !due {
                std::thread::park_timeout(if aof.follows() { TICK } else { IDLE });
            }
        }
    }

    fn turn(&mut self) {
        let server = Arc::clone(&self.server);
        let aof = &server.aof;
        let settings = server.config.load().append_only.clone();
        let mut fine = true;
        if aof.written.load(Ordering::Acquire) < aof.mark(&server.feed) {
            fine = aof.write(&server);
        }
        let is_behind = aof.durable() < aof.written.load(Ordering::Acquire);
        let is_due = match settings.fsync {
            Fsync::Always => is_behind,
            Fsync::EverySecond => is_behind && self.synced_at.elapsed() >= Duration::from_secs(1),
            Fsync::No => false,
        };
        let is_spared = settings.no_fsync_on_rewrite && server.persistence.is_walking();
        if fine && is_due && is_spared && aof.holds() {
            // Who chose so gets answers for what is only written.
            aof.durable.fetch_max(aof.written.load(Ordering::Acquire), Ordering::AcqRel);
            aof.tell(&server);
        } else if fine && is_due && !is_spared {
            self.synced_at = Instant::now();
            fine = aof.sync(&server);
            server.control.disk_moved(&server);
        }
        self.report(fine);
    }

    /// Lets writes through or not.
    fn report(&mut self, fine: bool) {
        let aof = &self.server.aof;
        let failure = aof.failure.lock().clone();
        let Some(failure) = failure else { return };
        if aof.holds() {
            log::warning("Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...");
            std::process::exit(1);
        }
        let server = &self.server;
        if fine {
            log::warning("AOF write error looks solved, Redis can write again.");
            self.member.alone(|_| aof.recovered(server));
        } else if server.published().append_failure.is_none() {
            self.member.alone(|_| server.publish(|next| next.append_failure = Some(failure.into())));
        }
    }
}

impl Aof {
    /// Hands what is written to the disk, and tells who waits; whether that worked.
    pub(super) fn sync(&self, server: &Server) -> bool {
        let writer = self.writer.lock();
        let Some((files, written)) =
            writer.as_ref().map(|writer| (writer.unsynced(), self.written.load(Ordering::Acquire)))
        else {
            return true;
        };
        self.syncing_since.store(server.mono().0.max(1), Ordering::Release);
        drop(writer);
        let result = files.iter().try_for_each(|file| file.sync_data());
        self.syncing_since.store(0, Ordering::Release);
        match result {
            Ok(()) => {
                if let Some(writer) = &mut *self.writer.lock() {
                    writer.synced(&files);
                }
                self.durable.fetch_max(written, Ordering::AcqRel);
                self.tell(server);
                true
            }
            Err(error) => {
                let why = crate::process::plain(&error);
                self.fail(&format!("Fail to fsync the AOF file: {why}"), &error);
                false
            }
        }
    }
}
