//! A deployment that `quorate up` has started, in a folder and on ports of its own. It ends with the test.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::server::{binary, free_port};

/// Ports from which on all that `quorate up` uses are free, and are given to nobody else while this lives.
#[derive(Debug)]
pub struct Ports {
    /// The first server's.
    pub base: u16,
    _given: Vec<UdpSocket>,
}

impl Ports {
    /// Finds some.
    ///
    /// # Panics
    /// If all are taken.
    pub fn find() -> Ports {
        for _ in 0..1000 {
            let base = free_port() / 100 * 100;
            // None that looks like one that a tutorial names; and the buses, 10000 above, stay below what outgoing connections get.
            let is_apart = !matches!(base / 1000 % 10, 6..=8) && base < 22_000;
            if let Some(given) = is_apart.then(|| taken(base)).flatten() {
                return Ports { base, _given: given };
            }
        }
        panic!("some of many ports are free");
    }
}

/// Takes all of them, as [`free_port`] does it.
fn taken(base: u16) -> Option<Vec<UdpSocket>> {
    let all = (0..10).flat_map(|n| [base + n, base + 1000 + n, base + 10_000 + n]);
    all.map(|port| {
        let given = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok().then_some(given)
    })
    .collect()
}

/// See the module's text.
#[derive(Debug)]
pub struct Local {
    place: tempfile::TempDir,
    /// The first server's port; those of the others follow.
    pub ports: Ports,
}

impl Local {
    /// A folder in which nothing runs yet.
    ///
    /// # Panics
    /// If there is no room.
    pub fn empty() -> Local {
        Local { place: tempfile::tempdir().expect("there is room for a directory"), ports: Ports::find() }
    }

    /// Starts a deployment by `quorate up` and these words, and waits until it is well.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn up(words: &[&str]) -> Local {
        let local = Local::empty();
        let port = local.ports.base.to_string();
        local.must(&[&["up"], words, &["--port", &port]].concat());
        local
    }

    /// Where its folder is.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// Runs `quorate` there.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(words).current_dir(self.place.path()).env_remove("REDISCLI_AUTH").stdin(Stdio::null());
        command.output().expect("the binary can be started")
    }

    /// The same; what it printed.
    ///
    /// # Panics
    /// If it does not succeed.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let [out, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{}: {}\n{out}\n{errors}", words.join(" "), output.status);
        out
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // There may be nothing to end.
        let _ = self.run(&["down", "--delete"]);
    }
}
