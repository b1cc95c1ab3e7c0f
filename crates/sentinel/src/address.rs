//! Where a server or a Sentinel listens, as it is written in configurations and messages.

use std::net::IpAddr;

/// A host, as a name or an address, and a port. Two of them are the same place if their texts are; what a name stands
/// for is the business of [`crate::names`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    /// As it was given.
    pub host: String,
    /// The port; 0 is nobody's.
    pub port: u16,
}

/// The longest host name that is believed: what DNS allows.
const HOST_MAX: usize = 255;

impl Addr {
    /// An address from its parts.
    pub fn new(host: impl Into<String>, port: u16) -> Addr {
        Addr { host: host.into(), port }
    }

    /// Reads both parts as a peer sent them; `None` if no host can have that name, or no port that number.
    pub fn parse(host: &[u8], port: &[u8]) -> Option<Addr> {
        let port: u16 = std::str::from_utf8(port).ok()?.parse().ok()?;
        let host = std::str::from_utf8(host).ok()?;
        (port != 0 && is_host(host)).then(|| Addr::new(host, port))
    }

    /// The address, if the host is one and no name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Whether a text can be a host's name or address: it holds nothing that could break out of a line of a message, of the
/// configuration or of a log.
pub fn is_host(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    !text.is_empty() && text.len() <= HOST_MAX && text.chars().all(is_plain)
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl std::fmt::Debug for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_host_or_port_is_refused() {
        assert_eq!(Addr::parse(b"10.0.0.1", b"6379"), Some(Addr::new("10.0.0.1", 6379)));
        assert_eq!(Addr::parse(b"fe80::1%eth0", b"1"), Some(Addr::new("fe80::1%eth0", 1)));
        let bad: [(&[u8], &[u8]); 7] = [
            (b"", b"1"),
            (b"a b", b"1"),
            (b"a\n", b"1"),
            (b"a,b", b"1"),
            (b"a", b"0"),
            (b"a", b"65536"),
            (b"\xff", b"1"),
        ];
        for (host, port) in bad {
            assert_eq!(Addr::parse(host, port), None, "{host:?} {port:?}");
        }
        assert!(!is_host(&"a".repeat(256)));
    }
}
