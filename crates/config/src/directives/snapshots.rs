//! RDB files: when they are saved, what is in them, what is trusted.

use std::time::Duration;

use quorate_values::parse_u64;

use crate::config::Config;
use crate::spec::{Flags, Form, How, Lines, Refusal, Spec, checked_text, kept, special, switch};
use crate::text::Text;

/// RDB files.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshots {
    /// `save`: each rule that holds makes a snapshot; none at all switches saving off.
    pub save: Vec<SaveRule>,
    /// `stop-writes-on-bgsave-error`: refuse writes after a snapshot failed, until one succeeds.
    pub stop_writes_on_error: bool,
    /// `rdbcompression`: compress strings.
    pub compression: bool,
    /// `rdbchecksum`: write a checksum and check it.
    pub checksum: bool,
    /// `dbfilename`: the name of the file in `dir`.
    pub file_name: Text,
    /// `rdb-save-incremental-fsync`: hand what is written to the disk every few megabytes.
    pub incremental_fsync: bool,
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        let rule = |seconds, changes| SaveRule { within: Duration::from_secs(seconds), changes };
        Snapshots {
            save: vec![rule(3600, 1), rule(300, 100), rule(60, 10000)],
            stop_writes_on_error: true,
            compression: true,
            checksum: true,
            file_name: "dump.rdb".into(),
            incremental_fsync: true,
        }
    }
}

/// A snapshot is due when there were this many changes since the last one and this much time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveRule {
    /// Whole seconds, at least one.
    pub within: Duration,
    /// Changed keys; 0 saves although nothing changed.
    pub changes: u64,
}

pub(super) static TABLE: &[Spec] = &[
    special("save", get_save, set_save, Lines::As(save_lines)).is(Flags::MANY),
    switch(
        "stop-writes-on-bgsave-error",
        |c| c.snapshots.stop_writes_on_error,
        |c, on| c.snapshots.stop_writes_on_error = on,
    ),
    switch("rdbcompression", |c| c.snapshots.compression, |c, on| c.snapshots.compression = on),
    switch("rdbchecksum", |c| c.snapshots.checksum, |c, on| c.snapshots.checksum = on).is(Flags::IMMUTABLE),
    kept(
        "sanitize-dump-payload",
        Form::Choice(&["no", "yes", "clients"]),
        "no",
        "what is loaded or restored is always checked in full",
    )
    .is(Flags::DEBUG),
    checked_text(
        "dbfilename",
        check_file_name,
        |c| c.snapshots.file_name.as_bytes(),
        |c, text| c.snapshots.file_name = text.into(),
    )
    .is(Flags::PROTECTED),
    kept("rdb-del-sync-files", Form::Switch, "no", "a full sync leaves no file behind"),
    switch("rdb-save-incremental-fsync", |c| c.snapshots.incremental_fsync, |c, on| c.snapshots.incremental_fsync = on),
    kept(
        "rdb-version-check",
        Form::Choice(&["strict", "relaxed"]),
        "strict",
        "a file of a version that we don't know is refused",
    )
    .later(),
];

fn check_file_name(name: &[u8]) -> Result<(), Refusal> {
    if is_file_name(name) { Ok(()) } else { Err("dbfilename can't be a path, just a filename".into()) }
}

/// Whether a name stays in its directory.
pub(super) fn is_file_name(name: &[u8]) -> bool {
    !name.iter().any(|byte| matches!(byte, b'/' | b'\\'))
}

fn get_save(config: &Config) -> Vec<u8> {
    let rules = config.snapshots.save.iter().map(|rule| format!("{} {}", rule.within.as_secs(), rule.changes));
    rules.collect::<Vec<_>>().join(" ").into_bytes()
}

/// Pairs of seconds and changes. One empty argument is no rule at all, and takes back those that were there.
fn set_save(config: &mut Config, arguments: &[&[u8]], how: How) -> Result<(), Refusal> {
    if arguments == [b""] {
        config.snapshots.save.clear();
        return Ok(());
    }
    let (pairs, rest) = arguments.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("Invalid save parameters".into());
    }
    let mut rules = Vec::new();
    for [seconds, changes] in pairs {
        let seconds = parse_u64(seconds).filter(|&seconds| 0 < seconds && seconds <= i64::MAX as u64);
        let (Some(seconds), Some(changes)) = (seconds, parse_u64(changes)) else {
            return Err("Invalid save parameters".into());
        };
        rules.push(SaveRule { within: Duration::from_secs(seconds), changes });
    }
    if how == How::Replace {
        config.snapshots.save.clear();
    }
    config.snapshots.save.extend(rules);
    Ok(())
}

/// A line for each rule, or an empty one, without which the defaults would be in force.
fn save_lines(config: &Config) -> Vec<Vec<Vec<u8>>> {
    if config.snapshots.save.is_empty() {
        return vec![vec![Vec::new()]];
    }
    let number = |number: u64| number.to_string().into_bytes();
    config.snapshots.save.iter().map(|rule| vec![number(rule.within.as_secs()), number(rule.changes)]).collect()
}
