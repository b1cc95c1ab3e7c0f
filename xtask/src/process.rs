//! Running a program that starts programs of its own, with a limit to its time and nothing left behind.
//!
//! The program becomes the leader of a process group. When it has ended, or must, the whole group is killed; the
//! leader is reaped only afterwards, so the group's number cannot have passed to strangers in between. A descendant
//! that left the group (a daemon) is found by the directory that it works in, see [`end_strays`].

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use signal_hook::consts::{SIGINT, SIGTERM};

/// How often a wait looks whether it was interrupted.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// How a group came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    Exited,
    TimedOut,
}

/// From here on, SIGINT and SIGTERM end running groups and make [`run_group`] fail; a second one ends this process.
pub(crate) fn watch_signals() -> Result<()> {
    let raised = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(raised))?;
        signal_hook::flag::register(signal, Arc::clone(raised))?;
    }
    Ok(())
}

fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|raised| raised.load(Ordering::Relaxed))
}

/// Runs a command in a process group of its own and ends the whole group with it.
pub(crate) fn run_group(command: &mut Command, limit: Duration) -> Result<Ended> {
    let deadline = Instant::now() + limit;
    let mut leader = command.process_group(0).spawn().with_context(|| format!("start {command:?}"))?;
    let pid = Pid::from_child(&leader);
    let waited = wait_until(pid, deadline);
    // The leader may have been the last of its group.
    let _ = kill_process_group(pid, Signal::KILL);
    leader.wait().context("reap a child")?;
    Ok(if waited? { Ended::Exited } else { Ended::TimedOut })
}

/// Whether the process has ended before the deadline. It stays unreaped.
fn wait_until(pid: Pid, deadline: Instant) -> Result<bool> {
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("open a handle of a child")?;
    while Instant::now() < deadline {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&GLANCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => bail!("wait for a child: {error}"),
        }
        if interrupted() {
            bail!("interrupted");
        }
    }
    Ok(false)
}

/// Kills each process that runs one of `programs` with a working directory inside `directory`.
///
/// Give it a directory that nobody else works in with these programs.
pub(crate) fn end_strays(directory: &Path, programs: &[&Path]) -> Result<()> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes end while this reads, and those of others cannot be read.
        let Ok(works_in) = fs::read_link(entry.path().join("cwd")) else { continue };
        let Ok(runs) = fs::read_link(entry.path().join("exe")) else { continue };
        if works_in.starts_with(directory) && programs.contains(&runs.as_path()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_group_that_outlives_its_limit_is_killed_with_its_children() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "tail -f /dev/null & wait"]).stdout(writer);
        let ended = run_group(&mut command, Duration::from_millis(200)).unwrap();
        assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
        drop(command);
        // The grandchild held the other end of the pipe: it reads as closed once the grandchild is dead.
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn children_that_a_finished_leader_left_are_killed() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "tail -f /dev/null & exit"]).stdout(writer);
        let ended = run_group(&mut command, Duration::from_secs(60)).unwrap();
        assert!(matches!(ended, Ended::Exited), "{ended:?}");
        drop(command);
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_stray_is_known_by_its_program_and_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().canonicalize().unwrap();
        let tail = crate::workspace::program("tail").unwrap().canonicalize().unwrap();
        let start = |path: &Path| Command::new(&tail).args(["-f", "/dev/null"]).current_dir(path).spawn().unwrap();
        let mut inside = start(&directory);
        let mut outside = start(Path::new("/"));
        end_strays(&directory, &[Path::new("/nowhere/sh")]).unwrap();
        assert!(inside.try_wait().unwrap().is_none());
        end_strays(&directory, &[&tail]).unwrap();
        assert!(!inside.wait().unwrap().success());
        assert!(outside.try_wait().unwrap().is_none());
        outside.kill().unwrap();
        outside.wait().unwrap();
    }
}
