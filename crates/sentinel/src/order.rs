//! What operators order, and what SENTINEL SET changes.

use std::time::Duration;

use quorate_stdx::ReplId;

use crate::address::Addr;
use crate::core::{Core, Failpoints};
use crate::event::Level;
use crate::primary::Primary;
use crate::saved::set_watch;
use crate::settings::{Globals, Periods};

/// An order.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// SENTINEL MONITOR
    Monitor {
        /// The primary's name.
        name: String,
        /// Where it is.
        addr: Addr,
        /// So many Sentinels must find it down.
        quorum: u32,
    },
    /// SENTINEL REMOVE
    Remove {
        /// The primary's name.
        name: String,
    },
    /// SENTINEL RESET
    Reset {
        /// The names that the pattern has matched.
        names: Vec<String>,
    },
    /// SENTINEL FAILOVER
    Failover {
        /// The primary's name.
        name: String,
        /// The primary is to hand over what it has, so that nothing is lost.
        is_coordinated: bool,
    },
    /// SENTINEL SET
    Watch {
        /// The primary's name.
        name: String,
        /// What changes.
        changes: Vec<Change>,
    },
    /// SENTINEL CONFIG SET
    Globals(Box<Globals>),
    /// SENTINEL DEBUG
    Periods(Box<Periods>),
    /// SENTINEL SIMULATE-FAILURE
    Failpoints(Failpoints),
    /// SENTINEL FLUSHCONFIG
    Flush,
    /// SENTINEL FORGET name REPLICA
    ForgetReplica {
        /// The primary's name.
        name: String,
        /// Which replica.
        addr: Addr,
    },
    /// SENTINEL FORGET name SENTINEL
    ForgetPeer {
        /// The primary's name.
        name: String,
        /// Which Sentinel.
        id: ReplId,
    },
}

/// One change of how a primary is watched. It is known to be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A directive and its new value.
    Directive {
        /// The directive.
        name: String,
        /// The value.
        value: String,
    },
    /// A command and what it is called; itself if it has its own name again.
    Rename {
        /// The command in capitals.
        from: String,
        /// Its name.
        to: String,
    },
}

impl Change {
    pub(crate) fn apply(&self, core: &mut Core, primary: &mut Primary) {
        let title = primary.title(core);
        let text = match self {
            Change::Directive { name, value } => {
                let before = primary.watch.clone();
                if set_watch(&mut primary.watch, name, value).is_err() {
                    primary.watch = before;
                    return;
                }
                let is_secret = matches!(name.as_str(), "auth-pass" | "auth-user");
                if is_secret {
                    // Links that are open introduced themselves with the old one.
                    primary.servers_mut().for_each(|server| server.node.link.close(core, core.mono()));
                }
                format!("{title} {name} {}", if name == "auth-pass" { "******" } else { value })
            }
            Change::Rename { from, to } => {
                if from.eq_ignore_ascii_case(to) {
                    primary.watch.renames.remove(from);
                } else {
                    primary.watch.renames.insert(from.clone(), to.clone());
                }
                format!("{title} rename-command {from} {to}")
            }
        };
        primary.announce(core, Level::Warning, "+set", text);
    }
}

/// A span of time in milliseconds, as SENTINEL DEBUG takes it.
pub fn period(text: &str) -> Option<Duration> {
    text.parse::<u32>().ok().filter(|&millis| millis > 0).map(|millis| Duration::from_millis(millis.into()))
}
