//! The packets of the cluster bus, version 1, bit for bit as Redis and Valkey send them.
//!
//! ```text
//!    0 "RCmb"   4 length   8 version  10 port     12 type     14 entries
//!   16 current epoch      24 config epoch        32 replication offset
//!   40 sender (40)        80 slots (2048)      2128 primary of the sender (40)
//! 2168 address (46)     2214 extensions        2216 thirty unused bytes
//! 2246 second port      2248 bus port          2250 flags     2252 state    2253 three bytes of message flags
//! 2256 the body
//! ```
//!
//! Numbers are big-endian. PUBLISH and PUBLISHSHARD may instead come after a *light* header: the first 16 bytes, of which
//! only signature, length, version and type mean something, and the type has its highest bit set.
//!
//! Everything malformed ends here: a [`Packet`] that was decoded has texts that may be printed and written into
//! nodes.conf, ids that are ids, and lengths that are true. It knows nothing of links or nodes.

mod body;
mod bytes;
mod extension;
mod gossip;

use crate::{Epoch, NodeFlags, NodeId, Slots};
use bytes::{Reader, Writer};

pub use body::{Body, Heartbeat, Published};
pub use extension::Extension;
pub use gossip::Gossip;

/// Bytes of a full header.
pub const HEADER: usize = 2256;
/// Bytes of a light header; no packet is shorter.
pub const LIGHT_HEADER: usize = 16;

const SIGNATURE: &[u8; 4] = b"RCmb";
const VERSION: u16 = 1;
const LIGHT: u16 = 0x8000;

/// Bytes that a packet may have if it carries neither a message nor a module's data: more than the most entries and
/// extensions that its counts can name, as long as no node has names longer than a few kilobytes.
const MAX_CONTROL: usize = 32 << 20;
/// Bytes that any packet may have: the longest channel and message that a client can publish.
const MAX_PUBLISH: usize = (512 << 20) * 2 + HEADER + 8;

const PAUSED: u8 = 1;
const FORCE_ACK: u8 = 1 << 1;
const HAS_EXTENSIONS: u8 = 1 << 2;

/// A packet of the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What the sender tells of itself in every packet; nothing if the header is light.
    pub header: Option<Box<Header>>,
    /// What the packet is for.
    pub body: Body,
}

/// What a node tells of itself in every packet but light ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The sender.
    pub sender: NodeId,
    /// The greatest epoch that it has seen.
    pub current_epoch: Epoch,
    /// The epoch of its slots, or of those of its primary.
    pub config_epoch: Epoch,
    /// How far its replication stream goes, bytes.
    pub offset: u64,
    /// Its slots, or those of its primary.
    pub slots: Slots,
    /// Whom it follows.
    pub primary: Option<NodeId>,
    /// The address that it wants to be known by; if there is none, the one that it connects from.
    pub ip: Option<String>,
    /// Where its clients connect to: the port for TLS if the bus speaks TLS.
    pub port: u16,
    /// The other port of the two; 0 if there is none.
    pub second_port: u16,
    /// Where its bus listens; 0 for `port` + 10000.
    pub bus_port: u16,
    /// What it thinks of itself.
    pub flags: NodeFlags,
    /// Whether the cluster works, as it sees it.
    pub state_ok: bool,
    /// A primary that holds its writes back for a manual failover.
    pub paused: bool,
    /// The vote is wanted although the primary works: the failover is an operator's wish.
    pub force_ack: bool,
    /// It understands extensions; they may follow.
    pub knows_extensions: bool,
}

/// Why bytes are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It doesn't begin like a packet.
    #[error("bad signature")]
    Signature,
    /// The length can't be true.
    #[error("a packet of type {kind} can't have {length} bytes")]
    Length {
        /// Its type as it came.
        kind: u16,
        /// Its length as it came.
        length: usize,
    },
    /// A part of the body reaches beyond the packet.
    #[error("the packet ends within {0}")]
    Truncated(&'static str),
    /// There is more than the counts tell.
    #[error("{0} bytes too many")]
    TooLong(usize),
    /// A name that is no node's.
    #[error("{0} is no node's name")]
    Name(&'static str),
    /// A text with characters that it can't have.
    #[error("{0} is not what such a text looks like")]
    Text(&'static str),
    /// The type has no light form.
    #[error("a packet of type {0} can't have a light header")]
    Light(u16),
}

/// The length of the packet that `bytes` begin with, as soon as they tell.
///
/// # Errors
/// These bytes begin no packet: the link can't be read any further.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let known = bytes.len().min(4);
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Malformed::Signature);
    }
    let Some(start) = bytes.first_chunk::<LIGHT_HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([start[4], start[5], start[6], start[7]]) as usize;
    let kind = u16::from_be_bytes([start[12], start[13]]);
    let is_light = kind & LIGHT != 0;
    let shortest = if is_light { LIGHT_HEADER } else { HEADER };
    let longest = if body::carries_data(kind & !LIGHT) { MAX_PUBLISH } else { MAX_CONTROL };
    if !(shortest..=longest).contains(&length) {
        return Err(Malformed::Length { kind, length });
    }
    Ok(Some(length))
}

