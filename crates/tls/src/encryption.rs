//! What a command says of encryption, in the words of redis-cli.

use std::path::PathBuf;

use quorate_config::{Text, Tls};

use crate::{Error, Outgoing};

/// How a command's connections are encrypted, if they are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Encryption {
    /// Speak TLS.
    #[arg(long, global = true, help_heading = "Encryption")]
    pub tls: bool,
    /// Who vouches for servers, as a PEM file.
    #[arg(long, global = true, help_heading = "Encryption", value_name = "FILE", requires = "tls")]
    pub cacert: Option<PathBuf>,
    /// A directory of such files.
    #[arg(long, global = true, help_heading = "Encryption", value_name = "DIRECTORY", requires = "tls")]
    pub cacertdir: Option<PathBuf>,
    /// Our certificate, for servers that ask for one.
    #[arg(long, global = true, help_heading = "Encryption", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, global = true, help_heading = "Encryption", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Encryption {
    /// What connections are made from; nothing if they are plain.
    ///
    /// # Errors
    /// A file is not what it should be, or nobody is trusted.
    pub fn outgoing(&self) -> Result<Option<Outgoing>, Error> {
        if !self.tls {
            return Ok(None);
        }
        let text = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| Text::from(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())))
        };
        let settings = Tls {
            authorities: text(&self.cacert),
            authorities_directory: text(&self.cacertdir),
            client_certificate: text(&self.cert),
            client_key: text(&self.key),
            ..Tls::default()
        };
        match Outgoing::load(&settings) {
            Err(Error::NoAuthorities) => Err(Error::Unset("--cacert or --cacertdir")),
            other => other.map(Some),
        }
    }
}
