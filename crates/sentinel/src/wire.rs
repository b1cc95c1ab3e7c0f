//! What is sent to servers and to other Sentinels, in words, and what their replies mean.
//!
//! Malformed replies end here: the machine sees [`Answer::Nonsense`] and lets the link's silence speak.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_resp::Reply;
use quorate_stdx::ReplId;

use crate::address::Addr;
use crate::hello::{EPOCH_MAX, parse_epoch};
use crate::info::{self, Info};

/// What a request asked for, so that its reply can be read. Replies come in the order of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The reply doesn't matter.
    Quiet,
    /// AUTH.
    Auth,
    /// PING.
    Ping,
    /// INFO.
    Info,
    /// PUBLISH of a hello.
    Publish,
    /// SENTINEL IS-MASTER-DOWN-BY-ADDR.
    Ask,
    /// SENTINEL MASTER, which names the configuration and its epoch.
    Configuration,
    /// The EXEC of an order to follow or to lead.
    Order,
    /// FAILOVER.
    Handover,
    /// TENURE CONFIRM.
    Tenure,
}

/// What a reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It lives and can be reached: PONG, LOADING or MASTERDOWN.
    Alive {
        /// PONG: it serves.
        serves: bool,
    },
    /// It lives but runs a script for too long.
    Busy,
    /// It does not know who we are: no request on this connection will do any good.
    Stranger(String),
    /// Any other error, in its words.
    Error(String),
    /// INFO, read, and its text.
    Info(Box<Info>, Vec<u8>),
    /// Another Sentinel's opinion about a primary, and its vote.
    Opinion {
        /// It finds the primary down.
        is_down: bool,
        /// For whom it voted, in which epoch.
        vote: Option<(ReplId, u64)>,
    },
    /// Where another Sentinel believes a primary to be, in which epoch.
    Configuration {
        /// Where.
        primary: Addr,
        /// Since which epoch.
        epoch: u64,
    },
    /// What the next confirmation of its tenure is to show.
    Stamp(i64),
    /// What can't be read.
    Nonsense(String),
}

/// Reads the reply to a request.
pub fn read(tag: Tag, reply: Reply) -> Answer {
    if let Reply::Error(text) = &reply {
        let text = String::from_utf8_lossy(text).into_owned();
        return match (tag, text.split(' ').next()) {
            (Tag::Ping, Some("LOADING" | "MASTERDOWN")) => Answer::Alive { serves: false },
            (Tag::Ping, Some("BUSY")) => Answer::Busy,
            // Who is not known by name may be let in all the same, as the default user: AUTH doesn't tell, PING does.
            (Tag::Ping, Some("NOAUTH")) => Answer::Stranger(text),
            _ => Answer::Error(text),
        };
    }
    match (tag, reply) {
        (Tag::Ping, Reply::Simple(text) | Reply::Bulk(text)) if text == b"PONG" => Answer::Alive { serves: true },
        (Tag::Info, Reply::Bulk(text) | Reply::Simple(text) | Reply::Verbatim(_, text)) => match info::parse(&text) {
            Ok(info) => Answer::Info(Box::new(info), text),
            Err(error) => Answer::Nonsense(format!("INFO: {error}")),
        },
        (Tag::Ask, Reply::Array(items)) => opinion(&items).unwrap_or_else(|| Answer::Nonsense("an opinion".to_owned())),
        (Tag::Tenure, Reply::Int(stamp)) => Answer::Stamp(stamp),
        (Tag::Configuration, reply) => {
            configuration(reply).unwrap_or_else(|| Answer::Nonsense("a configuration".to_owned()))
        }
        // A transaction that was given up.
        (Tag::Order, Reply::Null) => Answer::Error("EXEC was given up".to_owned()),
        (Tag::Order, Reply::Array(items)) => match items.into_iter().next() {
            Some(Reply::Error(text)) => Answer::Error(String::from_utf8_lossy(&text).into_owned()),
            _ => Answer::Done,
        },
        (Tag::Quiet | Tag::Auth | Tag::Publish | Tag::Order | Tag::Handover, _) => Answer::Done,
        (tag, _) => Answer::Nonsense(format!("the reply to {tag:?}")),
    }
}

fn opinion(items: &[Reply]) -> Option<Answer> {
    let [Reply::Int(down), Reply::Bulk(leader), Reply::Int(epoch)] = items else { return None };
    let vote = match leader.as_slice() {
        b"*" => None,
        leader => {
            let epoch = u64::try_from(*epoch).ok().filter(|&epoch| epoch < EPOCH_MAX)?;
            Some((ReplId::parse(leader)?, epoch))
        }
    };
    Some(Answer::Opinion { is_down: *down == 1, vote })
}

