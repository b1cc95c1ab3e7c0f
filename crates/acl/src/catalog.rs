//! The commands that rules name, as far as rules look at them: names, containers and categories.

use std::collections::HashMap;

/// A command or subcommand: its place in the catalog, and that of its bit in a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub usize);

/// A command or subcommand, as whoever makes a catalog lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// `get`, or `config|get`.
    pub name: String,
    /// Where in the list its container is, which stands in front of it.
    pub container: Option<usize>,
    /// Its categories, without the `@`.
    pub categories: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    container: Option<CommandId>,
    subcommands: Vec<CommandId>,
    /// A bit for each category.
    categories: u32,
}

/// All commands; see the module's text.
#[derive(Debug)]
pub struct Catalog {
    categories: &'static [&'static str],
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, CommandId>,
}

impl Catalog {
    /// The catalog of these commands; the place of each in the list is its id.
    ///
    /// # Panics
    /// There are more than 32 categories, or a container stands behind its subcommand: both are mistakes of a program.
    pub fn new(categories: &'static [&'static str], list: impl IntoIterator<Item = Listed>) -> Catalog {
        assert!(categories.len() <= 32, "a category is a bit of 32");
        let mut catalog = Catalog { categories, entries: Vec::new(), by_name: HashMap::new() };
        for listed in list {
            let id = CommandId(catalog.entries.len());
            if let Some(container) = listed.container {
                catalog.entries[container].subcommands.push(id);
            }
            let bits = listed.categories.iter().filter_map(|name| catalog.category(name.as_bytes()));
            let categories = bits.fold(0, |all, bit| all | bit);
            let name = listed.name.to_ascii_lowercase().into_boxed_str();
            catalog.by_name.insert(name.clone(), id);
            let (container, subcommands) = (listed.container.map(CommandId), Vec::new());
            catalog.entries.push(Entry { name, container, subcommands, categories });
        }
        catalog
    }

    /// How many commands and subcommands there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names of the categories, in the order in which ACL CAT lists them.
    pub fn categories(&self) -> &'static [&'static str] {
        self.categories
    }

    /// The command or subcommand of that full name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(name.as_str()).copied()
    }

    /// The full name.
    pub fn name(&self, id: CommandId) -> &str {
        &self.entries[id.0].name
    }

    /// Whether it is a subcommand.
    pub(crate) fn is_subcommand(&self, id: CommandId) -> bool {
        self.entries[id.0].container.is_some()
    }

    pub(crate) fn subcommands(&self, id: CommandId) -> &[CommandId] {
        &self.entries[id.0].subcommands
    }

    /// The bit of a category, in any case.
    pub(crate) fn category(&self, name: &[u8]) -> Option<u32> {
        let place = self.categories.iter().position(|category| category.as_bytes().eq_ignore_ascii_case(name))?;
        Some(1 << place)
    }

    /// The names of a category's commands; `None` if there is no such category.
    pub fn names_in(&self, category: &[u8]) -> Option<Vec<&str>> {
        let bit = self.category(category)?;
        Some(self.of_category(bit).map(|id| self.name(id)).collect())
    }

    /// The commands of a category.
    pub(crate) fn of_category(&self, bit: u32) -> impl Iterator<Item = CommandId> {
        let entries = self.entries.iter().enumerate();
        entries.filter(move |(_, entry)| entry.categories & bit != 0).map(|(index, _)| CommandId(index))
    }
}
