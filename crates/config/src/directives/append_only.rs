//! The append-only file.

use crate::choice::Choice;
use crate::quantity::{INT, LONG, decimal, memory};
use crate::spec::{Apply, Flags, Refusal, Spec, checked_text, choice, number, switch};
use crate::text::Text;

/// The append-only file.
#[derive(Debug, Clone, PartialEq)]
pub struct AppendOnly {
    /// `appendonly`.
    pub enabled: bool,
    /// `appendfilename`: what the names of its files begin with.
    pub file_name: Text,
    /// `appenddirname`: the folder in `dir` that its files are in.
    pub directory: Text,
    /// `appendfsync`: when what was written is on disk.
    pub fsync: Fsync,
    /// `no-appendfsync-on-rewrite`: not while it is rewritten.
    pub no_fsync_on_rewrite: bool,
    /// `auto-aof-rewrite-percentage`: growth that makes a rewrite due; 0 never.
    pub rewrite_percentage: u32,
    /// `auto-aof-rewrite-min-size`: bytes below which none is due.
    pub rewrite_min_size: u64,
    /// `aof-load-truncated`: accept a file whose last command is not whole.
    pub load_truncated: bool,
    /// `aof-use-rdb-preamble`: a rewritten file begins with a snapshot.
    pub snapshot_first: bool,
    /// `aof-timestamp-enabled`: note the time in it.
    pub timestamps: bool,
    /// `aof-rewrite-incremental-fsync`: hand a rewritten file to the disk every few megabytes.
    pub incremental_fsync: bool,
    /// `aof-disable-auto-gc`: keep files that are not needed any more.
    pub keep_history: bool,
}

impl Default for AppendOnly {
    fn default() -> AppendOnly {
        AppendOnly {
            enabled: false,
            file_name: "appendonly.aof".into(),
            directory: "appendonlydir".into(),
            fsync: Fsync::EverySecond,
            no_fsync_on_rewrite: false,
            rewrite_percentage: 100,
            rewrite_min_size: 64 << 20,
            load_truncated: true,
            snapshot_first: true,
            timestamps: false,
            incremental_fsync: true,
            keep_history: false,
        }
    }
}

/// When what was written is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// At most a second later.
    EverySecond,
    /// Before the client is answered.
    Always,
    /// When the kernel likes.
    No,
}

impl Choice for Fsync {
    const WORDS: &'static [(&'static str, Fsync)] =
        &[("everysec", Fsync::EverySecond), ("always", Fsync::Always), ("no", Fsync::No)];
}

pub(super) static TABLE: &[Spec] = &[
    switch("appendonly", |c| c.append_only.enabled, |c, on| c.append_only.enabled = on)
        .is(Flags::NOT_WHILE_LOADING)
        .applies(Apply::AppendOnly),
    checked_text(
        "appendfilename",
        |name| check(name, "appendfilename can't be a path, just a filename"),
        |c| c.append_only.file_name.as_bytes(),
        |c, text| c.append_only.file_name = text.into(),
    )
    .is(Flags::IMMUTABLE),
    checked_text(
        "appenddirname",
        |name| check(name, "appenddirname can't be a path, just a dirname"),
        |c| c.append_only.directory.as_bytes(),
        |c, text| c.append_only.directory = text.into(),
    )
    .is(Flags::IMMUTABLE),
    choice(
        "appendfsync",
        Fsync::words,
        |c| c.append_only.fsync.as_word(),
        |c, word| c.append_only.fsync = Choice::named(word),
    ),
    switch(
        "no-appendfsync-on-rewrite",
        |c| c.append_only.no_fsync_on_rewrite,
        |c, on| c.append_only.no_fsync_on_rewrite = on,
    ),
    number(
        "auto-aof-rewrite-percentage",
        decimal(0, INT),
        |c| c.append_only.rewrite_percentage.into(),
        |c, n| {
            c.append_only.rewrite_percentage = n as u32;
        },
    ),
    number(
        "auto-aof-rewrite-min-size",
        memory(0, LONG),
        |c| c.append_only.rewrite_min_size.into(),
        |c, n| {
            c.append_only.rewrite_min_size = n as u64;
        },
    ),
    switch("aof-load-truncated", |c| c.append_only.load_truncated, |c, on| c.append_only.load_truncated = on),
    switch("aof-use-rdb-preamble", |c| c.append_only.snapshot_first, |c, on| c.append_only.snapshot_first = on),
    switch("aof-timestamp-enabled", |c| c.append_only.timestamps, |c, on| c.append_only.timestamps = on),
    switch(
        "aof-rewrite-incremental-fsync",
        |c| c.append_only.incremental_fsync,
        |c, on| c.append_only.incremental_fsync = on,
    ),
    switch("aof-disable-auto-gc", |c| c.append_only.keep_history, |c, on| c.append_only.keep_history = on)
        .is(Flags::HIDDEN),
];

fn check(name: &[u8], refusal: &'static str) -> Result<(), Refusal> {
    if super::snapshots::is_file_name(name) { Ok(()) } else { Err(refusal.into()) }
}
