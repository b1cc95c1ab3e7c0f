//! Drives the explorer: a task for each node that is asked or listened to, and one loop that hands over what they hear.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_operator::Bar;
use quorate_resp::Reply;
use quorate_stdx::{Machine, Mono, Now, UnixMs};
use quorate_topology::{Address, Channels, Explorer, Input, Output, Pace, Question};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::link::Link;
use crate::options::Manners;

/// How long a task waits before it listens again where it could not.
const AGAIN: Duration = Duration::from_millis(500);

/// How often is shown what is waited for.
const DRAW: Duration = Duration::from_millis(200);

/// The tasks of one node; they end with it.
#[derive(Default)]
struct Tasks {
    ask: Option<UnboundedSender<Vec<Question>>>,
    all: Vec<JoinHandle<()>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.all {
            task.abort();
        }
    }
}

pub(crate) struct Watch {
    explorer: Explorer,
    manners: Manners,
    start: Instant,
    nodes: BTreeMap<Address, Tasks>,
    sender: UnboundedSender<Input>,
    inputs: UnboundedReceiver<Input>,
}

impl Watch {
    pub(crate) fn new(seeds: &[Address], manners: Manners, pace: Pace) -> Watch {
        let start = Instant::now();
        let (sender, inputs) = mpsc::unbounded_channel();
        let explorer = Explorer::new(seeds, pace, now(start));
        Watch { explorer, manners, start, nodes: BTreeMap::new(), sender, inputs }
    }

    pub(crate) fn explorer(&self) -> &Explorer {
        &self.explorer
    }

    pub(crate) fn now(&self) -> Now {
        now(self.start)
    }

    /// Lets the explorer go on by everything that has happened, or waits for the next thing. Safe to be given up while it
    /// waits.
    pub(crate) async fn step(&mut self) {
        self.perform();
        let wake = self.explorer.poll_timeout().map(|(at, _)| at.since(self.now().mono));
        let input = match wake {
            None => self.inputs.recv().await,
            Some(wake) => tokio::time::timeout(wake, self.inputs.recv()).await.unwrap_or(Some(Input::Timeout)),
        };
        self.explorer.handle(now(self.start), input.unwrap_or(Input::Timeout));
        while let Ok(input) = self.inputs.try_recv() {
            self.explorer.handle(now(self.start), input);
        }
        self.perform();
    }

    /// Lets the explorer go on until something holds, and shows on a terminal that this takes its time.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&Explorer) -> bool) {
        let mut bar = Bar::waiting(what.to_owned());
        while !holds(&self.explorer) {
            let topology = self.explorer.topology();
            bar.at(0, &format!("{} of {} nodes answer", topology.live().count(), topology.nodes.len()));
            // What has not happened by then is gone on with in the next turn.
            let _ = tokio::time::timeout(DRAW, self.step()).await;
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.explorer.poll_output() {
            match output {
                Output::Ask(address, questions) => self.ask(address, questions),
                Output::Listen(address, channels) => {
                    let task = listen(address.clone(), channels, self.manners.clone(), self.sender.clone());
                    self.nodes.entry(address).or_default().all.push(tokio::spawn(task));
                }
                Output::Leave(address) => drop(self.nodes.remove(&address)),
            }
        }
    }

    fn ask(&mut self, address: Address, questions: Vec<Question>) {
        let tasks = self.nodes.entry(address.clone()).or_default();
        // Tasks that have ended are those that listened.
        tasks.all.retain(|task| !task.is_finished());
        let ask = tasks.ask.get_or_insert_with(|| {
            let (ask, asked) = mpsc::unbounded_channel();
            tasks.all.push(tokio::spawn(answer(address, asked, self.manners.clone(), self.sender.clone())));
            ask
        });
        // The task lives as long as its sender.
        let _ = ask.send(questions);
    }
}

fn now(start: Instant) -> Now {
    let mono = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now { mono: Mono(mono), unix: UnixMs(i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)) }
}

/// Asks one node what is to be asked, on a connection that is kept.
async fn answer(
    address: Address,
    mut asked: UnboundedReceiver<Vec<Question>>,
    manners: Manners,
    inputs: UnboundedSender<Input>,
) {
    let mut link: Option<Link> = None;
    loop {
        let questions = match &mut link {
            None => asked.recv().await,
            Some(idle) => tokio::select! {
                questions = asked.recv() => questions,
                fault = idle.broken() => {
                    link = None;
                    let _ = inputs.send(Input::Failed(address.clone(), fault));
                    continue;
                }
            },
        };
        let Some(questions) = questions else { return };
        let words: Vec<Vec<&str>> = questions.iter().map(Question::words).collect();
        let exchange = async {
            let mut open = match link.take() {
                Some(open) => open,
                None => Link::connect(&address, &manners).await?,
            };
            let replies = open.ask(&words).await?;
            Ok((open, replies))
        };
        let input = match exchange.await {
            Ok((open, replies)) => {
                link = Some(open);
                Input::Answered(address.clone(), replies)
            }
            Err(fault) => Input::Failed(address.clone(), fault),
        };
        if inputs.send(input).is_err() {
            return;
        }
    }
}

/// Listens to one node until that is over.
async fn listen(address: Address, channels: Channels, manners: Manners, inputs: UnboundedSender<Input>) {
    let words = vec![channels.words().to_vec()];
    if let Ok(mut link) = Link::connect(&address, &manners).await
        && link.ask(&words).await.is_ok()
    {
        while let Ok(message) = link.receive().await {
            let Some((channel, payload)) = message_of(message) else { continue };
            if inputs.send(Input::Heard(address.clone(), channel, payload)).is_err() {
                return;
            }
        }
    }
    tokio::time::sleep(AGAIN).await;
    let _ = inputs.send(Input::Deaf(address));
}

/// The channel and the payload of a message.
fn message_of(message: Reply) -> Option<(String, String)> {
    let (Reply::Array(items) | Reply::Push(items)) = message else { return None };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    match (items.first().and_then(text)?.as_str(), &items[1..]) {
        ("message", [channel, payload]) | ("pmessage", [_, channel, payload]) => Some((text(channel)?, text(payload)?)),
        _ => None,
    }
}
