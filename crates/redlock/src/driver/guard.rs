//! What a holder has: the lock itself, and a view of it that can be handed around.
//!
//! A task keeps each lock: it extends, watches the time, and gives the lock back when the guard is dropped. So a holder that
//! computes without awaiting anything is extended all the same, if the runtime has another thread.

use std::sync::Arc;
use std::time::Duration;

use quorate_stdx::Mono;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock;
use super::error::{ExtendError, NodeVotes};
use super::session::Session;
use crate::{Grant, Input, LossReason, Output, Released};

/// Why a lock is no longer ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Its TTL is over, and it was not extended.
    #[error("its time is over: extend it earlier, or ask for a longer TTL")]
    Expired,
    /// Automatic extension has come to its cap.
    #[error("automatic extension has reached its cap")]
    Capped,
    /// So many servers say that it is not ours that no majority can be.
    #[error("a majority of the servers has it no longer")]
    Taken,
    /// It was released.
    #[error("it was released")]
    Released,
}

/// What a release came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Each server's say: yes, it was removed there; no, it was not there any more.
    pub votes: NodeVotes,
    /// A majority had it until now. If not, it was lost before, or that can't be known; what is left ends with its TTL.
    pub was_held: bool,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    valid_until: Mono,
    loss: Option<Loss>,
}

/// A view of a lock: whether it is valid, its tokens, and the signal that it is lost. Clones are cheap and keep nothing locked.
#[derive(Debug, Clone)]
pub struct Held {
    grant: Arc<Grant>,
    status: watch::Receiver<Status>,
}

impl Held {
    /// Greater than that of each earlier holder, if it was asked for: to be sent along with each write, and compared there.
    pub fn fence(&self) -> Option<u64> {
        self.grant.fence
    }

    /// What is stored under the resource.
    pub fn token(&self) -> &str {
        self.grant.token.as_str()
    }

    /// How many attempts it took to get it.
    pub fn attempts(&self) -> u32 {
        self.grant.attempts
    }

    /// How long nobody else can hold it, drift taken off. Zero if it is lost.
    pub fn valid_for(&self) -> Duration {
        let status = *self.status.borrow();
        if status.loss.is_some() { Duration::ZERO } else { status.valid_until.since(clock::mono()) }
    }

    /// Whether nobody else can hold it now.
    pub fn is_valid(&self) -> bool {
        !self.valid_for().is_zero()
    }

    /// Waits until the lock is no longer ours, and says why.
    pub async fn lost(&self) -> Loss {
        let mut status = self.status.clone();
        let status = status.wait_for(|status| status.loss.is_some()).await;
        // Who keeps it says why before it ends.
        status.ok().and_then(|status| status.loss).unwrap_or(Loss::Released)
    }
}

enum Wish {
    Extend(Duration, oneshot::Sender<Result<(), ExtendError>>),
    Release(oneshot::Sender<Release>),
}

/// A lock that is held. Dropping it gives it back in the background; [`release`](Guard::release) waits for that and says
/// what came of it.
#[derive(Debug)]
#[must_use = "a lock that is dropped is given back"]
pub struct Guard {
    held: Held,
    wishes: mpsc::UnboundedSender<Wish>,
}

impl Guard {
    pub(crate) fn keep(session: Session, grant: Grant, addresses: Arc<[String]>) -> Guard {
        let (wishes, wanted) = mpsc::unbounded_channel();
        let (status, seen) = watch::channel(Status { valid_until: grant.valid_until, loss: None });
        let keeper = Keeper { session, status, addresses, extending: None };
        tokio::spawn(keeper.run(wanted));
        Guard { held: Held { grant: Arc::new(grant), status: seen }, wishes }
    }

