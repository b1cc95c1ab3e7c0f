//! What is known of a command: one constant value, from which all else is derived.
//!
//! ACL categories, the numbers that COMMAND reports, the slots to lock and (later) redirects all follow
//! from a [`Spec`]; nothing about a command is written down twice.

use smallvec::SmallVec;

use crate::args::Args;
use crate::exec::{Exec, Outcome};

/// The groups of COMMAND DOCS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// As COMMAND DOCS names it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::HyperLogLog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

/// How many arguments a command takes, its name included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly so many.
    Exactly(u16),
    /// So many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether `count` arguments are acceptable.
    #[inline]
    pub const fn accepts(self, count: usize) -> bool {
        match self {
            Arity::Exactly(wanted) => count == wanted as usize,
            Arity::AtLeast(wanted) => count >= wanted as usize,
        }
    }

    /// As COMMAND reports it: negative for "at least".
    pub const fn wire(self) -> i64 {
        match self {
            Arity::Exactly(count) => count as i64,
            Arity::AtLeast(count) => -(count as i64),
        }
    }
}

/// Properties of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u64);

impl Flags {
    /// None.
    pub const NONE: Flags = Flags(0);
    /// May change data.
    pub const WRITE: Flags = Flags(1);
    /// Only reads data.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need more memory: refused when there is none.
    pub const DENY_OOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Part of Pub/Sub.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not in scripts.
    pub const NO_SCRIPT: Flags = Flags(1 << 5);
    /// May wait.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Allowed while the dataset is loading.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Allowed on a replica whose link is down, with `replica-serve-stale-data no`.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Takes constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 11);
    /// Allowed without authentication.
    pub const NO_AUTH: Flags = Flags(1 << 12);
    /// May be passed on to replicas although it writes no key (PUBLISH, EVAL ...).
    pub const MAY_REPLICATE: Flags = Flags(1 << 13);
    /// Not in MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 14);
    /// Allowed while a script is busy.
    pub const ALLOW_BUSY: Flags = Flags(1 << 15);
    /// Its keys can't all be told from its arguments.
    pub const MOVABLE_KEYS: Flags = Flags(1 << 16);
    /// Asks a Sentinel only.
    pub const ONLY_SENTINEL: Flags = Flags(1 << 17);
    /// Answers on a Sentinel too.
    pub const SENTINEL: Flags = Flags(1 << 18);
    /// Implies an ASKING.
    pub const ASKING: Flags = Flags(1 << 19);
    /// Touches the access time of no key.
    pub const TOUCHES_ARBITRARY_KEYS: Flags = Flags(1 << 20);
    /// Not by asynchronous loading.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 21);
    /// Needs the whole keyspace to itself: runs while every other thread is quiet.
    pub const ALONE: Flags = Flags(1 << 32);
    /// Walks the keyspace slot by slot, locking each itself.
    pub const WALKS: Flags = Flags(1 << 33);
    /// Of servers among themselves, or for who works on them.
    pub const SYSTEM: Flags = Flags(1 << 35);
    /// In the ACL category `dangerous` without being for administrators.
    pub const DANGEROUS: Flags = Flags(1 << 34);

    /// Both.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` hold.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` holds.
    #[inline]
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a command does to a key: what COMMAND's key specifications report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(&'static [&'static str]);

impl Access {
    /// Reads and returns the value.
    pub const READ: Access = Access(&["RO", "access"]);
    /// Reads what is no value: the existence, the type, the length.
    pub const LOOK: Access = Access(&["RO"]);
    /// Overwrites the value.
    pub const OVERWRITE: Access = Access(&["OW", "update"]);
    /// Creates or overwrites the value.
    pub const INSERT: Access = Access(&["RW", "insert"]);
    /// Changes the value.
    pub const UPDATE: Access = Access(&["RW", "update"]);
    /// Changes and returns the value.
    pub const READ_UPDATE: Access = Access(&["RW", "access", "update"]);
    /// Removes elements from the value.
    pub const DELETE: Access = Access(&["RW", "delete"]);
    /// Removes and returns elements of the value.
    pub const READ_DELETE: Access = Access(&["RW", "access", "delete"]);
    /// Removes the key.
    pub const REMOVE: Access = Access(&["RM", "delete"]);

    /// Another combination.
    pub const fn of(flags: &'static [&'static str]) -> Access {
        Access(flags)
    }

    /// The flags as COMMAND reports them.
    pub const fn flags(self) -> &'static [&'static str] {
        self.0
    }

