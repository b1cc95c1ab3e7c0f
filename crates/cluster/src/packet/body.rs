//! What packets are for.

use super::bytes::{Reader, Writer};
use super::{Extension, Gossip, Malformed, gossip};
use crate::{Epoch, NodeId, Slots};

const PING: u16 = 0;
const PONG: u16 = 1;
const MEET: u16 = 2;
const FAIL: u16 = 3;
const PUBLISH: u16 = 4;
const AUTH_REQUEST: u16 = 5;
const AUTH_ACK: u16 = 6;
const UPDATE: u16 = 7;
const MANUAL_START: u16 = 8;
const MODULE: u16 = 9;
const PUBLISH_SHARD: u16 = 10;

/// Bytes that a module's data are preceded by: an id, a length and a type.
const MODULE_PREFIX: usize = 13;

/// The words that CLUSTER INFO counts packets under, by their types.
const WORDS: [&str; 11] =
    ["ping", "pong", "meet", "fail", "publish", "auth-req", "auth-ack", "update", "mfstart", "module", "publishshard"];

/// The word of a type.
pub(super) fn word_of(kind: u16) -> Option<&'static str> {
    WORDS.get(usize::from(kind)).copied()
}

/// What a packet is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A heartbeat.
    Heartbeat {
        /// A question, its answer, or a greeting.
        kind: Heartbeat,
        /// What the sender tells of others.
        entries: Vec<Gossip>,
        /// What else it tells.
        extensions: Vec<Extension>,
    },
    /// A majority can't reach this node.
    Fail(NodeId),
    /// A message for everybody who has subscribed.
    Publish(Published),
    /// A replica stands for election in the sender's current epoch.
    AuthRequest,
    /// The sender's vote.
    AuthAck,
    /// Somebody's slots, told to a node that claims them with an older epoch.
    Update {
        /// The epoch of the claim.
        config_epoch: Epoch,
        /// Whose.
        node: NodeId,
        /// They.
        slots: Slots,
    },
    /// A replica asks its primary to hold writes back, so that it can take over.
    ManualStart,
    /// A module's message, which nobody here reads.
    Module(Vec<u8>),
}

/// A question, its answer, or a greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// Wants a pong.
    Ping,
    /// Answers, or tells news.
    Pong,
    /// Wants a pong, and to be taken into the cluster.
    Meet,
}

/// A message of Pub/Sub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Whether its channel belongs to a slot.
    pub sharded: bool,
    /// The channel.
    pub channel: Vec<u8>,
    /// The message.
    pub message: Vec<u8>,
}

/// What the header tells of a body's parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) entries: u16,
    pub(super) extensions: u16,
}

/// Whether the body of such a packet may have any length.
pub(super) fn carries_data(kind: u16) -> bool {
    matches!(kind, PUBLISH | PUBLISH_SHARD | MODULE)
}

pub(super) fn is_known(kind: u16) -> bool {
    kind <= PUBLISH_SHARD
}

impl Body {
    pub(super) fn kind(&self) -> u16 {
        match self {
            Body::Heartbeat { kind: Heartbeat::Ping, .. } => PING,
            Body::Heartbeat { kind: Heartbeat::Pong, .. } => PONG,
            Body::Heartbeat { kind: Heartbeat::Meet, .. } => MEET,
            Body::Fail(_) => FAIL,
            Body::Publish(published) if published.sharded => PUBLISH_SHARD,
            Body::Publish(_) => PUBLISH,
            Body::AuthRequest => AUTH_REQUEST,
            Body::AuthAck => AUTH_ACK,
            Body::Update { .. } => UPDATE,
            Body::ManualStart => MANUAL_START,
            Body::Module(_) => MODULE,
        }
    }

