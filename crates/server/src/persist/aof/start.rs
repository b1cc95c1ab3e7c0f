//! The append-only file at the start: which files there are, loading them, and where the first write goes.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use quorate_formats::aof::{Manifest, Part};
use quorate_keyspace::Alone;

use super::folder::{self, Folder};
use super::replay::{Place, Player, Standing, Trouble};
use super::writer::Writer;
use super::{Aof, Phase};
use crate::log;
use crate::persist::file::Pending;
use crate::persist::load::LoadError;
use crate::persist::save::{Base, write_alone_as};
use crate::process::plain;
use crate::server::{Role, Server};

/// The files that there are to load.
pub struct Files {
    folder: Folder,
    manifest: Manifest,
    /// Their length together, bytes.
    pub bytes: u64,
}

/// Looks which files there are; `None` if there are none. The error is a text for the log.
pub fn find(server: &Server) -> Result<Option<Files>, String> {
    let folder = Aof::folder(server);
    let manifest = read_manifest(&folder)?;
    let manifest = upgrade(&folder, manifest)?;
    let mut bytes = 0;
    for part in manifest.parts() {
        let metadata = fs::metadata(folder.part(part)).map_err(|error| {
            let name = String::from_utf8_lossy(&part.name).into_owned();
            format!("Unable to obtain the AOF file {name} length. stat: {}", plain(&error))
        })?;
        bytes += metadata.len();
    }
    let is_empty = manifest.parts().next().is_none();
    server.aof.state.lock().manifest = manifest.clone();
    Ok((!is_empty).then_some(Files { folder, manifest, bytes }))
}

fn read_manifest(folder: &Folder) -> Result<Manifest, String> {
    match folder.read() {
        Ok(manifest) => Ok(manifest.unwrap_or_default()),
        Err(folder::Trouble::Io(error)) => Err(format!(
            "Fatal error: can't open the AOF manifest file {} for reading: {}",
            folder.manifest().display(),
            plain(&error)
        )),
        Err(folder::Trouble::Manifest(error)) => Err(format!(
            "*** FATAL AOF MANIFEST FILE ERROR *** Reading the manifest file {}, at line {}: {}: '{}'",
            folder.manifest().display(),
            error.line,
            error.why,
            String::from_utf8_lossy(&error.text).trim_end()
        )),
    }
}

/// Takes over a file from before there were manifests: it lies in `dir` and becomes the first base.
fn upgrade(folder: &Folder, manifest: Manifest) -> Result<Manifest, String> {
    let old = PathBuf::from(std::ffi::OsStr::from_bytes(folder.prefix()));
    let is_new = manifest.parts().next().is_none() && !folder.manifest().exists();
    // The manifest was written, and the file was not moved.
    let is_half_done = manifest.increments.is_empty()
        && manifest.base.as_ref().is_some_and(|base| base.name == folder.prefix() && !folder.part(base).exists());
    if !old.is_file() || !(is_new || is_half_done) {
        return Ok(manifest);
    }
    let manifest = Manifest::of_old_file(folder.prefix());
    let moved = folder.create().and_then(|()| folder.store(&manifest)).and_then(|()| {
        fs::rename(&old, folder.file(folder.prefix()))?;
        folder.sync()
    });
    moved.map_err(|error| format!("Error trying to move the old AOF file {}: {}", old.display(), plain(&error)))?;
    log::notice(&format!(
        "Successfully migrated an old-style AOF configuration ({}) into the AOF directory ({}).",
        old.display(),
        folder.path().display()
    ));
    Ok(manifest)
}

impl Files {
    /// Loads them while clients are told so. The error is a text for the log.
    pub fn load(&self, server: &Arc<Server>) -> Result<Standing, String> {
        let mut member = server.space.join();
        self.play(server, Place::Member(&mut member))
    }

    fn play(&self, server: &Arc<Server>, place: Place<'_, '_>) -> Result<Standing, String> {
        let began = Instant::now();
        let mut player =
            Player::new(server, place).map_err(|error| format!("Fatal error loading the AOF: {}", plain(&error)))?;
        let last = self.manifest.parts().count();
        for (index, part) in self.manifest.parts().enumerate() {
            let since = Instant::now();
            let is_base = index == 0 && self.manifest.base.is_some();
            let (path, kind) = (self.folder.part(part), if is_base { "base" } else { "incr" });
            let name = String::from_utf8_lossy(&part.name);
            let result = player.play(&path, is_base);
            self.judge(server, result, &path, &name, index + 1 == last)?;
            log::notice(&format!("DB loaded from {kind} file {name}: {:.3} seconds", since.elapsed().as_secs_f64()));
        }
        log::notice(&format!("DB loaded from append only file: {:.3} seconds", began.elapsed().as_secs_f64()));
        Ok(player.standing())
    }

