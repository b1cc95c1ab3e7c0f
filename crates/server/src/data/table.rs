//! The command table: the data commands and the server's own, joined, found by name in a few steps.

use std::sync::OnceLock;

use quorate_acl::{Catalog, Listed};
use quorate_commands::{Args, CATEGORIES, Flags, Keys, Outcome, Run, Spec, categories};

use crate::data::call::Cx;

/// A command that needs the server.
pub type ServerRun = fn(&mut Cx<'_, '_>, Args<'_>) -> Outcome;

/// A command that needs keys alone.
pub type DataRun = fn(&mut quorate_commands::Exec<'_, '_>, Args<'_>) -> Outcome;

/// How a command is run.
#[derive(Clone, Copy)]
pub enum Runner {
    /// On keys alone.
    Data(DataRun),
    /// By the server.
    Server(ServerRun),
    /// Only its subcommands can be run.
    Container,
}

/// A command or subcommand as the server runs it.
pub struct Command {
    /// What is known of it.
    pub spec: &'static Spec,
    /// `get`, or `client|list`: as INFO commandstats and ACLs name it.
    pub full_name: String,
    /// How it is run.
    pub runner: Runner,
    /// Its place in each thread's statistics.
    pub index: usize,
    /// Its subcommands.
    pub subcommands: Vec<&'static Command>,
    /// It works on data of one key, and that is its first argument.
    pub has_one_key_first: bool,
    /// What runs it, if it works on data of one key, which is its first argument, and neither waits, nor needs to be alone,
    /// nor is anything but itself: see `worker/plain.rs`.
    pub plain: Option<DataRun>,
}

impl Command {
    /// The subcommand of that name, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Command> {
        self.subcommands.iter().copied().find(|command| command.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// All commands; built once.
pub struct Table {
    /// Top-level commands, sorted by name.
    commands: Vec<&'static Command>,
    /// Open addressing by a cheap hash of the name, which is there in lower and in upper case, as nearly all clients write it.
    cells: Vec<(Word, Option<&'static Command>)>,
    count: usize,
    catalog: Catalog,
}

const CELLS: usize = 2048;

/// The one table.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        Table::build(quorate_commands::TABLE, &crate::admin::table(), RENAMES.get().unwrap_or(&Vec::new()))
    })
}

/// What `rename-command` said, before the table is built: old names and new ones, empty for none.
static RENAMES: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();

/// The names of the table to be, while they can still be changed.
#[derive(Default)]
pub struct Names {
    renames: Vec<(&'static str, String)>,
}

impl Names {
    /// Gives a command another name, or none if `to` is empty.
    ///
    /// # Errors
    /// As Redis words it: there is no such command, or the new name is taken.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        let own =
            || quorate_commands::TABLE.iter().copied().chain(crate::admin::table().into_iter().map(|(spec, _)| spec));
        let is_renamed = |spec: &Spec| self.renames.iter().any(|(old, _)| *old == spec.name);
        let spec = own().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(from) && !is_renamed(spec));
        let Some(spec) = spec else { return Err("No such command in rename-command") };
        let to = String::from_utf8_lossy(to).to_lowercase();
        let is_taken =
            own().any(|spec| spec.name == to && !is_renamed(spec)) || self.renames.iter().any(|(_, new)| *new == to);
        if !to.is_empty() && is_taken {
            return Err("Target command name already exists");
        }
        self.renames.push((spec.name, to));
        Ok(())
    }

    /// Makes them those of the table.
    pub fn keep(self) {
        if !self.renames.is_empty() {
            assert!(RENAMES.set(self.renames).is_ok(), "the configuration is read once");
        }
    }
}

impl Table {
    fn build(data: &[&'static Spec], server: &[crate::admin::Entry], renames: &[(&'static str, String)]) -> Table {
        let mut count = 0;
        let mut commands: Vec<&'static Command> = Vec::new();
        for spec in data {
            commands.push(join(spec, None, &[], &mut count));
        }
        for (spec, runs) in server {
            commands.push(join(spec, None, runs, &mut count));
        }
        let catalog = catalog(&commands);
        for command in &mut commands {
            if let Some((_, name)) = renames.iter().find(|(old, _)| *old == command.spec.name) {
                *command = renamed(command, name);
            }
        }
        commands.retain(|command| !command.spec.name.is_empty());
        commands.sort_by_key(|command| command.spec.name);
        let mut cells = vec![(Word::default(), None); CELLS];
        for command in &commands {
            let (lower, upper) = (command.spec.name.to_ascii_lowercase(), command.spec.name.to_ascii_uppercase());
            let spellings = [lower, upper].map(|name| Word::of(name.as_bytes()));
            let differ = spellings[0] != spellings[1];
            for spelling in &spellings[..1 + usize::from(differ)] {
                let mut at = spelling.cell();
                while cells[at].1.is_some() {
                    at = (at + 1) % CELLS;
                }
                cells[at] = (*spelling, Some(*command));
            }
        }
        Table { commands, cells, count, catalog }
    }

    /// The top-level command of that name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        let word = Word::of(name);
        self.at(word, name).or_else(|| self.find_in_lower_case(word, name))
    }

    /// The name is in mixed case, or that of no command.
    #[cold]
    fn find_in_lower_case(&self, word: Word, name: &[u8]) -> Option<&'static Command> {
        self.at(word.to_lower(), name)
    }

    #[inline]
    fn at(&self, word: Word, name: &[u8]) -> Option<&'static Command> {
        let mut at = word.cell();
        while let &(other, Some(command)) = &self.cells[at] {
            if other == word && (word.is_whole() || command.spec.name.as_bytes().eq_ignore_ascii_case(name)) {
                return Some(command);
            }
            at = (at + 1) % CELLS;
        }
        None
    }

    /// All top-level commands, sorted by name.
    pub fn commands(&self) -> &[&'static Command] {
        &self.commands
    }

    /// The commands as rules of users name them: by the names that they were born with, and by [`Command::index`].
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How many commands and subcommands there are: the length of a thread's statistics.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// What rules of users may name, of commands that are numbered one after the other, each before its subcommands.
fn catalog(commands: &[&'static Command]) -> Catalog {
    let listed = |command: &Command, container| Listed {
        name: command.full_name.clone(),
        container,
        categories: categories(command.spec),
    };
    let mut list = Vec::new();
    for command in commands {
        debug_assert_eq!(list.len(), command.index, "a rule is about the command of its number");
        list.push(listed(command, None));
        list.extend(command.subcommands.iter().map(|subcommand| listed(subcommand, Some(command.index))));
    }
    Catalog::new(CATEGORIES, list)
}

fn join(
    spec: &'static Spec,
    parent: Option<&'static Spec>,
    runs: &'static [(&'static str, ServerRun)],
    count: &mut usize,
) -> &'static Command {
    let runner = match spec.run {
        Run::Data(run) => Runner::Data(run),
        Run::Server => {
            let name = if parent.is_some() { spec.name } else { "" };
            let run = runs.iter().find(|(of, _)| *of == name);
            Runner::Server(run.unwrap_or_else(|| panic!("the table names no function for {}", spec.name)).1)
        }
        Run::Container => Runner::Container,
    };
    let full_name = match parent {
        Some(parent) => format!("{}|{}", parent.name, spec.name),
        None => spec.name.to_owned(),
    };
    let index = *count;
    *count += 1;
    let subcommands = spec.subcommands.iter().map(|sub| join(sub, Some(spec), runs, count)).collect();
    let is_first = |keys: &Keys| matches!(keys, Keys::At(1) | Keys::Span { first: 1, last: 1, .. });
    let has_one_key_first = matches!(runner, Runner::Data(_))
        && matches!(spec.keys, [(keys, _)] if is_first(keys))
        && !spec.flags.any(Flags::ALONE.and(Flags::WALKS));
    let is_plain = has_one_key_first
        && !spec.flags.any(Flags::BLOCKING.and(Flags::NO_AUTH))
        && spec.reaches.is_none()
        && spec.subcommands.is_empty();
    let plain = match runner {
        Runner::Data(run) if is_plain => Some(run),
        _ => None,
    };
    Box::leak(Box::new(Command { spec, full_name, runner, index, subcommands, has_one_key_first, plain }))
}

