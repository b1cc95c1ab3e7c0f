//! What a node tells of another one: an entry of 104 bytes.

use super::Malformed;
use super::bytes::{Reader, Writer};
use crate::{NodeFlags, NodeId};

/// Bytes of an entry.
pub(super) const ENTRY: usize = 104;

/// What a node tells of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    /// The one that is told of.
    pub node: NodeId,
    /// When it was sent the ping that it has not answered yet, Unix seconds; 0 if it owes no answer.
    pub ping_sent: u32,
    /// When it last answered, Unix seconds.
    pub pong_received: u32,
    /// Its address; nothing if it is unknown.
    pub ip: Option<String>,
    /// Where its clients connect to: the port for TLS if the bus speaks TLS.
    pub port: u16,
    /// The other port of the two.
    pub second_port: u16,
    /// Where its bus listens.
    pub bus_port: u16,
    /// What the sender thinks of it.
    pub flags: NodeFlags,
}

impl Gossip {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Gossip, Malformed> {
        const WHAT: &str = "an entry";
        let node = reader.name("a node that is told of")?;
        let ping_sent = reader.u32(WHAT)?;
        let pong_received = reader.u32(WHAT)?;
        let ip = reader.address("the address of a node that is told of")?;
        let port = reader.u16(WHAT)?;
        let bus_port = reader.u16(WHAT)?;
        let flags = NodeFlags(reader.u16(WHAT)?);
        let second_port = reader.u16(WHAT)?;
        let _unused = reader.u16(WHAT)?;
        Ok(Gossip { node, ping_sent, pong_received, ip, port, second_port, bus_port, flags })
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.node.digits());
        writer.u32(self.ping_sent);
        writer.u32(self.pong_received);
        writer.address(self.ip.as_deref());
        writer.u16(self.port);
        writer.u16(self.bus_port);
        writer.u16(self.flags.0);
        writer.u16(self.second_port);
        writer.u16(0);
    }
}
