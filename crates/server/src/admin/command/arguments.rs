//! What arguments commands take, for COMMAND DOCS: read from `arguments.txt`, which tells how it is written.

use std::collections::HashMap;
use std::sync::OnceLock;

use quorate_resp::ReplyWriter;

/// An argument, or several that belong together.
#[derive(Debug, Default, PartialEq)]
struct Argument {
    name: &'static str,
    kind: &'static str,
    key: Option<i64>,
    token: Option<&'static str>,
    since: Option<&'static str>,
    deprecated: Option<&'static str>,
    flags: Vec<&'static str>,
    parts: Vec<Argument>,
}

/// The arguments of all commands by their full names; read once.
fn all() -> &'static HashMap<&'static str, Vec<Argument>> {
    static ALL: OnceLock<HashMap<&'static str, Vec<Argument>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let entries = entries(include_str!("arguments.txt")).filter(|entry| !entry.starts_with('#'));
        entries.filter_map(|entry| entry.split_once(' ')).map(|(name, rest)| (name, Text(rest).arguments())).collect()
    })
}

/// Lines, each with those behind it that begin with a blank.
fn entries(text: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let ends = rest.match_indices('\n').map(|(at, _)| at);
        let end = ends.into_iter().find(|at| !rest[at + 1..].starts_with(' ')).unwrap_or(rest.len());
        let entry = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or("");
        (!entry.is_empty()).then_some(entry)
    })
}

/// What is left of a line.
struct Text(&'static str);

impl Text {
    /// The arguments up to what closes them, or the end.
    fn arguments(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        loop {
            self.0 = self.0.trim_start_matches([' ', '\n', '|']);
            if self.0.is_empty() || self.0.starts_with([')', '}']) {
                self.0 = self.0.get(1..).unwrap_or("");
                return arguments;
            }
            arguments.push(self.argument());
        }
    }

    fn argument(&mut self) -> Argument {
        let mut argument = Argument { name: self.word(), kind: "string", ..Argument::default() };
        while let Some(mark) = self.0.chars().next().filter(|mark| !mark.is_whitespace()) {
            self.0 = &self.0[mark.len_utf8()..];
            match mark {
                '=' => argument.kind = self.word(),
                '#' => argument.key = self.word().parse().ok(),
                '`' => {
                    let (token, rest) = self.0.split_once('`').unwrap_or((self.0, ""));
                    (argument.token, self.0) = (Some(token), rest);
                }
                '@' => argument.since = Some(self.word()),
                '!' => argument.deprecated = Some(self.word()),
                '?' => argument.flags.push("optional"),
                '*' => argument.flags.push("multiple"),
                '+' => argument.flags.push("multiple_token"),
                '(' | '{' => {
                    argument.kind = if mark == '(' { "oneof" } else { "block" };
                    argument.parts = self.arguments();
                    break;
                }
                _ => break,
            }
        }
        if argument.kind == "token" {
            argument.kind = "pure-token";
        }
        argument
    }

    /// The next name, number or version.
    fn word(&mut self) -> &'static str {
        let end = self.0.find([' ', '\n', '=', '#', '`', '@', '!', '?', '*', '+', '(', '{']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }
}

/// Whether anything is known of the arguments of that command.
pub(super) fn are_known(name: &str) -> bool {
    all().contains_key(name)
}

/// Writes the arguments of that command.
pub(super) fn write(reply: &mut ReplyWriter<'_>, name: &str) {
    let arguments = all().get(name).map_or(&[][..], Vec::as_slice);
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| argument.write(reply));
}

impl Argument {
    fn write(&self, reply: &mut ReplyWriter<'_>) {
        let words = [("token", self.token), ("since", self.since), ("deprecated_since", self.deprecated)];
        let known = || words.iter().filter_map(|(name, word)| Some((name, (*word)?)));
        let others = [self.key.is_some(), !self.flags.is_empty(), !self.parts.is_empty()];
        reply.map(2 + known().count() + others.into_iter().filter(|other| *other).count());
        for (name, word) in [("name", self.name), ("type", self.kind)] {
            reply.bulk(name.as_bytes());
            reply.bulk(word.as_bytes());
        }
        if let Some(key) = self.key {
            reply.bulk(b"key_spec_index");
            reply.int(key);
        }
        for (name, word) in known() {
            reply.bulk(name.as_bytes());
            reply.bulk(word.as_bytes());
        }
        if !self.flags.is_empty() {
            reply.bulk(b"flags");
            super::describe::words(reply, &self.flags);
        }
        if !self.parts.is_empty() {
            reply.bulk(b"arguments");
            reply.array(self.parts.len());
            self.parts.iter().for_each(|part| part.write(reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::{Command, table};
    use quorate_commands::{Arity, Run};

    #[test]
    fn a_line_is_read_as_it_is_written() {
        assert_eq!(entries("a b\n  c\nd\n").collect::<Vec<_>>(), ["a b\n  c", "d"]);
        let arguments =
            Text("key=key#0 trim?{ strategy( max=token`MAX` | min=token`~`@6.2.0 ) count`LIMIT`?*+ }\n    ip:port!1.0")
                .arguments();
        assert_eq!(arguments.len(), 3);
        assert_eq!((arguments[0].kind, arguments[0].key), ("key", Some(0)));
        let trim = &arguments[1];
        assert_eq!((trim.name, trim.kind, &trim.flags[..]), ("trim", "block", &["optional"][..]));
        let strategy = &trim.parts[0];
        assert_eq!((strategy.kind, strategy.parts.len()), ("oneof", 2));
        assert_eq!((strategy.parts[1].token, strategy.parts[1].since), (Some("~"), Some("6.2.0")));
        assert_eq!((trim.parts[1].token, trim.parts[1].flags.len()), (Some("LIMIT"), 3));
        assert_eq!((arguments[2].name, arguments[2].deprecated), ("ip:port", Some("1.0")));
    }

    #[test]
    fn every_command_that_needs_arguments_has_them_documented() {
        let mut missing = Vec::new();
        let mut look = |command: &Command, own: u16| {
            let (Arity::Exactly(count) | Arity::AtLeast(count)) = command.spec.arity;
            // Redis 7.0 documents none of these either.
            let name = command.full_name.as_str();
            let is_documented =
                ["debug", "command|getkeys", "command|getkeysandflags"].contains(&name) || are_known(name);
            if count > own && !matches!(command.spec.run, Run::Container) && !is_documented {
                missing.push(command.full_name.clone());
            }
        };
        for command in table().commands() {
            look(command, 1);
            command.subcommands.iter().for_each(|subcommand| look(subcommand, 2));
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
