//! Confirming a primary: a server of ours that leads takes writes only as long as not too many of its Sentinels are silent
//! (`TENURE CONFIRM`, told in `quorate-replication`'s `tenure.rs`).
//!
//! We confirm the primary that clients are sent to, again and again, and stop at once when we could be about to replace it:
//! when we hold it for down, stand for election or lead a failover, have voted for somebody else who may do so, or have just
//! come back and don't know what was decided meanwhile. So when a replica is promoted, those who elected its leader have
//! stopped, and a term later the old primary takes no writes; the simulation checks it.

use std::time::Duration;

use crate::core::Core;
use crate::machine::Timer;
use crate::primary::Primary;
use crate::settings::Watch;
use crate::wire::Tag;

/// A confirmation holds for so long at most: what a primary that was cut off may still take.
const TERM_MAX: Duration = Duration::from_millis(100);

/// For how long a confirmation holds: not for long against what passes before anybody is held for down.
fn term(watch: &Watch) -> Duration {
    (watch.down_after / 4).clamp(Duration::from_millis(10), TERM_MAX)
}

impl Primary {
    pub(crate) fn confirm_tenure(&mut self, core: &mut Core) {
        let term = term(&self.watch);
        let voted_for_another = self.hold_until.is_some_and(|until| !core.due(until, Timer::Tenure));
        let may_be_replaced = self.is_unconfirmed
            || core.is_newcomer()
            || !core.due(self.confirms_from, Timer::Tenure)
            || voted_for_another
            || self.o_down.is_some()
            || self.server.node.down.is_some()
            || !self.failover.is_none();
        let wants = self.server.says_it_leads && self.server.info.as_ref().is_some_and(|info| info.has_tenure);
        let talk = self.server.node.link.tenure;
        if !wants || may_be_replaced || talk.waits || self.server.node.link.commands.up().is_none() {
            return;
        }
        if talk.confirmed.is_some_and(|at| !core.due(at + term / 4, Timer::Tenure)) {
            return;
        }
        let (monitors, patience) = (self.voters(), self.watch.down_after / 2);
        let words = [
            "TENURE".to_owned(),
            "CONFIRM".to_owned(),
            core.my_id.to_string(),
            monitors.to_string(),
            term.as_millis().to_string(),
            patience.as_millis().to_string(),
            talk.stamp.max(0).to_string(),
        ];
        let watch = self.watch.clone();
        if self.server.node.send(core, Tag::Tenure, words.to_vec(), &watch) {
            let talk = &mut self.server.node.link.tenure;
            (talk.confirmed, talk.waits) = (Some(core.mono()), true);
        }
    }
}
