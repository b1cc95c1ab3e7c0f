//! REPLCONF: how a connection introduces itself before it asks to synchronise, and reports afterwards.
//!
//! A connection keeps one [`Introduction`] and feeds it each REPLCONF it reads; with PSYNC or SYNC it is
//! handed to the machine. Later REPLCONFs of the same connection are reports ([`Replconf::Acked`]).
//!
//! ```text
//! REPLCONF (option value)*
//!   listening-port <n>      ip-address <text, 255 bytes at most>     version <text>
//!   capa eof|psync2|...     rdb-only 0|1                             rdb-filter-only "[functions]"
//!   ack <offset> [fack <offset>]          getack *
//! ```
//!
//! Options that only Valkey's replicas send are taken and mean nothing; other unknown ones are an error
//! that replicas tolerate.

use quorate_stdx::Offset;

/// The longest `ip-address` that is taken, in bytes.
const ADDRESS_MAX: usize = 255;

/// What a snapshot must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The keys.
    pub keys: bool,
    /// The function libraries.
    pub functions: bool,
}

impl Filter {
    /// The whole dataset.
    pub const ALL: Filter = Filter { keys: true, functions: true };
}

/// What a replica has told about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Where it says that it listens; 0 if it didn't say.
    pub port: u16,
    /// The address it wants to be known by, in place of the one it connects from.
    pub ip: Option<String>,
    /// It can read a snapshot whose length isn't known beforehand.
    pub eof: bool,
    /// It understands `+CONTINUE` with a new id.
    pub psync2: bool,
    /// Its version.
    pub version: Option<String>,
    /// It wants no stream after the snapshot.
    pub rdb_only: bool,
    /// It wants only part of the dataset in the snapshot.
    pub filter: Filter,
}

impl Default for Introduction {
    fn default() -> Introduction {
        let filter = Filter::ALL;
        Introduction { port: 0, ip: None, eof: false, psync2: false, version: None, rdb_only: false, filter }
    }
}

/// What a REPLCONF was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replconf {
    /// Part of the introduction; the answer is `+OK`.
    Introduced,
    /// A report; there is no answer.
    Acked {
        /// Up to where the stream is applied.
        applied: Offset,
        /// Up to where it is on disk too, if the replica keeps an append-only file.
        fsynced: Option<Offset>,
    },
    /// Our primary asks for a report; there is no answer.
    AckWanted,
}

/// Why a REPLCONF is refused; displayed as its error line without the dash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplconfError {
    /// An option without its value.
    Syntax,
    /// A number was expected.
    NotANumber,
    /// `rdb-only` is neither 0 nor 1.
    NotABit,
    /// An address of that many bytes.
    AddressTooLong(usize),
    /// The quotes of `rdb-filter-only` don't match.
    BadFilter,
    /// A part of the dataset that `rdb-filter-only` can't name.
    UnknownFilter(String),
    /// An option that isn't known.
    UnknownOption(String),
}

impl std::fmt::Display for ReplconfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplconfError::Syntax => f.write_str("ERR syntax error"),
            ReplconfError::NotANumber => f.write_str("ERR value is not an integer or out of range"),
            ReplconfError::NotABit => f.write_str("ERR value is out of range, value must between 0 and 1"),
            ReplconfError::AddressTooLong(bytes) => {
                write!(f, "ERR REPLCONF ip-address provided by replica instance is too long: {bytes} bytes")
            }
            ReplconfError::BadFilter => f.write_str("ERR Missing rdb-filter-only values"),
            ReplconfError::UnknownFilter(name) => write!(f, "ERR Unsupported rdb-filter-only option: {name}"),
            ReplconfError::UnknownOption(name) => write!(f, "ERR Unrecognized REPLCONF option: {name}"),
        }
    }
}

impl std::error::Error for ReplconfError {}

