//! What the kernel knows about a process: CPU time, resident memory, descendants.
//!
//! CPU time is the scheduler's own, in nanoseconds (`/proc/PID/task/*/schedstat`); `utime` and `stime` count clock
//! ticks and are too coarse for a ratio. It lags behind by at most a tick, on both edges of a window alike.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of all living threads of a process, user and kernel together.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanos += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).context("read schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// CPU time of the calling thread.
pub(super) fn own_thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident bytes of a process.
pub(super) fn resident(pid: u32) -> Result<u64> {
    rollup(pid, "Rss:").with_context(|| format!("read the memory of process {pid}"))
}

/// Bytes that a process and its descendants occupy together; a page that they share counts once.
pub(super) fn footprint(pid: u32) -> Result<u64> {
    let own = rollup(pid, "Pss:").with_context(|| format!("read the memory of process {pid}"))?;
    // A child that ends meanwhile has given its memory back.
    Ok(own + descendants(pid)?.into_iter().filter_map(|child| rollup(child, "Pss:")).sum::<u64>())
}

fn rollup(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Children, their children, and so on.
pub(super) fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        if let Some(pair) = parentage(&path) {
            parents.push(pair);
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        next += 1;
    }
    found.remove(0);
    Ok(found)
}

/// The process that `path` describes and its parent, if it describes one.
fn parentage(path: &Path) -> Option<(u32, u32)> {
    let pid = path.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    // The name stands in parentheses and may contain anything, parentheses too.
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((pid, parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_cpu_time_of_this_process_grows_with_its_work() {
        let pid = std::process::id();
        let (process, thread) = (cpu(pid).unwrap(), own_thread_cpu());
        while own_thread_cpu() - thread < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        assert!(cpu(pid).unwrap() - process > Duration::from_millis(30));
    }

    #[test]
    fn a_child_is_a_descendant_and_adds_to_the_footprint() {
        let own = std::process::id();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert!(descendants(own).unwrap().contains(&child.id()));
        assert!(footprint(own).unwrap() > rollup(own, "Pss:").unwrap() / 2);
        assert!(resident(own).unwrap() > 100 * 1024);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(resident(child.id()).is_err());
    }
}
