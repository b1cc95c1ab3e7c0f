//! SENTINEL: which subcommand it is, and those that order something.

use quorate_sentinel::hello::{parse_epoch, parse_name};
use quorate_sentinel::{Addr, Failpoints, Input, Order, RunId, is_host, period};
use quorate_values::{Case, glob_matches};

use super::{Cx, Outcome, sentinel_set as set, sentinel_show as show, unknown_subcommand, wrong_number};
use crate::log;

type Subcommand = (&'static str, usize, Option<usize>, fn(&mut Cx<'_>) -> Outcome);

/// Each with the least and, if there is one, the greatest number of words.
static SUBCOMMANDS: [Subcommand; 28] = [
    ("ckquorum", 3, Some(3), show::ckquorum),
    ("config", 3, None, set::config),
    ("debug", 2, None, debug),
    ("explain", 3, Some(3), show::explain),
    ("failover", 3, Some(4), failover),
    ("flushconfig", 2, Some(2), flushconfig),
    ("forget", 5, Some(6), forget),
    ("get-master-addr-by-name", 3, Some(3), show::address),
    ("get-primary-addr-by-name", 3, Some(3), show::address),
    ("help", 2, Some(2), show::help),
    ("info-cache", 3, None, show::info_cache),
    ("is-master-down-by-addr", 6, Some(6), is_down),
    ("is-primary-down-by-addr", 6, Some(6), is_down),
    ("master", 3, Some(3), show::primary),
    ("masters", 2, Some(2), show::primaries),
    ("monitor", 6, Some(6), monitor),
    ("myid", 2, Some(2), show::myid),
    ("pending-scripts", 2, Some(2), show::pending_scripts),
    ("primaries", 2, Some(2), show::primaries),
    ("primary", 3, Some(3), show::primary),
    ("remove", 3, Some(3), remove),
    ("replicas", 3, Some(3), show::replicas),
    ("reset", 3, Some(3), reset),
    ("sentinels", 3, Some(3), show::sentinels),
    ("set", 5, None, set::set),
    ("simulate-failure", 2, None, simulate_failure),
    ("slaves", 3, Some(3), show::replicas),
    ("tilt", 2, Some(2), show::tilt),
];

/// Subcommands that Redis' Sentinel does not have.
const BEYOND: [&str; 7] =
    ["explain", "forget", "get-primary-addr-by-name", "is-primary-down-by-addr", "primaries", "primary", "tilt"];

/// The names of all.
pub(super) fn all_subcommands() -> impl Iterator<Item = &'static str> {
    SUBCOMMANDS.iter().map(|(name, ..)| *name)
}

/// The names of those that every Sentinel has.
pub(super) fn subcommands() -> impl Iterator<Item = &'static str> {
    SUBCOMMANDS.iter().map(|(name, ..)| *name).filter(|name| !BEYOND.contains(name))
}

pub(super) const NO_SUCH: &str = "ERR No such master with that name";

pub(super) fn sentinel(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.text(1).to_lowercase();
    let found = SUBCOMMANDS.iter().find(|(known, ..)| *known == name);
    let Some((name, least, most, run)) = found else { return Err(unknown_subcommand(cx)) };
    let count = cx.words.len();
    if count < *least || most.is_some_and(|most| count > most) {
        return Err(wrong_number(&format!("sentinel|{name}")));
    }
    run(cx)
}

/// Hands an order to the machine, which answers it.
pub(super) fn order(cx: &mut Cx<'_>, order: Order) -> Outcome {
    let by = cx.id;
    cx.shell.tell(Input::Ordered { by, order });
    Ok(())
}

/// The primary that the request names, if there is one.
pub(super) fn known(cx: &Cx<'_>, index: usize) -> Result<String, String> {
    let name = cx.text(index);
    if cx.shell.machine.names().any(|known| known == name) { Ok(name) } else { Err(NO_SUCH.to_owned()) }
}

fn is_down(cx: &mut Cx<'_>) -> Outcome {
    let port: u16 = cx.int(3)?;
    let primary = Addr::new(cx.text(2), port);
    let epoch = parse_epoch(cx.word(4)).ok_or("ERR value is not an integer or out of range")?;
    let candidate = match cx.word(5) {
        b"*" => None,
        id => Some(RunId::parse(id).ok_or("ERR The run id is none")?),
    };
    let by = cx.id;
    cx.shell.tell(Input::Asked { by, primary, epoch, candidate });
    Ok(())
}