    /// What follows from how loading a file has ended.
    fn judge(
        &self,
        server: &Server,
        result: Result<(), Trouble>,
        path: &Path,
        name: &str,
        is_last: bool,
    ) -> Result<(), String> {
        let trouble = match result {
            Ok(()) => return Ok(()),
            Err(trouble) => trouble,
        };
        Err(match trouble {
            Trouble::Stopping => "The server was told to end before the dataset was loaded".to_owned(),
            Trouble::Truncated { valid, in_transaction } => {
                if in_transaction {
                    log::warning(&format!("Revert incomplete MULTI/EXEC transaction from AOF file {name}"));
                }
                if server.config.load().append_only.load_truncated && is_last {
                    return shorten(path, name, valid);
                }
                if is_last {
                    format!(
                        "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF \
                         file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
                         'aof-load-truncated' configuration option to yes and restart the server."
                    )
                } else {
                    format!(
                        "Fatal error: the truncated file is not the last file: Unexpected end of file reading the append \
                         only file {name}"
                    )
                }
            }
            Trouble::Malformed { at, expected } => format!(
                "Bad file format reading the append only file {name} (byte {at}: expected {expected}): make a backup of \
                 your AOF file, then use ./redis-check-aof --fix <filename.manifest>"
            ),
            Trouble::Unknown(command) => {
                format!("Unknown command '{command}' reading the append only file {name}")
            }
            Trouble::Snapshot(LoadError::Stopping) => "The server was told to end".to_owned(),
            Trouble::Snapshot(error) => {
                format!("Error reading the RDB preamble of the AOF file {name}, AOF loading aborted: {error}")
            }
            Trouble::Io(error) => {
                format!("Fatal error: can't open the append log file {name} for reading: {}", plain(&error))
            }
        })
    }

    /// The folder that they are in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Cuts off what is not whole at a file's end.
fn shorten(path: &Path, name: &str, valid: u64) -> Result<(), String> {
    log::warning(&format!("!!! Warning: short read while loading the AOF file {name}!!!"));
    log::warning(&format!("AOF {name} loaded anyway because aof-load-truncated is enabled"));
    let cut = || -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(valid)?;
        file.sync_all()
    };
    log::warning(&format!("Truncating the AOF {name} at offset {valid}"));
    cut().map_err(|error| format!("Error truncating the AOF file {name}: {}", plain(&error)))
}

/// Lets the log go to the files from now on, which hold the dataset as it is. Called while alone, when it is decided
/// what the writes that come are the continuation of. The error is a text for the log.
pub fn open(server: &Server, alone: &mut Alone<'_>, standing: Option<&Standing>) -> Result<(), String> {
    let folder = Aof::folder(server);
    let config = server.config.load();
    let failed = |what: &str, error: io::Error| format!("Can't {what}: {}", plain(&error));
    folder.create().map_err(|error| failed("open or create append-only dir", error))?;
    clean(&folder);
    let mut manifest = server.aof.state.lock().manifest.clone();
    let before = manifest.clone();
    let mut position_known = standing.is_some_and(|standing| standing.position.is_some());
    if manifest.parts().next().is_none() {
        let base = manifest.next_base(folder.prefix(), config.append_only.snapshot_first);
        log::notice(&format!("Creating AOF base file {} on server start", String::from_utf8_lossy(&base.name)));
        write_base(server, alone, &folder, &base).map_err(|error| failed("create the AOF base file", error))?;
        position_known = config.append_only.snapshot_first && server.control.position(server).is_some();
        manifest.rebase(base, 0);
    }
    let part = match manifest.increments.last() {
        Some(part) => {
            log::notice(&format!("Opening AOF incr file {} on server start", String::from_utf8_lossy(&part.name)));
            part.clone()
        }
        None => {
            let part = manifest.next_increment(folder.prefix());
            log::notice(&format!("Creating AOF incr file {} on server start", String::from_utf8_lossy(&part.name)));
            manifest.add_increment(part.clone());
            part
        }
    };
    let path = folder.part(&part);
    let file = fs::OpenOptions::new().append(true).create(true).open(&path);
    let file = file.map_err(|error| failed("open the append-only file", error))?;
    let length = |part: &Part| fs::metadata(folder.part(part)).map_or(0, |metadata| metadata.len());
    let total: u64 = manifest.parts().map(length).sum();
    let size = length(&part);
    if manifest != before {
        folder
            .sync()
            .and_then(|()| folder.store(&manifest))
            .map_err(|error| failed("write the AOF manifest", error))?;
    }
    follow(server, Writer::new(&server.feed, file, size, total - size), standing, position_known);
    let base_size = manifest.base.as_ref().map_or(0, length);
    server.aof.size.store(total, Ordering::Relaxed);
    server.aof.base_size.store(base_size, Ordering::Relaxed);
    if !config.append_only.keep_history {
        folder.clear_history(&mut manifest).map_err(|error| failed("write the AOF manifest", error))?;
    }
    {
        let mut state = server.aof.state.lock();
        state.manifest = manifest;
        state.phase = Phase::On;
    }
    server.aof.settle(server);
    Ok(())
}

