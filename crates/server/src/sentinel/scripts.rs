//! Notification and reconfiguration scripts as processes. They inherit no descriptor but the standard ones, which lead
//! nowhere, and each has a thread that waits for its end.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use quorate_sentinel::{Input, JobId, ScriptEnd};
use rustix::process::{Pid, Signal, kill_process};

use super::shell::Mail;

/// The scripts that run.
#[derive(Default)]
pub(super) struct Scripts(BTreeMap<JobId, u32>);

impl Scripts {
    /// Starts a script, whose end comes by mail.
    pub(super) fn run(&mut self, job: JobId, argv: &[String], mail: &Mail) {
        let (program, arguments) = argv.split_first().expect("a call names its program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            return mail.send(Input::ScriptEnded { job, end: ScriptEnd::NotStarted });
        };
        self.0.insert(job, child.id());
        let own = mail.clone();
        let waiter = std::thread::Builder::new().name("script".to_owned()).spawn(move || {
            let end = match child.wait() {
                Ok(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => ScriptEnd::Code(code),
                    (None, signal) => ScriptEnd::Signal(signal.unwrap_or(0)),
                },
                Err(_) => ScriptEnd::NotStarted,
            };
            own.send(Input::ScriptEnded { job, end });
        });
        if waiter.is_err() {
            mail.send(Input::ScriptEnded { job, end: ScriptEnd::NotStarted });
        }
    }

    /// Ends one that runs for too long.
    pub(super) fn kill(&self, job: JobId) {
        if let Some(pid) = self.0.get(&job).and_then(|pid| Pid::from_raw(*pid as i32)) {
            // If it has ended meanwhile, that is on its way to us.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// One has ended; its number may belong to another process from now on.
    pub(super) fn ended(&mut self, job: JobId) {
        self.0.remove(&job);
    }
}
