//! CLIENT TRACKING, TRACKINGINFO, CACHING and GETREDIR: see `data/tracking.rs`.

use quorate_commands::{Args, CommandError, Outcome};

use crate::data::call::{Access, After, Cx};
use crate::data::client::ClientId;
use crate::data::tracking::{Mode, Tracking};

/// What CLIENT TRACKING was given besides ON or OFF.
#[derive(Default)]
struct Options {
    redirect: Option<ClientId>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    noloop: bool,
    prefixes: Vec<Box<[u8]>>,
}

impl Options {
    fn parse(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 3;
        while at < args.len() {
            let has_more = at + 1 < args.len();
            if args.is(at, "REDIRECT") && has_more {
                at += 1;
                if options.redirect.is_some() {
                    return Err(CommandError::text("ERR A client can only redirect to a single other client"));
                }
                let id = ClientId(args.int(at)? as u64);
                // Whether it is there at this moment; it may go at any later one.
                if !cx.server.clients.lock().contains_key(&id) {
                    return Err(CommandError::text("ERR The client ID you want redirect to does not exist"));
                }
                options.redirect = Some(id);
            } else if args.is(at, "BCAST") {
                options.broadcast = true;
            } else if args.is(at, "OPTIN") {
                options.opt_in = true;
            } else if args.is(at, "OPTOUT") {
                options.opt_out = true;
            } else if args.is(at, "NOLOOP") {
                options.noloop = true;
            } else if args.is(at, "PREFIX") && has_more {
                at += 1;
                options.prefixes.push(args.at(at).into());
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The mode that they name, if a client that is in `before` can be in it.
    fn mode(&self, before: Option<&Tracking>) -> Result<Mode, CommandError> {
        let before = before.map(|tracking| tracking.mode);
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err(CommandError::text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if before.is_some_and(|before| (before == Mode::Broadcast) != self.broadcast) {
            return Err(CommandError::text(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            ));
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(CommandError::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.opt_in && self.opt_out {
            return Err(CommandError::text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if (self.opt_in && before == Some(Mode::OptOut)) || (self.opt_out && before == Some(Mode::OptIn)) {
            return Err(CommandError::text(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            ));
        }
        Ok(match (self.broadcast, self.opt_in, self.opt_out) {
            (true, ..) => Mode::Broadcast,
            (_, true, _) => Mode::OptIn,
            (_, _, true) => Mode::OptOut,
            _ => Mode::Read,
        })
    }
}

/// What is wrong with new prefixes beside those that a client has: one may not begin with another, or each change would be
/// told twice.
fn collision(known: &[Box<[u8]>], new: &[Box<[u8]>]) -> Option<CommandError> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let text = |new: &[u8], other: &[u8], whose: &str| {
        let (new, other) = (new.escape_ascii(), other.escape_ascii());
        CommandError::Bytes(
            format!(
                "ERR Prefix '{new}' overlaps with {whose} prefix '{other}'. Prefixes for a single client must not overlap."
            )
            .into_bytes(),
        )
    };
    for (index, prefix) in new.iter().enumerate() {
        if let Some(other) = known.iter().find(|other| overlap(other, prefix)) {
            return Some(text(prefix, other, "an existing"));
        }
        if let Some(other) = new[index + 1..].iter().find(|other| overlap(other, prefix)) {
            return Some(text(prefix, other, "another provided"));
        }
    }
    None
}

pub(super) fn tracking(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let options = Options::parse(cx, args)?;
    if !super::on_or_off(args, 2)? {
        end(cx);
        cx.reply().ok();
        return Ok(());
    }
    let before = cx.session.tracking.as_deref();
    let mode = options.mode(before)?;
    let mut prefixes = before.map_or_else(Vec::new, |tracking| tracking.prefixes.clone());
    if mode == Mode::Broadcast {
        if let Some(error) = collision(&prefixes, &options.prefixes) {
            return Err(error);
        }
        if !cx.local.published.broadcasts {
            // From the moment of the reply every thread has to tell of its changes.
            let Access::Alone(_) = cx.access else {
                cx.local.after = After::Again;
                return Ok(());
            };
            cx.server.publish(|published| published.broadcasts = true);
        }
        prefixes.extend(options.prefixes);
        if prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        prefixes.sort();
        prefixes.dedup();
    }
    let caching = before.is_some_and(|tracking| tracking.caching);
    let (redirect, noloop) = (options.redirect, options.noloop);
    let tracking = Box::new(Tracking { mode, redirect, broken: false, noloop, caching, prefixes });
    cx.server.trackers.begin(cx.client, &tracking);
    cx.session.tracking = Some(tracking);
    cx.reply().ok();
    Ok(())
}

/// The client tracks no keys any more.
pub fn end(cx: &mut Cx<'_, '_>) {
    if let Some(tracking) = cx.session.tracking.take() {
        cx.server.trackers.end(cx.client.id, &tracking);
    }
}

pub(super) fn caching(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let Some(tracking) = &mut cx.session.tracking else {
        return Err(CommandError::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    match (args.is(2, "YES"), args.is(2, "NO"), tracking.mode) {
        (true, _, Mode::OptIn) | (_, true, Mode::OptOut) => tracking.caching = true,
        (true, ..) => {
            return Err(CommandError::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        (_, true, _) => {
            return Err(CommandError::text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        _ => return Err(CommandError::Syntax),
    }
    cx.reply().ok();
    Ok(())
}

/// Who is told in the client's place; 0 is nobody, -1 that it tracks no keys.
pub(super) fn redirect(tracking: Option<&Tracking>) -> i64 {
    tracking.map_or(-1, |tracking| tracking.redirect.map_or(0, |id| id.0 as i64))
}

pub(super) fn getredir(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let id = redirect(cx.session.tracking.as_deref());
    cx.reply().int(id);
    Ok(())
}

pub(super) fn trackinginfo(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let tracking = cx.session.tracking.as_deref();
    let mut flags = vec![if tracking.is_some() { "on" } else { "off" }];
    let mut prefixes = Vec::new();
    if let Some(tracking) = tracking {
        let (mode, caching) = match tracking.mode {
            Mode::Read => (None, ""),
            Mode::OptIn => (Some("optin"), "caching-yes"),
            Mode::OptOut => (Some("optout"), "caching-no"),
            Mode::Broadcast => (Some("bcast"), ""),
        };
        flags.extend(mode);
        flags.extend(tracking.caching.then_some(caching));
        flags.extend(tracking.noloop.then_some("noloop"));
        flags.extend(tracking.broken.then_some("broken_redirect"));
        prefixes.clone_from(&tracking.prefixes);
    }
    let id = redirect(tracking);
    let mut reply = cx.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(id);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_of_a_client_begins_with_another() {
        let boxed = |names: &[&str]| names.iter().map(|name| name.as_bytes().into()).collect::<Vec<Box<[u8]>>>();
        let text = |known: &[&str], new: &[&str]| {
            collision(&boxed(known), &boxed(new)).map(|error| String::from_utf8(error.wire().into_owned()).unwrap())
        };
        assert_eq!(text(&["a", "b"], &["c", "d"]), None);
        let same = "Prefixes for a single client must not overlap.";
        let given = format!("ERR Prefix 'ab' overlaps with another provided prefix 'a'. {same}");
        assert_eq!(text(&[], &["ab", "a"]), Some(given));
        let existing = format!("ERR Prefix 'a' overlaps with an existing prefix 'ab'. {same}");
        assert_eq!(text(&["ab"], &["a"]), Some(existing));
        assert!(text(&[""], &["a"]).is_some());
    }
}
