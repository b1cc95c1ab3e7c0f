//! The dashboard at `dashboard`, of a server and of a Sentinel: the page of `quorate dashboard`, which begins at this process and shows
//! all that belongs to it. It only shows; whoever wants to act starts `quorate dashboard --actions`.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use quorate_config::Config;

use crate::log;
use crate::metrics::own_address;

/// Starts the page, if there is to be one.
///
/// # Errors
/// It can't be served where it is to be.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let (Some(host), port @ 1..) = (config.dashboard.address(), config.dashboard.port) else { return Ok(()) };
    let address = SocketAddr::new(host, port);
    ensure!(config.network.port > 0, "the dashboard asks this process as clients do, which needs a port");
    let password = config.security.password.as_ref();
    let password = password.map(|secret| String::from_utf8_lossy(secret.reveal()).into_owned());
    quorate_view::serve_dashboard(address, own_address(config), password)
        .with_context(|| format!("can't serve the dashboard at {address}"))?;
    log::notice(&format!("The dashboard is at http://{address}"));
    Ok(())
}
