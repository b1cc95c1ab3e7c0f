//! Programs in other languages: scripts beside the tests, with the libraries that `cargo xtask peers` installs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

fn installed(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers").join(what)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A script in Python that needs this module; `None`, and a line that says so, if the module is not installed.
pub fn python(module: &str, name: &str) -> Option<Command> {
    let python = installed("py/bin/python");
    let imported = Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if !imported.is_ok_and(|status| status.success()) {
        println!("SKIPPED {module} (Python): not installed (cargo xtask peers)");
        return None;
    }
    let mut program = Command::new(python);
    program.arg(script(name));
    Some(program)
}

/// A script for node that needs this module; `None`, and a line that says so, if the module is not installed.
pub fn node(module: &str, name: &str) -> Option<Command> {
    let modules = installed("node/node_modules");
    if !modules.join(module).exists() {
        println!("SKIPPED {module} (npm): not installed (cargo xtask peers)");
        return None;
    }
    let mut program = Command::new("node");
    program.env("NODE_PATH", modules).arg(script(name));
    Some(program)
}

/// A program that writes until it is told to end, whatever happens to the servers meanwhile.
#[derive(Debug)]
pub struct Rider {
    child: Child,
    lines: BufReader<ChildStdout>,
    first: String,
    place: tempfile::TempDir,
}

impl Rider {
    /// Starts it: its arguments are the file that says when to end, and ports. It has written, or failed, when this returns.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(mut program: Command, ports: impl Iterator<Item = u16>) -> Rider {
        let place = tempfile::tempdir().expect("there is room for a directory");
        program.arg(place.path().join("stop")).args(ports.map(|port| port.to_string()));
        let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("it writes text");
        Rider { child, lines, first, place }
    }

    /// Whether it writes to the servers; else [`Rider::end`] says why not.
    pub fn writes(&self) -> bool {
        self.first == "writing\n"
    }

    /// Tells it to end.
    ///
    /// # Panics
    /// If something went wrong with it.
    pub fn end(mut self) {
        std::fs::write(self.place.path().join("stop"), "").expect("there is room for a file");
        let (mut out, mut errors) = (String::new(), String::new());
        self.lines.read_to_string(&mut out).expect("it writes text");
        let pipe = self.child.stderr.as_mut().expect("its errors are a pipe");
        pipe.read_to_string(&mut errors).expect("it writes text");
        let status = self.child.wait().expect("it is ours");
        assert!(status.success() && out.ends_with("all is well\n"), "{status}\n{}{out}\n{errors}", self.first);
        println!("{out}");
    }
}
