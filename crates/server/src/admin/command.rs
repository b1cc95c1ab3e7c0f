//! COMMAND: what commands there are, how they are called and where their keys stand; all of it read off the
//! specifications.

mod arguments;
pub(crate) mod describe;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Indices, Keys, Outcome, Run, Spec, categories};
use quorate_values::{Case, glob_matches};

use crate::data::call::Cx;
use crate::data::table::{Command, ServerRun, table};

const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::SENTINEL);

const fn sub(name: &'static str, arity: Arity, since: &'static str, summary: &'static str) -> Spec {
    Spec {
        name,
        group: Group::Server,
        arity,
        flags: ANYTIME,
        categories: &["connection"],
        since,
        summary,
        run: Run::Server,
        ..Spec::BLANK
    }
}

static COUNT: Spec = sub("count", Arity::Exactly(2), "2.8.13", "Returns how many commands there are.");
static DOCS: Spec = Spec {
    complexity: "O(N) where N is the number of commands to look up",
    tips: &["nondeterministic_output_order"],
    ..sub("docs", Arity::AtLeast(2), "7.0.0", "Documents commands.")
};
static GETKEYS: Spec = Spec {
    complexity: "O(N) where N is the number of arguments to the command",
    ..sub("getkeys", Arity::AtLeast(4), "2.8.13", "Returns the keys of a whole command.")
};
static GETKEYSANDFLAGS: Spec = Spec {
    complexity: "O(N) where N is the number of arguments to the command",
    ..sub(
        "getkeysandflags",
        Arity::AtLeast(4),
        "7.0.0",
        "Returns the keys of a whole command and what it does to them.",
    )
};
static HELP: Spec = sub("help", Arity::Exactly(2), "5.0.0", "Describes the subcommands.");
static INFO: Spec = Spec {
    complexity: "O(N) where N is the number of commands to look up",
    tips: &["nondeterministic_output_order"],
    ..sub("info", Arity::AtLeast(2), "2.8.13", "Describes some commands, or all.")
};
static LIST: Spec = Spec {
    complexity: "O(N) where N is the total number of commands",
    tips: &["nondeterministic_output_order"],
    ..sub("list", Arity::AtLeast(2), "7.0.0", "Lists the names of commands.")
};

/// COMMAND
pub static COMMAND: Spec = Spec {
    subcommands: &[&COUNT, &DOCS, &GETKEYS, &GETKEYSANDFLAGS, &HELP, &INFO, &LIST],
    complexity: "O(N) where N is the total number of commands",
    tips: &["nondeterministic_output_order"],
    ..sub("command", Arity::AtLeast(1), "2.8.13", "Describes all commands.")
};

pub(super) static RUNS: [super::Entry; 1] = [(&COMMAND, &FUNCTIONS)];

static FUNCTIONS: [(&str, ServerRun); 8] = [
    ("", all),
    ("count", count),
    ("docs", docs),
    ("getkeys", getkeys),
    ("getkeysandflags", getkeysandflags),
    ("help", help),
    ("info", info),
    ("list", list),
];

fn all(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if let Some(name) = args.get(1) {
        return Err(crate::data::dispatch::unknown_subcommand(cx.command, name));
    }
    info_of_all(cx);
    Ok(())
}

fn info_of_all(cx: &mut Cx<'_, '_>) {
    let commands = table().commands();
    let mut reply = cx.reply();
    reply.array(commands.len());
    for command in commands {
        describe::info(&mut reply, command);
    }
}

fn count(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    cx.reply().count(table().commands().len());
    Ok(())
}

/// The command or, behind a `|`, the subcommand of that name.
fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|&byte| byte == b'|') {
        None => table().find(name),
        Some(bar) => table().find(&name[..bar])?.subcommand(&name[bar + 1..]),
    }
}

fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() == 2 {
        info_of_all(cx);
        return Ok(());
    }
    let mut reply = cx.reply();
    reply.array(args.len() - 2);
    for name in args.from(2) {
        match find(name) {
            Some(command) => describe::info(&mut reply, command),
            None => reply.null(),
        }
    }
    Ok(())
}

fn docs(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let commands: Vec<&Command> = match args.from(2) {
        [] => table().commands().to_vec(),
        names => names.iter().filter_map(|name| find(name)).collect(),
    };
    let mut reply = cx.reply();
    reply.map(commands.len());
    for command in commands {
        reply.bulk(command.full_name.as_bytes());
        describe::docs(&mut reply, command);
    }
    Ok(())
}

fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let wanted: Box<dyn Fn(&Command) -> bool + '_> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "FILTERBY") && args.is(3, "MODULE") => Box::new(|_| false),
        5 if args.is(2, "FILTERBY") && args.is(3, "ACLCAT") => Box::new(move |command: &Command| {
            categories(command.spec).iter().any(|category| category.as_bytes().eq_ignore_ascii_case(args.at(4)))
        }),
        5 if args.is(2, "FILTERBY") && args.is(3, "PATTERN") => {
            Box::new(move |command: &Command| glob_matches(args.at(4), command.full_name.as_bytes(), Case::Insensitive))
        }
        _ => return Err(CommandError::Syntax),
    };
    let commands = table().commands().iter();
    let commands = commands.flat_map(|command| std::iter::once(*command).chain(command.subcommands.iter().copied()));
    let names: Vec<&str> = commands.filter(|command| wanted(command)).map(|command| &*command.full_name).collect();
    let mut reply = cx.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// The command that the arguments from the second on are, with its keys: for each its index and what is done to it.
fn keys_of(args: Args<'_>) -> Result<Vec<(usize, &'static [&'static str])>, CommandError> {
    let words = Args::new(args.from(2));
    let Some(mut command) = table().find(words.at(0)) else {
        return Err(CommandError::text("ERR Invalid command specified"));
    };
    if let Some(name) = words.get(1)
        && let Some(subcommand) = command.subcommand(name)
    {
        command = subcommand;
    }
    if command.spec.keys.is_empty() {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if !command.spec.arity.accepts(words.len()) {
        return Err(CommandError::text("ERR Invalid number of arguments specified for command"));
    }
    let mut found = Vec::new();
    for (keys, access) in command.spec.keys {
        if let Keys::Counted { count_at } = keys
            && words.int(*count_at).map_or(true, |count| count < 0 || count > (words.len() - count_at - 1) as i64)
        {
            return Err(CommandError::text("ERR Invalid arguments specified for command"));
        }
        let mut indices = Indices::new();
        keys.find(words, &mut indices);
        let access = command.spec.precisely.map_or(*access, |precisely| precisely(words));
        found.extend(indices.into_iter().map(|index| (index, access.flags())));
    }
    found.sort_by_key(|(index, _)| *index);
    if found.is_empty() && !describe::may_lack_keys(command.spec) {
        return Err(CommandError::text("ERR Invalid arguments specified for command"));
    }
    Ok(found)
}

fn getkeys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let found = keys_of(args)?;
    let mut reply = cx.reply();
    reply.array(found.len());
    for (index, _) in found {
        reply.bulk(args.at(2 + index));
    }
    Ok(())
}

fn getkeysandflags(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let found = keys_of(args)?;
    let mut reply = cx.reply();
    reply.array(found.len());
    for (index, flags) in found {
        reply.array(2);
        reply.bulk(args.at(2 + index));
        describe::words(&mut reply, flags);
    }
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all Redis commands.",
            "COUNT",
            "    Return the total number of commands in this Redis server.",
            "LIST",
            "    Return a list of all commands in this Redis server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple Redis commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full Redis command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full Redis command.",
        ],
    );
    Ok(())
}