/// The same command under another name. The table lives as long as the process.
fn renamed(command: &Command, name: &str) -> &'static Command {
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let spec: &'static Spec = Box::leak(Box::new(Spec { name, ..*command.spec }));
    Box::leak(Box::new(Command {
        spec,
        full_name: name.to_owned(),
        runner: command.runner,
        index: command.index,
        subcommands: command.subcommands.clone(),
        has_one_key_first: command.has_one_key_first,
        plain: command.plain,
    }))
}

/// The first eight and the last eight bytes of a name, and its length: all of a name of up to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Word {
    head: u64,
    tail: u64,
    len: usize,
}

impl Word {
    #[inline]
    fn of(name: &[u8]) -> Word {
        let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                (Some(head), Some(tail)) => (u32::from_le_bytes(*head).into(), u32::from_le_bytes(*tail).into()),
                // Of three bytes or fewer the first, the middle and the last are all.
                _ => match name {
                    [] => (0, 0),
                    [first, ..] => {
                        let bytes = [*first, name[name.len() / 2], name[name.len() - 1], 0];
                        (u32::from_le_bytes(bytes).into(), 0)
                    }
                },
            },
        };
        Word { head, tail, len: name.len() }
    }

    fn to_lower(self) -> Word {
        Word { head: to_lower(self.head), tail: to_lower(self.tail), ..self }
    }

    /// Whether it says all of the name.
    #[inline]
    fn is_whole(self) -> bool {
        self.len <= 16
    }

    /// Where the search for it begins.
    #[inline]
    fn cell(self) -> usize {
        let mixed = self.head ^ self.tail.rotate_left(23) ^ ((self.len as u64) << 59);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize % CELLS
    }
}

