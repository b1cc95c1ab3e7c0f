//! Options that all views share: where to begin, and how to be let in.

use std::time::Duration;

use quorate_tls::Outgoing;
use quorate_topology::Address;

/// Where passwords may stand, so that they need not be in a list of processes. The second is what redis-cli reads.
const PASSWORD: [&str; 2] = ["QUORATE_AUTH", "REDISCLI_AUTH"];
const SENTINEL_PASSWORD: &str = "QUORATE_SENTINEL_AUTH";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Access {
    /// The user to be, where servers have more than one.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// How long a node may take for an answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) encryption: quorate_tls::Encryption,
}

/// How a node is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) user: Option<String>,
    /// What is tried, in this order.
    pub(crate) passwords: Vec<String>,
    /// The longest wait for a connection or an answer.
    pub(crate) limit: Duration,
    /// What connections are encrypted with, if they are.
    pub(crate) tls: Option<Outgoing>,
}

impl Access {
    /// How nodes are to be spoken to.
    ///
    /// # Errors
    /// A file of what encryption needs is not what it should be.
    pub(crate) fn manners(&self) -> anyhow::Result<Manners> {
        let read = |name: &str| std::env::var(name).ok().filter(|password| !password.is_empty());
        let passwords = PASSWORD.into_iter().find_map(read).into_iter().chain(read(SENTINEL_PASSWORD));
        Ok(Manners {
            user: self.user.clone(),
            passwords: passwords.collect(),
            limit: Duration::from_millis(self.timeout),
            tls: self.encryption.outgoing()?,
        })
    }
}

/// An address on the command line.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "an address is HOST:PORT".to_owned())
}
