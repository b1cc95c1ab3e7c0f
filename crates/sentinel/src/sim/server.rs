//! A server, modelled: who it is, whom it follows, how much of the stream it has.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quorate_resp::Reply;
use quorate_stdx::{ReplId, Rng};

use crate::address::Addr;

use super::world::MS;

/// What a server writes into its configuration file survives a crash.
pub(crate) struct Server {
    pub(crate) addr: Addr,
    pub(crate) is_up: bool,
    /// It was powered off: nobody is told that its connections are gone.
    pub(crate) is_dark: bool,
    /// Stopped until then.
    pub(crate) frozen_until: u64,
    pub(crate) run_id: ReplId,
    pub(crate) follows: Option<Addr>,
    /// Whether the stream of the one it follows comes in.
    pub(crate) is_linked: bool,
    pub(crate) offset: u64,
    pub(crate) priority: u32,
    pub(crate) down_since: u64,
    /// Whether it wants to be confirmed, and until when each Sentinel has confirmed it.
    pub(crate) has_tenure: bool,
    pub(crate) confirmed: BTreeMap<String, u64>,
}

/// What an EXEC has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    Leads,
    Follows,
}

impl Server {
    pub(crate) fn new(addr: Addr, follows: Option<Addr>, priority: u32, rng: &mut Rng) -> Server {
        Server {
            addr,
            is_up: true,
            is_dark: false,
            frozen_until: 0,
            run_id: ReplId::random(rng),
            follows,
            is_linked: false,
            offset: 100,
            priority,
            down_since: 0,
            has_tenure: false,
            confirmed: BTreeMap::new(),
        }
    }

    /// TENURE CONFIRM, in words.
    fn confirm(&mut self, now: u64, words: &[String]) -> Reply {
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        let (term, stamp) = (number(4) * MS, number(6));
        if self.follows.is_none() && stamp > 0 && stamp <= now {
            let until = self.confirmed.entry(words[2].clone()).or_default();
            *until = (*until).max(stamp + term);
        }
        Reply::Int(i64::try_from(now).expect("a moment"))
    }

    fn info(&self, now: u64, replicas: &[Addr]) -> String {
        let mut text = format!("# Server\r\nrun_id:{}\r\n# Replication\r\n", self.run_id);
        if self.has_tenure {
            text += "tenure:unwatched\r\n";
        }
        let written = match &self.follows {
            None => {
                let mut written = write!(text, "role:master\r\nmaster_repl_offset:{}\r\n", self.offset);
                for (index, replica) in replicas.iter().enumerate() {
                    written = written.and(write!(
                        text,
                        "slave{index}:ip={},port={},state=online,offset=0,lag=0\r\n",
                        replica.host, replica.port
                    ));
                }
                written
            }
            Some(primary) => {
                let down = now.saturating_sub(self.down_since) / 1_000_000;
                let link = if self.is_linked {
                    "master_link_status:up\r\n".to_owned()
                } else {
                    format!("master_link_status:down\r\nmaster_link_down_since_seconds:{down}\r\n")
                };
                write!(
                    text,
                    "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\n{link}slave_repl_offset:{}\r\nslave_priority:{}\r\n",
                    primary.host, primary.port, self.offset, self.priority
                )
            }
        };
        written.expect("a string takes everything");
        text
    }

    /// Answers a request of a Sentinel; what it has changed.
    pub(crate) fn answer(&mut self, now: u64, words: &[String], replicas: &[Addr]) -> (Reply, Option<Turned>) {
        let simple = |text: &str| (Reply::Simple(text.as_bytes().to_vec()), None);
        match words[0].as_str() {
            "PING" => simple("PONG"),
            "INFO" => (Reply::Bulk(self.info(now, replicas).into_bytes()), None),
            "SLAVEOF" => {
                let to = (words[1] != "NO").then(|| Addr::new(words[1].clone(), words[2].parse().expect("a port")));
                if to == self.follows {
                    return simple("QUEUED");
                }
                let turned = if to.is_none() { Turned::Leads } else { Turned::Follows };
                self.confirmed.clear();
                (self.follows, self.is_linked, self.down_since) = (to, false, now);
                (Reply::Simple(b"QUEUED".to_vec()), Some(turned))
            }
            "EXEC" => (Reply::Array(vec![Reply::Simple(b"OK".to_vec())]), None),
            "PUBLISH" => (Reply::Int(1), None),
            "TENURE" => (self.confirm(now, words), None),
            _ => simple("OK"),
        }
    }
}
