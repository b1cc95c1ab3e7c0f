//! Whom servers follow, and whom they should: what follows from the role that a server says it has.
//!
//! A server that should follow but leads, or follows the wrong one, is told. Redis waits until the contradiction is old (8
//! seconds, or `failover-timeout`), because another Sentinel may know better and its hello may be on its way. We don't wait
//! where nothing can be on its way: the server was the primary before this one, and since it is back a majority of the
//! Sentinels has told us, because we asked, that they know of no later one.

use std::time::Duration;

use crate::address::Addr;
use crate::core::{Core, NodeId};
use crate::event::Level;
use crate::failover::Failover;
use crate::machine::Timer;
use crate::primary::{Primary, Reconfiguration};

/// A server that was just told is given so long to obey.
const OBEY: Duration = Duration::from_secs(1);

impl Primary {
    /// A server has told its role.
    pub(crate) fn follow_up(&mut self, core: &mut Core, node: NodeId) {
        let Some(server) = self.server_mut(node) else { return };
        let (addr, leads) = (server.node.addr.clone(), server.says_it_leads);
        if !leads {
            (server.was_primary, server.leads_since) = (false, None);
        }
        if leads && server.was_primary && server.leads_since.is_none() {
            // It has come back. Whether another Sentinel has put it in its place again is asked at once.
            server.leads_since = Some(core.mono());
            self.peers.values_mut().for_each(|peer| peer.was_asked_where = false);
        }
        match self.failover.clone() {
            Failover::Awaiting { epoch, replica, .. } | Failover::HandingOver { epoch, replica, .. }
                if leads && replica == addr && self.server.node.id != node =>
            {
                self.on_promoted(core, epoch, addr);
            }
            Failover::Reconfiguring { promoted, .. } if !leads => self.note_progress(core, &addr, &promoted),
            _ => {}
        }
    }

    fn note_progress(&mut self, core: &mut Core, addr: &Addr, promoted: &Addr) {
        let Some(server) = self.replicas.get_mut(addr) else { return };
        let Some(following) = server.following() else { return };
        let (is_right, is_linked) = (core.names.same_place(&following.of, promoted), following.is_linked);
        let mut steps = Vec::new();
        if matches!(server.reconfiguration, Reconfiguration::Sent(_)) && is_right {
            server.reconfiguration = Reconfiguration::InProgress;
            steps.push("+slave-reconf-inprog");
        }
        if server.reconfiguration == Reconfiguration::InProgress && is_right && is_linked {
            server.reconfiguration = Reconfiguration::Done;
            steps.push("+slave-reconf-done");
        }
        for step in steps {
            self.announce_replica(core, Level::Notice, step, addr);
        }
    }

    /// Tells those who should follow the primary and don't.
    pub(crate) fn correct(&mut self, core: &mut Core) {
        if let Failover::Reconfiguring { promoted, .. } = &self.failover {
            // The old primary comes back while its replicas are being told.
            let promoted = promoted.clone();
            let is_back = self.server.says_it_leads && self.server.node.is_reachable() && self.is_heard_since_switch();
            if is_back && self.may_correct(core, None) {
                let old = self.server.node.addr.clone();
                self.convert(core, &old, &promoted, "+convert-to-slave");
            }
            return;
        }
        if !self.failover.is_none() {
            return;
        }
        let to = self.server.node.addr.clone();
        let addrs: Vec<Addr> = self.replicas.keys().cloned().collect();
        for addr in addrs {
            if let Some(event) = self.wrong(core, &addr) {
                self.convert(core, &addr, &to, event);
            }
        }
    }

    /// The old primary has said that it leads after another was promoted.
    fn is_heard_since_switch(&self) -> bool {
        let Failover::Reconfiguring { since, .. } = self.failover else { return false };
        self.server.info_at.is_some_and(|at| at > since)
    }

    /// What is wrong with a replica, as the event that follows from it, if it is to be told now.
    fn wrong(&self, core: &mut Core, addr: &Addr) -> Option<&'static str> {
        let server = self.replicas.get(addr)?;
        if !server.node.is_reachable() || server.info.is_none() || !self.may_correct(core, server.corrected) {
            return None;
        }
        let is_sure = self.is_sure(core);
        if server.says_it_leads {
            let at = server.role_since + core.periods.publish * 4;
            let is_sure = server.leads_since.is_some_and(|since| self.is_sure_since(since));
            let is_known = server.was_primary && is_sure && self.looks_sane(core);
            let is_old = core.due(at, Timer::Correct) && self.looks_sane(core);
            return (is_known || is_old).then_some("+convert-to-slave");
        }
        let of = &server.following()?.of;
        if core.names.same_place(of, &self.server.node.addr) {
            return None;
        }
        let is_former = self.former.iter().any(|former| core.names.same_place(former, of));
        let at = server.follows_since + self.watch.failover_timeout;
        // Whom the leader of the failover could reach is told by it, when `parallel-syncs` allows.
        let is_known = is_former && server.missed_switch && is_sure && self.looks_sane(core);
        let is_old = core.due(at, Timer::Correct) && self.looks_sane(core);
        (is_known || is_old).then_some("+fix-slave-config")
    }

    /// Whether one that was told at that time may be told again.
    fn may_correct(&self, core: &mut Core, told: Option<quorate_stdx::Mono>) -> bool {
        let told = told.or(self.server.corrected.filter(|_| self.failover.promoted().is_some()));
        core.tilt.is_none() && told.is_none_or(|at| core.due(at + OBEY, Timer::Correct))
    }

    /// The primary leads by its own word, and answers.
    fn looks_sane(&self, core: &Core) -> bool {
        let is_fresh = |at| core.mono().since(at) <= core.periods.info * 2;
        self.server.node.is_reachable() && self.server.says_it_leads && self.server.info_at.is_some_and(is_fresh)
    }

    fn convert(&mut self, core: &mut Core, addr: &Addr, to: &Addr, event: &'static str) {
        if !self.tell(core, addr, Some(to)) {
            return;
        }
        let now = core.mono();
        if let Some(server) = self.servers_mut().find(|server| server.node.addr == *addr) {
            server.corrected = Some(now);
        }
        self.announce_replica(core, Level::Notice, event, addr);
    }
}
