//! Which crate of the workspace may know which: one table. A new edge is a new line here and in `ARCHITECTURE.md`.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;

pub(super) struct Room {
    pub(super) name: &'static str,
    /// The crates of ours that it may import, its tests too.
    imports: Imports,
    /// Sans-IO state machines: time, dice and the world reach them as arguments only.
    pub(super) is_machine: bool,
    /// The module of a machine crate that is its way to the world, where there is one for its users.
    pub(super) driver: Option<Driver>,
}

/// A part of a machine crate that is none.
#[derive(Clone, Copy)]
pub(super) struct Driver {
    pub(super) module: &'static str,
    may_use: &'static [&'static str],
}

enum Imports {
    Only(&'static [&'static str]),
    /// Everything but what is at the top like itself.
    All,
}
use Imports::{All, Only};

pub(super) const ROOMS: &[Room] = &[
    room("quorate-stdx", Only(&[])),
    room("quorate-resp", Only(&["quorate-stdx"])),
    room("quorate-values", Only(&["quorate-resp", "quorate-stdx"])),
    room("quorate-keyspace", Only(&["quorate-values", "quorate-resp", "quorate-stdx"])),
    // DUMP and RESTORE speak the format of snapshots.
    room(
        "quorate-commands",
        Only(&["quorate-formats", "quorate-keyspace", "quorate-values", "quorate-resp", "quorate-stdx"]),
    ),
    // An append-only file is made of requests.
    room("quorate-formats", Only(&["quorate-values", "quorate-resp", "quorate-stdx"])),
    machine("quorate-replication", Only(&["quorate-stdx"])),
    machine("quorate-cluster", Only(&["quorate-stdx"])),
    // Replies are read here, so that nothing malformed reaches the machine.
    machine("quorate-sentinel", Only(&["quorate-resp", "quorate-stdx"])),
    Room {
        driver: Some(Driver { module: "driver", may_use: &["futures-util", "rand", "redis", "rustix", "tokio"] }),
        ..machine("quorate-redlock", Only(&["quorate-stdx"]))
    },
    // What scripts call and return are requests and replies.
    room("quorate-scripting", Only(&["quorate-resp", "quorate-stdx"])),
    // Patterns of keys and channels are the globs of KEYS.
    room("quorate-acl", Only(&["quorate-values"])),
    room("quorate-config", Only(&["quorate-values", "quorate-stdx"])),
    // What directives say is what it makes connections from.
    room("quorate-tls", Only(&["quorate-config"])),
    room("quorate-client", Only(&["quorate-resp", "quorate-tls"])),
    room("quorate-demo", Only(&["quorate-client", "quorate-redlock"])),
    room("quorate-lock", Only(&["quorate-redlock"])),
    // It reads CLUSTER NODES as a node reads its own file.
    room("quorate-operator", Only(&["quorate-client", "quorate-cluster", "quorate-tls"])),
    // Replies are read here too.
    machine("quorate-topology", Only(&["quorate-resp", "quorate-stdx"])),
    // What its page plans with slots is the operator's.
    room(
        "quorate-view",
        Only(&["quorate-operator", "quorate-topology", "quorate-resp", "quorate-stdx", "quorate-tls"]),
    ),
    room(
        "quorate-interop",
        Only(&[
            "quorate-client",
            "quorate-redlock",
            "quorate-cluster",
            "quorate-config",
            "quorate-stdx",
            "quorate-tls",
        ]),
    ),
    room("quorate-feed", Only(&["quorate-keyspace", "quorate-stdx"])),
    room("quorate-server", All),
    room("xtask", Only(&[])),
];

/// Crates that are at the top: nothing imports them.
const TOPS: &[&str] = &["quorate-server", "quorate-interop", "xtask"];

/// What machines may use of the crates of others, and their tests.
const MACHINES_MAY_USE: &[&str] = &["thiserror", "smallvec", "memchr", "itoa"];
const TESTS_OF_MACHINES_MAY_USE: &[&str] = &["proptest"];

const fn room(name: &'static str, imports: Imports) -> Room {
    Room { name, imports, is_machine: false, driver: None }
}

const fn machine(name: &'static str, imports: Imports) -> Room {
    Room { name, imports, is_machine: true, driver: None }
}

