//! What can be seen of the side that follows: by its siblings, by INFO and ROLE, and by the checks. Nothing here changes it.

use quorate_stdx::{Mono, Offset};

use super::{Link, Phase, Replica, Stage};
use crate::handover::Takeover;
use crate::{Addr, LinkView, PrimaryView, SyncView};

impl Replica {
    pub(super) fn phase(&self) -> Option<Phase> {
        let Link::Active { stage, .. } = &self.link else { return None };
        Some(match stage {
            Stage::Connecting => Phase::Connecting,
            Stage::Handshaking(_) => Phase::Handshake,
            Stage::Awaiting(_) => Phase::Awaiting,
            Stage::Receiving { .. } => Phase::Receiving,
            Stage::Loading { .. } => Phase::Loading,
            Stage::Streaming { .. } => Phase::Streaming,
        })
    }

    /// Whom we follow.
    pub(crate) fn following(&self) -> Option<&Addr> {
        self.upstream.as_ref().map(|upstream| &upstream.addr)
    }

    /// Whether the one we follow has been asked to take over, or may have been.
    pub(crate) fn has_asked_takeover(&self) -> bool {
        match self.upstream.as_ref().map_or(Takeover::No, |upstream| upstream.takeover) {
            Takeover::No => false,
            Takeover::Ask => self.has_asked(),
            Takeover::Unanswered => true,
        }
    }

    /// Whether the stream comes in.
    pub(crate) fn is_streaming(&self) -> bool {
        self.phase() == Some(Phase::Streaming)
    }

    pub(crate) fn view(&self, now: Mono, offset: Offset, config: &crate::Config) -> Option<PrimaryView> {
        let upstream = self.upstream.as_ref()?;
        let (link, last_io, sync) = match &self.link {
            Link::Idle | Link::Waiting { .. } => (LinkView::Connect, None, None),
            Link::Active { heard, stage, .. } => {
                let last_io = now.since(*heard);
                let sync = |total, read| (LinkView::Sync, None, Some(SyncView { total, read, last_io }));
                match stage {
                    Stage::Connecting => (LinkView::Connecting, None, None),
                    Stage::Handshaking(_) => (LinkView::Handshake, None, None),
                    Stage::Awaiting(_) => sync(None, 0),
                    Stage::Receiving { total, read, .. } | Stage::Loading { total, read, .. } => sync(*total, *read),
                    Stage::Streaming { .. } => (LinkView::Connected, Some(last_io), None),
                }
            }
        };
        Some(PrimaryView {
            addr: upstream.addr.clone(),
            link,
            last_io,
            sync,
            offset,
            read: offset,
            down_for: upstream.down_since.map(|since| now.since(since)),
            refused: upstream.refused,
            priority: config.priority,
            announced: config.announced,
        })
    }

    /// What must hold between two inputs.
    pub(crate) fn check(&self, backlog_is_open: bool) {
        let idle = matches!(self.link, Link::Idle);
        assert_eq!(idle, self.upstream.is_none(), "a link belongs to a primary, and a primary has a link: {self:?}");
        assert!(!self.is_streaming() || backlog_is_open, "a replica streams into no log: {self:?}");
    }
}
