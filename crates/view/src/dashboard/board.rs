//! What is published for whoever asks over HTTP, and how their orders reach the loop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use quorate_stdx::UnixMs;
use quorate_topology::{Address, Explorer, Wish};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::deed::Jobs;
use super::state::state;
use crate::history::History;

/// Orders that wait; more are refused.
const ORDERS: usize = 16;

/// What somebody who may act wants, and where the answer goes: a value for the page, or why not.
pub(super) struct Order {
    pub(super) what: What,
    pub(super) answer: oneshot::Sender<Result<Value, String>>,
}

pub(super) enum What {
    /// To see what would be done.
    Plan(Wish),
    /// That a plan that was seen is performed.
    Perform(u64),
}

pub(super) struct Board {
    state: watch::Sender<Bytes>,
    history: RefCell<History>,
    /// How many samples there have been.
    samples: Cell<u64>,
    orders: mpsc::Sender<Order>,
}

impl Board {
    pub(super) fn new() -> (Rc<Board>, mpsc::Receiver<Order>) {
        let (orders, ordered) = mpsc::channel(ORDERS);
        let board = Board {
            state: watch::Sender::new(Bytes::new()),
            history: RefCell::default(),
            samples: Cell::new(0),
            orders,
        };
        (Rc::new(board), ordered)
    }

    /// Shows the state to everybody; `is_sample` if a second has passed.
    pub(super) fn publish(
        &self,
        explorer: &Explorer,
        now: UnixMs,
        jobs: &mut Jobs,
        may_act: bool,
        seeds: &[Address],
        is_sample: bool,
    ) {
        if is_sample {
            self.history.borrow_mut().add(now, explorer.topology());
            self.samples.set(self.samples.get() + 1);
        }
        let mut state = state(explorer, now, jobs.json(), may_act, seeds);
        if let Value::Object(fields) = &mut state {
            // Not whether it is one: a page that is slow gets the latest state only, and must not miss that a second has passed.
            fields.insert("samples".to_owned(), Value::from(self.samples.get()));
        }
        self.state.send_replace(Bytes::from(state.to_string()));
    }

    pub(super) fn follow(&self) -> watch::Receiver<Bytes> {
        self.state.subscribe()
    }

    pub(super) fn history(&self) -> Value {
        self.history.borrow().json()
    }

    pub(super) async fn order(&self, what: What) -> Result<Value, String> {
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Order { what, answer }).map_err(|_| "too much is asked at once".to_owned())?;
        answered.await.unwrap_or_else(|_| Err("it was given up".to_owned()))
    }
}