    /// Whether the command writes at the key.
    pub fn writes(self) -> bool {
        !self.0.contains(&"RO")
    }
}

/// Where keys stand among the arguments.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// At one index.
    At(usize),
    /// From `first` to `last` (negative: counted from the end), every `step`th.
    Span {
        /// Index of the first key.
        first: usize,
        /// Index of the last key; -1 is the last argument.
        last: i32,
        /// Distance from key to key.
        step: usize,
    },
    /// As many as the argument at `count_at` says, from the one behind it on.
    Counted {
        /// Index of the count.
        count_at: usize,
    },
    /// Behind the first argument that is `word`, searched from `from` on: one key (`many` = false), or
    /// all the rest's first half (XREAD's STREAMS).
    After {
        /// The word in upper case.
        word: &'static str,
        /// Where the search begins.
        from: usize,
        /// Whether half of the rest are keys.
        many: bool,
    },
    /// As the function finds them: it pushes indices.
    Parsed(fn(Args<'_>, &mut Indices)),
}

/// Indices of keys among the arguments.
pub type Indices = SmallVec<[usize; 8]>;

impl Keys {
    /// Pushes the indices of the keys of `args` that stand as this says. Malformed arguments yield fewer
    /// keys, never a panic: the command itself will complain.
    #[inline]
    pub fn find(self, args: Args<'_>, indices: &mut Indices) {
        match self {
            Keys::At(index) => {
                if index < args.len() {
                    indices.push(index);
                }
            }
            Keys::Span { first, last, step } => {
                let end = if last < 0 { args.len() as i64 + i64::from(last) } else { i64::from(last) };
                let end = usize::try_from(end + 1).unwrap_or(0).min(args.len());
                indices.extend((first..end).step_by(step.max(1)));
            }
            Keys::Counted { count_at } => {
                let count = args.int(count_at).ok().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                let first = count_at + 1;
                if count <= args.len().saturating_sub(first) {
                    indices.extend(first..first + count);
                }
            }
            Keys::After { word, from, many } => {
                let Some(at) = (from..args.len()).find(|&index| args.is(index, word)) else { return };
                let rest = args.len() - at - 1;
                let count = if many { rest / 2 } else { rest.min(1) };
                indices.extend(at + 1..at + 1 + count);
            }
            Keys::Parsed(parse) => parse(args, indices),
        }
    }
}

/// How a command is run.
#[derive(Clone, Copy)]
pub enum Run {
    /// By this function, on keys alone.
    Data(fn(&mut Exec<'_, '_>, Args<'_>) -> Outcome),
    /// By the server, which finds its function under the same name.
    Server,
    /// By a subcommand only.
    Container,
}

/// What is known of a command; see the module's text.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Its name in lower case; of a subcommand the part behind the `|`.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// The number of its arguments. Of a subcommand, the container's name counts too.
    pub arity: Arity,
    /// Its properties.
    pub flags: Flags,
    /// Where its keys are, and what it does to them.
    pub keys: &'static [(Keys, Access)],
    /// What it does to its keys with these arguments, where that depends on them and `keys` tell the most that it may do.
    pub precisely: Option<fn(Args<'_>) -> Access>,
    /// Whether these arguments make it look at keys beyond those, so that it has to run alone.
    pub reaches: Option<fn(Args<'_>) -> bool>,
    /// Its subcommands.
    pub subcommands: &'static [&'static Spec],
    /// ACL categories beyond those that follow from group and flags, without the `@`.
    pub categories: &'static [&'static str],
    /// Hints for clients and proxies (COMMAND's tips).
    pub tips: &'static [&'static str],
    /// The version of Redis that has it first.
    pub since: &'static str,
    /// Since which version another command should be used, and which.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Its cost.
    pub complexity: &'static str,
    /// What it does, in one sentence of our own.
    pub summary: &'static str,
    /// How it is run.
    pub run: Run,
}

impl Spec {
    /// What a constant fills its remaining fields with.
    pub const BLANK: Spec = Spec {
        name: "",
        group: Group::Generic,
        arity: Arity::AtLeast(1),
        flags: Flags::NONE,
        keys: &[],
        precisely: None,
        reaches: None,
        subcommands: &[],
        categories: &[],
        tips: &[],
        since: "1.0.0",
        deprecated: None,
        complexity: "O(1)",
        summary: "",
        run: Run::Container,
    };

    /// The same with these tips.
    pub const fn with_tips(self, tips: &'static [&'static str]) -> Spec {
        Spec { tips, ..self }
    }

    /// The same, out of use since a version, as another does what it did.
    pub const fn replaced_by(self, since: &'static str, other: &'static str) -> Spec {
        Spec { deprecated: Some((since, other)), ..self }
    }

    /// The indices of its keys among `args`.
    #[inline]
    pub fn key_indices(&self, args: Args<'_>) -> Indices {
        let mut indices = Indices::new();
        for (keys, _) in self.keys {
            keys.find(args, &mut indices);
        }
        indices
    }

    /// Its keys among `args`.
    #[inline]
    pub fn keys_of<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        self.key_indices(args).into_iter().map(move |index| args.at(index))
    }

    /// Whether it needs the whole keyspace to itself with these arguments.
    #[inline]
    pub fn needs_alone(&self, args: Args<'_>) -> bool {
        self.flags.has(Flags::ALONE) || self.reaches.is_some_and(|reaches| reaches(args))
    }

    /// The subcommand of that name, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Spec> {
        self.subcommands.iter().copied().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(keys: Keys, line: &str) -> Vec<usize> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut found = Indices::new();
        keys.find(Args::new(&words), &mut found);
        found.to_vec()
    }

    #[test]
    fn keys_are_found_where_the_specification_says() {
        assert_eq!(indices(Keys::At(1), "GET k"), [1]);
        assert_eq!(indices(Keys::Span { first: 1, last: -1, step: 2 }, "MSET a 1 b 2"), [1, 3]);
        assert_eq!(indices(Keys::Span { first: 1, last: -2, step: 1 }, "BLPOP a b 0"), [1, 2]);
        assert_eq!(indices(Keys::Counted { count_at: 2 }, "EVAL s 2 a b c"), [3, 4]);
        assert_eq!(
            indices(Keys::After { word: "STREAMS", from: 1, many: true }, "XREAD COUNT 1 STREAMS a b 0 0"),
            [4, 5]
        );
        assert_eq!(indices(Keys::After { word: "STORE", from: 2, many: false }, "SORT k STORE d"), [3]);
    }

    #[test]
    fn malformed_arguments_yield_no_keys_and_no_panic() {
        assert_eq!(indices(Keys::At(1), "GET"), []);
        assert_eq!(indices(Keys::Counted { count_at: 2 }, "EVAL s 9 a"), []);
        assert_eq!(indices(Keys::Counted { count_at: 2 }, "EVAL s -1 a"), []);
        assert_eq!(indices(Keys::After { word: "STREAMS", from: 1, many: true }, "XREAD STREAMS"), []);
        assert_eq!(indices(Keys::Span { first: 1, last: -2, step: 1 }, "BLPOP"), []);
    }
}
