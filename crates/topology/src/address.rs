//! Where a node is, as people and servers write it.

use std::fmt;

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Without the brackets of IPv6.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Nobody's name is longer.
const LONGEST_HOST: usize = 255;

impl Address {
    /// An address of two parts, as INFO and SENTINEL tell it; nothing if it can't be one.
    pub fn of(host: &str, port: &str) -> Option<Address> {
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let is_good = !host.is_empty() && host != "?" && host.len() <= LONGEST_HOST;
        is_good.then(|| Address { host: host.to_owned(), port })
    }

    /// `host:port`, `[host]:port` or a bare IPv6 host with a port behind the last colon.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Address::of(host, port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_and_servers_write_them() {
        for (text, shown) in
            [("a:1", "a:1"), (" 10.0.0.1:6379 ", "10.0.0.1:6379"), ("[::1]:7", "[::1]:7"), ("::1:7", "[::1]:7")]
        {
            assert_eq!(Address::parse(text).map(|address| address.to_string()).as_deref(), Some(shown));
        }
        for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "a:x", "?:1"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
