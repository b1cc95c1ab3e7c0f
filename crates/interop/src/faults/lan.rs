//! Hosts and cables: each host is a network namespace, and between each two of them lies a cable (a veth pair) of its own.
//!
//! Each end of a cable can be made to swallow what is sent into it, without a word to anybody, as when a switch dies: so
//! partitions, and losses in one direction, are any set of ends. Or it can be made to swallow a share, by the kernel's dice: a
//! bad plug loses packets and not connections. All of it goes with the value.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// See the module's text.
pub struct Lan {
    names: Vec<String>,
}

impl Lan {
    /// Makes so many hosts, each of which reaches all others.
    ///
    /// # Errors
    /// This process may not, or the system has no `ip` and `tc`: what went wrong.
    pub fn lay(hosts: usize) -> Result<Lan, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_what_the_dead_left();
        let tag = format!("qf{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut lan = Lan { names: Vec::new() };
        for host in 0..hosts {
            let name = format!("{tag}-{host}");
            run(&["ip", "netns", "add", &name], "")?;
            lan.names.push(name);
        }
        let mut cables = String::new();
        for (one, other) in pairs(hosts) {
            let (from, to) = (&lan.names[one], &lan.names[other]);
            let (near, far) = (end(one, other), end(other, one));
            cables += &format!("link add {near} netns {from} type veth peer name {far} netns {to}\n");
        }
        run(&["ip", "-batch", "-"], &cables)?;
        for host in 0..hosts {
            let own = Lan::ip(host);
            let mut lines = format!("link set lo up\naddress add {own}/32 dev lo\n");
            for other in (0..hosts).filter(|other| *other != host) {
                let (end, to) = (end(host, other), Lan::ip(other));
                lines += &format!("link set {end} up\nroute add {to}/32 dev {end} src {own}\n");
            }
            run(&["ip", "-n", &lan.names[host], "-batch", "-"], &lines)?;
        }
        // What is not possible is to be known before anything is measured.
        lan.cut(&[(0, 1)])?;
        lan.mend(&[(0, 1)])?;
        Ok(lan)
    }

    /// The address of a host.
    pub fn ip(host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, u8::try_from(host + 1).unwrap_or(u8::MAX))
    }

    /// From now on what the first of each pair sends to the second is lost. When that was done on the first of these hosts;
    /// the others follow one by one.
    ///
    /// # Errors
    /// It can't be done: why.
    pub fn cut(&self, ends: &[(usize, usize)]) -> Result<Instant, String> {
        self.at_each(ends, |end| format!("qdisc replace dev {end} root blackhole\n"))
    }

    /// From now on it arrives again.
    ///
    /// # Errors
    /// It can't be done: why.
    pub fn mend(&self, ends: &[(usize, usize)]) -> Result<Instant, String> {
        self.at_each(ends, |end| format!("qdisc del dev {end} root\n"))
    }

    /// From now on so many of a hundred packets are lost that the first of each pair sends to the second.
    ///
    /// # Errors
    /// It can't be done; a kernel without the classifier of packets by programs can't.
    pub fn lose(&self, ends: &[(usize, usize)], percent: u32) -> Result<Instant, String> {
        // A program for packets: a random number above the limit passes (-1), another is the end of it (2).
        let limit = u64::from(u32::MAX) * u64::from(percent) / 100;
        let program = format!("4,32 0 0 4294963256,37 0 1 {limit},6 0 0 4294967295,6 0 0 2");
        self.at_each(ends, |end| {
            format!("qdisc add dev {end} clsact\nfilter add dev {end} egress bpf da bytecode '{program}'\n")
        })
    }

    /// From now on none is.
    ///
    /// # Errors
    /// It can't be done: why.
    pub fn lose_none(&self, ends: &[(usize, usize)]) -> Result<Instant, String> {
        self.at_each(ends, |end| format!("qdisc del dev {end} clsact\n"))
    }

    fn at_each(&self, ends: &[(usize, usize)], line: impl Fn(&str) -> String) -> Result<Instant, String> {
        let mut first = None;
        for (host, name) in self.names.iter().enumerate() {
            let own = ends.iter().filter(|(from, _)| *from == host);
            let lines: String = own.map(|(from, to)| line(&end(*from, *to))).collect();
            if !lines.is_empty() {
                run(&["tc", "-n", name, "-batch", "-"], &lines)?;
                first.get_or_insert_with(Instant::now);
            }
        }
        Ok(first.unwrap_or_else(Instant::now))
    }

    /// Runs `work` on a host: the sockets that it makes, and the processes that it starts, are there.
    ///
    /// # Errors
    /// This process may not go there.
    pub fn within<R: Send>(&self, host: usize, work: impl FnOnce() -> R + Send) -> Result<R, String> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter(host).map(|()| work()));
            thread.join().map_err(|_| "a thread has panicked".to_owned())?
        })
    }

    /// Lets the calling thread be on a host from now on.
    ///
    /// # Errors
    /// This process may not go there.
    pub fn enter(&self, host: usize) -> Result<(), String> {
        let path = format!("/run/netns/{}", self.names[host]);
        let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        use std::os::fd::AsFd as _;
        let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        moved.map_err(|error| format!("{path}: {error}"))
    }

    /// The same for threads that outlive the borrow.
    pub fn door(&self, host: usize) -> impl FnOnce() -> Result<(), String> + Send + use<> {
        let lan = Lan { names: self.names.clone() };
        move || {
            let entered = lan.enter(host);
            // The namespaces are the other's.
            std::mem::forget(lan);
            entered
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in &self.names {
            // The cables go with their ends.
            if let Err(error) = run(&["ip", "netns", "del", name], "") {
                eprintln!("a namespace is left: {error}");
            }
        }
    }
}

/// A process that was killed could not remove its hosts; their names begin with its number.
fn remove_what_the_dead_left() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("qf").and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(pid).exists()) {
            // Another process may be doing the same.
            let _ = run(&["ip", "netns", "del", &name], "");
        }
    }
}

/// Each two of so many hosts.
fn pairs(hosts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..hosts).flat_map(move |one| (one + 1..hosts).map(move |other| (one, other)))
}

/// The device at `host` of its cable to `other`.
fn end(host: usize, other: usize) -> String {
    format!("c{host}to{other}")
}

fn run(words: &[&str], input: &str) -> Result<(), String> {
    let what = words.join(" ");
    let failed = |error: std::io::Error| format!("{what}: {error}");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