/// Each of the eight bytes in lower case, if it is an ASCII letter.
#[inline]
fn to_lower(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (EACH * 0x7f);
    // The highest bit of a byte tells, of one below 128, whether it is beyond `Z`, or at least `A`.
    let beyond = low + EACH * u64::from(0x7f - b'Z');
    let at_least = low + EACH * u64::from(0x80 - b'A');
    let is_upper = !word & (at_least ^ beyond) & (EACH * 0x80);
    word | (is_upper >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_in_any_case() {
        let table = table();
        for pair in table.commands().windows(2) {
            assert!(pair[0].spec.name < pair[1].spec.name, "{} is there twice", pair[1].spec.name);
        }
        for command in table.commands() {
            let (name, mut mixed) = (command.spec.name.to_owned(), command.spec.name.to_owned());
            mixed[..1].make_ascii_uppercase();
            for spelling in [name.to_uppercase(), name, mixed] {
                assert_eq!(table.find(spelling.as_bytes()).map(|found| found.index), Some(command.index), "{spelling}");
            }
        }
        assert!(table.find(b"no-such-command").is_none());
        for byte in 0..=255u8 {
            let name = [b'g', byte, b't'];
            assert_eq!(table.find(&name).is_some(), matches!(byte, b'e' | b'E'), "{}", name.escape_ascii());
            assert_eq!(to_lower(u64::from_le_bytes([byte; 8])), u64::from_le_bytes([byte.to_ascii_lowercase(); 8]));
        }
        assert!(table.find(b"").is_none());
    }

    #[test]
    fn rules_name_each_command_by_its_index() {
        let table = table();
        assert_eq!(table.catalog().len(), table.count());
        for command in table.commands().iter().flat_map(|one| std::iter::once(one).chain(&one.subcommands)) {
            let id = table.catalog().find(command.full_name.as_bytes()).map(|id| id.0);
            assert_eq!(id, Some(command.index), "{}", command.full_name);
        }
    }
}
