//! ACL: users, and what they may do.
//!
//! What rules mean is `quorate-acl`'s, how a change comes into force is in `users.rs`.

pub(crate) mod change;
pub(crate) mod show;

use quorate_acl::Catalog;
use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};

use crate::data::call::Cx;
use crate::data::table::{ServerRun, table};

const TELLS: Flags = Flags::NO_SCRIPT.and(Flags::LOADING).and(Flags::STALE);
const HELPS: Flags = Flags::LOADING.and(Flags::STALE);
const RULES: Flags = TELLS.and(Flags::ADMIN);
const CHANGES: Flags = RULES.and(Flags::ALONE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since: "6.0.0", summary, run: Run::Server, ..Spec::BLANK }
}

static CAT: Spec = sub("cat", Arity::AtLeast(2), TELLS, "Names the categories, or the commands of one.");
static DELUSER: Spec = Spec {
    tips: TO_ALL_NODES,
    ..sub("deluser", Arity::AtLeast(3), CHANGES, "Removes users, and closes their connections.")
};
static DRYRUN: Spec =
    Spec { since: "7.0.0", ..sub("dryrun", Arity::AtLeast(4), RULES, "Tells whether a user may run a command.") };
static GENPASS: Spec = sub("genpass", Arity::AtLeast(2), TELLS, "Makes a password.");
static GETUSER: Spec = sub("getuser", Arity::Exactly(3), RULES, "Tells what a user may do.");
static HELP: Spec = sub("help", Arity::Exactly(2), HELPS, "Explains the subcommands.");
static LIST: Spec = sub("list", Arity::Exactly(2), RULES, "Tells what all users may do.");
static LOAD: Spec = sub("load", Arity::Exactly(2), CHANGES, "Reads the file of the users again.");
static LOG: Spec = sub("log", Arity::AtLeast(2), RULES, "Tells what was denied lately.");
static SAVE: Spec =
    Spec { tips: TO_ALL_NODES, ..sub("save", Arity::Exactly(2), RULES, "Writes the file of the users.") };
static SETUSER: Spec = Spec {
    tips: TO_ALL_NODES,
    ..sub("setuser", Arity::AtLeast(3), CHANGES, "Makes a user, or changes what one may do.")
};
static USERS: Spec = sub("users", Arity::Exactly(2), RULES, "Names all users.");
static WHOAMI: Spec = sub("whoami", Arity::Exactly(2), TELLS, "Names the user of the connection.");

const TO_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// ACL
#[rustfmt::skip]
pub static ACL: Spec = Spec {
    name: "acl",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[
        &CAT, &DELUSER, &DRYRUN, &GENPASS, &GETUSER, &HELP, &LIST, &LOAD, &LOG, &SAVE, &SETUSER, &USERS, &WHOAMI,
    ],
    since: "6.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on users.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&ACL, &SUBCOMMANDS)];

static SUBCOMMANDS: [(&str, ServerRun); 13] = [
    ("cat", cat),
    ("deluser", change::deluser),
    ("dryrun", show::dryrun),
    ("genpass", genpass),
    ("getuser", show::getuser),
    ("help", help),
    ("list", show::list),
    ("load", change::load),
    ("log", show::log),
    ("save", change::save),
    ("setuser", change::setuser),
    ("users", show::users),
    ("whoami", show::whoami),
];

/// The most bits of a password that GENPASS makes.
const MOST_BITS: i64 = 4096;

/// Too many words for a subcommand that takes a few.
fn too_many(name: &[u8]) -> CommandError {
    let name = String::from_utf8_lossy(name);
    let text = format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try ACL HELP.");
    CommandError::Bytes(text.into_bytes())
}

fn cat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let names = names(table().catalog(), args)?;
    let mut reply = cx.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// What ACL CAT lists of these commands.
pub(crate) fn names<'c>(catalog: &'c Catalog, args: Args<'_>) -> Result<Vec<&'c str>, CommandError> {
    match args.get(2) {
        None => Ok(catalog.categories().to_vec()),
        Some(_) if args.len() > 3 => Err(too_many(args.at(1))),
        Some(wanted) => catalog.names_in(wanted).ok_or_else(|| {
            let text = format!("ERR Unknown category '{}'", String::from_utf8_lossy(wanted));
            CommandError::Bytes(text.into_bytes())
        }),
    }
}

fn genpass(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let password = password(args)?;
    cx.reply().bulk(password.as_bytes());
    Ok(())
}

/// What ACL GENPASS answers.
pub(crate) fn password(args: Args<'_>) -> Result<String, CommandError> {
    let bits = match args.get(2) {
        None => 256,
        Some(_) if args.len() > 3 => return Err(too_many(args.at(1))),
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
    Ok(password)
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(cx, "ACL", &HELP_LINES);
    Ok(())
}

/// The subcommands, for HELP.
pub(crate) static HELP_LINES: [&str; 24] = [
    "CAT [<category>]",
    "    The categories, or the commands of one.",
    "DELUSER <username> [<username> ...]",
    "    Removes users, and closes their connections.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Whether a user may run a command, without running it.",
    "GENPASS [<bits>]",
    "    A password of 256 bits, or of as many as are asked for.",
    "GETUSER <username>",
    "    What a user may do.",
    "LIST",
    "    All users, as lines of a configuration file.",
    "LOAD",
    "    Reads the ACL file again.",
    "LOG [<count> | RESET]",
    "    What was denied lately.",
    "SAVE",
    "    Writes the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Makes a user, or changes what one may do.",
    "USERS",
    "    The users' names.",
    "WHOAMI",
    "    The user of this connection.",
];
