//! Where metrics are fetched.

use std::net::IpAddr;

use crate::config::Config;
use crate::quantity::decimal;
use crate::spec::{Flags, Spec, checked_text, number};
use crate::text::Text;

/// Where metrics are fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// `metrics-port`: where `GET /metrics` is answered; 0 is nowhere.
    pub port: u16,
    /// `metrics-bind`: the address that is listened on, as a number.
    pub bind: Text,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics { port: 0, bind: b"127.0.0.1".as_slice().into() }
    }
}

impl Metrics {
    /// The address that is listened on, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        std::str::from_utf8(self.bind.as_bytes()).ok()?.parse().ok()
    }
}

pub(super) fn check(text: &[u8]) -> Result<(), crate::spec::Refusal> {
    let is_address = std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok());
    if is_address { Ok(()) } else { Err("it is no address; 0.0.0.0 is every one".into()) }
}

pub(super) static TABLE: &[Spec] = &[
    number("metrics-port", decimal(0, 65535), |c: &Config| c.metrics.port.into(), |c, n| c.metrics.port = n as u16)
        .is(Flags::IMMUTABLE)
        .ours(),
    checked_text("metrics-bind", check, |c| c.metrics.bind.as_bytes(), |c, text| c.metrics.bind = text.into())
        .is(Flags::IMMUTABLE)
        .ours(),
];
