//! The questions that come before PSYNC, in the order in which a real replica puts them.
//!
//! ```text
//!   PING ─► AUTH?, REPLCONF listening-port, ip-address?, capa, version ─► INFO? ─► PSYNC
//!           └────────────── sent together, answered in order ───────┘
//! ```
//!
//! PING must be answered, if only by the demand to authenticate first. AUTH must succeed. REPLCONFs may
//! fail: an older primary doesn't know them all. INFO tells how the primary came by its data, for the judgement
//! of what it offers, and which process it is, for that of later offers (see `guard.rs`); a primary that won't
//! tell answers with an error, and is judged by what it offers.

use std::collections::VecDeque;

use quorate_stdx::{Offset, ReplId};

use crate::LinkId;
use crate::event::LinkEvent;
use crate::replication::Cx;
use crate::wire::{Origin, Reply, Request};

use super::Output;

/// A question whose answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ping,
    Auth,
    Replconf(&'static str),
    Info,
    Psync,
}

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// More answers are awaited.
    Stay,
    /// It is time for PSYNC.
    Ask,
    /// PSYNC is answered.
    Answered(Reply),
    /// This attempt has failed; the log knows why.
    Fail,
}

/// A handshake that goes on.
#[derive(Debug)]
pub(super) struct Handshake {
    awaited: VecDeque<Step>,
    origin: Origin,
    /// What PSYNC asked to go on from.
    from: Option<(ReplId, Offset)>,
}

impl Handshake {
    /// The caller has sent PING.
    pub(super) fn new() -> Handshake {
        Handshake { awaited: [Step::Ping].into(), origin: Origin::default(), from: None }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn asked_from(&self) -> Option<(ReplId, Offset)> {
        self.from
    }

    /// Whether PSYNC is sent and not answered.
    pub(super) fn has_asked(&self) -> bool {
        self.awaited.front() == Some(&Step::Psync)
    }

    /// The caller sends PSYNC.
    pub(super) fn ask(&mut self, from: Option<(ReplId, Offset)>) {
        self.from = from;
        self.awaited.push_back(Step::Psync);
    }

    /// Takes an answer.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>, link: LinkId, reply: Reply) -> Advance {
        if reply == Reply::KeepAlive {
            return Advance::Stay;
        }
        let Some(step) = self.awaited.pop_front() else { return Advance::Stay };
        match (step, reply) {
            (Step::Ping, Reply::Error(error)) if !is_about_permission(&error) => {
                cx.announce(LinkEvent::BadPing { error });
                Advance::Fail
            }
            (Step::Ping, _) => {
                cx.announce(LinkEvent::Answered);
                self.introduce(cx, link);
                Advance::Stay
            }
            (Step::Auth, Reply::Error(error)) => {
                cx.announce(LinkEvent::AuthFailed { error });
                Advance::Fail
            }
            (Step::Replconf(option), Reply::Error(error)) => {
                cx.announce(LinkEvent::ReplconfIgnored { option, error });
                self.next(cx, link)
            }
            (Step::Info, Reply::Info(origin)) => {
                self.origin = origin;
                Advance::Ask
            }
            (Step::Info, _) => Advance::Ask,
            (Step::Psync, reply) => Advance::Answered(reply),
            (Step::Auth | Step::Replconf(_), _) => self.next(cx, link),
        }
    }

    fn introduce(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let mut put = |cx: &mut Cx<'_>, step, request| {
            self.awaited.push_back(step);
            cx.push(Output::Send { link, request });
        };
        let config = cx.config;
        if let Some(password) = config.password.clone() {
            put(cx, Step::Auth, Request::Auth { user: config.user.clone(), password });
        }
        put(cx, Step::Replconf("listening-port"), Request::ListeningPort(config.port));
        if let Some(ip) = config.announce_ip.clone() {
            put(cx, Step::Replconf("ip-address"), Request::IpAddress(ip));
        }
        put(cx, Step::Replconf("capa"), Request::Capabilities);
        put(cx, Step::Replconf("version"), Request::Version(config.version.clone()));
    }

    /// What comes when all that was sent together is answered.
    fn next(&mut self, cx: &mut Cx<'_>, link: LinkId) -> Advance {
        if !self.awaited.is_empty() {
            return Advance::Stay;
        }
        if !cx.config.refuse_empty_primary {
            return Advance::Ask;
        }
        self.awaited.push_back(Step::Info);
        cx.push(Output::Send { link, request: Request::Info });
        Advance::Stay
    }
}

/// Whether an error answer to PING only says that AUTH must come first, or that PING isn't allowed to us.
fn is_about_permission(error: &str) -> bool {
    ["NOAUTH", "NOPERM", "ERR operation not permitted"].iter().any(|start| error.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_about_permission_are_an_answer_to_ping() {
        for error in ["NOAUTH Authentication required.", "NOPERM no", "ERR operation not permitted"] {
            assert!(is_about_permission(error), "{error}");
        }
        for error in ["ERR foo", "MASTERDOWN Link with MASTER is down", "LOADING x", ""] {
            assert!(!is_about_permission(error), "{error}");
        }
    }
}