    /// A view of it that can be cloned and handed to other tasks.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Lets it last this long from now on.
    ///
    /// # Errors
    /// It is lost, or no majority extended it; in the latter case it stays valid for as long as it was.
    pub async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        let (reply, extended) = oneshot::channel();
        // If nobody keeps it any more, the reply's sender is dropped.
        let _ = self.wishes.send(Wish::Extend(ttl, reply));
        match extended.await {
            Ok(extended) => extended,
            Err(_) => Err(ExtendError::Lost(self.held.lost().await)),
        }
    }

    /// Gives it back, and says what came of it as soon as a majority has answered. If this is not awaited to its end, it is
    /// given back all the same.
    pub async fn release(self) -> Release {
        let (reply, released) = oneshot::channel();
        let _ = self.wishes.send(Wish::Release(reply));
        let nothing = || Release { votes: NodeVotes::default(), was_held: false };
        released.await.unwrap_or_else(|_| nothing())
    }
}

impl std::ops::Deref for Guard {
    type Target = Held;
    fn deref(&self) -> &Held {
        &self.held
    }
}

/// The task that a lock is kept by.
struct Keeper {
    session: Session,
    status: watch::Sender<Status>,
    addresses: Arc<[String]>,
    extending: Option<oneshot::Sender<Result<(), ExtendError>>>,
}

impl Keeper {
    async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<Wish>) {
        loop {
            tokio::select! {
                biased;
                wish = wanted.recv() => match wish {
                    Some(Wish::Extend(ttl, reply)) => self.extend(ttl, reply),
                    Some(Wish::Release(reply)) => return self.release(reply).await,
                    // The guard was dropped: so is the session, which gives the lock back.
                    None => return self.end(Loss::Released),
                },
                output = self.session.next() => {
                    if let Some(loss) = self.on_output(output) {
                        return self.end(loss);
                    }
                }
            }
        }
    }

    fn extend(&mut self, ttl: Duration, reply: oneshot::Sender<Result<(), ExtendError>>) {
        if let Err(error) = self.session.terms().check_extension(ttl) {
            // Whoever asked may have gone.
            let _ = reply.send(Err(ExtendError::Terms(error)));
            return;
        }
        self.extending = Some(reply);
        self.session.tell(Input::Extend { ttl });
        self.note_validity();
    }

    fn on_output(&mut self, output: Output) -> Option<Loss> {
        match output {
            Output::Extended { valid_until } => {
                self.status.send_modify(|status| status.valid_until = valid_until);
                self.answer(Ok(()));
            }
            Output::NotExtended(votes) => {
                self.note_validity();
                let votes = NodeVotes::new(&self.addresses, votes);
                self.answer(Err(ExtendError::NoMajority(votes)));
            }
            Output::Lost(reason) => {
                return Some(match reason {
                    LossReason::Expired => Loss::Expired,
                    LossReason::Capped => Loss::Capped,
                    LossReason::Taken => Loss::Taken,
                });
            }
            _ => {}
        }
        None
    }

    /// An extension to a shorter time is believed from the moment in which it is sent.
    fn note_validity(&mut self) {
        if let Some(valid_until) = self.session.valid_until() {
            self.status.send_modify(|status| status.valid_until = valid_until);
        }
    }

    fn answer(&mut self, extended: Result<(), ExtendError>) {
        if let Some(reply) = self.extending.take() {
            // Whoever asked may have gone.
            let _ = reply.send(extended);
        }
    }

    fn end(mut self, loss: Loss) {
        self.status.send_modify(|status| status.loss = Some(loss));
        self.answer(Err(ExtendError::Lost(loss)));
    }

    async fn release(mut self, reply: oneshot::Sender<Release>) {
        self.status.send_modify(|status| status.loss = Some(Loss::Released));
        self.session.tell(Input::Release);
        loop {
            match self.session.next().await {
                Output::Released(Released { votes, was_held }) => {
                    let votes = NodeVotes::new(&self.addresses, votes);
                    let _ = reply.send(Release { votes, was_held });
                    return;
                }
                Output::Lost(_) => return,
                _ => {}
            }
        }
    }
}
