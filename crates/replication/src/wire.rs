//! The texts of the replication link, in both directions: requests and replies, and back.
//!
//! This is the only file that knows how a PSYNC is written or what `+CONTINUE` looks like. It decides
//! nothing. What can't be read becomes [`Reply::Other`] or an error value, never a panic.

use std::time::Duration;

use quorate_stdx::{Offset, ReplId};

use crate::{AskedId, Psync, Secret};

/// What a replica sends to its primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `PING`
    Ping,
    /// `AUTH [user] password`
    Auth {
        /// Without it, the default user.
        user: Option<String>,
        /// The password.
        password: Secret,
    },
    /// `REPLCONF listening-port`
    ListeningPort(u16),
    /// `REPLCONF ip-address`
    IpAddress(String),
    /// `REPLCONF capa eof capa psync2`
    Capabilities,
    /// `REPLCONF version`
    Version(String),
    /// `INFO`, to learn how the primary came by its data.
    Info,
    /// `PSYNC id next [FAILOVER]`
    Psync {
        /// The history and how much of it we hold; nothing is `? -1`.
        from: Option<(ReplId, Offset)>,
        /// We step down in favour of the one who reads this.
        failover: bool,
    },
    /// `SYNC`, for primaries that know no PSYNC.
    Sync,
    /// `REPLCONF ACK offset [FACK offset]`; it has no reply.
    Ack {
        /// Up to where the stream is applied.
        applied: Offset,
        /// Up to where it is on disk.
        fsynced: Option<Offset>,
    },
    /// A line feed, while we load; it has no reply.
    KeepAlive,
}

impl Request {
    /// Appends the request as the link carries it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let words = |out: &mut Vec<u8>, words: &[&str]| {
            out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
            }
        };
        match self {
            Request::Ping => words(out, &["PING"]),
            Request::Auth { user: Some(user), password } => words(out, &["AUTH", user, &password.0]),
            Request::Auth { user: None, password } => words(out, &["AUTH", &password.0]),
            Request::ListeningPort(port) => words(out, &["REPLCONF", "listening-port", &port.to_string()]),
            Request::IpAddress(ip) => words(out, &["REPLCONF", "ip-address", ip]),
            Request::Capabilities => words(out, &["REPLCONF", "capa", "eof", "capa", "psync2"]),
            Request::Version(version) => words(out, &["REPLCONF", "version", version]),
            Request::Info => words(out, &["INFO"]),
            Request::Psync { from, failover } => {
                let (id, next) = match from {
                    Some((id, held)) => (id.to_string(), held.advance(1).to_string()),
                    None => ("?".into(), "-1".into()),
                };
                match failover {
                    true => words(out, &["PSYNC", &id, &next, "FAILOVER"]),
                    false => words(out, &["PSYNC", &id, &next]),
                }
            }
            Request::Sync => out.extend_from_slice(b"SYNC\r\n"),
            Request::Ack { applied, fsynced: None } => words(out, &["REPLCONF", "ACK", &applied.to_string()]),
            Request::Ack { applied, fsynced: Some(fsynced) } => {
                words(out, &["REPLCONF", "ACK", &applied.to_string(), "FACK", &fsynced.to_string()]);
            }
            Request::KeepAlive => out.push(b'\n'),
        }
    }
}

impl Psync {
    /// Reads the arguments that follow the word PSYNC; `None` if the offset is no number, which has the
    /// usual integer error as its answer. A third argument that is not FAILOVER means nothing.
    pub fn parse(id: &[u8], next: &[u8], rest: &[&[u8]]) -> Option<Psync> {
        let next = std::str::from_utf8(next).ok()?.parse().ok()?;
        let id = match id {
            b"?" => AskedId::Unknown,
            _ => parse_id(id).map_or(AskedId::Strange, AskedId::Id),
        };
        let failover = rest.first().is_some_and(|word| word.eq_ignore_ascii_case(b"FAILOVER"));
        Some(Psync { id, next, failover })
    }
}

/// Ids are compared without regard to case; ours are lower-case.
fn parse_id(text: &[u8]) -> Option<ReplId> {
    ReplId::parse(&text.to_ascii_lowercase())
}

/// How a snapshot ends on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `$<bytes>`: after so many bytes.
    Length(u64),
    /// `$EOF:<mark>`: after these 40 bytes, which are not part of it.
    Mark([u8; 40]),
}

impl Framing {
    /// The line in front of the snapshot, without its CRLF.
    pub fn line(&self) -> String {
        match self {
            Framing::Length(bytes) => format!("${bytes}"),
            Framing::Mark(mark) => format!("$EOF:{}", String::from_utf8_lossy(mark)),
        }
    }
}

/// `+FULLRESYNC`, without its CRLF: a snapshot follows, and then the stream from `at`.
pub fn full_resync_line(id: ReplId, at: Offset) -> String {
    format!("+FULLRESYNC {id} {at}")
}

