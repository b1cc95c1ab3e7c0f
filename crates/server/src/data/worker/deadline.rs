//! When a client gives up waiting, as its network thread has to know it.

use std::collections::BTreeSet;

use crate::data::client::{Blocked, Client, ClientId};

/// When a client's waiting ends, as the thread's set of deadlines has to know it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline(Option<i64>);

impl Deadline {
    #[inline]
    pub(super) fn of(client: &Client) -> Deadline {
        // SAFETY: only called by the owning thread, which is active.
        match &unsafe { client.session() }.blocked {
            Some(Blocked::OnKeys { until, .. } | Blocked::OnAnswer { until }) => Deadline(*until),
            Some(Blocked::OnPause | Blocked::OnDisk) | None => Deadline(None),
        }
    }

    #[inline]
    pub(super) fn moved_from(self, before: Deadline, id: ClientId, set: &mut BTreeSet<(i64, ClientId)>) {
        if self == before {
            return;
        }
        if let Some(at) = before.0 {
            set.remove(&(at, id));
        }
        if let Some(at) = self.0 {
            set.insert((at, id));
        }
    }
}
