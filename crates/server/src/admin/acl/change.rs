//! What changes users: ACL SETUSER, DELUSER, LOAD and SAVE.

use std::sync::Arc;

use quorate_acl::{DEFAULT, Terms, User, Users};
use quorate_commands::{Args, CommandError, Outcome};
use quorate_config::Config;

use crate::data::call::Cx;
use crate::log;
use crate::process::plain;
use crate::users;

const NO_FILE: CommandError = CommandError::text(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command \
     and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis \
     configuration.",
);

fn error(parts: &[&[u8]]) -> CommandError {
    CommandError::Bytes(parts.concat())
}

/// Puts other users in force.
fn put_in_force(cx: &mut Cx<'_, '_>, users: Users, ended: impl Fn(&User) -> bool) {
    cx.access.alone();
    users::put_in_force(cx.server, (cx.client, cx.session), users, ended);
}

pub(super) fn setuser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let terms = users::terms(&cx.server.config.load());
    let users = with_user(&cx.server.published().users, args, terms)?;
    put_in_force(cx, users, |_| false);
    cx.reply().ok();
    Ok(())
}

pub(super) fn deluser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let (users, count) = without_users(&cx.server.published().users, args)?;
    if count > 0 {
        put_in_force(cx, users, |_| false);
    }
    cx.reply().count(count);
    Ok(())
}

/// The users as ACL SETUSER with these arguments is to leave them.
pub(crate) fn with_user(users: &Users, args: Args<'_>, terms: Terms<'_>) -> Result<Users, CommandError> {
    let (name, words) = (args.at(2), args.from(3));
    if !quorate_acl::is_valid_name(name) {
        return Err(CommandError::text("ERR Usernames can't contain spaces or null characters"));
    }
    let rules = quorate_acl::merge(words)
        .map_err(|begun| error(&[b"ERR Unmatched parenthesis in acl selector starting at '", words[begun], b"'."]))?;
    let user = users.get(name).map_or_else(|| User::new(name, terms), |user| User::clone(user));
    let user = user.with(&rules, terms).map_err(|(rule, why)| {
        error(&[b"ERR Error in ACL SETUSER modifier '", rule, b"': ", why.to_string().as_bytes()])
    })?;
    let mut users = users.clone();
    users.insert(user);
    Ok(users)
}

/// The users as ACL DELUSER with these arguments is to leave them, and how many of them there were.
pub(crate) fn without_users(users: &Users, args: Args<'_>) -> Result<(Users, usize), CommandError> {
    let names = args.from(2);
    if names.contains(&DEFAULT) {
        return Err(CommandError::text("ERR The 'default' user cannot be removed"));
    }
    let mut users = users.clone();
    let count = names.iter().filter(|name| users.remove(name)).count();
    Ok((users, count))
}

pub(super) fn load(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let config = cx.server.config.load_full();
    let users = read_file(&config, users::terms(&config))?;
    // Whoever has logged in is to do it again: its password may be another.
    put_in_force(cx, users, |_| true);
    cx.reply().ok();
    Ok(())
}

pub(super) fn save(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let config = cx.server.config.load_full();
    let users = Arc::clone(&cx.server.published().users);
    write_file(&config, &users)?;
    cx.reply().ok();
    Ok(())
}

/// The users of the file, for ACL LOAD.
pub(crate) fn read_file(config: &Config, terms: Terms<'_>) -> Result<Users, CommandError> {
    if !users::have_file(config) {
        return Err(NO_FILE);
    }
    users::load(config, terms).map_err(|why| {
        log::warning(&why);
        error(&[b"ERR ", why.as_bytes()])
    })
}

/// Writes the users into the file, for ACL SAVE.
pub(crate) fn write_file(config: &Config, users: &Users) -> Outcome {
    if !users::have_file(config) {
        return Err(NO_FILE);
    }
    users::save(config, users).map_err(|error| {
        log::warning(&format!("Opening temp ACL file for ACL SAVE: {}", plain(&error)));
        CommandError::text(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })
}
