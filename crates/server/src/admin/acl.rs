//! ACL, as far as there is one user: what it tells of `default`, and a plain refusal of everything that would change it.
//!
//! The names and the forms are those of clients and exporters, which ask on every connection; rules are not there yet.

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec, categories};

use crate::data::call::Cx;
use crate::data::table::{Command, ServerRun, table};

const TELLS: Flags = Flags::NO_SCRIPT.and(Flags::LOADING).and(Flags::STALE);
const RULES: Flags = TELLS.and(Flags::ADMIN);

const fn sub(name: &'static str, arity: Arity, flags: Flags, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since: "6.0.0", summary, run: Run::Server, ..Spec::BLANK }
}

static CAT: Spec = sub("cat", Arity::AtLeast(2), TELLS, "Names the categories, or the commands of one.");
static DELUSER: Spec = sub("deluser", Arity::AtLeast(3), RULES, "Removes users.");
static GENPASS: Spec = sub("genpass", Arity::AtLeast(2), TELLS, "Makes a password.");
static GETUSER: Spec = sub("getuser", Arity::Exactly(3), RULES, "Tells what a user may do.");
static HELP: Spec = sub("help", Arity::Exactly(2), TELLS, "Explains the subcommands.");
static LIST: Spec = sub("list", Arity::Exactly(2), RULES, "Tells what all users may do.");
static SETUSER: Spec = sub("setuser", Arity::AtLeast(3), RULES, "Changes what a user may do.");
static USERS: Spec = sub("users", Arity::Exactly(2), RULES, "Names all users.");
static WHOAMI: Spec = sub("whoami", Arity::Exactly(2), TELLS, "Names the user of the connection.");

/// ACL
pub static ACL: Spec = Spec {
    name: "acl",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[&CAT, &DELUSER, &GENPASS, &GETUSER, &HELP, &LIST, &SETUSER, &USERS, &WHOAMI],
    since: "6.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on users.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&ACL, &SUBCOMMANDS)];

static SUBCOMMANDS: [(&str, ServerRun); 9] = [
    ("cat", cat),
    ("deluser", not_there),
    ("genpass", genpass),
    ("getuser", getuser),
    ("help", help),
    ("list", list),
    ("setuser", not_there),
    ("users", users),
    ("whoami", whoami),
];

/// The categories, in Redis' order.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The most bits of a password that GENPASS makes.
const MOST_BITS: i64 = 4096;

fn not_there(_: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    Err(CommandError::text(
        "ERR This server has the user 'default' only: its password is requirepass, and it may do everything. Access \
         control lists are not there yet.",
    ))
}

fn whoami(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let user = cx.session.user.clone();
    cx.reply().bulk(user.as_bytes());
    Ok(())
}

fn users(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let mut reply = cx.reply();
    reply.array(1);
    reply.bulk(b"default");
    Ok(())
}

/// Whether `default` has a password.
fn has_password(cx: &Cx<'_, '_>) -> bool {
    cx.server.config.load().security.password.is_some()
}

fn list(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    // A password is not shown, not even as its hash.
    let password = if has_password(cx) { "" } else { "nopass " };
    let line = format!("user default on {password}~* &* +@all");
    let mut reply = cx.reply();
    reply.array(1);
    reply.bulk(line.as_bytes());
    Ok(())
}

fn getuser(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.at(2) != b"default" {
        cx.reply().null();
        return Ok(());
    }
    let flags: &[&[u8]] = if has_password(cx) { &[b"on"] } else { &[b"on", b"nopass"] };
    let mut reply = cx.reply();
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(flags.len());
    for flag in flags {
        reply.bulk(flag);
    }
    reply.bulk(b"passwords");
    reply.array(0);
    for (name, rules) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rules.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

fn cat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let names: Vec<&str> = match args.get(2) {
        None => CATEGORIES.to_vec(),
        Some(_) if args.len() > 3 => return Err(CommandError::Arity("acl|cat".to_owned())),
        Some(wanted) => {
            let category = CATEGORIES.iter().find(|category| category.as_bytes().eq_ignore_ascii_case(wanted));
            let Some(category) = category else {
                let text = format!("ERR Unknown category '{}'", String::from_utf8_lossy(wanted));
                return Err(CommandError::Bytes(text.into_bytes()));
            };
            commands_of(category)
        }
    };
    let mut reply = cx.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

fn commands_of(category: &str) -> Vec<&'static str> {
    let belongs = |command: &Command| categories(command.spec).contains(&category);
    let mut names = Vec::new();
    for command in table().commands() {
        if command.subcommands.is_empty() && belongs(command) {
            names.push(command.full_name.as_str());
        }
        let subcommands = command.subcommands.iter().filter(|subcommand| belongs(subcommand));
        names.extend(subcommands.map(|subcommand| subcommand.full_name.as_str()));
    }
    names
}

fn genpass(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let bits = match args.get(2) {
        None => 256,
        Some(_) if args.len() > 3 => return Err(CommandError::Arity("acl|genpass".to_owned())),
        Some(_) => args.int(2)?,
    };
    if !(1..=MOST_BITS).contains(&bits) {
        return Err(CommandError::text(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut password = String::with_capacity(digits + 1);
    while password.len() < digits {
        password.push_str(&format!("{:02x}", rand::random::<u8>()));
    }
    password.truncate(digits);
    cx.reply().bulk(password.as_bytes());
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "ACL",
        &[
            "CAT [<category>]",
            "    The categories, or the commands of one.",
            "GENPASS [<bits>]",
            "    A password of 256 bits, or of as many as are asked for.",
            "GETUSER <username>",
            "    What a user may do.",
            "LIST",
            "    What all users may do.",
            "USERS",
            "    The users: there is 'default' only.",
            "WHOAMI",
            "    The user of this connection.",
        ],
    );
    Ok(())
}
