//! The folder of the append-only file: its files' paths, and how a manifest takes the place of another.
//!
//! A file is there, and durable, before a manifest names it; and it is removed after no manifest names it any more. So
//! whatever moment a crash picks, the manifest that is found speaks of files that are there.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use quorate_config::Config;
use quorate_formats::aof::{Manifest, ManifestError, Part};

use crate::log;

/// Where the files are, and what their names begin with.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    prefix: Vec<u8>,
}

/// Why there is no manifest to go by.
#[derive(Debug)]
pub enum Trouble {
    /// It says what no manifest says.
    Manifest(ManifestError),
    /// It can't be read.
    Io(io::Error),
}

impl Folder {
    /// The folder that the configuration names: the process works in `dir`.
    pub fn of(config: &Config) -> Folder {
        let settings = &config.append_only;
        let path = PathBuf::from(OsStr::from_bytes(settings.directory.as_bytes()));
        Folder { path, prefix: settings.file_name.as_bytes().to_vec() }
    }

    /// The folder that holds the manifest at `path`, for a look from outside.
    pub fn of_manifest(path: &Path) -> Folder {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let prefix = name.strip_suffix(b".manifest").unwrap_or(name).to_vec();
        Folder { path: path.parent().unwrap_or(Path::new("")).to_owned(), prefix }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What files' names begin with: `appendfilename`.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Where a file of that name is.
    pub fn file(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// Where the file of a part is.
    pub fn part(&self, part: &Part) -> PathBuf {
        self.file(&part.name)
    }

    /// Where the manifest is.
    pub fn manifest(&self) -> PathBuf {
        self.file(&[&self.prefix, &b".manifest"[..]].concat())
    }

    /// Where the first increment lies until the first base is complete.
    pub fn first_increment(&self) -> PathBuf {
        self.file(&[b"temp-", &self.prefix[..], b".incr"].concat())
    }

    /// Where a manifest is written that is to take the place of the one that is there.
    pub fn next_manifest(&self) -> PathBuf {
        self.file(&[b"temp-", &self.prefix[..], b".manifest"].concat())
    }

    /// Makes the folder, if there is none.
    pub fn create(&self) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Ok(()) => {
                sync_folder(self.path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads the manifest; `None` if there is none.
    pub fn read(&self) -> Result<Option<Manifest>, Trouble> {
        match fs::read(self.manifest()) {
            Ok(bytes) => Manifest::parse(&bytes).map(Some).map_err(Trouble::Manifest),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Trouble::Io(error)),
        }
    }

    /// Puts `manifest` in the place of the one that is there. When this returns, the disk has it.
    pub fn store(&self, manifest: &Manifest) -> io::Result<()> {
        let temporary = self.next_manifest();
        let mut file = File::create(&temporary)?;
        file.write_all(&manifest.to_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, self.manifest())?;
        self.sync()
    }

    /// Hands the names that the folder holds to the disk.
    pub fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    /// A file to append to, made anew and durable by name.
    pub fn create_file(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        // Something of that name may be left of an attempt that came to nothing.
        file.set_len(0)?;
        self.sync()?;
        Ok(file)
    }

    /// Removes what the manifest calls history, and then says so in it. What can't be removed stays in it.
    pub fn clear_history(&self, manifest: &mut Manifest) -> io::Result<()> {
        if manifest.history.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        for part in std::mem::take(&mut manifest.history) {
            match fs::remove_file(self.part(&part)) {
                Ok(()) => log::notice(&format!(
                    "Removing the history file {} in the background",
                    String::from_utf8_lossy(&part.name)
                )),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    log::warning(&format!("Can't remove {}: {error}", String::from_utf8_lossy(&part.name)));
                    left.push(part);
                }
            }
        }
        manifest.history = left;
        self.store(manifest)
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
