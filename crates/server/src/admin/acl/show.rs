//! What of users is told: ACL LIST, GETUSER, USERS, WHOAMI, DRYRUN and LOG.

use quorate_acl::{CommandId, Denied, Entry, Log, Selector, User, Users};
use quorate_commands::{Args, CommandError, Outcome};
use quorate_resp::ReplyWriter;

use crate::data::call::Cx;
use crate::data::dispatch::resolve;
use crate::data::guard;
use crate::data::table::table;
use crate::server::unix_now;

/// How many entries ACL LOG tells of unless it is told how many.
const ENTRIES: usize = 10;

pub(super) fn whoami(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let name = cx.session.user.as_ref().map(|user| user.name().to_vec());
    let mut reply = cx.reply();
    match name {
        Some(name) => reply.bulk(&name),
        None => reply.null(),
    }
    Ok(())
}

pub(super) fn users(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let users = cx.server.published().users.clone();
    write_names(&mut cx.reply(), &users);
    Ok(())
}

pub(super) fn list(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let users = cx.server.published().users.clone();
    write_lines(&mut cx.reply(), &users);
    Ok(())
}

pub(super) fn getuser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let users = cx.server.published().users.clone();
    write_user(&mut cx.reply(), users.get(args.at(2)).map(|user| &**user));
    Ok(())
}

/// What ACL USERS answers.
pub(crate) fn write_names(reply: &mut ReplyWriter<'_>, users: &Users) {
    reply.array(users.len());
    for user in users.iter() {
        reply.bulk(user.name());
    }
}

/// What ACL LIST answers.
pub(crate) fn write_lines(reply: &mut ReplyWriter<'_>, users: &Users) {
    reply.array(users.len());
    for line in users.lines() {
        reply.bulk(&line);
    }
}

/// What ACL GETUSER answers.
pub(crate) fn write_user(reply: &mut ReplyWriter<'_>, user: Option<&User>) {
    let Some(user) = user else { return reply.null() };
    reply.map(6);
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    for flag in flags {
        reply.bulk(flag.as_bytes());
    }
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    for digest in user.passwords() {
        reply.bulk(digest.to_string().as_bytes());
    }
    describe(reply, user.root());
    reply.bulk(b"selectors");
    reply.array(user.other_selectors().len());
    for selector in user.other_selectors() {
        reply.map(3);
        describe(reply, selector);
    }
}

/// The three fields of a selector.
fn describe(reply: &mut ReplyWriter<'_>, selector: &Selector) {
    let fields = [
        ("commands", selector.command_rules()),
        ("keys", selector.key_rules()),
        ("channels", selector.channel_rules()),
    ];
    for (name, rules) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(&rules);
    }
}

pub(super) fn dryrun(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let Some(user) = cx.server.published().users.get(args.at(2)).cloned() else {
        let text = [b"ERR User '", args.at(2), b"' not found"].concat();
        return Err(CommandError::Bytes(text));
    };
    let words = Args::new(args.from(3));
    let command = resolve(words).map_err(|error| match error {
        CommandError::Arity(name) => CommandError::Arity(name),
        _ => CommandError::Bytes([b"ERR Command '", words.at(0), b"' not found"].concat()),
    })?;
    let denied = guard::check(&user, command, words).err();
    let mut reply = cx.reply();
    let Some(denied) = denied else {
        reply.ok();
        return Ok(());
    };
    let object = match denied {
        Denied::Command => None,
        Denied::Key(index) | Denied::Channel(index) => Some(words.at(index)),
    };
    let name = table().catalog().name(CommandId(command.index));
    reply.bulk(&guard::sentence(denied, user.name(), name, object));
    Ok(())
}

pub(super) fn log(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut log = cx.server.acl_log.lock();
    answer_log(&mut ReplyWriter::new(cx.out, cx.session.protocol), &mut log, args)
}

/// ACL LOG.
pub(crate) fn answer_log(reply: &mut ReplyWriter<'_>, log: &mut Log, args: Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(super::too_many(args.at(1)));
    }
    let most = match args.get(2) {
        None => ENTRIES,
        Some(_) if args.is(2, "RESET") => {
            log.reset();
            reply.ok();
            return Ok(());
        }
        Some(_) => usize::try_from(args.int(2)?).unwrap_or(0),
    };
    reply.array(log.entries().len().min(most));
    for entry in log.entries().take(most) {
        write_entry(reply, entry);
    }
    Ok(())
}

fn write_entry(reply: &mut ReplyWriter<'_>, entry: &Entry) {
    reply.map(10);
    reply.bulk(b"count");
    reply.int(entry.count as i64);
    let fields: [(&str, &[u8]); 4] = [
        ("reason", entry.reason.name().as_bytes()),
        ("context", entry.context.name().as_bytes()),
        ("object", &entry.object),
        ("username", &entry.user),
    ];
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(value);
    }
    reply.bulk(b"age-seconds");
    let age = u64::try_from(unix_now().0).unwrap_or(0).saturating_sub(entry.updated);
    reply.double_text(format!("{}.{:03}", age / 1000, age % 1000).as_bytes());
    reply.bulk(b"client-info");
    reply.bulk(entry.client.as_bytes());
    let numbers =
        [("entry-id", entry.id), ("timestamp-created", entry.created), ("timestamp-last-updated", entry.updated)];
    for (name, value) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(value as i64);
    }
}
