//! SENTINEL SET and SENTINEL CONFIG.

use std::os::unix::fs::PermissionsExt as _;

use quorate_sentinel::saved::{NotSet, set_global, set_watch};
use quorate_sentinel::settings::{Globals, Periods, Watch};
use quorate_sentinel::{Change, Order};
use quorate_values::{Case, glob_matches};

use super::sentinel::{known, order};
use super::{Cx, Outcome};
use crate::log;

/// Whether a script is there and may be run.
pub(in crate::sentinel) fn is_executable(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

pub(super) fn set(cx: &mut Cx<'_>) -> Outcome {
    let name = known(cx, 2)?;
    // Each value is tried before any is set.
    let mut trial = Watch::new(1, &Periods::default());
    let (mut changes, mut at) = (Vec::new(), 3);
    while at < cx.words.len() {
        let option = cx.text(at).to_lowercase();
        let left = cx.words.len() - at - 1;
        let unknown = || format!("ERR Unknown option or number of arguments for SENTINEL SET '{}'", cx.text(at));
        if option == "rename-command" && left >= 2 {
            let (from, to) = (cx.text(at + 1), cx.text(at + 2));
            if from.is_empty() || to.is_empty() || [&from, &to].iter().any(|word| word.chars().any(char::is_control)) {
                return Err(format!("ERR Invalid argument '{from}' for SENTINEL SET '{option}'"));
            }
            changes.push(Change::Rename { from: from.to_uppercase(), to });
            at += 3;
            continue;
        }
        if left < 1 {
            return Err(unknown());
        }
        let value = cx.text(at + 1);
        let invalid =
            || format!("ERR Invalid argument '{}' for SENTINEL SET '{option}'", value.replace(['\r', '\n'], " "));
        match set_watch(&mut trial, &option, &value) {
            Ok(()) => {}
            Err(NotSet::Unknown) => return Err(unknown()),
            Err(NotSet::Invalid | NotSet::Time) => return Err(invalid()),
        }
        if option.ends_with("-script") {
            if !cx.shell.machine.globals().scripts_reconfigurable {
                return Err("ERR Reconfiguration of scripts path is denied for security reasons. Check the \
                            deny-scripts-reconfig configuration directive in your Sentinel configuration"
                    .to_owned());
            }
            if !value.is_empty() && !is_executable(&value) {
                let what = if option == "notification-script" { "Notification" } else { "Client reconfiguration" };
                return Err(format!("ERR {what} script seems non existing or non executable"));
            }
        }
        changes.push(Change::Directive { name: option, value });
        at += 2;
    }
    order(cx, Order::Watch { name, changes })
}

/// What SENTINEL CONFIG knows, and its value.
fn parameters(globals: &Globals) -> [(&'static str, String); 8] {
    let yes_no = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let level = quorate_log_level();
    [
        ("resolve-hostnames", yes_no(globals.resolve_hostnames)),
        ("announce-hostnames", yes_no(globals.announce_hostnames)),
        ("announce-ip", globals.announce_ip.clone().unwrap_or_default()),
        ("announce-port", globals.announce_port.unwrap_or(0).to_string()),
        ("sentinel-user", globals.user.clone().unwrap_or_default()),
        ("sentinel-pass", globals.password.as_ref().map(|secret| secret.0.clone()).unwrap_or_default()),
        ("loglevel", level.to_owned()),
        ("forget-after", globals.forget_after.map_or(0, |age| age.as_secs()).to_string()),
    ]
}

fn quorate_log_level() -> &'static str {
    match log::level() {
        log::Level::Debug => "debug",
        log::Level::Verbose => "verbose",
        log::Level::Notice => "notice",
        log::Level::Warning => "warning",
        log::Level::Nothing => "nothing",
    }
}

fn log_level(name: &str) -> Option<log::Level> {
    Some(match name {
        "debug" => log::Level::Debug,
        "verbose" => log::Level::Verbose,
        "notice" => log::Level::Notice,
        "warning" => log::Level::Warning,
        "nothing" => log::Level::Nothing,
        _ => return None,
    })
}

pub(super) fn config(cx: &mut Cx<'_>) -> Outcome {
    match (cx.text(2).to_lowercase().as_str(), cx.words.len()) {
        ("get", 4..) => get(cx),
        ("set", 5..) if cx.words.len() % 2 == 1 => set_globals(cx),
        _ => Err(
            "ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...] / SET <param> <value> [<param> <value> ...] \
                  are supported."
                .to_owned(),
        ),
    }
}

fn get(cx: &mut Cx<'_>) -> Outcome {
    let patterns = &cx.words[3..];
    let is_asked =
        |name: &str| patterns.iter().any(|pattern| glob_matches(pattern, name.as_bytes(), Case::Insensitive));
    let found: Vec<(&str, String)> =
        parameters(cx.shell.machine.globals()).into_iter().filter(|(name, _)| is_asked(name)).collect();
    let client = cx.client();
    let mut reply = client.reply();
    reply.map(found.len());
    for (name, value) in &found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set_globals(cx: &mut Cx<'_>) -> Outcome {
    let mut globals = cx.shell.machine.globals().clone();
    let (mut level, mut seen) = (None, Vec::new());
    for at in (3..cx.words.len()).step_by(2) {
        let (name, value) = (cx.text(at).to_lowercase(), cx.text(at + 1));
        if seen.contains(&name) {
            return Err(format!("ERR Duplicate argument '{name}' to SENTINEL CONFIG SET"));
        }
        if !parameters(&globals).iter().any(|(known, _)| *known == name) {
            return Err(format!("ERR Invalid argument '{}' to SENTINEL CONFIG SET", cx.text(at)));
        }
        let invalid =
            || format!("ERR Invalid value '{}' to SENTINEL CONFIG SET '{name}'", value.replace(['\r', '\n'], " "));
        if name == "loglevel" {
            level = Some(log_level(&value.to_lowercase()).ok_or_else(invalid)?);
        } else {
            set_global(&mut globals, &name, &value).map_err(|_| invalid())?;
        }
        seen.push(name);
    }
    level.into_iter().for_each(log::set_level);
    order(cx, Order::Globals(Box::new(globals)))
}