/// Holds the edges that `cargo metadata` names against the table.
pub(super) fn check(metadata: &Value, found: &mut Findings) -> Result<()> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let root = metadata["workspace_root"].as_str().context("cargo metadata names the root")?;
    for package in packages {
        let name = package["name"].as_str().context("a package has a name")?;
        let manifest = package["manifest_path"].as_str().context("a package has a manifest")?;
        let manifest = manifest.strip_prefix(root).unwrap_or(manifest).trim_start_matches('/');
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            found.push(manifest, 0, format!("{name} has no line in the table of rooms (xtask/src/tidy/rooms.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("a package has dependencies")? {
            let target = dependency["name"].as_str().context("a dependency has a name")?;
            let is_dev = dependency["kind"] == "dev";
            if let Some(why) = refused(room, target, dependency["path"].is_string(), is_dev) {
                found.push(manifest, 0, why);
            }
        }
    }
    for room in ROOMS {
        if !packages.iter().any(|package| package["name"] == room.name) {
            found.push("xtask/src/tidy/rooms.rs", 0, format!("{} is in the table but not in the workspace", room.name));
        }
    }
    Ok(())
}

/// Why a room may not depend on `target`, if so.
fn refused(room: &Room, target: &str, is_ours: bool, is_dev: bool) -> Option<String> {
    let name = room.name;
    if is_ours {
        if TOPS.contains(&target) {
            return Some(format!("{name} must not import {target}: nothing does"));
        }
        let allowed = match room.imports {
            All => true,
            Only(allowed) => allowed.contains(&target),
        };
        return (!allowed).then(|| format!("{name} must not import {target} (xtask/src/tidy/rooms.rs)"));
    }
    let is_drivers = room.driver.is_some_and(|driver| driver.may_use.contains(&target));
    let allowed =
        MACHINES_MAY_USE.contains(&target) || is_drivers || is_dev && TESTS_OF_MACHINES_MAY_USE.contains(&target);
    (room.is_machine && !allowed).then(|| format!("{name} is a machine and must not depend on {target}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn findings(name: &str, dependencies: Value) -> Vec<String> {
        let mut packages: Vec<Value> = ROOMS
            .iter()
            .map(|room| json!({ "name": room.name, "manifest_path": "/r/other/Cargo.toml", "dependencies": [] }))
            .filter(|package| package["name"] != name)
            .collect();
        packages.push(json!({ "name": name, "manifest_path": "/r/crates/x/Cargo.toml", "dependencies": dependencies }));
        let mut found = Findings::default();
        check(&json!({ "workspace_root": "/r", "packages": packages }), &mut found).unwrap();
        found.0.into_iter().map(|violation| format!("{}: {}", violation.file, violation.what)).collect()
    }

    fn ours(name: &str) -> Value {
        json!([{ "name": name, "path": "/r/crates/y", "kind": null }])
    }

    #[test]
    fn an_edge_that_the_table_lacks_is_refused() {
        assert!(findings("quorate-keyspace", ours("quorate-values")).is_empty());
        let found = findings("quorate-stdx", ours("quorate-resp"));
        assert_eq!(found, ["crates/x/Cargo.toml: quorate-stdx must not import quorate-resp (xtask/src/tidy/rooms.rs)"]);
        assert!(findings("quorate-server", ours("quorate-config")).is_empty());
    }

    #[test]
    fn nothing_imports_the_server() {
        let found = findings("xtask", ours("quorate-server"));
        assert_eq!(found, ["crates/x/Cargo.toml: xtask must not import quorate-server: nothing does"]);
    }

    #[test]
    fn machines_use_only_what_is_listed() {
        let other = |name: &str, kind: Value| json!([{ "name": name, "path": null, "kind": kind }]);
        assert_eq!(findings("quorate-replication", other("tokio", Value::Null)).len(), 1);
        assert_eq!(findings("quorate-replication", other("proptest", Value::Null)).len(), 1);
        assert!(findings("quorate-replication", other("proptest", json!("dev"))).is_empty());
        assert!(findings("quorate-replication", other("thiserror", Value::Null)).is_empty());
        assert!(findings("quorate-redlock", other("tokio", Value::Null)).is_empty());
        assert!(findings("quorate-server", other("mio", Value::Null)).is_empty());
    }

    #[test]
    fn the_table_and_the_workspace_name_the_same_crates() {
        let found = findings("quorate-unheard", json!([]));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("quorate-unheard has no line"));
        let mut found = Findings::default();
        check(&json!({ "workspace_root": "/r", "packages": [] }), &mut found).unwrap();
        assert_eq!(found.0.len(), ROOMS.len());
    }
}