fn monitor(cx: &mut Cx<'_>) -> Outcome {
    let quorum: i64 = cx.int(5).map_err(|_| "ERR Invalid quorum".to_owned())?;
    let port: i64 = cx.int(4).map_err(|_| "ERR Invalid port number".to_owned())?;
    let quorum = u32::try_from(quorum).ok().filter(|&quorum| quorum > 0);
    let quorum = quorum.ok_or("ERR Quorum must be 1 or greater.")?;
    let host = cx.text(3);
    let may_be_name = cx.shell.machine.globals().resolve_hostnames;
    if !is_host(&host) || (!may_be_name && host.parse::<std::net::IpAddr>().is_err()) {
        return Err("ERR Invalid IP address or hostname specified".to_owned());
    }
    let port = u16::try_from(port).ok().filter(|&port| port > 0).ok_or("ERR Invalid port number")?;
    let name = parse_name(cx.word(2))
        .ok_or("ERR A master's name is made of letters, digits and the characters .-_".to_owned())?;
    if cx.shell.machine.names().any(|known| known == name) {
        return Err("ERR Duplicate master name.".to_owned());
    }
    order(cx, Order::Monitor { name, addr: Addr::new(host, port), quorum })
}

fn remove(cx: &mut Cx<'_>) -> Outcome {
    let name = known(cx, 2)?;
    order(cx, Order::Remove { name })
}

fn reset(cx: &mut Cx<'_>) -> Outcome {
    let pattern = cx.word(2).to_vec();
    let matches = |name: &&str| glob_matches(&pattern, name.as_bytes(), Case::Sensitive);
    let names = cx.shell.machine.names().filter(matches).map(str::to_owned).collect();
    order(cx, Order::Reset { names })
}

fn failover(cx: &mut Cx<'_>) -> Outcome {
    let name = known(cx, 2)?;
    let is_coordinated = cx.words.len() == 4;
    if is_coordinated && !cx.is(3, "COORDINATED") {
        return Err("ERR syntax error".to_owned());
    }
    log::warning(&format!("Executing user requested FAILOVER of '{name}'"));
    order(cx, Order::Failover { name, is_coordinated })
}

fn flushconfig(cx: &mut Cx<'_>) -> Outcome {
    order(cx, Order::Flush)
}

/// FORGET name REPLICA host port, or FORGET name SENTINEL id.
fn forget(cx: &mut Cx<'_>) -> Outcome {
    let name = known(cx, 2)?;
    match (cx.text(3).to_lowercase().as_str(), cx.words.len()) {
        ("replica" | "slave", 6) => {
            let addr = Addr::parse(cx.word(4), cx.word(5)).ok_or("ERR Invalid IP address or port")?;
            order(cx, Order::ForgetReplica { name, addr })
        }
        ("sentinel", 5) => {
            let id = RunId::parse(cx.word(4)).ok_or("ERR The run id is none")?;
            order(cx, Order::ForgetPeer { name, id })
        }
        _ => Err("ERR syntax error".to_owned()),
    }
}

fn simulate_failure(cx: &mut Cx<'_>) -> Outcome {
    let mut failpoints = Failpoints::default();
    for index in 2..cx.words.len() {
        match cx.text(index).to_lowercase().as_str() {
            "crash-after-election" => failpoints.after_election = true,
            "crash-after-promotion" => failpoints.after_promotion = true,
            "help" => return cx.lines(&["crash-after-election".to_owned(), "crash-after-promotion".to_owned()]),
            _ => return Err("ERR Unknown failure simulation specified".to_owned()),
        }
    }
    order(cx, Order::Failpoints(failpoints))
}

fn debug(cx: &mut Cx<'_>) -> Outcome {
    if cx.words.len() == 2 {
        return show::periods(cx);
    }
    let mut periods = cx.shell.machine.periods().clone();
    for at in (2..cx.words.len()).step_by(2) {
        let name = cx.text(at);
        let unknown = || format!("ERR Unknown option or number of arguments for SENTINEL DEBUG '{name}'");
        let Some(place) = periods.by_name(&name).filter(|_| at + 1 < cx.words.len()) else { return Err(unknown()) };
        let value = cx.text(at + 1);
        let invalid = || format!("ERR Invalid argument '{value}' for SENTINEL DEBUG '{name}'");
        *place = period(&value).ok_or_else(invalid)?;
    }
    order(cx, Order::Periods(Box::new(periods)))
}
