//! What each server says of a resource: for people who look.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::node::Node;
use super::wire::counter_of;
use crate::Fault;

/// How long a server may take for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// One server's view of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The server.
    pub address: String,
    /// What it says, or why it says nothing.
    pub view: Result<ResourceView, Fault>,
}

/// A resource as one server has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceView {
    /// The holder's token, if it is locked.
    pub token: Option<String>,
    /// How long that lasts; none if it never ends, which is no lock of ours.
    pub ttl: Option<Duration>,
    /// What the counter of the fencing tokens stands at.
    pub fence: Option<u64>,
}

pub(crate) async fn look(node: &Arc<Node>, resource: &str) -> NodeView {
    let view = tokio::time::timeout(PATIENCE, ask(node, resource)).await.unwrap_or(Err(Fault::Silent));
    NodeView { address: node.address.clone(), view }
}

async fn ask(node: &Arc<Node>, resource: &str) -> Result<ResourceView, Fault> {
    let token = text(node.query(redis::cmd("GET").arg(resource)).await?);
    let ttl = match node.query(redis::cmd("PTTL").arg(resource)).await? {
        Value::Int(ms) => u64::try_from(ms).ok().map(Duration::from_millis),
        _ => None,
    };
    let fence = text(node.query(redis::cmd("GET").arg(counter_of(resource))).await?);
    Ok(ResourceView { token, ttl, fence: fence.and_then(|digits| digits.parse().ok()) })
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}