fn configuration(reply: Reply) -> Option<Answer> {
    let text = |reply: Reply| match reply {
        Reply::Bulk(text) | Reply::Simple(text) => Some(text),
        _ => None,
    };
    let mut fields: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    match reply {
        Reply::Map(pairs) => {
            fields.extend(pairs.into_iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))))
        }
        Reply::Array(items) => {
            let mut items = items.into_iter();
            while let (Some(name), Some(value)) = (items.next(), items.next()) {
                fields.extend(text(name).zip(text(value)));
            }
        }
        _ => return None,
    }
    let field = |name: &[u8]| fields.get(name).map(Vec::as_slice);
    // A Redis Sentinel that leads a failover names the old address with the new epoch until all is done.
    if field(b"flags")?.split(|&byte| byte == b',').any(|flag| flag == b"failover_in_progress") {
        return Some(Answer::Done);
    }
    let primary = Addr::parse(field(b"ip")?, field(b"port")?)?;
    Some(Answer::Configuration { primary, epoch: parse_epoch(field(b"config-epoch")?)? })
}

/// Requests in words. What a primary's commands were renamed to is not seen here.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The transaction that changes whom a server follows: its clients are sent away, so that they ask where to go, and the
/// change outlives a restart.
pub(crate) fn follow(primary: Option<&Addr>) -> [(Tag, Vec<String>); 6] {
    let (host, port) = primary.map_or(("NO".to_owned(), "ONE".to_owned()), |to| (to.host.clone(), to.port.to_string()));
    [
        (Tag::Quiet, words(&["MULTI"])),
        (Tag::Quiet, words(&["SLAVEOF", &host, &port])),
        (Tag::Quiet, words(&["CONFIG", "REWRITE"])),
        (Tag::Quiet, words(&["CLIENT", "KILL", "TYPE", "normal"])),
        (Tag::Quiet, words(&["CLIENT", "KILL", "TYPE", "pubsub"])),
        (Tag::Order, words(&["EXEC"])),
    ]
}

/// The question whether a primary is down; with an id it is also a request for a vote.
pub(crate) fn ask(primary: &Addr, epoch: u64, candidate: Option<ReplId>) -> Vec<String> {
    let candidate = candidate.map_or("*".to_owned(), |id| id.to_string());
    words(&[
        "SENTINEL",
        "is-master-down-by-addr",
        &primary.host,
        &primary.port.to_string(),
        &epoch.to_string(),
        &candidate,
    ])
}

/// The order to hand over to a replica.
pub(crate) fn hand_over(to: &Addr, timeout: Duration) -> Vec<String> {
    words(&["FAILOVER", "TO", &to.host, &to.port.to_string(), "TIMEOUT", &timeout.as_millis().to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn a_ping_is_answered_well_by_a_server_that_loads_or_lost_its_primary() {
        for text in ["LOADING Redis is loading", "MASTERDOWN Link with MASTER is down"] {
            assert_eq!(read(Tag::Ping, Reply::Error(text.into())), Answer::Alive { serves: false });
        }
        assert_eq!(read(Tag::Ping, Reply::Simple(b"PONG".to_vec())), Answer::Alive { serves: true });
        assert_eq!(read(Tag::Ping, Reply::Error(b"BUSY Redis is busy".to_vec())), Answer::Busy);
        assert!(matches!(read(Tag::Ping, Reply::Error(b"NOAUTH x".to_vec())), Answer::Stranger(_)));
        assert!(matches!(read(Tag::Auth, Reply::Error(b"WRONGPASS x".to_vec())), Answer::Error(_)));
        assert!(matches!(read(Tag::Ping, Reply::Error(b"ERR x".to_vec())), Answer::Error(_)));
        assert!(matches!(read(Tag::Ping, Reply::Int(1)), Answer::Nonsense(_)));
    }

    #[test]
    fn an_opinion_with_an_absurd_vote_is_nonsense() {
        let opinion =
            |leader: &str, epoch| read(Tag::Ask, Reply::Array(vec![Reply::Int(1), bulk(leader), Reply::Int(epoch)]));
        let vote = ReplId::parse(ID.as_bytes()).map(|id| (id, 3));
        assert_eq!(opinion(ID, 3), Answer::Opinion { is_down: true, vote });
        assert_eq!(opinion("*", -1), Answer::Opinion { is_down: true, vote: None });
        for (leader, epoch) in [(ID, -1), (ID, i64::MAX), ("x", 3)] {
            assert!(matches!(opinion(leader, epoch), Answer::Nonsense(_)));
        }
        assert!(matches!(read(Tag::Ask, Reply::Array(vec![])), Answer::Nonsense(_)));
    }

    #[test]
    fn a_configuration_is_read_in_both_protocols() {
        let fields = [("ip", "1.1.1.1"), ("port", "7"), ("config-epoch", "4"), ("flags", "master")];
        let flat = fields.iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect();
        let map = fields.iter().map(|(name, value)| (bulk(name), bulk(value))).collect();
        for reply in [Reply::Array(flat), Reply::Map(map)] {
            let expected = Answer::Configuration { primary: Addr::new("1.1.1.1", 7), epoch: 4 };
            assert_eq!(read(Tag::Configuration, reply), expected);
        }
        // In the middle of a failover address and epoch may not belong together.
        let busy = fields
            .map(|(name, value)| if name == "flags" { (name, "master,failover_in_progress") } else { (name, value) });
        let busy = busy.iter().map(|(name, value)| (bulk(name), bulk(value))).collect();
        assert_eq!(read(Tag::Configuration, Reply::Map(busy)), Answer::Done);
    }
}
