//! COMMAND: what may be asked here. The specifications are the server's own; SENTINEL, which a server does not have, is
//! described by its name and arity.

use super::{COMMANDS, Command, Cx, Outcome, unknown_subcommand};
use crate::admin::command::describe;
use crate::data::table::table;

pub(super) fn command(cx: &mut Cx<'_>) -> Outcome {
    let sub = cx.text(1).to_lowercase();
    match sub.as_str() {
        "" => describe_all(cx),
        "count" => {
            cx.client().reply().count(listed().count());
            Ok(())
        }
        "list" => cx.lines(&listed().flat_map(names).collect::<Vec<_>>()),
        "info" if cx.words.len() == 2 => describe_all(cx),
        "info" => {
            let words = cx.words;
            let client = cx.client();
            client.reply().array(words.len() - 2);
            for name in &words[2..] {
                describe_one(client, &String::from_utf8_lossy(name).to_lowercase());
            }
            Ok(())
        }
        "docs" => {
            cx.client().reply().map(0);
            Ok(())
        }
        "getkeys" | "getkeysandflags" => Err("ERR The command has no key arguments".to_owned()),
        _ => Err(unknown_subcommand(cx)),
    }
}

/// QUIT and RESET are understood, but belong to the connection more than to what runs behind it: Redis' Sentinel does not
/// list them either. DEBUG is for tests of ours, and no other Sentinel has it.
fn listed() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| !["quit", "reset", "debug"].contains(&command.name))
}

/// A command's name and those of its subcommands that every Sentinel since 7.0 has; HELP tells of the others.
fn names(command: &'static Command) -> Vec<String> {
    let subcommands: Vec<&str> = match command.name {
        "sentinel" => super::sentinel::subcommands().collect(),
        name => table().find(name.as_bytes()).map_or_else(Vec::new, |command| {
            let specs = command.subcommands.iter().map(|subcommand| subcommand.spec);
            specs.filter(|spec| spec.since <= "7.0.0").map(|spec| spec.name).collect()
        }),
    };
    let of = |subcommand: &str| format!("{}|{subcommand}", command.name);
    std::iter::once(command.name.to_owned()).chain(subcommands.into_iter().map(of)).collect()
}

fn describe_all(cx: &mut Cx<'_>) -> Outcome {
    let client = cx.client();
    client.reply().array(listed().count());
    for command in listed() {
        describe_one(client, command.name);
    }
    Ok(())
}

fn describe_one(client: &mut crate::sentinel::clients::Client, name: &str) {
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        client.reply().null_array();
        return;
    };
    let mut reply = client.reply();
    if let Some(spec) = table().find(name.as_bytes()) {
        return describe::info(&mut reply, spec);
    }
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.int(command.arity.wire());
    let flags = ["admin", "only_sentinel"];
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    for _ in 0..3 {
        reply.int(0);
    }
    let categories = ["@admin", "@slow", "@dangerous"];
    reply.set(categories.len());
    categories.iter().for_each(|category| reply.simple(category));
    for _ in 0..2 {
        reply.set(0);
    }
    reply.array(0);
}
