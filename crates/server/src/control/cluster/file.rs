//! nodes.conf on disk: written beside its place and put there in one step, and locked, so that no two nodes use one file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use quorate_cluster::NodesConf;
use quorate_config::Config;
use rustix::fs::{FlockOperation, flock};

use crate::process::plain;

/// The file of a running node.
pub struct Saved {
    path: PathBuf,
    /// Locked for as long as it is open.
    file: File,
}

impl Saved {
    /// Opens, locks and reads the file that the configuration names, or makes it.
    ///
    /// # Errors
    /// It is in use, damaged, or can't be opened.
    pub fn open(config: &Config) -> anyhow::Result<(Saved, Option<NodesConf>)> {
        let path = config.cluster.file.as_path().to_owned();
        let name = path.display().to_string();
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| anyhow::anyhow!("Can't open {name}: {}", plain(&error)))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "Sorry, the cluster configuration file {name} is already used by a different Redis Cluster node. Please \
                 make sure that different nodes use different cluster configuration files."
            );
        }
        let text = fs::read(&path).with_context(|| format!("can't read {name}"))?;
        let conf = NodesConf::parse(&text)
            .map_err(|error| anyhow::anyhow!("Unrecoverable error: corrupted cluster config file {name}: {error}"))?;
        Ok((Saved { path, file }, conf))
    }

    /// Puts a new text in the place of the old one; it is on disk when this returns.
    ///
    /// # Errors
    /// It can't be written. The old one is still there.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".tmp-{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let written = self.write_beside(&temporary, text);
        if written.is_err() {
            // There may be nothing to remove.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_beside(&mut self, temporary: &Path, text: &str) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(text.as_bytes())?;
        // It is locked before it has its name, so that there is no moment in which the name is free.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.sync_all()?;
        fs::rename(temporary, &self.path)?;
        self.file = file;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        let mut config = Config::default();
        config.cluster.file = folder.join("nodes.conf").to_string_lossy().as_ref().into();
        config
    }

    #[test]
    fn what_was_written_is_found_again_and_nobody_else_can_use_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (mut saved, conf) = Saved::open(&config).unwrap();
        assert_eq!(conf, None);
        let text = "07c37dfeb235213a872192d90877d0cd55635b91 :0@0,,tls-port=0 myself,master - 0 0 3 connected 7\n\
                    vars currentEpoch 3 lastVoteEpoch 2\n";
        saved.write(text).unwrap();
        let error = Saved::open(&config).err().unwrap().to_string();
        assert!(error.contains("is already used by a different Redis Cluster node"), "{error}");
        drop(saved);
        let (_saved, conf) = Saved::open(&config).unwrap();
        assert_eq!(conf.unwrap().to_text(false), text);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(folder.path().join("nodes.conf"), "vars currentEpoch 3 lastVoteEpoch").unwrap();
        let error = Saved::open(&config).err().unwrap().to_string();
        assert!(error.contains("corrupted cluster config file"), "{error}");
    }
}
