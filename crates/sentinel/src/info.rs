//! What a server's INFO tells a Sentinel: who it is, whom it follows and how far, and who follows it.

use std::time::Duration;

use quorate_stdx::ReplId;

use crate::address::Addr;

/// The longest text that is read.
const LENGTH_MAX: usize = 4 << 20;
/// The most replicas that one server is believed to have.
const REPLICAS_MAX: usize = 1024;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Differs after a restart. Servers older than any that matters have none.
    pub run_id: Option<ReplId>,
    /// Its role, and what belongs to it.
    pub role: Role,
    /// How many bytes of replication stream it has written or applied.
    pub offset: u64,
    /// Whether it wants to be confirmed as a primary.
    pub has_tenure: bool,
}

/// The role that a server says it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It leads these.
    Primary {
        /// Its replicas, as they announced themselves.
        replicas: Vec<Addr>,
    },
    /// It follows.
    Replica(Following),
}

/// What a replica tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// Whom it follows.
    pub of: Addr,
    /// Whether the link to it is up.
    pub is_linked: bool,
    /// For how long the link has been down; `None` if that was not said, or it never was up.
    pub down_for: Option<Duration>,
    /// `slave_priority`; 0 is never promoted.
    pub priority: u32,
    /// Whether clients may be told of it.
    pub is_announced: bool,
}

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// It is longer than any honest one.
    #[error("it is too long")]
    TooLong,
    /// It names no role that is known.
    #[error("it names no role")]
    Role,
    /// The primary's address can't be one.
    #[error("its primary's address is none")]
    Address,
    /// A number in it is none.
    #[error("a number in it is none")]
    Number,
    /// It names more replicas than anything has.
    #[error("it names too many replicas")]
    TooMany,
}

/// Reads the text of INFO. Fields that a Sentinel has no use for are skipped, whatever they hold.
///
/// # Errors
/// A field that it has a use for is missing or makes no sense.
pub fn parse(text: &[u8]) -> Result<Info, InfoError> {
    if text.len() > LENGTH_MAX {
        return Err(InfoError::TooLong);
    }
    let mut read = Fields::default();
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        read.field(&line[..colon], &line[colon + 1..])?;
    }
    read.finish()
}

#[derive(Default)]
struct Fields<'a> {
    run_id: Option<ReplId>,
    role: &'a [u8],
    primary: (&'a [u8], &'a [u8]),
    is_linked: bool,
    down_for: Option<Duration>,
    priority: Option<u32>,
    unannounced: bool,
    replica_offset: Option<u64>,
    primary_offset: Option<u64>,
    replicas: Vec<Addr>,
    has_tenure: bool,
}

