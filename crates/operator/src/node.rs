//! A node as a tool sees it: a connection, and what it answers.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use quorate_client::{Client, Reply};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who we are to the nodes.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Credentials {
    /// The password of the nodes; without it, the variable REDISCLI_AUTH.
    #[arg(short = 'a', long = "pass", global = true, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// The user's name.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) encryption: quorate_tls::Encryption,
}

impl Credentials {
    /// The password, wherever it was given.
    pub(crate) fn secret(&self) -> Option<String> {
        self.password.clone().or_else(|| std::env::var("REDISCLI_AUTH").ok())
    }
}

/// A connection to a node.
pub(crate) struct Node {
    /// Where it is.
    pub(crate) address: SocketAddr,
    client: Client,
}

impl Node {
    /// Connects, and authenticates if there is a password.
    ///
    /// # Errors
    /// There is no such node, or it doesn't let us in.
    pub(crate) fn connect(address: SocketAddr, credentials: &Credentials) -> Result<Node> {
        let tls = credentials.encryption.outgoing()?;
        let client = Client::connect_over(address, tls.as_ref(), PATIENCE)
            .with_context(|| format!("can't connect to {address}"))?;
        let mut node = Node { address, client };
        if let Some(password) = credentials.secret() {
            let mut words = vec!["AUTH".to_owned()];
            words.extend(credentials.user.clone());
            words.push(password);
            node.call(&words)?;
        }
        Ok(node)
    }

    /// Sends a request; an error that the node answers with is one here.
    ///
    /// # Errors
    /// The connection breaks, or the node refuses.
    pub(crate) fn call(&mut self, words: &[impl AsRef<[u8]>]) -> Result<Reply> {
        let name = || {
            String::from_utf8_lossy(&words.iter().take(2).map(|word| word.as_ref()).collect::<Vec<_>>().join(&b' '))
                .into_owned()
        };
        let reply = self.client.call(words).with_context(|| format!("{} does not answer {}", self.address, name()))?;
        match reply {
            Reply::Error(text) => bail!("{} answers {}: {}", self.address, name(), String::from_utf8_lossy(&text)),
            reply => Ok(reply),
        }
    }

    /// The same for words in a line, answered by text.
    ///
    /// # Errors
    /// As [`Node::call`].
    pub(crate) fn say(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split(' ').collect();
        Ok(text(&self.call(&words)?))
    }

    /// Sends several requests at once; the answers, in order.
    ///
    /// # Errors
    /// The connection breaks.
    pub(crate) fn call_all(&mut self, requests: &[Vec<Vec<u8>>]) -> Result<Vec<Reply>> {
        requests.iter().for_each(|words| self.client.push(words));
        self.client.flush().with_context(|| format!("{} is gone", self.address))?;
        let receive = |_| self.client.receive().with_context(|| format!("{} does not answer", self.address));
        requests.iter().map(receive).collect()
    }
}

/// A reply as text.
pub(crate) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) | Reply::Verbatim(_, text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        Reply::Int(number) => number.to_string(),
        Reply::Null => String::new(),
        Reply::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}

/// The address that an operator names: `host:port`, or `host port` in two words.
///
/// # Errors
/// It is none, or its name is unknown.
pub(crate) fn address(named: &str) -> Result<SocketAddr> {
    let mut found = named.to_socket_addrs().with_context(|| format!("{named} is no host:port"))?;
    found.next().with_context(|| format!("{named} has no address"))
}
