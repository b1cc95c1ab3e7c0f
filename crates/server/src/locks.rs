//! What a lock that a majority of servers grants may rely on here: that no lock is forgotten in silence, and that none
//! expires because the wall clock jumped.
//!
//! **Quarantine.** A server that starts without proof that it holds what it held before may have forgotten a lock that is
//! valid still. Granting it again would make two holders. So it refuses locks until the longest TTL (`lock-quarantine`) is
//! over. The proof is a file beside the snapshot, left by a SHUTDOWN that has saved everything, which names that snapshot;
//! a start uses it up.
//!
//! **The steady clock.** With `ttl-clock steady` keys expire by a monotonic clock. It follows the wall clock by at most half
//! a per cent, which is within what locks allow for drift; so corrections are followed, and a jump is absorbed slowly.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use quorate_config::{Config, TtlClock};
use quorate_stdx::{Mono, UnixMs};

use crate::log;
use crate::server::{Server, set_wall_offset, unix_now};

/// The offset that stands for the wall clock itself.
const WALL: i64 = i64::MIN;
/// The steady clock gains or loses at most a two-hundredth.
const SLEW: u64 = 200;
/// Beyond this the wall clock has jumped.
const JUMP: i64 = 1_000_000;

/// The clock of expiry, and the quarantine.
#[derive(Debug)]
pub struct Locks {
    /// Microseconds from the monotonic clock to the clock of expiry.
    offset: AtomicI64,
    slewed_at: AtomicU64,
    /// Whether the log has told of a jump that is not absorbed yet.
    has_told: std::sync::atomic::AtomicBool,
    /// When the quarantine ends, microseconds of the monotonic clock; 0 is none.
    until: AtomicU64,
}

impl Default for Locks {
    fn default() -> Locks {
        Locks {
            offset: AtomicI64::new(WALL),
            slewed_at: AtomicU64::new(0),
            has_told: Default::default(),
            until: AtomicU64::new(0),
        }
    }
}

impl Locks {
    /// The clock by which keys expire.
    #[inline]
    pub fn unix(&self, mono: Mono) -> UnixMs {
        match self.offset.load(Ordering::Relaxed) {
            WALL => unix_now(),
            offset => UnixMs((mono.0 as i64).saturating_add(offset) / 1000),
        }
    }

    /// Lets the steady clock follow the wall clock as far as it may since the last time.
    pub fn tick(&self, clock: TtlClock, mono: Mono) {
        let wall = unix_now().0.saturating_mul(1000);
        let offset = self.offset.load(Ordering::Relaxed);
        let next = match clock {
            TtlClock::Wall => WALL,
            TtlClock::Steady if offset == WALL => wall.saturating_sub(mono.0 as i64),
            TtlClock::Steady => {
                let elapsed = mono.0.saturating_sub(self.slewed_at.load(Ordering::Relaxed));
                let behind = wall.saturating_sub((mono.0 as i64).saturating_add(offset));
                self.tell(behind);
                offset.saturating_add(slew(behind, elapsed))
            }
        };
        self.slewed_at.store(mono.0, Ordering::Relaxed);
        self.offset.store(next, Ordering::Relaxed);
    }

    fn tell(&self, behind: i64) {
        let has_jumped = behind.abs() > JUMP;
        if has_jumped && !self.has_told.swap(has_jumped, Ordering::Relaxed) {
            log::warning(&format!(
                "The wall clock has jumped by {} ms; keys expire by the steady clock",
                behind / 1000
            ));
        } else if !has_jumped {
            self.has_told.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the quarantine has come to its end, or was called off by the configuration.
    pub fn is_quarantine_over(&self, config: &Config, mono: Mono) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && (mono.0 >= until || config.locks.quarantine.is_zero())
    }

    /// Forgets the quarantine; the caller publishes that.
    pub fn end_quarantine(&self) {
        self.until.store(0, Ordering::Relaxed);
        log::notice("The quarantine for locks is over: they are granted from now on.");
    }
}

/// How far the steady clock moves towards the wall clock, both in microseconds.
fn slew(behind: i64, elapsed: u64) -> i64 {
    let most = i64::try_from(elapsed / SLEW).unwrap_or(i64::MAX);
    behind.clamp(-most, most)
}

/// Begins the quarantine if there is no proof, and sets the clock. Called before the threads start.
pub fn begin(server: &Server) {
    let config = server.config.load_full();
    set_wall_offset(config.testing.wall_offset);
    server.on_config_change(|change| set_wall_offset(change.config.testing.wall_offset));
    server.locks.tick(config.locks.clock, server.mono());
    let is_proven = take_proof(&crate::persist::path(&config));
    let time = config.locks.quarantine;
    if time.is_zero() || is_proven {
        return;
    }
    let until = server.mono() + time.max(Duration::from_micros(1));
    server.locks.until.store(until.0, Ordering::Relaxed);
    server.publish(|published| published.settings.refuses_locks = true);
    log::warning(&format!(
        "Nothing proves that no lock was lost before this start: locks are refused for {} ms (lock-quarantine)",
        time.as_millis()
    ));
}

/// Leaves proof that the snapshot holds everything. Called when nothing can be written any more.
pub fn leave_proof(server: &Server) {
    let config = server.config.load_full();
    if config.locks.quarantine.is_zero() {
        return;
    }
    let snapshot = crate::persist::path(&config);
    let written = name_of(&snapshot).and_then(|name| {
        let mut file = File::create(proof_of(&snapshot))?;
        file.write_all(name.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written {
        log::warning(&format!("Can't leave proof for the next start that no lock is lost: {error}"));
    }
}

/// Uses the proof up; whether it is about this snapshot.
fn take_proof(snapshot: &Path) -> bool {
    let proof = proof_of(snapshot);
    let Ok(claimed) = fs::read_to_string(&proof) else { return false };
    // Proof that can't be taken away could be used twice.
    let is_gone = fs::remove_file(&proof).and_then(|()| File::open(directory_of(&proof))?.sync_all());
    is_gone.is_ok() && name_of(snapshot).is_ok_and(|name| name == claimed)
}

fn proof_of(snapshot: &Path) -> PathBuf {
    let mut name = snapshot.as_os_str().to_owned();
    name.push(".complete");
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What tells this snapshot from any other: its inode, its size, and when it was written.
fn name_of(snapshot: &Path) -> std::io::Result<String> {
    let about = fs::metadata(snapshot)?;
    Ok(format!("{} {} {} {}\n", about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_follows_by_half_a_per_cent() {
        assert_eq!(slew(0, 1_000_000), 0);
        assert_eq!(slew(300, 100_000), 300);
        assert_eq!(slew(3_600_000_000, 1_000_000), 5_000);
        assert_eq!(slew(-3_600_000_000, 1_000_000), -5_000);
    }

    #[test]
    fn proof_is_about_one_snapshot_and_good_for_one_start() {
        let place = tempfile::tempdir().unwrap();
        let snapshot = place.path().join("dump.rdb");
        fs::write(&snapshot, "data").unwrap();
        assert!(!take_proof(&snapshot));
        let prove = || fs::write(proof_of(&snapshot), name_of(&snapshot).unwrap()).unwrap();
        prove();
        assert!(take_proof(&snapshot) && !take_proof(&snapshot));
        prove();
        fs::write(&snapshot, "other data").unwrap();
        assert!(!take_proof(&snapshot) && !proof_of(&snapshot).exists());
    }
}