/// `+CONTINUE`, without its CRLF: the stream follows. The id is for replicas that understand it.
pub fn continue_line(id: Option<ReplId>) -> String {
    match id {
        Some(id) => format!("+CONTINUE {id}"),
        None => "+CONTINUE".into(),
    }
}

/// What a primary answers during the handshake: one line, or what INFO tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+text`
    Status(String),
    /// `-text`
    Error(String),
    /// An empty line: the primary lives, its answer takes time.
    KeepAlive,
    /// The line in front of a snapshot.
    Snapshot(Framing),
    /// The answer to [`Request::Info`].
    Info(Origin),
    /// Anything else.
    Other(String),
}

impl Reply {
    /// Reads one line; its line ending may be there or not.
    pub fn parse(line: &[u8]) -> Reply {
        let line = line.trim_ascii_end();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match line {
            [] => Reply::KeepAlive,
            [b'+', rest @ ..] => Reply::Status(text(rest)),
            [b'-', rest @ ..] => Reply::Error(text(rest)),
            [b'$', rest @ ..] => framing(rest).map_or_else(|| Reply::Other(text(line)), Reply::Snapshot),
            _ => Reply::Other(text(line)),
        }
    }
}

fn framing(text: &[u8]) -> Option<Framing> {
    if let Some(mark) = text.strip_prefix(b"EOF:") {
        return Some(Framing::Mark(mark.try_into().ok()?));
    }
    std::str::from_utf8(text).ok()?.parse().ok().map(Framing::Length)
}

/// What a primary's answer to PSYNC means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PsyncReply {
    /// A snapshot follows; it is history `id` up to `at`.
    FullResync {
        /// The history.
        id: ReplId,
        /// How much of it the snapshot holds.
        at: Offset,
    },
    /// The stream follows.
    Continue {
        /// The history's new name, if it has one.
        id: Option<ReplId>,
    },
    /// Not at the moment: the primary is loading, or has no link to its own.
    Later,
    /// An answer that no primary should give.
    Malformed,
    /// PSYNC isn't understood, or not allowed.
    Unsupported,
}

impl PsyncReply {
    /// Reads a status or error line.
    pub fn parse(reply: &Reply) -> PsyncReply {
        match reply {
            Reply::Status(text) => {
                let mut words = text.split_ascii_whitespace();
                let word = words.next().unwrap_or_default();
                let id = words.next().map(|word| parse_id(word.as_bytes()));
                match (word, id) {
                    ("FULLRESYNC", Some(Some(id))) => match words.next().and_then(|at| at.parse().ok()) {
                        Some(at) => PsyncReply::FullResync { id, at: Offset(at) },
                        None => PsyncReply::Malformed,
                    },
                    ("FULLRESYNC", _) => PsyncReply::Malformed,
                    ("CONTINUE", Some(None)) => PsyncReply::Malformed,
                    ("CONTINUE", id) => PsyncReply::Continue { id: id.flatten() },
                    _ => PsyncReply::Unsupported,
                }
            }
            Reply::Error(text) if text.starts_with("NOMASTERLINK") || text.starts_with("LOADING") => PsyncReply::Later,
            _ => PsyncReply::Unsupported,
        }
    }
}

/// How a primary came by its data, as its INFO tells; all that it doesn't tell is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// `uptime_in_seconds`: truncated, and computed from truncated clocks, hence up to a second too long.
    pub uptime: Option<Duration>,
    /// What it had when it started.
    pub started: Started,
    /// `run_id`: names the process, anew at each start.
    pub run: Option<ReplId>,
}

/// What a process had when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Started {
    /// It loaded keys, then or since.
    WithData,
    /// It keeps no append-only file and has loaded no keys.
    Empty,
    /// It doesn't tell, or the fields that it shows can't.
    #[default]
    Unknown,
}

impl Origin {
    /// Reads the text of INFO. An append-only file without a snapshot in it leaves no trace in the count of
    /// loaded keys, so that a zero means something only without one.
    pub fn parse(info: &[u8]) -> Origin {
        let info = String::from_utf8_lossy(info);
        let text = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let field = |name: &str| text(name)?.parse::<u64>().ok();
        let started = match (field("rdb_last_load_keys_loaded"), field("aof_enabled")) {
            (Some(0), Some(0)) => Started::Empty,
            (Some(keys), _) if keys > 0 => Started::WithData,
            _ => Started::Unknown,
        };
        let run = text("run_id").and_then(|id| ReplId::parse(id.as_bytes()));
        Origin { uptime: field("uptime_in_seconds").map(Duration::from_secs), started, run }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: u8) -> ReplId {
        ReplId::parse(&[digit; 40]).unwrap()
    }

