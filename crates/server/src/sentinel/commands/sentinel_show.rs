//! SENTINEL: the subcommands that show something.

use quorate_sentinel::settings::PERIOD_NAMES;
use quorate_sentinel::view::Fields;

use super::sentinel::{NO_SUCH, known};
use super::{Cx, Outcome};

const HELP: [&str; 61] = [
    "SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CKQUORUM <master-name>",
    "    Whether the Sentinels that can be reached are enough to find the master down and to authorize its failover.",
    "CONFIG GET <param> [<param> ...]",
    "    Show what holds for all masters.",
    "CONFIG SET <param> <value> [<param> <value> ...]",
    "    Change what holds for all masters.",
    "DEBUG [<param> <value> ...]",
    "    Show or change the periods of the protocol, in milliseconds.",
    "EXPLAIN <master-name>",
    "    How the last failover, or the last refusal of one, came about.",
    "FAILOVER <master-name> [COORDINATED]",
    "    Fail over without the agreement of other Sentinels; COORDINATED lets the master hand over, so that nothing is lost.",
    "FLUSHCONFIG",
    "    Write the configuration, including the state, to disk.",
    "FORGET <master-name> REPLICA <ip> <port>",
    "    Forget one replica. One that still follows is found again.",
    "FORGET <master-name> SENTINEL <id>",
    "    Forget one Sentinel. One that still runs is found again.",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "    The ip and port of the master with that name.",
    "GET-PRIMARY-ADDR-BY-NAME <master-name>",
    "    The same.",
    "HELP",
    "    This text.",
    "INFO-CACHE <master-name> [<master-name> ...]",
    "    The last INFO of masters and their replicas, and how old it is.",
    "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "    Whether this Sentinel finds the master down, and its vote.",
    "IS-PRIMARY-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "    The same.",
    "MASTER <master-name>",
    "    The state of one master.",
    "MASTERS",
    "    The state of all masters.",
    "MONITOR <name> <ip> <port> <quorum>",
    "    Watch a new master.",
    "MYID",
    "    The id of this Sentinel.",
    "PENDING-SCRIPTS",
    "    The scripts that run or wait.",
    "PRIMARIES",
    "    The state of all masters.",
    "PRIMARY <master-name>",
    "    The state of one master.",
    "REMOVE <master-name>",
    "    Watch a master no longer.",
    "REPLICAS <master-name>",
    "    The state of the replicas of a master.",
    "RESET <pattern>",
    "    Forget what was learned about the masters whose names match.",
    "SENTINELS <master-name>",
    "    The state of the other Sentinels that watch a master.",
    "SET <master-name> <option> <value> [<option> <value> ...]",
    "    Change how a master is watched.",
    "SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]",
    "    End this process at that point.",
    "SLAVES <master-name>",
    "    The state of the replicas of a master.",
    "TILT",
    "    For how many milliseconds nothing has been done because this process stood still; 0 if not.",
];

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    let lines: Vec<String> = HELP.iter().map(|line| (*line).to_owned()).collect();
    let client = cx.client();
    let mut reply = client.reply();
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
    Ok(())
}

