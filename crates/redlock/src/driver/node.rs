//! One server: a connection to it, made when it is needed and made anew when it broke, and whether its vote counts.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ProtocolVersion, RedisError, RedisResult, Value};
use tokio::time::Instant;

use super::ears::Ears;
use super::wire::{self, Request};
use crate::{Answer, Fault, NodeId};

/// How long a connection may take, and a request may go unanswered, before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a node whose vote does not count is not looked at again.
const BARRED: Duration = Duration::from_secs(1);

type Dial = Shared<Pin<Box<dyn Future<Output = Result<Link, Fault>> + Send>>>;

pub(crate) struct Node {
    id: NodeId,
    /// Host and port, as messages show it.
    pub(crate) address: String,
    info: ConnectionInfo,
    state: Mutex<State>,
    ears: Arc<Ears>,
    /// Who each node of the list is, as far as it has said.
    identities: Arc<Mutex<Vec<Option<String>>>>,
    /// What is subscribed to, on which link.
    subscribed: tokio::sync::Mutex<(u64, Vec<String>)>,
}

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    number: u64,
    /// Whether it carries messages too.
    hears: bool,
}

enum State {
    Down { links: u64 },
    Dialing(Dial),
    Up(Link),
    Barred(Fault, Instant, u64),
}

impl Node {
    pub(crate) fn new(
        id: NodeId,
        info: ConnectionInfo,
        ears: Arc<Ears>,
        identities: Arc<Mutex<Vec<Option<String>>>>,
    ) -> Node {
        let address = info.addr().to_string();
        let subscribed = tokio::sync::Mutex::new((0, Vec::new()));
        Node { id, address, info, state: Mutex::new(State::Down { links: 0 }), ears, identities, subscribed }
    }

    pub(crate) fn db(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Asks, and says what came of it.
    pub(crate) async fn ask(self: &Arc<Node>, request: &Request) -> Answer {
        let mut link = match self.link().await {
            Ok(link) => link,
            Err(fault) => return Answer::Failed(fault),
        };
        let mut reply = link.connection.send_packed_command(&request.cmd).await;
        if code_of(&reply).as_deref() == Some("NOSCRIPT")
            && let Some(cmd) = wire::with_source(request)
        {
            reply = link.connection.send_packed_command(&cmd).await;
        }
        self.note(&link, reply.as_ref().err());
        // A primary that has become a replica is looked at anew.
        if code_of(&reply).as_deref() == Some("READONLY") {
            self.drop_link(link.number);
        }
        wire::answer(reply)
    }

    /// A reply to anything, for whoever looks at the node and does not lock.
    pub(crate) async fn query(self: &Arc<Node>, cmd: &redis::Cmd) -> Result<Value, Fault> {
        let mut link = self.link().await?;
        let reply = link.connection.send_packed_command(cmd).await;
        self.note(&link, reply.as_ref().err());
        match reply {
            Ok(Value::ServerError(error)) => Err(wire::fault(&RedisError::from(error))),
            Ok(value) => Ok(value),
            Err(error) => Err(wire::fault(&error)),
        }
    }

    /// Gives a connection up that an error has shown to be of no use.
    fn note(&self, link: &Link, error: Option<&RedisError>) {
        if error.is_some_and(|error| error.is_io_error() || error.is_connection_dropped() || error.is_timeout()) {
            self.drop_link(link.number);
        }
    }

    fn drop_link(&self, number: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Up(link) if link.number == number) {
            *state = State::Down { links: number };
        }
    }

