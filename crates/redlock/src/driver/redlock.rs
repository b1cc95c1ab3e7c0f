//! The client: a list of servers, and what can be asked of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::builder::Builder;
use super::error::{CheckError, LockError, WithError};
use super::guard::{Guard, Held};
use super::inspect::{self, NodeView};
use super::request::Request;
use super::session::Nodes;
use crate::{Drift, Fault, Retry, quorum};

/// A majority lock over independent servers. Clones are cheap and share the connections.
///
/// ```
/// # use quorate_redlock::stand::Servers;
/// use std::time::Duration;
/// use quorate_redlock::RedLock;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let Some(servers) = Servers::start(3) else { return Ok(()) };
/// # let addresses = servers.addresses();
/// let redlock = RedLock::builder().nodes(addresses).fenced(true).connect().await?;
/// let lock = redlock.lock("invoice:17", Duration::from_secs(10)).await?;
/// // Send it along with each write; the store refuses an older one.
/// println!("ours for {:?}, with token {:?}", lock.valid_for(), lock.fence());
/// let release = lock.release().await;
/// assert!(release.was_held);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedLock {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) addresses: Arc<[String]>,
    pub(crate) defaults: Arc<Defaults>,
}

#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) drift: Drift,
    pub(crate) node_timeout: Option<Duration>,
    pub(crate) retry: Retry,
    pub(crate) wait: Duration,
    pub(crate) is_fenced: bool,
    pub(crate) is_fair: bool,
    pub(crate) extend_for: Duration,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            drift: Drift::default(),
            node_timeout: None,
            retry: Retry::default(),
            wait: Duration::from_secs(10),
            is_fenced: false,
            is_fair: false,
            extend_for: Duration::from_secs(600),
        }
    }
}

impl fmt::Debug for RedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedLock").field("nodes", &self.addresses).finish_non_exhaustive()
    }
}

impl RedLock {
    /// Begins with a list of servers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(nodes: Nodes, defaults: Defaults) -> RedLock {
        let addresses = nodes.all.iter().map(|node| node.address.clone()).collect();
        RedLock { nodes: Arc::new(nodes), addresses, defaults: Arc::new(defaults) }
    }

    /// Connects to each server, and says if one must not be used: a replica, a server that is listed already under another
    /// name, one that refuses us. A minority that can't be reached is no error.
    ///
    /// # Errors
    /// Names each server at fault, and why.
    pub async fn check(&self) -> Result<(), CheckError> {
        let looks = join_all(self.nodes.all.iter().map(|node| node.link())).await;
        let named = self.addresses.iter().cloned().zip(looks.into_iter().map(|look| look.err()));
        let faults: Vec<(String, Fault)> = named.filter_map(|(address, fault)| Some((address, fault?))).collect();
        let is_fatal = |fault: &Fault| !matches!(fault, Fault::Unreachable(_) | Fault::Silent);
        let reached = self.addresses.len() - faults.len();
        if faults.iter().any(|(_, fault)| is_fatal(fault)) || reached < quorum(self.addresses.len()) {
            return Err(CheckError(faults));
        }
        Ok(())
    }

    /// A lock on a resource; waits for it as long as the builder said.
    ///
    /// # Errors
    /// It could not be had; the error says how each server voted.
    pub async fn lock(&self, resource: impl Into<String>, ttl: Duration) -> Result<Guard, LockError> {
        self.request([resource], ttl).lock().await
    }

    /// A lock on a resource, if it can be had at once.
    ///
    /// # Errors
    /// It could not be had; the error says how each server voted.
    pub async fn try_lock(&self, resource: impl Into<String>, ttl: Duration) -> Result<Guard, LockError> {
        self.request([resource], ttl).wait(Duration::ZERO).lock().await
    }

    /// One lock on several resources: all of them, or none.
    ///
    /// ```
    /// # use quorate_redlock::{RedLock, stand::Servers};
    /// # use std::time::Duration;
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let Some(servers) = Servers::start(3) else { return Ok(()) };
    /// # let redlock = RedLock::builder().nodes(servers.addresses()).connect().await?;
    /// let both = redlock.lock_many(["account:1", "account:2"], Duration::from_secs(5)).await?;
    /// assert!(redlock.try_lock("account:2", Duration::from_secs(5)).await.is_err());
    /// both.extend(Duration::from_secs(20)).await?;
    /// both.release().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// They could not be had; the error says how each server voted.
    pub async fn lock_many<R: Into<String>>(
        &self,
        resources: impl IntoIterator<Item = R>,
        ttl: Duration,
    ) -> Result<Guard, LockError> {
        self.request(resources, ttl).lock().await
    }

    /// Works under a lock that is extended by itself, until the work is done or the builder's cap is reached. When the lock
    /// is lost, the work's future is dropped.
    ///
    /// ```
    /// # use quorate_redlock::{RedLock, stand::Servers};
    /// # use std::time::Duration;
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let Some(servers) = Servers::start(3) else { return Ok(()) };
    /// # let redlock = RedLock::builder().nodes(servers.addresses()).fenced(true).connect().await?;
    /// let written = redlock
    ///     .with_lock("report", Duration::from_secs(2), |lock| async move {
    ///         // Takes as long as it takes, up to the cap; `lock.lost()` is the signal to stop at once.
    ///         format!("written with token {}", lock.fence().unwrap_or_default())
    ///     })
    ///     .await?;
    /// assert!(written.starts_with("written with token"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The lock could not be had, or was lost before the work was done.
    pub async fn with_lock<T, F: Future<Output = T>>(
        &self,
        resource: impl Into<String>,
        ttl: Duration,
        work: impl FnOnce(Held) -> F,
    ) -> Result<T, WithError> {
        self.request([resource], ttl).with(work).await
    }

    /// A lock whose terms differ from the builder's.
    ///
    /// ```
    /// # use quorate_redlock::{RedLock, stand::Servers};
    /// # use std::time::Duration;
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let Some(servers) = Servers::start(3) else { return Ok(()) };
    /// # let redlock = RedLock::builder().nodes(servers.addresses()).connect().await?;
    /// let ttl = Duration::from_millis(500);
    /// let lock = redlock.request(["r"], ttl).fenced(true).fair(true).wait(Duration::from_secs(1)).lock().await?;
    /// let error = redlock.try_lock("r", ttl).await.unwrap_err();
    /// assert!(error.to_string().starts_with("not locked after 1 attempts: no majority; 0 of 3 said yes"));
    /// drop(lock); // given back in the background
    /// redlock.lock("r", ttl).await?.release().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request<R: Into<String>>(&self, resources: impl IntoIterator<Item = R>, ttl: Duration) -> Request {
        Request::new(self.clone(), resources.into_iter().map(Into::into).collect(), ttl)
    }

    /// What each server says of a resource.
    pub async fn inspect(&self, resource: &str) -> Vec<NodeView> {
        let looks = self.nodes.all.iter().map(|node| inspect::look(node, resource));
        join_all(looks).await
    }
}
