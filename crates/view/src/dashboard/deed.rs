//! Plans that were shown, and those that are performed: step by step, as long as none is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_resp::Reply;
use quorate_topology::{Address, Deed, Plan, Topology};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::board::{Order, What};
use crate::link::Link;
use crate::options::Manners;

/// Plans that are remembered until somebody confirms them; the oldest go.
const PLANS: usize = 32;
/// Jobs that are shown; the oldest go.
const JOBS: usize = 8;
/// Keys that move together.
const KEYS: &str = "64";
/// For how long what will pass is waited for, and between two attempts.
const PASSING: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(200);
/// How long MIGRATE may take, in milliseconds.
const MIGRATE: &str = "5000";

/// How far a job is.
struct Job {
    number: u64,
    plan: Plan,
    /// Steps that are done.
    done: usize,
    /// Of the step that is under way: parts done, and all.
    part: (usize, usize),
    outcome: Option<Result<(), String>>,
}

enum News {
    Part { job: u64, done: usize, part: (usize, usize) },
    End { job: u64, outcome: Result<(), String> },
}

pub(super) struct Jobs {
    manners: Manners,
    plans: BTreeMap<u64, Plan>,
    jobs: Vec<Job>,
    news: UnboundedReceiver<News>,
    teller: UnboundedSender<News>,
    has_news: bool,
}

impl Jobs {
    pub(super) fn new(manners: Manners) -> Jobs {
        let (teller, news) = mpsc::unbounded_channel();
        // A failover that waits for its replica takes longer than an answer.
        let manners = Manners { limit: manners.limit.max(Duration::from_secs(15)), ..manners };
        Jobs { manners, plans: BTreeMap::new(), jobs: Vec::new(), news, teller, has_news: false }
    }

    /// Makes a plan, or begins to perform one. A plan is performed once at most.
    pub(super) fn take(&mut self, order: Order, topology: &Topology) {
        let answer = match order.what {
            What::Plan(wish) => topology.plan(&wish).map(|plan| self.remember(plan)),
            What::Perform(number) => match self.plans.remove(&number) {
                None => Err("that plan is not known any more: plan again".to_owned()),
                Some(_) if self.jobs.iter().any(|job| job.outcome.is_none()) => {
                    Err("something else is being done".to_owned())
                }
                Some(plan) => {
                    self.begin(number, plan);
                    Ok(json!({ "job": number }))
                }
            },
        };
        // Whoever asked may be gone.
        let _ = order.answer.send(answer);
    }

    fn remember(&mut self, plan: Plan) -> Value {
        let number = u64::from(rand::random::<u32>());
        let shown = json!({
            "plan": number,
            "title": plan.title,
            "steps": plan.steps.iter().map(|step| step.text.as_str()).collect::<Vec<_>>(),
            "warnings": plan.warnings,
        });
        self.plans.insert(number, plan);
        if self.plans.len() > PLANS {
            self.plans.pop_first();
        }
        shown
    }

    fn begin(&mut self, number: u64, plan: Plan) {
        tokio::task::spawn_local(perform(number, plan.clone(), self.manners.clone(), self.teller.clone()));
        self.jobs.push(Job { number, plan, done: 0, part: (0, 0), outcome: None });
        if self.jobs.len() > JOBS {
            self.jobs.remove(0);
        }
        self.has_news = true;
    }