/// The word that CLUSTER INFO counts a packet under, whatever else is wrong with it.
pub fn word(bytes: &[u8]) -> Option<&'static str> {
    kind(bytes).and_then(body::word_of)
}

/// The number of a packet's type, whatever else is wrong with it.
pub fn kind(bytes: &[u8]) -> Option<u16> {
    let start = bytes.first_chunk::<LIGHT_HEADER>().filter(|start| start.starts_with(SIGNATURE))?;
    Some(u16::from_be_bytes([start[12], start[13]]) & !LIGHT)
}

impl Packet {
    /// Reads a whole packet, of the length that [`length`] tells; `None` if it is of a version or type that only nodes
    /// to come understand.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
        if length(bytes)? != Some(bytes.len()) {
            return Err(Malformed::Truncated("the header"));
        }
        let mut reader = Reader::new(bytes);
        let start: [u8; LIGHT_HEADER] = reader.array("the header")?;
        let number = |at: usize| u16::from_be_bytes([start[at], start[at + 1]]);
        let kind = number(12);
        if number(8) != VERSION || !body::is_known(kind & !LIGHT) {
            return Ok(None);
        }
        if kind & LIGHT != 0 {
            let body = Body::decode_light(kind & !LIGHT, &mut reader)?;
            return Ok(Some(Packet { header: None, body }));
        }
        let (header, extensions) = Header::decode(number(10), &mut reader)?;
        let counts = body::Counts { entries: number(14), extensions };
        let body = Body::decode(kind, counts, &mut reader)?;
        Ok(Some(Packet { header: Some(Box::new(header)), body }))
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer(out);
        let kind = self.body.kind() | if self.header.is_some() { 0 } else { LIGHT };
        let (entries, extensions) = self.body.counts();
        writer.bytes(SIGNATURE);
        writer.u32(0);
        writer.u16(VERSION);
        writer.u16(self.header.as_ref().map_or(0, |header| header.port));
        writer.u16(kind);
        writer.u16(if self.header.is_some() { entries } else { 0 });
        if let Some(header) = &self.header {
            header.encode(extensions, &mut writer);
        }
        self.body.encode(&mut writer);
        let length = u32::try_from(out.len() - start).expect("no message is longer than clients may send");
        out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
    }
}

impl Header {
    /// Reads what follows the first 16 bytes; also how many extensions there are said to be.
    fn decode(port: u16, reader: &mut Reader<'_>) -> Result<(Header, u16), Malformed> {
        const WHAT: &str = "the header";
        let current_epoch = Epoch(reader.u64(WHAT)?);
        let config_epoch = Epoch(reader.u64(WHAT)?);
        let offset = reader.u64(WHAT)?;
        let sender = reader.name("the sender")?;
        let slots = Slots::from_bytes(&reader.array(WHAT)?);
        let primary = reader.optional_name("the sender's primary")?;
        let ip = reader.address("the sender's address")?;
        let extensions = reader.u16(WHAT)?;
        let _unused: [u8; 30] = reader.array(WHAT)?;
        let second_port = reader.u16(WHAT)?;
        let bus_port = reader.u16(WHAT)?;
        let flags = NodeFlags(reader.u16(WHAT)?);
        let [state, message, _, _] = reader.array(WHAT)?;
        let header = Header {
            sender,
            current_epoch,
            config_epoch,
            offset,
            slots,
            primary,
            ip,
            port,
            second_port,
            bus_port,
            flags,
            state_ok: state == 0,
            paused: message & PAUSED != 0,
            force_ack: message & FORCE_ACK != 0,
            knows_extensions: message & HAS_EXTENSIONS != 0,
        };
        Ok((header, extensions))
    }

    fn encode(&self, extensions: u16, writer: &mut Writer<'_>) {
        writer.u64(self.current_epoch.0);
        writer.u64(self.config_epoch.0);
        writer.u64(self.offset);
        writer.bytes(&self.sender.digits());
        writer.bytes(&self.slots.to_bytes());
        writer.optional_name(self.primary);
        writer.address(self.ip.as_deref());
        writer.u16(extensions);
        writer.bytes(&[0; 30]);
        writer.u16(self.second_port);
        writer.u16(self.bus_port);
        writer.u16(self.flags.0);
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let message =
            flag(self.paused, PAUSED) | flag(self.force_ack, FORCE_ACK) | flag(self.knows_extensions, HAS_EXTENSIONS);
        writer.bytes(&[u8::from(!self.state_ok), message, 0, 0]);
    }
}

#[cfg(test)]
mod tests;
