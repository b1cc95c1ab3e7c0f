//! Which servers a lock is made of, and the defaults of its requests.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};

use super::ears::Ears;
use super::error::CheckError;
use super::node::Node;
use super::redlock::{Defaults, RedLock};
use super::session::Nodes;
use crate::{Drift, NodeId, Retry};

/// What a [`RedLock`] is made of. See [`RedLock::builder`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    nodes: Vec<String>,
    defaults: Defaults,
    allows_even: bool,
}

/// A list of servers that no majority lock can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is nobody to ask.
    #[error("no servers are listed: name an odd number of independent ones, such as 3 or 5")]
    NoNodes,
    /// One more server than needed, that can fail too.
    #[error(
        "{count} servers stand no more failures than {}, and split more easily: list {} or {}, or allow it with allow_even",
        count - 1, count - 1, count + 1
    )]
    Even {
        /// How many are listed.
        count: usize,
    },
    /// One server would have two votes.
    #[error("{address} is listed twice: list each server once")]
    Twice {
        /// Which.
        address: String,
    },
    /// No address.
    #[error("{text:?} is no address: write host:port or redis://[user][:password@]host[:port][/db] ({why})")]
    Address {
        /// What was given, without a password.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// What connecting has found.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl Builder {
    /// A server, as `host:port` or as a URL with user, password and database.
    #[must_use]
    pub fn node(mut self, address: impl Into<String>) -> Builder {
        self.nodes.push(address.into());
        self
    }

    /// Servers, as `host:port` or as URLs with user, password and database.
    #[must_use]
    pub fn nodes<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Builder {
        self.nodes.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Accepts an even number of servers, which stand no more failures than one less.
    #[must_use]
    pub fn allow_even(mut self) -> Builder {
        self.allows_even = true;
        self
    }

    /// How far clocks may drift apart while a lock is held. By default one per cent of the TTL and 2 ms.
    #[must_use]
    pub fn drift(mut self, drift: Drift) -> Builder {
        self.defaults.drift = drift;
        self
    }

    /// How long one server may take for an answer. By default a tenth of the TTL, between 2 and 250 ms.
    #[must_use]
    pub fn node_timeout(mut self, timeout: Duration) -> Builder {
        self.defaults.node_timeout = Some(timeout);
        self
    }

    /// When to try again if no release is heard of. By default after 200 to 300 ms.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Builder {
        self.defaults.retry = retry;
        self
    }

    /// How long [`RedLock::lock`] goes on trying. By default 10 seconds.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Builder {
        self.defaults.wait = wait;
        self
    }

    /// Whether each lock comes with a fencing token. By default not.
    #[must_use]
    pub fn fenced(mut self, is_fenced: bool) -> Builder {
        self.defaults.is_fenced = is_fenced;
        self
    }

    /// Whether those who wait get the lock in the order in which they came. By default not. The order is kept among those who
    /// ask for it, by their wall clocks.
    #[must_use]
    pub fn fair(mut self, is_fair: bool) -> Builder {
        self.defaults.is_fair = is_fair;
        self
    }

    /// For how long [`RedLock::with_lock`] extends a lock by itself: a hard cap. By default 10 minutes.
    #[must_use]
    pub fn extend_for(mut self, cap: Duration) -> Builder {
        self.defaults.extend_for = cap;
        self
    }

    /// The lock, with no connection made yet.
    ///
    /// # Errors
    /// The list is empty, even, or names a server twice; an address is none.
    pub fn build(self) -> Result<RedLock, BuildError> {
        let mut infos: Vec<ConnectionInfo> = Vec::new();
        for text in &self.nodes {
            let info = parse(text)?;
            if infos.iter().any(|other| other.addr() == info.addr()) {
                return Err(BuildError::Twice { address: info.addr().to_string() });
            }
            infos.push(info);
        }
        match infos.len() {
            0 => return Err(BuildError::NoNodes),
            count if count.is_multiple_of(2) && !self.allows_even => return Err(BuildError::Even { count }),
            _ => {}
        }
        let ears = Arc::new(Ears::default());
        let identities = Arc::new(Mutex::new(vec![None; infos.len()]));
        let node = |(index, info)| Arc::new(Node::new(NodeId(index), info, ears.clone(), identities.clone()));
        let all = infos.into_iter().enumerate().map(node).collect();
        Ok(RedLock::new(Nodes { all, ears, lingers: AtomicBool::new(false) }, self.defaults))
    }

    /// The lock, with a connection to each server that can be reached.
    ///
    /// # Errors
    /// As [`build`](Builder::build); and if a server is a replica or the same as another one, refuses our password, or if no
    /// majority can be reached.
    pub async fn connect(self) -> Result<RedLock, BuildError> {
        let redlock = self.build()?;
        redlock.check().await?;
        Ok(redlock)
    }
}

fn parse(text: &str) -> Result<ConnectionInfo, BuildError> {
    let url = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
    let shown = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        (None, Some((_, place))) => format!("***@{place}"),
        _ => text.to_owned(),
    };
    let refused = |why: String| BuildError::Address { text: shown.clone(), why };
    if text.is_empty() {
        return Err(refused("it is empty".into()));
    }
    url.as_str().into_connection_info().map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_make_no_majority_say_what_to_change() {
        let error = |nodes: &[&str]| Builder::default().nodes(nodes.iter().copied()).build().err().unwrap().to_string();
        for (said, of) in [
            ("no servers are listed", error(&[])),
            ("list 1 or 3", error(&["a:1", "b:1"])),
            ("a:1 is listed twice", error(&["a:1", "redis://a:1/", "b:1"])),
            ("\"\" is no address: write host:port", error(&[""])),
            ("redis://***@", error(&["redis://user:secret@:x/"])),
        ] {
            assert!(of.contains(said) && !of.contains("secret"), "{of}");
        }
        assert!(Builder::default().nodes(["a:1", "b:1"]).allow_even().build().is_ok());
        assert!(Builder::default().nodes(["127.0.0.1:1", "[::1]:1", "redis://:p@h:2/3"]).build().is_ok());
    }
}
