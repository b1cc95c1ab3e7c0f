//! Loading at the start: the dataset's file, or an explanation of why not.
//!
//! Listeners are open meanwhile, and clients are answered that the dataset is being loaded. If it can't be, the server
//! does not start: nothing half loaded is ever served, and nothing is written over what may still be saved.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::aof::replay::Standing;
use super::aof::start::Files;
use super::load::{LoadError, Loaded, load};
use super::{aof, path};
use crate::log;
use crate::server::{Loading, Role, Server, unix_now};

/// Where the dataset comes from.
pub enum Source {
    /// Its file, open.
    Snapshot {
        /// The file.
        file: File,
        /// Its length.
        bytes: u64,
        /// Its path.
        path: PathBuf,
    },
    /// The files of the append-only file.
    AppendOnly(Files),
}

/// Looks for the dataset's file. If there is one, clients are told from now on that it is being loaded, until
/// [`finish`] has been called. Called before the threads start.
pub fn prepare(server: &Server) -> Result<Option<Source>, String> {
    if server.config.load().append_only.enabled {
        let files = aof::start::find(server)?;
        // Also if there is nothing to load: nobody may write before there is a file that it goes to.
        begin(server, files.as_ref().map_or(0, |files| files.bytes));
        match &files {
            Some(_) => {}
            None if path(&server.config.load()).exists() => log::warning(
                "There is no append-only file yet, and the one of 'dbfilename' is not loaded with 'appendonly yes': the \
                 dataset is empty. To take it over, start with 'appendonly no' and then use CONFIG SET appendonly yes",
            ),
            None => {}
        }
        return Ok(files.map(Source::AppendOnly));
    }
    let path = std::path::absolute(path(&server.config.load())).unwrap_or_default();
    let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (bytes, file) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("Fatal error loading the DB: {}: {error}. Exiting.", path.display())),
    };
    begin(server, bytes);
    Ok(Some(Source::Snapshot { file, bytes, path }))
}

/// Clients are told from now on that so many bytes are being loaded.
fn begin(server: &Server, bytes: u64) {
    let progress = &server.persistence.loading;
    progress.total.store(bytes, Ordering::Relaxed);
    progress.loaded.store(0, Ordering::Relaxed);
    progress.since.store(unix_now().seconds().max(1), Ordering::Relaxed);
    server.publish(|published| published.loading = Loading::Blocking);
}

/// Loads the dataset; [`open_doors`] comes next. The error is a text for the log, after which the process ends.
pub fn finish(server: &Arc<Server>, source: Source) -> Result<Standing, String> {
    match source {
        Source::AppendOnly(files) => {
            let standing = files.load(server)?;
            server.persistence.note_loaded(&standing.loaded);
            Ok(standing)
        }
        Source::Snapshot { file, bytes, path } => {
            let loaded = finish_snapshot(server, file, bytes, &path)?;
            Ok(Standing::of(loaded))
        }
    }
}

fn finish_snapshot(server: &Server, file: File, bytes: u64, path: &Path) -> Result<Loaded, String> {
    let began = Instant::now();
    let mut member = server.space.join();
    // A node of a cluster knows from its own file whether it leads, and takes its role only when all is loaded.
    let follows = server.node().is_some_and(|node| node.look(|cluster| cluster.is_replica()));
    let drop_expired = server.published().role == Role::Primary && !follows;
    let result = load(server, &mut member, BufReader::with_capacity(1 << 20, file), drop_expired);
    let loaded = result.map_err(|error| explain(&error, &path.display().to_string(), bytes))?;
    server.took_over(&loaded);
    let mut made =
        format!("Loading RDB produced by version {}", if loaded.writer.is_empty() { "?" } else { &loaded.writer });
    if let Some(created) = loaded.created {
        // Writing to a string can't fail.
        let _ = write!(made, ", {} seconds old", (unix_now().seconds() - created.seconds()).max(0));
    }
    log::notice(&made);
    let (keys, expired) = (loaded.keys, loaded.expired);
    log::notice(&match loaded.empty {
        0 => format!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}."),
        empty => {
            format!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}, empty keys skipped: {empty}.")
        }
    });
    log::notice(&format!("DB loaded from disk: {:.3} seconds", began.elapsed().as_secs_f64()));
    Ok(loaded)
}

/// Lets clients in. By now it is decided what the writes that come are the continuation of.
pub fn open_doors(server: &Server) {
    server.space.join().alone(|_| {
        server.persistence.loading.since.store(0, Ordering::Relaxed);
        server.publish(|published| published.loading = Loading::No);
    });
}

/// What to tell somebody whose server does not start: what is wrong where, what was done about it (nothing), and what
/// there is to do.
fn explain(error: &LoadError, path: &str, bytes: u64) -> String {
    let kind = match error {
        LoadError::Rdb(error) => super::check::kind(error),
        LoadError::Stopping => return "The server was told to end before the dataset was loaded".to_owned(),
        LoadError::Database { .. }
        | LoadError::Duplicate { .. }
        | LoadError::Function { .. }
        | LoadError::End { .. } => "Internal error in RDB".to_owned(),
    };
    format!(
        "Fatal error loading the DB, {kind}: {path} ({bytes} bytes), {error}. The file is left as it is. Look at it with \
         'quorate check-rdb {path}'; restore a backup or a replica's file in its place, or move it away to start with \
         an empty dataset. Exiting."
    )
}

/// Opens the dataset's file, for DEBUG RELOAD.
pub fn open(server: &Server) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, File::open(path(&server.config.load()))?))
}
