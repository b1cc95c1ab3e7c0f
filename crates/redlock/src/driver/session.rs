//! Performs what one lock's machine decides: sends, listens, sleeps. It can be dropped at any time; then the lock is given
//! back by a task in the background.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use quorate_stdx::{Machine, Mono};
use tokio::runtime::Handle;

use super::clock;
use super::ears::{Ears, Listener};
use super::node::Node;
use super::wire::{self, Keys};
use crate::{Input, Lock, Output, Terms};

/// After this a connection that nobody needs for listening any more is told so.
const LINGER: Duration = Duration::from_secs(1);

type Asked = Pin<Box<dyn Future<Output = Input> + Send>>;

/// The servers of one list.
pub(crate) struct Nodes {
    pub(crate) all: Vec<Arc<Node>>,
    pub(crate) ears: Arc<Ears>,
    /// Whether a task waits to give up channels that nobody listens to.
    pub(crate) lingers: AtomicBool,
}

pub(crate) struct Session(Option<Running>);

struct Running {
    lock: Lock,
    nodes: Arc<Nodes>,
    keys: Arc<Keys>,
    asked: FuturesUnordered<Asked>,
    listener: Option<Listener>,
    /// Where the lock is given back, whoever drops it.
    runtime: Handle,
}

impl Session {
    pub(crate) fn begin(terms: Terms, nodes: Arc<Nodes>, keys: Arc<Keys>) -> Session {
        let lock = Lock::new(terms);
        let (asked, runtime) = (FuturesUnordered::new(), Handle::current());
        let mut session = Session(Some(Running { lock, nodes, keys, asked, listener: None, runtime }));
        session.tell(Input::Begin);
        session
    }

    fn running(&mut self) -> &mut Running {
        self.0.as_mut().expect("it runs until it is dropped")
    }

    /// Hands the machine an input; what it wants done is done by `next`.
    pub(crate) fn tell(&mut self, input: Input) {
        self.running().lock.handle(clock::now(), input);
    }

    /// What the lock was asked for.
    pub(crate) fn terms(&mut self) -> &Terms {
        self.running().lock.terms()
    }

    /// Until when the lock is valid.
    pub(crate) fn valid_until(&mut self) -> Option<Mono> {
        self.running().lock.valid_until()
    }

    /// The next thing that whoever has the lock should know. Nothing is lost if this is not awaited to its end.
    pub(crate) async fn next(&mut self) -> Output {
        self.running().next().await.unwrap_or_else(|| unreachable!("a lock that is over is not asked for more"))
    }

    /// Nobody waits for releases any more.
    pub(crate) fn stop_listening(&mut self) {
        self.running().stop_listening();
    }
}

impl Running {
    /// Performs until there is something to say; `None` if nothing will happen any more.
    async fn next(&mut self) -> Option<Output> {
        loop {
            while let Some(output) = self.lock.poll_output() {
                match output {
                    Output::Send { node, request, command } => {
                        let (server, said) = (Arc::clone(&self.nodes.all[node.0]), wire::request(&command, &self.keys));
                        self.asked.push(Box::pin(async move {
                            let answer = server.ask(&said).await;
                            Input::Replied { node, request, answer }
                        }));
                    }
                    Output::Listen => self.listen(),
                    output => return Some(output),
                }
            }
            let input = self.await_input().await?;
            self.lock.handle(clock::now(), input);
        }
    }

    async fn await_input(&mut self) -> Option<Input> {
        let timeout = self.lock.poll_timeout().map(|(at, _)| at);
        if timeout.is_none() && self.asked.is_empty() {
            return None;
        }
        if timeout.is_some_and(|at| at <= clock::mono()) {
            return Some(Input::Timeout);
        }
        let sleep = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(clock::alarm(at)).await,
                None => std::future::pending().await,
            }
        };
        let hear = async {
            match &mut self.listener {
                Some(listener) => listener.heard.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(input) = self.asked.next(), if !self.asked.is_empty() => Some(input),
            Some(input) = hear => Some(input),
            () = sleep => Some(Input::Timeout),
        }
    }

    fn listen(&mut self) {
        let db = self.nodes.all.first().map_or(0, |node| node.db());
        self.listener = Some(self.nodes.ears.listen(self.keys.channels(db)));
        for (index, node) in self.nodes.all.iter().enumerate() {
            let node = Arc::clone(node);
            self.asked.push(Box::pin(async move {
                // Who does not tell is asked again after a while anyway; a timeout that comes early changes nothing.
                if node.listen().await { Input::Listening(crate::NodeId(index)) } else { Input::Timeout }
            }));
        }
    }

    fn stop_listening(&mut self) {
        // One task at a time tidies up after all.
        if self.listener.take().is_some() && !self.nodes.lingers.swap(true, Ordering::Relaxed) {
            let nodes = Arc::clone(&self.nodes);
            self.runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                nodes.lingers.store(false, Ordering::Relaxed);
                join_all(nodes.all.iter().map(|node| node.listen())).await;
            });
        }
    }

    /// Gives back what there is, and undoes what is granted late.
    async fn wind_up(mut self) {
        self.stop_listening();
        self.lock.handle(clock::now(), Input::Release);
        while self.next().await.is_some() {}
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(running) = self.0.take() else { return };
        let is_done = running.lock.is_over() && running.asked.is_empty() && running.listener.is_none();
        if !is_done {
            // If the runtime ends, nothing can be sent; the TTL ends what is left.
            let runtime = running.runtime.clone();
            runtime.spawn(running.wind_up());
        }
    }
}
