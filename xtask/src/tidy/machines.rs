//! What the sources of machine crates may not name: sockets, files, threads, clocks, dice, and maps whose order differs
//! from run to run. With any of these a run could not be replayed from its inputs. Tests may name them.

use super::Findings;
use super::rooms::{ROOMS, Room};
use super::source::{Named, Sources};

/// Modules of the standard library, as adjacent segments of a path.
const MODULES: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "env"],
    &["os", "unix"],
    &["io", "stdin"],
    &["io", "stdout"],
    &["io", "stderr"],
];
/// Types, wherever they come from. Addresses of the network are fine.
const TYPES: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
];
const MACROS: &[&str] = &["println", "print", "eprintln", "eprint"];

pub(super) fn check(sources: &Sources<'_>, found: &mut Findings) {
    for source in &sources.0 {
        if !ROOMS.iter().any(|room| room.is_machine && is_inside(room, source.path)) {
            continue;
        }
        for named in source.named.iter().filter(|named| !source.is_test_line(named.line)) {
            if is_banned(named) {
                let path = named.segments.join("::");
                found.push(source.path, named.line, format!("{path}: a machine must not know the world outside of it"));
            }
        }
    }
}

/// Whether a file belongs to a machine, which its driver does not.
fn is_inside(room: &Room, path: &str) -> bool {
    let directory = format!("crates/{}/src/", room.name.trim_start_matches("quorate-"));
    let Some(rest) = path.strip_prefix(&directory) else { return false };
    !room.driver.is_some_and(|driver| {
        let module = rest.strip_prefix(driver.module);
        module.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

fn is_banned(Named { segments, is_call, .. }: &Named) -> bool {
    let names = |module: &&[&str]| segments.windows(2).any(|pair| *pair == **module);
    MODULES.iter().any(names)
        || segments.iter().any(|segment| TYPES.contains(&segment.as_str()))
        || *is_call && segments.last().is_some_and(|name| MACROS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::Tree;

    fn places(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[(path, text)]);
        let mut found = Findings::default();
        check(&Sources::parse(&tree, &mut found), &mut found);
        found.places()
    }

    #[test]
    fn a_machine_that_reaches_out_is_found_however_it_writes_it() {
        let text = "//! x\nuse std::{fs, net::{IpAddr, TcpStream}};\nfn f() {\n    let t = std::time::Instant::now();\n    \
            assert!(std::collections::HashMap::<u8, u8>::new().is_empty());\n    std::thread::yield_now();\n    println!();\n}\n";
        let at = |line: u8| format!("crates/replication/src/a.rs:{line}");
        assert_eq!(places("crates/replication/src/a.rs", text), [at(2), at(2), at(4), at(5), at(6), at(7)]);
    }

    #[test]
    fn tests_of_machines_and_other_crates_are_free() {
        let text = "//! x\nuse std::net::SocketAddr;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert!(places("crates/replication/src/a.rs", text).is_empty());
        assert!(places("crates/server/src/a.rs", "//! x\nuse std::fs;\n").is_empty());
        assert!(places("crates/replication/tests/a.rs", "//! x\nuse std::fs;\n").is_empty());
    }

    #[test]
    fn the_driver_of_a_machine_is_free_and_the_rest_of_it_is_not() {
        let text = "//! x\nuse std::time::Instant;\n";
        for free in ["crates/redlock/src/driver.rs", "crates/redlock/src/driver/node.rs"] {
            assert!(places(free, text).is_empty());
        }
        for bound in ["crates/redlock/src/lock.rs", "crates/redlock/src/driverless.rs"] {
            assert_eq!(places(bound, text), [format!("{bound}:2")]);
        }
    }
}
