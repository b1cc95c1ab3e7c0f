//! Memory: what a key costs, and what a snapshot under writes costs on top.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cases::SET_P16;
use super::probe::{Rate, Writers};
use super::proc;
use super::progress;
use super::report::{Figure, Unit};
use super::server::{Kind, Launch, Launcher, Place, Server};
use super::stalls::{filled, sleep, until};
use super::throughput;

/// Resident bytes per key of freshly started and filled servers.
pub(super) fn per_key(launcher: &Launcher, kinds: &[Kind], keys: u64) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("resident bytes per key (16-byte key, 64-byte value)".to_owned(), Unit::Bytes);
    for &kind in kinds {
        progress::show(&format!("memory of {}", kind.name()));
        let server = launcher.start(&Launch::of(kind, Place::ServerCore))?;
        let before = settled(&server)?;
        throughput::fill(&server, kind, &SET_P16, keys)?;
        let grown = settled(&server)?.saturating_sub(before);
        figure.push(kind, [grown as f64 / keys as f64].into_iter().collect());
        progress::clear();
    }
    Ok(vec![figure])
}

/// Resident bytes once they no longer change: a table may still be moving, a freed one on its way to the kernel.
fn settled(server: &Server) -> Result<u64> {
    let mut resident = proc::resident(server.pid())?;
    for _ in 0..20 {
        sleep(Duration::from_millis(300))?;
        let before = std::mem::replace(&mut resident, proc::resident(server.pid())?);
        if before.abs_diff(resident) < resident / 1000 {
            break;
        }
    }
    Ok(resident)
}

/// The peak of a server and its children during a BGSAVE, relative to before, while random keys are overwritten as
/// fast as the server can.
pub(super) fn during_snapshot(launcher: &Launcher, kinds: &[Kind], keys: u64, repeats: usize) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("peak memory of a BGSAVE under full write load / before".to_owned(), Unit::Times);
    for &kind in kinds {
        progress::show(&format!("snapshot memory of {}", kind.name()));
        let server = filled(launcher, kind, Place::Anywhere, &[], keys)?;
        let writers = Writers::start(server.port, keys, Rate::Full);
        let mut client = server.client()?;
        let mut growth = Vec::new();
        for _ in 0..repeats {
            // Overwriting fragments the memory at first; that is not the snapshot's doing.
            sleep(Duration::from_millis(500))?;
            let before = proc::footprint(server.pid())?;
            let mut peak = before;
            client.call(&["BGSAVE"])?;
            until("BGSAVE is done", Duration::from_millis(2), || {
                peak = peak.max(proc::footprint(server.pid())?);
                Ok(client.info("persistence", "rdb_bgsave_in_progress")? == "0")
            })?;
            ensure!(client.info("persistence", "rdb_last_bgsave_status")? == "ok", "BGSAVE failed");
            growth.push(peak as f64 / before as f64);
        }
        writers.finish()?;
        figure.push(kind, growth.into_iter().collect());
        progress::clear();
    }
    Ok(vec![figure])
}
