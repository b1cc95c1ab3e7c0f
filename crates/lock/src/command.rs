//! The command under the lock: started when it is held, told of signals, ended when it is lost.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use quorate_redlock::{Guard, LockError};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::{CANNOT_RUN, LOST, NOT_ACQUIRED, NOT_FOUND, Run, UNUSABLE, complain};

pub(crate) async fn run(run: &Run) -> ExitCode {
    let redlock = match run.nodes.lock() {
        Ok(redlock) => redlock,
        Err(error) => return complain(UNUSABLE, &error),
    };
    if let Err(error) = redlock.check().await {
        return complain(UNUSABLE, &error);
    }
    let request = redlock.request([run.resource.as_str()], run.ttl).fenced(true).fair(run.fair).wait(run.wait);
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return complain(UNUSABLE, &error),
    };
    let asked = tokio::select! {
        locked = request.extend_for(run.max_hold.max(run.ttl)).lock() => locked,
        // Whatever is locked by then is given back.
        signal = signals.next() => return ended_by(signal),
    };
    let guard = match asked {
        Ok(guard) => guard,
        Err(error @ LockError::NotAcquired { .. }) => return complain(NOT_ACQUIRED, &error),
        Err(error) => return complain(UNUSABLE, &error),
    };
    let code = match start(run, &guard) {
        Ok(child) => attend(run, &guard, child, &mut signals).await,
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
            complain(code, &format!("{}: {error}", run.command[0].display()))
        }
    };
    guard.release().await;
    code
}

fn start(run: &Run, guard: &Guard) -> io::Result<Child> {
    let mut command = Command::new(&run.command[0]);
    command.args(&run.command[1..]);
    if let Some(fence) = guard.fence() {
        command.env(&run.fence_env, fence.to_string());
    }
    if !run.foreground {
        command.process_group(0);
    }
    command.spawn()
}

/// Waits for its end, or brings it about.
async fn attend(run: &Run, guard: &Guard, mut child: Child, signals: &mut Signals) -> ExitCode {
    let target = Target { pid: child.id(), is_group: !run.foreground };
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return ended(status),
            loss = guard.lost() => {
                eprintln!("quorate lock: the lock on {} is lost: {loss}", run.resource);
                end(run, &target, &mut child).await;
                return ExitCode::from(LOST);
            }
            signal = signals.next() => target.send(signal),
        }
    }
}

/// TERM, and KILL if that is not enough. What it has started is not spared either, if it is in its group.
async fn end(run: &Run, target: &Target, child: &mut Child) {
    target.send(Signal::TERM);
    // A child that can't be waited for is killed, too.
    let _ = tokio::time::timeout(run.kill_after, child.wait()).await;
    target.send(Signal::KILL);
    let _ = child.wait().await;
}

fn ended(status: io::Result<ExitStatus>) -> ExitCode {
    match status {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) => complain(CANNOT_RUN, &error),
    }
}

fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX))
}

/// Whom signals go to.
struct Target {
    pid: Option<u32>,
    is_group: bool,
}

impl Target {
    fn send(&self, signal: Signal) {
        let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else { return };
        // Who has ended already needs no signal.
        let _ = match self.is_group {
            true => rustix::process::kill_process_group(pid, signal),
            false => rustix::process::kill_process(pid, signal),
        };
    }
}

/// The signals that are passed on.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
        }
    }
}
