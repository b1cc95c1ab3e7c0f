//! Metrics for Prometheus at `metrics-port`, of a server and of a Sentinel. What they are called is `quorate_view::metrics`'.
//!
//! A server is looked at in place, so that neither a password nor the limit on clients is in the way. A Sentinel, whose loop nobody
//! else may enter, is asked as a client asks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quorate_client::{Client, Reply};
use quorate_config::Config;
use quorate_topology::{Facts, Info, Question};
use quorate_view::metrics::{Said, Told};

use crate::admin;
use crate::log;
use crate::server::Server;

/// How long a Sentinel may take to answer its own endpoint.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the endpoint of a server, if it is to have one.
pub fn of_server(server: &Arc<Server>) -> anyhow::Result<()> {
    let told = Arc::clone(server);
    let told = move || {
        let info = Info::of(&admin::info::everything(&told));
        let cluster = told.node().map(|node| Info::of(&admin::cluster::look::info_of(node)));
        Some(Said { info, cluster, watched: Vec::new() })
    };
    start(&server.config.load(), Arc::new(told))
}

/// Starts the endpoint of a Sentinel, if it is to have one.
pub fn of_sentinel(config: &Config) -> anyhow::Result<()> {
    let address = own_address(config);
    let password = config.security.password.as_ref().map(|secret| secret.reveal().to_vec());
    start(config, Arc::new(move || ask(address, password.as_deref())))
}

/// Where this process reaches itself, as its clients do.
pub(crate) fn own_address(config: &Config) -> SocketAddr {
    let host = config.network.bind.iter().find_map(|name| std::str::from_utf8(name.as_bytes()).ok()?.parse().ok());
    // Who listens on every address listens on this one.
    let host = host.filter(|host: &std::net::IpAddr| !host.is_unspecified()).unwrap_or([127, 0, 0, 1].into());
    SocketAddr::new(host, config.network.port)
}

fn start(config: &Config, told: Arc<Told>) -> anyhow::Result<()> {
    let (Some(host), port @ 1..) = (config.metrics.address(), config.metrics.port) else { return Ok(()) };
    let address = SocketAddr::new(host, port);
    quorate_view::metrics::start(address, told).with_context(|| format!("can't serve metrics at {address}"))?;
    log::notice(&format!("Metrics are at http://{address}/metrics"));
    Ok(())
}

fn ask(address: SocketAddr, password: Option<&[u8]>) -> Option<Said> {
    let mut client = Client::connect(address, PATIENCE).ok()?;
    if let Some(password) = password {
        client.call(&[b"AUTH".as_slice(), password]).ok()?;
    }
    let ask = |questions: &[Question]| -> Option<Vec<Reply>> {
        questions.iter().for_each(|question| client.push(&question.words()));
        client.flush().ok()?;
        questions.iter().map(|_| client.receive().ok()).collect()
    };
    let (info, facts) = Facts::ask(ask)?;
    Some(Said { info, cluster: None, watched: facts.watched })
}