fn follow(server: &Server, mut writer: Writer, standing: Option<&Standing>, position_known: bool) {
    if position_known {
        writer.has_position();
    }
    let now = server.control.position(server);
    if server.published().role == Role::Primary {
        server.feed.force_select();
    } else if writer.is_empty() && server.stream_db().0 != 0 {
        // Whoever reads the file begins in database 0.
        writer.select(server.stream_db().0, now);
    }
    // Nothing has to be said if the file says so already.
    if position_known && now.is_some() && standing.is_some_and(|standing| standing.position != now) {
        writer.note_position(now);
    }
    *server.aof.writer.lock() = Some(writer);
    let mark = server.aof.mark(&server.feed);
    server.aof.written.store(mark, Ordering::Release);
    server.aof.durable.store(mark, Ordering::Release);
    server.aof.follows.store(true, Ordering::Release);
    server.aof.write(server);
}

/// Writes the first base, of a dataset that nobody has written to yet.
fn write_base(server: &Server, alone: &mut Alone<'_>, folder: &Folder, part: &Part) -> io::Result<()> {
    let config = server.config.load();
    let base = if config.append_only.snapshot_first { Base::Snapshot } else { Base::Requests };
    let pending = Pending::create(&folder.part(part), config.append_only.incremental_fsync)?;
    let mut file = io::BufWriter::with_capacity(1 << 20, pending);
    write_alone_as(server, alone, &mut file, Some(base))?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// Removes what an earlier process has begun in the folder and not finished.
fn clean(folder: &Folder) {
    let Ok(entries) = fs::read_dir(folder.path()) else { return };
    let own = [folder.first_increment(), folder.next_manifest()];
    for entry in entries.flatten() {
        let name = entry.file_name();
        let between = name.as_bytes().strip_prefix(b"temp-").and_then(|rest| rest.strip_suffix(b".rdb"));
        let is_base = between.is_some_and(|rest| rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'));
        if is_base || own.contains(&entry.path()) {
            match fs::remove_file(entry.path()) {
                Ok(()) => log::notice(&format!("Removing the unfinished file {}", entry.path().display())),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => log::warning(&format!("Can't remove {}: {error}", entry.path().display())),
            }
        }
    }
}

/// Loads the files into a keyspace that has just been emptied (DEBUG LOADAOF). The error is a text for the log.
pub fn reload(server: &Arc<Server>, alone: &mut Alone<'_>) -> Result<(), String> {
    if server.aof.follows() && !server.aof.write(server) {
        return Err("the append-only file can't be written to".to_owned());
    }
    let folder = Aof::folder(server);
    let manifest = read_manifest(&folder)?;
    let files = Files { folder, manifest, bytes: 0 };
    // What is loaded is in the log already.
    server.feed.set_leading(false);
    for number in 0..server.space.databases() as u16 {
        server.space.reclaim().tables(alone.flush(quorate_keyspace::Db(number)));
    }
    let result = files.play(server, Place::Alone(alone));
    server.feed.set_leading(server.published().role == Role::Primary);
    result.map(drop)
}
