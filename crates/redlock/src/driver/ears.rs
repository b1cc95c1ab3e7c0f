//! Who waits for which release, and how it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::wire;
use crate::{Input, NodeId, Token};

/// The listeners of all nodes of one list.
#[derive(Default)]
pub(crate) struct Ears(Mutex<Listeners>);

#[derive(Default)]
struct Listeners {
    next: u64,
    by_channel: BTreeMap<String, BTreeMap<u64, UnboundedSender<Input>>>,
}

/// One waiter's ears; it is deaf when they are dropped.
pub(crate) struct Listener {
    ears: Arc<Ears>,
    number: u64,
    channels: Vec<String>,
    pub(crate) heard: UnboundedReceiver<Input>,
}

impl Ears {
    pub(crate) fn listen(self: &Arc<Ears>, channels: Vec<String>) -> Listener {
        let (sender, heard) = unbounded_channel();
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.next += 1;
        let number = listeners.next;
        for channel in &channels {
            listeners.by_channel.entry(channel.clone()).or_default().insert(number, sender.clone());
        }
        Listener { ears: Arc::clone(self), number, channels, heard }
    }

    pub(crate) fn channels(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_channel.keys().cloned().collect()
    }

    pub(crate) fn is_needed(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).by_channel.is_empty()
    }

    /// A message of a node.
    pub(crate) fn on_push(&self, node: NodeId, push: &PushInfo) {
        let (PushKind::Message, [Value::BulkString(channel), Value::BulkString(payload)]) =
            (&push.kind, &push.data[..])
        else {
            return;
        };
        let Some(turn) = wire::released(channel, payload) else { return };
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.by_channel.get(channel).into_iter().flat_map(BTreeMap::values) {
            let next = turn.as_deref().and_then(Token::parse);
            // Whoever has stopped waiting needs no news.
            let _ = listener.send(Input::Freed { node, next });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.ears.0.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in &self.channels {
            if let Some(others) = listeners.by_channel.get_mut(channel) {
                others.remove(&self.number);
                if others.is_empty() {
                    listeners.by_channel.remove(channel);
                }
            }
        }
    }
}