fn fields(cx: &mut Cx<'_>, fields: &Fields) {
    let client = cx.client();
    let mut reply = client.reply();
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

fn all(cx: &mut Cx<'_>, list: &[Fields]) -> Outcome {
    cx.client().reply().array(list.len());
    list.iter().for_each(|one| fields(cx, one));
    Ok(())
}

pub(super) fn primaries(cx: &mut Cx<'_>) -> Outcome {
    let machine = &cx.shell.machine;
    let list: Vec<Fields> = machine.names().filter_map(|name| machine.primary(name)).collect();
    all(cx, &list)
}

pub(super) fn primary(cx: &mut Cx<'_>) -> Outcome {
    let shown = cx.shell.machine.primary(&cx.text(2)).ok_or(NO_SUCH)?;
    fields(cx, &shown);
    Ok(())
}

pub(super) fn replicas(cx: &mut Cx<'_>) -> Outcome {
    let list = cx.shell.machine.replicas(&cx.text(2)).ok_or(NO_SUCH)?;
    all(cx, &list)
}

pub(super) fn sentinels(cx: &mut Cx<'_>) -> Outcome {
    let list = cx.shell.machine.peers(&cx.text(2)).ok_or(NO_SUCH)?;
    all(cx, &list)
}

pub(super) fn address(cx: &mut Cx<'_>) -> Outcome {
    let found = cx.shell.machine.address_of(&cx.text(2)).ok().flatten();
    let client = cx.client();
    let mut reply = client.reply();
    match found {
        Some(addr) => {
            reply.array(2);
            reply.bulk(addr.host.as_bytes());
            reply.bulk(addr.port.to_string().as_bytes());
        }
        None => reply.null_array(),
    }
    Ok(())
}

pub(super) fn myid(cx: &mut Cx<'_>) -> Outcome {
    let id = cx.shell.machine.id();
    cx.bulk(id.as_bytes())
}

pub(super) fn tilt(cx: &mut Cx<'_>) -> Outcome {
    let time = cx.shell.machine.tilt().map_or(0, |since| since.as_millis().max(1));
    cx.client().reply().int(time as i64);
    Ok(())
}

pub(super) fn explain(cx: &mut Cx<'_>) -> Outcome {
    let lines = cx.shell.machine.explain(&cx.text(2)).ok_or(NO_SUCH)?;
    cx.lines(&lines)
}

pub(super) fn ckquorum(cx: &mut Cx<'_>) -> Outcome {
    let name = known(cx, 2)?;
    let Some(quorum) = cx.shell.machine.quorum(&name) else { return Err(NO_SUCH.to_owned()) };
    let usable = quorum.usable;
    if quorum.is_quorum && quorum.is_majority {
        let text = format!("OK {usable} usable Sentinels. Quorum and failover authorization can be reached");
        cx.client().reply().simple(&text);
        return Ok(());
    }
    let quorum_text = "Not enough available Sentinels to reach the specified quorum for this master";
    let majority_text = "Not enough available Sentinels to reach the majority and authorize a failover";
    let mut text = format!("NOQUORUM {usable} usable Sentinels. ");
    if !quorum.is_quorum {
        text.push_str(quorum_text);
    }
    if !quorum.is_majority {
        if !quorum.is_quorum {
            text.push_str(". ");
        }
        text.push_str(majority_text);
    }
    Err(text)
}

pub(super) fn periods(cx: &mut Cx<'_>) -> Outcome {
    let values = cx.shell.machine.periods().all();
    let client = cx.client();
    let mut reply = client.reply();
    reply.map(values.len());
    for (name, value) in PERIOD_NAMES.iter().zip(values) {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_millis().to_string().as_bytes());
    }
    Ok(())
}

pub(super) fn pending_scripts(cx: &mut Cx<'_>) -> Outcome {
    let scripts = cx.shell.machine.scripts();
    let client = cx.client();
    let mut reply = client.reply();
    reply.array(scripts.len());
    for script in scripts {
        reply.map(5);
        reply.bulk(b"argv");
        reply.array(script.argv.len());
        script.argv.iter().for_each(|word| reply.bulk(word.as_bytes()));
        let (flags, run, delay) = match script.runs_for {
            Some(time) => ("running", time.as_millis(), None),
            None => ("scheduled", 0, Some(script.starts_in.as_millis())),
        };
        for (name, value) in [
            ("flags", flags.to_owned()),
            ("pid", "0".to_owned()),
            match delay {
                Some(delay) => ("run-delay", delay.to_string()),
                None => ("run-time", run.to_string()),
            },
            ("retry-num", script.tries.to_string()),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
    Ok(())
}

/// Names and, for each, the age and text of the INFO of the primary and of its replicas.
pub(super) fn info_cache(cx: &mut Cx<'_>) -> Outcome {
    let machine = &cx.shell.machine;
    let mut names: Vec<String> = (2..cx.words.len()).map(|index| cx.text(index)).collect();
    names.retain(|name| machine.names().any(|known| known == name));
    let caches: Vec<_> = names.iter().filter_map(|name| Some((name.clone(), machine.info_cache(name)?))).collect();
    let client = cx.client();
    let mut reply = client.reply();
    reply.map(caches.len());
    for (name, cached) in caches {
        reply.bulk(name.as_bytes());
        reply.array(cached.len());
        for info in cached {
            reply.array(2);
            match info {
                Some((age, text)) => {
                    reply.int(age.as_millis() as i64);
                    reply.bulk(&text);
                }
                None => {
                    reply.int(0);
                    reply.null();
                }
            }
        }
    }
    Ok(())
}