impl<'a> Fields<'a> {
    fn field(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), InfoError> {
        match name {
            b"run_id" => self.run_id = ReplId::parse(value),
            b"role" => self.role = value,
            b"tenure" => self.has_tenure = true,
            b"master_host" => self.primary.0 = value,
            b"master_port" => self.primary.1 = value,
            b"master_link_status" => self.is_linked = value == b"up",
            // -1 stands for "never was up".
            b"master_link_down_since_seconds" => {
                let seconds: i64 = number(value)?;
                self.down_for = u64::try_from(seconds).ok().map(Duration::from_secs);
            }
            b"slave_priority" => self.priority = Some(number(value)?),
            b"replica_announced" => self.unannounced = value == b"0",
            b"slave_repl_offset" => self.replica_offset = Some(number(value)?),
            b"master_repl_offset" => self.primary_offset = Some(number(value)?),
            [b's', b'l', b'a', b'v', b'e', digits @ ..]
                if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) =>
            {
                if self.replicas.len() == REPLICAS_MAX {
                    return Err(InfoError::TooMany);
                }
                // A replica that nobody could connect to is passed over, not a reason to believe nothing.
                self.replicas.extend(replica(value));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Info, InfoError> {
        let role = match self.role {
            b"master" => Role::Primary { replicas: self.replicas },
            b"slave" => Role::Replica(Following {
                of: Addr::parse(self.primary.0, self.primary.1).ok_or(InfoError::Address)?,
                is_linked: self.is_linked,
                down_for: self.down_for.filter(|_| !self.is_linked),
                priority: self.priority.unwrap_or(100),
                is_announced: !self.unannounced,
            }),
            _ => return Err(InfoError::Role),
        };
        let offset = match &role {
            Role::Primary { .. } => self.primary_offset,
            Role::Replica(_) => self.replica_offset,
        };
        Ok(Info { run_id: self.run_id, role, offset: offset.unwrap_or(0), has_tenure: self.has_tenure })
    }
}

/// The address in `ip=..,port=..,state=..`, or in `ip,port,state` of very old servers.
fn replica(value: &[u8]) -> Option<Addr> {
    let parts: Vec<&[u8]> = value.split(|&byte| byte == b',').collect();
    let named = |name: &[u8]| parts.iter().find_map(|part| part.strip_prefix(name));
    match (named(b"ip="), named(b"port=")) {
        (Some(ip), Some(port)) => Addr::parse(ip, port),
        _ => Addr::parse(parts.first()?, parts.get(1)?),
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, InfoError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(InfoError::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn a_primary_names_its_replicas() {
        let text = format!(
            "# Server\r\nrun_id:{ID}\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.2,port=6380,state=online,offset=5,lag=0\r\nslave1:10.0.0.3,6381,online\r\n\
             slave2:ip=,port=0,state=wait\r\nmaster_repl_offset:77\r\n"
        );
        let info = parse(text.as_bytes()).unwrap();
        let replicas = vec![Addr::new("10.0.0.2", 6380), Addr::new("10.0.0.3", 6381)];
        assert_eq!(info.role, Role::Primary { replicas });
        assert_eq!((info.offset, info.run_id), (77, ReplId::parse(ID.as_bytes())));
    }

    #[test]
    fn a_replica_tells_whom_it_follows_and_how_far() {
        let text = b"role:slave\nmaster_host:h\nmaster_port:6379\nmaster_link_status:down\n\
            master_link_down_since_seconds:7\nslave_priority:0\nreplica_announced:0\nslave_repl_offset:9\n";
        let following = Following {
            of: Addr::new("h", 6379),
            is_linked: false,
            down_for: Some(Duration::from_secs(7)),
            priority: 0,
            is_announced: false,
        };
        let role = Role::Replica(following);
        assert_eq!(parse(text), Ok(Info { run_id: None, role, offset: 9, has_tenure: false }));
        assert!(parse(b"role:master\ntenure:unwatched\n").is_ok_and(|info| info.has_tenure));
    }

    #[test]
    fn hostile_texts_are_refused() {
        assert_eq!(parse(b""), Err(InfoError::Role));
        assert_eq!(parse(b"role:emperor\n"), Err(InfoError::Role));
        assert_eq!(parse(b"role:slave\nmaster_host:a\nmaster_port:99999\n"), Err(InfoError::Address));
        assert_eq!(parse(b"role:slave\nmaster_host:a b\nmaster_port:1\n"), Err(InfoError::Address));
        assert_eq!(parse(b"role:master\nmaster_repl_offset:-1\n"), Err(InfoError::Number));
        assert_eq!(parse(b"slave_priority:99999999999\n"), Err(InfoError::Number));
        let crowd: String = (0..2000).map(|n| format!("slave{n}:ip=1.1.1.1,port=1\n")).collect();
        assert_eq!(parse(crowd.as_bytes()), Err(InfoError::TooMany));
        assert_eq!(parse(&vec![b'x'; LENGTH_MAX + 1]), Err(InfoError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            lines in prop::collection::vec((prop::sample::select(vec![
                "role", "run_id", "slave0", "master_host", "master_port", "slave_priority", "slave_repl_offset", "x",
            ]), prop::collection::vec(any::<u8>(), 0..20)), 0..12)
        ) {
            let mut text = Vec::new();
            for (name, value) in lines {
                text.extend(name.bytes().chain([b':']).chain(value).chain([b'\n']));
            }
            let _ = parse(&text);
        }
    }
}
