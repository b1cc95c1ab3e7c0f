//! Moving slots with all that they hold from one primary to another, while clients go on: CLUSTER MIGRATESLOTS.
//!
//! ```text
//!  source                                             target
//!   Connecting ── ESTABLISH ────────────────────────► Receiving: lets this one connection write to the slots
//!   Copying    ── the keys, and what clients do to them ─►
//!   Following  ── what clients do ───────────────────►
//!   Holding       (writes to these slots wait)
//!   Draining   ── the rest; all of it is confirmed ──►
//!   Granted    ── TAKE with an epoch ────────────────► Taken: claims the slots with that epoch, to everybody
//!   (the claim) ◄─────────────────────────────────────
//! ```
//!
//! **Who owns the slots** is at every moment what the epochs say, as ever: the source chooses the epoch with which the target
//! may claim them, so it knows with which greater one it can take the offer back. Until the grant either side may give up, and
//! nothing has happened: the target deletes what it has received. After it only the target can say whether it has taken
//! the slots; the source holds writes back until it knows. It hears the claim, or it asks (VERDICT), and who answers no will not
//! take them any more. A target that a majority has found down is waited for as long as one of its replicas may need
//! to take over, with the claim if there was one; then the source takes the offer back.
//!
//! `giving` is the source's part, `taking` the target's.

use std::collections::VecDeque;

use quorate_stdx::UnixMs;

use crate::{NodeId, Slots};

/// The name of a migration, which both sides know it by.
pub type TransferId = NodeId;

/// How many that have ended are remembered.
const REMEMBERED: usize = 1000;

/// A migration as CLUSTER GETSLOTMIGRATIONS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferView {
    /// Its name.
    pub id: TransferId,
    /// Whether the slots go away from here.
    pub exports: bool,
    /// The slots.
    pub slots: Slots,
    /// Who had them.
    pub source: NodeId,
    /// Who is to have them.
    pub target: NodeId,
    /// When it began.
    pub created: UnixMs,
    /// When its state last changed.
    pub updated: UnixMs,
    /// When the other side was last heard.
    pub heard: UnixMs,
    /// Its state, in one word.
    pub state: &'static str,
    /// Why it failed.
    pub message: String,
    /// Bytes of the log that the target has not confirmed.
    pub behind: u64,
}

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The target has the slots.
    Success,
    /// An operator called it off.
    Cancelled,
    /// It was given up.
    Failed(String),
}

impl Ending {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Ending::Success => "success",
            Ending::Cancelled => "cancelled",
            Ending::Failed(_) => "failed",
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Ending::Failed(why) => why.clone(),
            Ending::Success | Ending::Cancelled => String::new(),
        }
    }
}

/// Those that have ended, the latest in front.
#[derive(Debug, Default)]
pub(crate) struct Ended(VecDeque<TransferView>);

impl Ended {
    pub(crate) fn remember(&mut self, view: TransferView) {
        self.0.push_front(view);
        self.0.truncate(REMEMBERED);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TransferView> {
        self.0.iter()
    }
}