impl Introduction {
    /// Takes the arguments that follow the word REPLCONF. What comes before a faulty option counts.
    pub fn replconf(&mut self, args: &[&[u8]]) -> Result<Replconf, ReplconfError> {
        let (pairs, []) = args.as_chunks::<2>() else { return Err(ReplconfError::Syntax) };
        let mut acked = None;
        for [option, value] in pairs {
            match option.to_ascii_lowercase().as_slice() {
                b"listening-port" => self.port = u16::try_from(number(value)?).unwrap_or(0),
                b"ip-address" if value.len() > ADDRESS_MAX => {
                    return Err(ReplconfError::AddressTooLong(value.len()));
                }
                b"ip-address" => self.ip = Some(text(value)).filter(|ip| !ip.is_empty()),
                b"capa" if value.eq_ignore_ascii_case(b"eof") => self.eof = true,
                b"capa" if value.eq_ignore_ascii_case(b"psync2") => self.psync2 = true,
                b"capa" => {}
                b"version" => self.version = Some(text(value)),
                b"rdb-only" => {
                    self.rdb_only = match number(value)? {
                        0 => false,
                        1 => true,
                        _ => return Err(ReplconfError::NotABit),
                    }
                }
                b"rdb-filter-only" => self.filter = filter(value)?,
                b"rdb-channel" | b"set-rdb-client-id" | b"set-cluster-node-id" => {}
                b"getack" => return Ok(Replconf::AckWanted),
                // A report that can't be read is dropped: nobody reads an answer to it.
                b"ack" => acked = Some((offset(value).unwrap_or_default(), None)),
                b"fack" => acked = acked.map(|(applied, _)| (applied, offset(value))),
                _ => return Err(ReplconfError::UnknownOption(text(option))),
            }
        }
        Ok(match acked {
            Some((applied, fsynced)) => Replconf::Acked { applied, fsynced },
            None => Replconf::Introduced,
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> Result<i64, ReplconfError> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(ReplconfError::NotANumber)
}

fn offset(bytes: &[u8]) -> Option<Offset> {
    number(bytes).ok().and_then(|n| u64::try_from(n).ok()).map(Offset)
}

/// The value of `rdb-filter-only`: names of what to include, separated by spaces.
fn filter(value: &[u8]) -> Result<Filter, ReplconfError> {
    if value.contains(&b'"') || value.contains(&b'\'') {
        return Err(ReplconfError::BadFilter);
    }
    let mut filter = Filter { keys: false, functions: false };
    for name in value.split(u8::is_ascii_whitespace).filter(|name| !name.is_empty()) {
        if !name.eq_ignore_ascii_case(b"functions") {
            return Err(ReplconfError::UnknownFilter(text(name)));
        }
        filter.functions = true;
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replconf(line: &str) -> (Introduction, Result<Replconf, ReplconfError>) {
        let mut introduction = Introduction::default();
        let args: Vec<&[u8]> = line.split(' ').filter(|word| !word.is_empty()).map(str::as_bytes).collect();
        let got = introduction.replconf(&args);
        (introduction, got)
    }

    #[test]
    fn the_handshake_of_a_real_replica_is_understood() {
        let (got, answer) = replconf("listening-port 7001 ip-address 10.0.0.9 capa eof capa PSYNC2 version 7.2.4");
        let expected = Introduction {
            port: 7001,
            ip: Some("10.0.0.9".into()),
            eof: true,
            psync2: true,
            version: Some("7.2.4".into()),
            ..Introduction::default()
        };
        assert_eq!((got, answer), (expected, Ok(Replconf::Introduced)));
    }

    #[test]
    fn what_other_implementations_add_does_no_harm() {
        let (got, answer) = replconf("capa dual-channel capa skip-rdb-checksum rdb-channel 1 set-rdb-client-id 7");
        assert_eq!((got, answer), (Introduction::default(), Ok(Replconf::Introduced)));
        assert_eq!(replconf("").1, Ok(Replconf::Introduced));
        assert_eq!(replconf("listening-port 70000").1, Ok(Replconf::Introduced));
    }

    #[test]
    fn reports_are_told_from_introductions() {
        let acked = |applied, fsynced: Option<u64>| {
            Ok(Replconf::Acked { applied: Offset(applied), fsynced: fsynced.map(Offset) })
        };
        assert_eq!(replconf("ACK 15").1, acked(15, None));
        assert_eq!(replconf("ack 15 FACK 9").1, acked(15, Some(9)));
        assert_eq!(replconf("ack -1").1, acked(0, None));
        assert_eq!(replconf("getack *").1, Ok(Replconf::AckWanted));
    }

    #[test]
    fn a_filter_names_what_stays_in() {
        let mut introduction = Introduction::default();
        let mut filter =
            |value: &str| introduction.replconf(&[b"rdb-filter-only", value.as_bytes()]).map(|_| introduction.filter);
        assert_eq!(filter(""), Ok(Filter { keys: false, functions: false }));
        assert_eq!(filter(" functions functions"), Ok(Filter { keys: false, functions: true }));
        assert_eq!(filter("keys").unwrap_err(), ReplconfError::UnknownFilter("keys".into()));
        assert_eq!(filter("\"").unwrap_err(), ReplconfError::BadFilter);
    }

    #[test]
    fn errors_read_as_those_of_a_real_primary() {
        let long = format!("ip-address {}", "x".repeat(300));
        let table = [
            ("listening-port", "ERR syntax error"),
            ("listening-port abc", "ERR value is not an integer or out of range"),
            ("rdb-only 2", "ERR value is out of range, value must between 0 and 1"),
            ("foo bar", "ERR Unrecognized REPLCONF option: foo"),
            (&long, "ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes"),
        ];
        for (line, expected) in table {
            assert_eq!(replconf(line).1.unwrap_err().to_string(), expected, "REPLCONF {line}");
        }
    }
}
