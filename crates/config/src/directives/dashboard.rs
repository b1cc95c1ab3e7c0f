//! Where the process serves the dashboard of the deployment that it belongs to.

use std::net::IpAddr;

use crate::config::Config;
use crate::directives::metrics::check;
use crate::quantity::decimal;
use crate::spec::{Flags, Spec, checked_text, number};
use crate::text::Text;

/// Where the dashboard is.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// `dashboard`: the port; 0 is nowhere.
    pub port: u16,
    /// `dashboard-bind`: the address that is listened on, as a number.
    pub bind: Text,
}

impl Default for Dashboard {
    fn default() -> Dashboard {
        Dashboard { port: 0, bind: b"127.0.0.1".as_slice().into() }
    }
}

impl Dashboard {
    /// The address that is listened on, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        std::str::from_utf8(self.bind.as_bytes()).ok()?.parse().ok()
    }
}

pub(super) static TABLE: &[Spec] = &[
    number("dashboard", decimal(0, 65535), |c: &Config| c.dashboard.port.into(), |c, n| c.dashboard.port = n as u16)
        .is(Flags::IMMUTABLE)
        .also(&["dashboard-port"])
        .ours(),
    checked_text("dashboard-bind", check, |c| c.dashboard.bind.as_bytes(), |c, text| c.dashboard.bind = text.into())
        .is(Flags::IMMUTABLE)
        .ours(),
];