    /// Waits for a job to go on. Safe to be given up.
    pub(super) async fn progress(&mut self) {
        let Some(news) = self.news.recv().await else { return };
        self.has_news = true;
        let number = match &news {
            News::Part { job, .. } | News::End { job, .. } => *job,
        };
        let Some(job) = self.jobs.iter_mut().find(|job| job.number == number) else { return };
        match news {
            News::Part { done, part, .. } => (job.done, job.part) = (done, part),
            News::End { outcome, .. } => job.outcome = Some(outcome),
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    pub(super) fn json(&mut self) -> Value {
        self.has_news = false;
        let job = |job: &Job| {
            json!({
                "job": job.number,
                "title": job.plan.title,
                "steps": job.plan.steps.iter().map(|step| step.text.as_str()).collect::<Vec<_>>(),
                "done": job.done,
                "part": [job.part.0, job.part.1],
                "state": match &job.outcome {
                    None => "running",
                    Some(Ok(())) => "done",
                    Some(Err(_)) => "failed",
                },
                "error": job.outcome.as_ref().and_then(|outcome| outcome.as_ref().err()),
            })
        };
        self.jobs.iter().map(job).collect()
    }
}

async fn perform(job: u64, plan: Plan, manners: Manners, teller: UnboundedSender<News>) {
    let mut outcome = Ok(());
    for (done, step) in plan.steps.iter().enumerate() {
        let tell = |part| {
            // The loop that is told lives as long as the program.
            let _ = teller.send(News::Part { job, done, part });
        };
        tell((0, 0));
        if let Err(error) = deed(&step.deed, &manners, &tell).await {
            outcome = Err(error);
            break;
        }
        let _ = teller.send(News::Part { job, done: done + 1, part: (0, 0) });
    }
    let _ = teller.send(News::End { job, outcome });
}

async fn deed(deed: &Deed, manners: &Manners, tell: &impl Fn((usize, usize))) -> Result<(), String> {
    match deed {
        Deed::Command { at, words, unless } => {
            let mut peer = Peer::connect(at, manners).await?;
            match peer.ask(words).await {
                Err(said) if unless.is_some_and(|unless| said.contains(unless)) => Ok(()),
                done => done.map(drop),
            }
        }
        Deed::Move { slots, from, to, others } => {
            let mut giver = Peer::connect(&from.0, manners).await?;
            let mut taker = Peer::connect(&to.0, manners).await?;
            let mut told = Vec::new();
            for other in others {
                // Whoever can't be told learns it from the bus.
                told.extend(Peer::connect(other, manners).await.ok());
            }
            for (done, slot) in slots.iter().enumerate() {
                tell((done, slots.len()));
                move_slot(*slot, (&mut giver, &from.1), (&mut taker, &to.1), &mut told, manners).await?;
            }
            Ok(())
        }
    }
}

/// Moves one slot with its keys, as every make understands it. What is interrupted leaves the slot open, and can be gone on with.
async fn move_slot(
    slot: u16,
    (giver, giver_id): (&mut Peer, &str),
    (taker, taker_id): (&mut Peer, &str),
    others: &mut [Peer],
    manners: &Manners,
) -> Result<(), String> {
    let number = slot.to_string();
    taker.ask(&["CLUSTER", "SETSLOT", &number, "IMPORTING", giver_id]).await?;
    giver.ask(&["CLUSTER", "SETSLOT", &number, "MIGRATING", taker_id]).await?;
    let (host, port) = (taker.address.host.clone(), taker.address.port.to_string());
    loop {
        let Reply::Array(keys) = giver.ask(&["CLUSTER", "GETKEYSINSLOT", &number, KEYS]).await? else {
            return Err(format!("{} does not list the keys of slot {slot}", giver.address));
        };
        if keys.is_empty() {
            break;
        }
        let mut words: Vec<&[u8]> = [&host, &port, "", "0", MIGRATE].iter().map(|word| word.as_bytes()).collect();
        words.insert(0, b"MIGRATE");
        let password = manners.passwords.first();
        match (&manners.user, password) {
            (Some(user), Some(password)) => words.extend([b"AUTH2".as_slice(), user.as_bytes(), password.as_bytes()]),
            (None, Some(password)) => words.extend([b"AUTH".as_slice(), password.as_bytes()]),
            (_, None) => {}
        }
        words.push(b"KEYS");
        words.extend(keys.iter().filter_map(|key| match key {
            Reply::Bulk(key) => Some(key.as_slice()),
            _ => None,
        }));
        giver.ask(&words).await?;
    }
    // The taker first: as soon as it knows, it answers for the slot.
    taker.ask(&["CLUSTER", "SETSLOT", &number, "NODE", taker_id]).await?;
    giver.ask(&["CLUSTER", "SETSLOT", &number, "NODE", taker_id]).await?;
    for other in others {
        // Whoever refuses learns it from the bus.
        let _ = other.ask(&["CLUSTER", "SETSLOT", &number, "NODE", taker_id]).await;
    }
    Ok(())
}

/// A node that is told to do something.
struct Peer {
    address: Address,
    link: Link,
}

impl Peer {
    async fn connect(address: &Address, manners: &Manners) -> Result<Peer, String> {
        let link = Link::connect(address, manners).await.map_err(|fault| format!("{address}: {fault}"))?;
        Ok(Peer { address: address.clone(), link })
    }

    /// Asks; an error that is answered is one. What will pass (a node that has just joined does not know yet that the cluster
    /// works) is waited for.
    async fn ask(&mut self, words: &[impl AsRef<[u8]>]) -> Result<Reply, String> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        let deadline = tokio::time::Instant::now() + PASSING;
        loop {
            let reply = match self.link.ask(std::slice::from_ref(&words)).await {
                Ok(mut replies) => replies.pop(),
                Err(fault) => return Err(format!("{}: {fault}", self.address)),
            };
            match reply {
                Some(Reply::Error(said)) if will_pass(&said) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                Some(Reply::Error(said)) => {
                    return Err(format!("{} answers: {}", self.address, String::from_utf8_lossy(&said)));
                }
                Some(reply) => return Ok(reply),
                None => return Err(format!("{} does not answer", self.address)),
            }
        }
    }
}

fn will_pass(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    let said = said.strip_prefix("ERR Target instance replied with error: ").unwrap_or(&said);
    ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "ERR I don't know about node"].iter().any(|word| said.starts_with(word))
}