    /// The word that CLUSTER INFO counts such packets under.
    pub fn word(&self) -> &'static str {
        WORDS[usize::from(self.kind())]
    }

    /// How many entries and extensions there are.
    ///
    /// # Panics
    /// If there are more than packets can count; whoever builds one sees to that.
    pub(super) fn counts(&self) -> (u16, u16) {
        let count = |length: usize| u16::try_from(length).expect("a sender tells of fewer nodes than that");
        match self {
            Body::Heartbeat { entries, extensions, .. } => (count(entries.len()), count(extensions.len())),
            _ => (0, 0),
        }
    }

    pub(super) fn decode(kind: u16, counts: Counts, reader: &mut Reader<'_>) -> Result<Body, Malformed> {
        let body = match kind {
            PING => Self::heartbeat(Heartbeat::Ping, counts, reader)?,
            PONG => Self::heartbeat(Heartbeat::Pong, counts, reader)?,
            MEET => Self::heartbeat(Heartbeat::Meet, counts, reader)?,
            FAIL => Body::Fail(reader.name("the failed node")?),
            AUTH_REQUEST => Body::AuthRequest,
            AUTH_ACK => Body::AuthAck,
            UPDATE => {
                const WHAT: &str = "an update";
                let config_epoch = Epoch(reader.u64(WHAT)?);
                let node = reader.name("the node of an update")?;
                Body::Update { config_epoch, node, slots: Slots::from_bytes(&reader.array(WHAT)?) }
            }
            MANUAL_START => Body::ManualStart,
            _ => return Self::decode_light(kind, reader),
        };
        reader.finish()?;
        Ok(body)
    }

    /// Reads the body of a packet whose header may be light.
    pub(super) fn decode_light(kind: u16, reader: &mut Reader<'_>) -> Result<Body, Malformed> {
        let body = match kind {
            PUBLISH => Body::Publish(Published::decode(false, reader)?),
            PUBLISH_SHARD => Body::Publish(Published::decode(true, reader)?),
            MODULE if reader.left() >= MODULE_PREFIX => {
                let data = reader.take(reader.left(), "a module's message")?;
                let length = u32::from_be_bytes([data[8], data[9], data[10], data[11]]) as usize;
                if data.len() - MODULE_PREFIX != length {
                    return Err(Malformed::Truncated("a module's message"));
                }
                Body::Module(data.to_vec())
            }
            MODULE => return Err(Malformed::Truncated("a module's message")),
            _ => return Err(Malformed::Light(kind)),
        };
        reader.finish()?;
        Ok(body)
    }

    fn heartbeat(kind: Heartbeat, counts: Counts, reader: &mut Reader<'_>) -> Result<Body, Malformed> {
        // What is not there is not made room for: the counts are the sender's word only.
        if reader.left() < usize::from(counts.entries) * gossip::ENTRY {
            return Err(Malformed::Truncated("the entries"));
        }
        let entries = (0..counts.entries).map(|_| Gossip::decode(reader)).collect::<Result<_, _>>()?;
        let extensions = (0..counts.extensions).map(|_| Extension::decode(reader)).collect::<Result<_, _>>()?;
        Ok(Body::Heartbeat { kind, entries, extensions })
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Body::Heartbeat { entries, extensions, .. } => {
                for entry in entries {
                    entry.encode(writer);
                }
                for extension in extensions {
                    extension.encode(writer);
                }
            }
            Body::Fail(node) => writer.bytes(&node.digits()),
            Body::Publish(published) => published.encode(writer),
            Body::AuthRequest | Body::AuthAck | Body::ManualStart => {}
            Body::Update { config_epoch, node, slots } => {
                writer.u64(config_epoch.0);
                writer.bytes(&node.digits());
                writer.bytes(&slots.to_bytes());
            }
            Body::Module(data) => writer.bytes(data),
        }
    }
}

impl Published {
    fn decode(sharded: bool, reader: &mut Reader<'_>) -> Result<Published, Malformed> {
        let channel = reader.u32("a message")? as usize;
        let message = reader.u32("a message")? as usize;
        let channel = reader.take(channel, "a channel's name")?.to_vec();
        let message = reader.take(message, "a message")?.to_vec();
        Ok(Published { sharded, channel, message })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("no text is longer than clients may send");
        writer.u32(length(&self.channel));
        writer.u32(length(&self.message));
        writer.bytes(&self.channel);
        writer.bytes(&self.message);
    }
}