    #[test]
    fn requests_are_written_as_a_real_replica_writes_them() {
        let a = "a".repeat(40);
        let auth = |user: Option<&str>| Request::Auth { user: user.map(Into::into), password: Secret("pw".into()) };
        let table = [
            (Request::Ping, "PING".to_string()),
            (auth(None), "AUTH pw".into()),
            (auth(Some("u")), "AUTH u pw".into()),
            (Request::ListeningPort(1234), "REPLCONF listening-port 1234".into()),
            (Request::IpAddress("9.9.9.9".into()), "REPLCONF ip-address 9.9.9.9".into()),
            (Request::Capabilities, "REPLCONF capa eof capa psync2".into()),
            (Request::Psync { from: None, failover: false }, "PSYNC ? -1".into()),
            (Request::Psync { from: Some((id(b'a'), Offset(50))), failover: true }, format!("PSYNC {a} 51 FAILOVER")),
            (Request::Ack { applied: Offset(7), fsynced: None }, "REPLCONF ACK 7".into()),
            (Request::Ack { applied: Offset(7), fsynced: Some(Offset(3)) }, "REPLCONF ACK 7 FACK 3".into()),
        ];
        for (request, expected) in table {
            let mut out = Vec::new();
            request.encode(&mut out);
            let text = String::from_utf8(out).unwrap();
            let words: Vec<&str> = text.split("\r\n").filter(|word| !word.is_empty()).collect();
            assert_eq!(words[0], format!("*{}", words.len() / 2));
            assert!(words[1..].chunks(2).all(|pair| pair[0] == format!("${}", pair[1].len())), "{text}");
            let payload: Vec<&str> = words[2..].iter().step_by(2).copied().collect();
            assert_eq!(payload.join(" "), expected);
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let auth = Request::Auth { user: None, password: Secret("hunter2".into()) };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }

    #[test]
    fn what_psync_writes_psync_reads() {
        let upper = "A".repeat(40);
        let psync = Psync::parse(upper.as_bytes(), b"51", &[b"failover"]).unwrap();
        assert_eq!(psync, Psync { id: AskedId::Id(id(b'a')), next: 51, failover: true });
        assert_eq!(
            Psync::parse(b"?", b"-1", &[b"BAR"]),
            Some(Psync { id: AskedId::Unknown, next: -1, failover: false })
        );
        assert_eq!(Psync::parse(b"xyz", b"1", &[]).unwrap().id, AskedId::Strange);
        assert_eq!(Psync::parse(b"?", b"1x", &[]), None);
    }

    #[test]
    fn each_answer_to_psync_is_understood() {
        use PsyncReply::*;
        let a = "a".repeat(40);
        let table = [
            (full_resync_line(id(b'a'), Offset(14)), FullResync { id: id(b'a'), at: Offset(14) }),
            (continue_line(None), Continue { id: None }),
            (continue_line(Some(id(b'b'))), Continue { id: Some(id(b'b')) }),
            (format!("+FULLRESYNC {a}"), Malformed),
            (format!("+FULLRESYNC {a} -1"), Malformed),
            ("+FULLRESYNC bad 14".into(), Malformed),
            ("+CONTINUE bad".into(), Malformed),
            ("-NOMASTERLINK Can't SYNC while not connected with my master".into(), Later),
            ("-LOADING Redis is loading the dataset in memory".into(), Later),
            ("-ERR unknown command".into(), Unsupported),
            ("-NOAUTH Authentication required.".into(), Unsupported),
            ("+WHAT".into(), Unsupported),
            ("!".into(), Unsupported),
        ];
        for (line, expected) in table {
            assert_eq!(PsyncReply::parse(&Reply::parse(line.as_bytes())), expected, "{line}");
        }
    }

    #[test]
    fn the_line_in_front_of_a_snapshot_is_read_as_it_is_written() {
        for framing in [Framing::Length(0), Framing::Length(1 << 40), Framing::Mark([b'f'; 40])] {
            assert_eq!(Reply::parse(format!("{}\r\n", framing.line()).as_bytes()), Reply::Snapshot(framing));
        }
        assert_eq!(Reply::parse(b"\n"), Reply::KeepAlive);
        assert_eq!(Reply::parse(b"$-1\r\n"), Reply::Other("$-1".into()));
        assert_eq!(Reply::parse(b"$EOF:short\r\n"), Reply::Other("$EOF:short".into()));
    }

    #[test]
    fn info_tells_how_a_primary_started() {
        let origin = |text: &str| Origin::parse(text.as_bytes());
        let seconds = |n| Some(Duration::from_secs(n));
        let table = [
            ("uptime_in_seconds:3\r\naof_enabled:0\r\nrdb_last_load_keys_loaded:0\r\n", seconds(3), Started::Empty),
            ("uptime_in_seconds:3\r\naof_enabled:1\r\nrdb_last_load_keys_loaded:0\r\n", seconds(3), Started::Unknown),
            ("aof_enabled:1\r\nrdb_last_load_keys_loaded:6\r\n", None, Started::WithData),
            ("uptime_in_seconds:x\r\nrdb_last_load_keys_loaded_too:6\r\n", None, Started::Unknown),
        ];
        for (text, uptime, started) in table {
            assert_eq!(origin(text), Origin { uptime, started, run: None }, "{text}");
        }
        assert_eq!(origin(&format!("run_id:{}\r\n", id(b'7'))).run, Some(id(b'7')));
        assert_eq!(origin("run_id:7\r\n").run, None);
    }
}