    /// The connection, once it is there.
    pub(crate) async fn link(self: &Arc<Node>) -> Result<Link, Fault> {
        let dial = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Up(link) => return Ok(link.clone()),
                State::Barred(fault, until, _) if Instant::now() < *until => return Err(fault.clone()),
                State::Dialing(dial) => dial.clone(),
                State::Down { links } | State::Barred(_, _, links) => {
                    let dial = self.clone().begin_dial(links + 1);
                    *state = State::Dialing(dial.clone());
                    dial
                }
            }
        };
        dial.await
    }

    /// Dials in a task of its own: whoever asked may lose patience, and the next one finds the connection made.
    fn begin_dial(self: Arc<Node>, number: u64) -> Dial {
        let node = self;
        let task = tokio::spawn(async move {
            let dialed = tokio::time::timeout(PATIENCE, node.dial(number)).await.unwrap_or(Err(Fault::Silent));
            let mut state = node.state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = match &dialed {
                Ok(link) => State::Up(link.clone()),
                Err(fault @ (Fault::Replica { .. } | Fault::Duplicate(_))) => {
                    State::Barred(fault.clone(), Instant::now() + BARRED, number)
                }
                Err(_) => State::Down { links: number },
            };
            dialed
        });
        let outcome = async move { task.await.unwrap_or_else(|error| Err(Fault::Unreachable(error.to_string()))) };
        let outcome: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(outcome);
        outcome.shared()
    }

    async fn dial(self: &Arc<Node>, number: u64) -> Result<Link, Fault> {
        let mut link = match self.open(ProtocolVersion::RESP3, number).await {
            Err(error) if error.kind() == redis::ErrorKind::RESP3NotSupported => {
                self.open(ProtocolVersion::RESP2, number).await
            }
            opened => opened,
        }
        .map_err(|error| wire::fault(&error))?;
        self.introduce(&mut link).await?;
        if link.hears && self.ears.is_needed() {
            let node = Arc::clone(self);
            tokio::spawn(async move { node.listen().await });
        }
        Ok(link)
    }

    async fn open(&self, protocol: ProtocolVersion, number: u64) -> RedisResult<Link> {
        let settings = self.info.redis_settings().clone().set_protocol(protocol);
        let client = Client::open(self.info.clone().set_redis_settings(settings))?;
        let hears = protocol == ProtocolVersion::RESP3;
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_pipeline_buffer_size(1024);
        if hears {
            let (ears, id) = (Arc::clone(&self.ears), self.id);
            config = config.set_push_sender(move |push: redis::PushInfo| {
                ears.on_push(id, &push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link { connection, number, hears })
    }

    /// Finds out who it is, and whether its vote may count.
    async fn introduce(&self, link: &mut Link) -> Result<(), Fault> {
        let role = link.connection.send_packed_command(&redis::cmd("ROLE")).await;
        let info = link.connection.send_packed_command(redis::cmd("INFO").arg("server")).await;
        if let (Err(error), _) | (_, Err(error)) = (&role, &info)
            && error.code().is_none()
        {
            return Err(wire::fault(error));
        }
        if let Some(of) = role.ok().and_then(|role| primary_of(&role)) {
            return Err(Fault::Replica { of });
        }
        if let Some(run_id) = info.ok().and_then(|info| field(&info, "run_id")) {
            self.register(run_id)?;
        }
        // A server that lets us load no scripts may let us run them.
        let _ = wire::load_scripts().query_async::<Vec<String>>(&mut link.connection).await;
        Ok(())
    }

    /// Two addresses of one server have one vote.
    fn register(&self, run_id: String) -> Result<(), Fault> {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let known = identities.iter().position(|other| other.as_ref() == Some(&run_id));
        match known {
            Some(index) if index != self.id.0 => Err(Fault::Duplicate(NodeId(index))),
            _ => {
                identities[self.id.0] = Some(run_id);
                Ok(())
            }
        }
    }

    /// Subscribes to what is wanted and to nothing else; whether the node tells of releases.
    pub(crate) async fn listen(self: &Arc<Node>) -> bool {
        let Ok(mut link) = self.link().await else { return false };
        if !link.hears {
            return false;
        }
        let mut subscribed = self.subscribed.lock().await;
        if subscribed.0 != link.number {
            *subscribed = (link.number, Vec::new());
        }
        let wanted = self.ears.channels();
        let new: Vec<&String> = wanted.iter().filter(|channel| !subscribed.1.contains(channel)).collect();
        let old: Vec<&String> = subscribed.1.iter().filter(|channel| !wanted.contains(channel)).collect();
        if !new.is_empty() && link.connection.subscribe(new).await.is_err() {
            return false;
        }
        if !old.is_empty() {
            // What is heard and not wanted does no harm.
            let _ = link.connection.unsubscribe(old).await;
        }
        subscribed.1 = wanted;
        true
    }
}

fn code_of(reply: &RedisResult<Value>) -> Option<String> {
    match reply {
        Ok(Value::ServerError(error)) => Some(error.code().to_owned()),
        Err(error) => error.code().map(str::to_owned),
        Ok(_) => None,
    }
}

/// The primary of a replica; what ROLE says of a server that can't vote.
fn primary_of(role: &Value) -> Option<String> {
    let Value::Array(parts) = role else { return None };
    let text = |value: Option<&Value>| match value {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::SimpleString(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        _ => String::new(),
    };
    match text(parts.first()).as_str() {
        "slave" => Some(format!("{}:{}", text(parts.get(1)), text(parts.get(2)))),
        "sentinel" => Some("others (it is a Sentinel)".into()),
        _ => None,
    }
}

/// A field of INFO.
fn field(info: &Value, name: &str) -> Option<String> {
    let text = match info {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } => text.clone(),
        _ => return None,
    };
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
}
