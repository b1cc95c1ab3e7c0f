//! What a heartbeat may carry beyond its entries: each extension has a length, a type and a padded value.

use super::Malformed;
use super::bytes::{Reader, Writer, until_zero};
use crate::{NodeId, ShardId, text};

const HOSTNAME: u16 = 0;
const HUMAN_NAME: u16 = 1;
const FORGOTTEN: u16 = 2;
const SHARD: u16 = 3;
const CLIENT_IPV4: u16 = 4;
const CLIENT_IPV6: u16 = 5;

/// Bytes of the length, the type and two unused bytes.
const PREFIX: usize = 8;
/// The longest value that is read; a text beyond it would only fill memory and logs.
const LONGEST: usize = 64 << 10;

/// An extension of a heartbeat. Texts may be empty: they take back what was told before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// The name of the sender's host.
    Hostname(String),
    /// The name that the sender's operator has given it.
    HumanName(String),
    /// A node that is to be forgotten.
    Forgotten {
        /// Which.
        node: NodeId,
        /// For how many seconds it may not come back.
        seconds: u64,
    },
    /// The sender's shard.
    Shard(ShardId),
    /// The IPv4 address that clients are told.
    ClientIpv4(String),
    /// The IPv6 address that clients are told.
    ClientIpv6(String),
    /// One of a type that only nodes to come understand, with its value, padding included.
    Unknown(u16, Vec<u8>),
}

impl Extension {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Extension, Malformed> {
        const WHAT: &str = "an extension";
        let length = reader.u32(WHAT)? as usize;
        let kind = reader.u16(WHAT)?;
        let _unused = reader.u16(WHAT)?;
        if length < PREFIX || !length.is_multiple_of(8) || length > LONGEST {
            return Err(Malformed::Length { kind, length });
        }
        let value = reader.take(length - PREFIX, WHAT)?;
        let word = |what: &'static str, read: fn(&[u8]) -> Option<String>| {
            until_zero(value).and_then(read).ok_or(Malformed::Text(what))
        };
        Ok(match kind {
            HOSTNAME => Extension::Hostname(word("a host's name", text::host_name)?),
            HUMAN_NAME => Extension::HumanName(word("a node's name", text::node_name)?),
            CLIENT_IPV4 => Extension::ClientIpv4(word("a client's address", text::address)?),
            CLIENT_IPV6 => Extension::ClientIpv6(word("a client's address", text::address)?),
            FORGOTTEN => {
                let mut reader = Reader::new(value);
                let node = reader.name("a forgotten node")?;
                Extension::Forgotten { node, seconds: reader.u64(WHAT)? }
            }
            SHARD => Extension::Shard(Reader::new(value).name("a shard")?),
            _ => Extension::Unknown(kind, value.to_vec()),
        })
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        let (kind, mut value) = match self {
            Extension::Hostname(text) => (HOSTNAME, terminated(text)),
            Extension::HumanName(text) => (HUMAN_NAME, terminated(text)),
            Extension::ClientIpv4(text) => (CLIENT_IPV4, terminated(text)),
            Extension::ClientIpv6(text) => (CLIENT_IPV6, terminated(text)),
            Extension::Forgotten { node, seconds } => {
                (FORGOTTEN, [&node.digits()[..], &seconds.to_be_bytes()].concat())
            }
            Extension::Shard(shard) => (SHARD, shard.digits().to_vec()),
            Extension::Unknown(kind, value) => (*kind, value.clone()),
        };
        value.resize(value.len().next_multiple_of(8), 0);
        writer.u32((PREFIX + value.len()) as u32);
        writer.u16(kind);
        writer.u16(0);
        writer.bytes(&value);
    }
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
