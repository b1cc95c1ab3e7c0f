//! Plans that were shown, and those that are performed: step by step, as long as none is refused. Slots are planned and moved by
//! `quorate-operator`, on a thread of its own, because it waits for the nodes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use quorate_operator::Works;
use quorate_resp::Reply;
use quorate_topology::{Address, Command, Plan, PlanStep, Shift, Topology};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::board::{Order, What};
use crate::link::Link;
use crate::options::Manners;

/// Plans that are remembered until somebody confirms them; the oldest go.
const PLANS: usize = 32;
/// Jobs that are shown; the oldest go.
const JOBS: usize = 8;
/// For how long what will pass is waited for, and between two attempts.
const PASSING: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(200);

/// A plan as it is shown and performed.
#[derive(Debug, Clone)]
struct Project {
    title: String,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Slots move, in the cluster of this node.
    Slots(SocketAddr, quorate_operator::Step),
    Command(PlanStep),
}

impl Step {
    fn text(&self) -> &str {
        match self {
            Step::Slots(_, step) => &step.text,
            Step::Command(step) => &step.text,
        }
    }
}

/// How far a job is.
struct Job {
    number: u64,
    project: Project,
    /// Steps that are done.
    done: usize,
    /// Of the step that is under way: parts done, and all.
    part: (usize, usize),
    /// What more there is to say of it.
    note: String,
    outcome: Option<Result<(), String>>,
}

type Answer = oneshot::Sender<Result<Value, String>>;

enum News {
    Planned { project: Result<Project, String>, answer: Answer },
    Part { job: u64, done: usize, part: (usize, usize), note: String },
    End { job: u64, outcome: Result<(), String> },
}

pub(super) struct Jobs {
    manners: Manners,
    plans: BTreeMap<u64, Project>,
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
            What::Plan(wish) => match topology.plan(&wish) {
                Ok(plan) => return self.work_out(plan, order.answer),
                Err(why) => Err(why),
            },
            What::Perform(number) => match self.plans.remove(&number) {
                None => Err("that plan is not known any more: plan again".to_owned()),
                Some(_) if self.jobs.iter().any(|job| job.outcome.is_none()) => {
                    Err("something else is being done".to_owned())
                }
                Some(project) => {
                    self.begin(number, project);
                    Ok(json!({ "job": number }))
                }
            },
        };
        // Whoever asked may be gone.
        let _ = order.answer.send(answer);
    }

    /// Asks the nodes which slots would move; the plan is whole when that is known.
    fn work_out(&self, plan: Plan, answer: Answer) {
        let (manners, teller) = (self.manners.clone(), self.teller.clone());
        tokio::task::spawn_local(async move {
            let project = blocking(move || project(plan, &manners)).await;
            // The loop that is told lives as long as the program.
            let _ = teller.send(News::Planned { project, answer });
        });
    }

    fn remember(&mut self, project: Project) -> Value {
        let number = u64::from(rand::random::<u32>());
        let shown = json!({
            "plan": number,
            "title": project.title,
            "steps": project.steps.iter().map(Step::text).collect::<Vec<_>>(),
            "warnings": project.warnings,
        });
        self.plans.insert(number, project);
        if self.plans.len() > PLANS {
            self.plans.pop_first();
        }
        shown
    }

    fn begin(&mut self, number: u64, project: Project) {
        let performing = perform(number, project.steps.clone(), self.manners.clone(), self.teller.clone());
        tokio::task::spawn_local(performing);
        self.jobs.push(Job { number, project, done: 0, part: (0, 0), note: String::new(), outcome: None });
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
            News::Planned { .. } => 0,
            News::Part { job, .. } | News::End { job, .. } => *job,
        };
        let job = self.jobs.iter_mut().find(|job| job.number == number);
        match (news, job) {
            (News::Planned { project, answer }, _) => {
                // Whoever asked may be gone.
                let _ = answer.send(project.map(|project| self.remember(project)));
            }
            (News::Part { done, part, note, .. }, Some(job)) => (job.done, job.part, job.note) = (done, part, note),
            (News::End { outcome, .. }, Some(job)) => job.outcome = Some(outcome),
            (_, None) => {}
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
                "title": job.project.title,
                "steps": job.project.steps.iter().map(Step::text).collect::<Vec<_>>(),
                "done": job.done,
                "part": [job.part.0, job.part.1],
                "note": job.note,
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

/// Runs what waits for others on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("it was given up".to_owned()))
}

/// A plan with the slots that move.
fn project(plan: Plan, manners: &Manners) -> Result<Project, String> {
    let Plan { title, shift, steps, warnings } = plan;
    let mut project = Project { title, steps: Vec::new(), warnings };
    if let Some(shift) = shift {
        let (Shift::Even { via: entry } | Shift::Away { from: entry }) = &shift;
        let entry = resolved(entry)?;
        let works = reach(entry, manners)?;
        let moves = match shift {
            Shift::Even { .. } => works.even(),
            Shift::Away { .. } => works.away(entry),
        };
        let moves = moves.map_err(|error| format!("{error:#}"))?;
        project.steps.extend(moves.into_iter().map(|step| Step::Slots(entry, step)));
    }
    project.steps.extend(steps.into_iter().map(Step::Command));
    Ok(project)
}

fn resolved(address: &Address) -> Result<SocketAddr, String> {
    let mut found =
        (address.host.as_str(), address.port).to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    found.next().ok_or_else(|| format!("{address} has no address"))
}

fn reach(entry: SocketAddr, manners: &Manners) -> Result<Works, String> {
    let password = manners.passwords.first().cloned();
    Works::reach(entry, manners.user.clone(), password).map_err(|error| format!("{error:#}"))
}

async fn perform(job: u64, steps: Vec<Step>, manners: Manners, teller: UnboundedSender<News>) {
    let mut outcome = Ok(());
    for (done, step) in steps.into_iter().enumerate() {
        let tell = {
            let teller = teller.clone();
            move |part, note: &str| {
                // The loop that is told lives as long as the program.
                let _ = teller.send(News::Part { job, done, part, note: note.to_owned() });
            }
        };
        tell((0, 0), "");
        let performed = match step {
            Step::Command(step) => command(&step.command, &manners).await,
            Step::Slots(entry, step) => {
                let manners = manners.clone();
                blocking(move || {
                    let mut works = reach(entry, &manners)?;
                    let mut heard = |part, note: &str| tell((part, step.slots), note);
                    works.carry_out(&step, &mut heard).map_err(|error| format!("{error:#}"))
                })
                .await
            }
        };
        if performed.is_err() {
            outcome = performed;
            break;
        }
        let _ = teller.send(News::Part { job, done: done + 1, part: (0, 0), note: String::new() });
    }
    let _ = teller.send(News::End { job, outcome });
}

async fn command(command: &Command, manners: &Manners) -> Result<(), String> {
    let mut peer = Peer::connect(&command.at, manners).await?;
    match peer.ask(&command.words).await {
        Err(said) if command.unless.is_some_and(|unless| said.contains(unless)) => Ok(()),
        done => done.map(drop),
    }
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
