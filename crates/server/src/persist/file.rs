//! A file that gets its name only when it is complete and on disk.
//!
//! Until then it lies beside its target under a temporary name, and what had the name before is untouched. A crash in
//! between leaves the temporary file behind and nothing else.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes after which an incremental save hands what it has written to the disk.
const SYNC_EVERY: usize = 4 << 20;

/// A file that is being written.
pub struct Pending {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    /// Whether the disk gets its bytes bit by bit and not all at the end, when everything else would wait for it.
    incremental: bool,
    unsynced: usize,
}

impl Pending {
    /// Begins a file beside where it will be.
    pub fn create(target: &Path, incremental: bool) -> io::Result<Pending> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder(target).join(format!("temp-{}.{number}.rdb", std::process::id()));
        Ok(Pending { file: File::create(&temporary)?, temporary, target: target.to_owned(), incremental, unsynced: 0 })
    }

    /// Its name until it is finished.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Hands all of it to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Makes it durable and gives it its name.
    pub fn finish(self) -> io::Result<()> {
        self.sync()?;
        fs::rename(&self.temporary, &self.target)?;
        // The name is durable when its folder is.
        File::open(folder(&self.target))?.sync_all()
    }
}

/// Removes what this process has begun in its working directory and not finished, when it ends all of a sudden.
pub fn remove_unfinished() {
    let own = format!("temp-{}.", std::process::id());
    let Ok(entries) = fs::read_dir(".") else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            // There is nobody left to tell.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.incremental && self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn folder(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_finished_leaves_what_was_there_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("dump.rdb");
        fs::write(&target, "old").unwrap();
        let mut pending = Pending::create(&target, true).unwrap();
        pending.write_all(b"new").unwrap();
        drop(pending);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let mut pending = Pending::create(&target, true).unwrap();
        pending.write_all(b"new").unwrap();
        pending.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
