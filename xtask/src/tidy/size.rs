//! Functions of at most 70 lines, files of at most 800 lines that are not tests.
//!
//! What was larger when the rule came stands in `xtask/ratchet.txt`. An entry allows exactly the size that it names: what
//! grows beyond it is refused, what shrinks has its entry lowered (`cargo xtask tidy --shrink`), what no longer needs one
//! loses it. A function that is one `match` on a closed enum is long because the enum is; such a dispatcher is exempt by
//! name, as long as its arms are short and the rest of it is as short as any function.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, ExprMatch, Ident, ImplItemFn, ItemFn, ItemImpl, ItemTrait, Signature, TraitItemFn, Type};

use super::Findings;
use super::source::{Source, Sources};
use super::tree::Tree;
use crate::workspace;

const RATCHET: &str = "xtask/ratchet.txt";
const FUNCTION: usize = 70;
const FILE: usize = 800;
/// Lines of one arm of a dispatcher.
const ARM: usize = 10;

/// Something that is larger than the rule allows.
#[derive(Debug, PartialEq)]
struct Giant {
    line: usize,
    lines: usize,
    /// Whether it may be called a dispatcher.
    is_dispatcher: bool,
}

/// What an entry of the ratchet is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    File(String),
    /// With the path of its file.
    Function(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Allowance {
    Lines(usize),
    Dispatcher,
}

struct Entry {
    line: usize,
    key: Key,
    allowance: Allowance,
}

pub(super) fn check(tree: &Tree, sources: &Sources<'_>, found: &mut Findings) {
    let giants = giants(sources);
    let entries = parse(tree.get(RATCHET).unwrap_or_default(), found);
    for entry in &entries {
        if let Some(what) = outdated(entry, giants.get(&entry.key)) {
            found.push(RATCHET, entry.line, what);
        }
    }
    for (key, giant) in &giants {
        if entries.iter().any(|entry| entry.key == *key) {
            continue;
        }
        match key {
            Key::File(path) => found.push(path, 0, format!("{} lines without tests, more than {FILE}", giant.lines)),
            Key::Function(path, name) => {
                found.push(path, giant.line, format!("{name} has {} lines, more than {FUNCTION}", giant.lines));
            }
        }
    }
}

/// What is wrong with an entry, given what it is about, if that is still too large.
fn outdated(entry: &Entry, giant: Option<&Giant>) -> Option<String> {
    let Some(giant) = giant else { return Some("nothing needs this entry".to_owned()) };
    match entry.allowance {
        Allowance::Dispatcher if giant.is_dispatcher => None,
        Allowance::Dispatcher => Some(format!(
            "not a dispatcher: beside its match it has more than {FUNCTION} lines, or an arm has more than {ARM}"
        )),
        Allowance::Lines(lines) if giant.lines > lines => {
            Some(format!("has grown from {lines} to {} lines at line {}", giant.lines, giant.line))
        }
        Allowance::Lines(lines) if giant.lines < lines => {
            Some(format!("has shrunk from {lines} to {} lines: run cargo xtask tidy --shrink", giant.lines))
        }
        Allowance::Lines(_) => None,
    }
}

/// Lowers and removes entries in the ratchet's file; raises and adds none.
pub(super) fn shrink(tree: &Tree) -> Result<()> {
    let mut found = Findings::default();
    let giants = giants(&Sources::parse(tree, &mut found));
    let text = tree.get(RATCHET).context("there is a ratchet")?;
    fs::write(workspace::root().join(RATCHET), shrunk(text, &giants)).context("write the ratchet")
}

fn shrunk(text: &str, giants: &BTreeMap<Key, Giant>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let entry = parse(line, &mut Findings::default()).pop();
        let known = entry.as_ref().map(|entry| (entry, giants.get(&entry.key)));
        match known {
            Some((_, None)) => {}
            Some((Entry { allowance: Allowance::Lines(lines), .. }, Some(giant))) if giant.lines < *lines => {
                let _ = writeln!(out, "{}", line.replacen(&lines.to_string(), &giant.lines.to_string(), 1));
            }
            _ => _ = writeln!(out, "{line}"),
        }
    }
    out
}

/// Reads `file LINES PATH`, `function LINES PATH NAME` and `dispatcher PATH NAME`; a name may hold spaces.
fn parse(text: &str, found: &mut Findings) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (line, words) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty()) {
        let (kind, rest) = words.split_once(' ').unwrap_or((words, ""));
        let (lines, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let function =
            |text: &str| text.split_once(' ').map(|(path, name)| Key::Function(path.to_owned(), name.to_owned()));
        let read = match kind {
            "file" => lines.parse().ok().map(|lines| (Key::File(after.to_owned()), Allowance::Lines(lines))),
            "function" => lines.parse().ok().zip(function(after)).map(|(lines, key)| (key, Allowance::Lines(lines))),
            "dispatcher" => function(rest).map(|key| (key, Allowance::Dispatcher)),
            _ => None,
        };
        match read {
            Some((key, allowance)) => entries.push(Entry { line, key, allowance }),
            None => found.push(
                RATCHET,
                line,
                "not an entry: file LINES PATH, function LINES PATH NAME, dispatcher PATH NAME",
            ),
        }
    }
    entries
}

fn giants(sources: &Sources<'_>) -> BTreeMap<Key, Giant> {
    let mut giants = BTreeMap::new();
    for source in &sources.0 {
        let lines = source.product_lines();
        if lines > FILE {
            giants.insert(Key::File(source.path.to_owned()), Giant { line: 0, lines, is_dispatcher: false });
        }
        let mut functions = Functions { source, scope: String::new(), giants: &mut giants };
        functions.visit_file(&source.syntax);
    }
    giants
}

/// Walks a file's functions, also those inside of others.
struct Functions<'a> {
    source: &'a Source<'a>,
    /// `Type` or `<Type as Trait>` and two colons, inside of an impl or a trait.
    scope: String,
    giants: &'a mut BTreeMap<Key, Giant>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, block: &Block) {
        let first = signature.span().start().line;
        let lines = lines_of(first, block.span().end().line);
        if lines <= FUNCTION {
            return;
        }
        let key = Key::Function(self.source.path.to_owned(), format!("{}{}", self.scope, signature.ident));
        let giant = Giant { line: first, lines, is_dispatcher: is_dispatcher(lines, block) };
        // Of two functions with one name (for two targets) the larger counts.
        let known = self.giants.entry(key).or_insert(Giant { line: 0, lines: 0, is_dispatcher: true });
        if known.lines < giant.lines {
            *known = giant;
        }
    }

    fn within(&mut self, scope: String, walk: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.scope, scope);
        walk(self);
        self.scope = outer;
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let name = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let name = name.unwrap_or_else(|| "_".to_owned());
        let implemented = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        let scope = match implemented {
            Some(segment) => format!("<{name} as {}>::", segment.ident),
            None => format!("{name}::"),
        };
        self.within(scope, |functions| visit::visit_item_impl(functions, item));
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        let name: &Ident = &item.ident;
        self.within(format!("{name}::"), |functions| visit::visit_item_trait(functions, item));
    }
}

fn lines_of(first: usize, last: usize) -> usize {
    last + 1 - first
}

/// Whether the function is short but for one `match` with short arms.
fn is_dispatcher(lines: usize, block: &Block) -> bool {
    let mut widest = WidestMatch::default();
    widest.visit_block(block);
    lines - widest.lines <= FUNCTION && widest.longest_arm <= ARM
}

#[derive(Default)]
struct WidestMatch {
    lines: usize,
    longest_arm: usize,
}

impl<'ast> Visit<'ast> for WidestMatch {
    fn visit_expr_match(&mut self, expression: &'ast ExprMatch) {
        let span = expression.span();
        let lines = lines_of(span.start().line, span.end().line);
        if lines > self.lines {
            let arm = |arm: &syn::Arm| lines_of(arm.span().start().line, arm.span().end().line);
            *self = WidestMatch { lines, longest_arm: expression.arms.iter().map(arm).max().unwrap_or(0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of so many lines.
    fn function(head: &str, lines: usize) -> String {
        format!("{head} {{\n{}}}\n", "    x();\n".repeat(lines - 2))
    }

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::of(files);
        let mut found = Findings::default();
        let sources = Sources::parse(&tree, &mut found);
        check(&tree, &sources, &mut found);
        found.0.into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn functions_of_every_kind_are_measured_without_their_comments() {
        let methods = format!(
            "impl<T> Trait for a::B<T> {{\n{}}}\nimpl B {{\n{}}}\n",
            function("fn c()", 71),
            function("fn d()", 71)
        );
        let text = format!(
            "//! x\n/// Doc.\n#[inline]\n{}{}{methods}",
            function("fn a()", 70),
            function("pub async fn b()", 71)
        );
        let found = findings(&[("a.rs", &text)]);
        let names: Vec<&str> = found.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(names, ["<B", "B::d", "b"]);
        assert!(found[0].contains("<B as Trait>::c has 71 lines, more than 70"), "{found:?}");
        assert!(found[2].starts_with("a.rs:74:"), "{found:?}");
    }

    #[test]
    fn tests_do_not_count_in_the_size_of_a_file() {
        let text = |lines: usize| {
            format!("//! x\n{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(lines - 1), "\n".repeat(500))
        };
        assert_eq!(findings(&[("a.rs", &text(800))]), [""; 0]);
        assert_eq!(findings(&[("a.rs", &text(801))]), ["a.rs: 801 lines without tests, more than 800"]);
    }

    #[test]
    fn an_entry_allows_its_size_and_neither_more_nor_less() {
        let text = format!("//! x\n{}", function("fn long()", 80));
        let with = |entry: &str| findings(&[("a.rs", &text), (RATCHET, entry)]);
        assert_eq!(with("# why\nfunction 80 a.rs long\n"), [""; 0]);
        assert_eq!(with("function 79 a.rs long\n"), ["xtask/ratchet.txt:1: has grown from 79 to 80 lines at line 2"]);
        assert!(with("function 81 a.rs long\n")[0].contains("has shrunk from 81 to 80"));
        assert!(with("function 80 a.rs long\nfunction 90 a.rs short\n")[0].contains("2: nothing needs this entry"));
        assert_eq!(with("function x a.rs long\n").len(), 2);
    }

    #[test]
    fn a_dispatcher_is_exempt_while_its_arms_are_short() {
        let arms = |lines: usize| {
            format!("        A => {{\n{}        }}\n", "            x();\n".repeat(lines - 2)).repeat(20)
        };
        let text = |lines| format!("//! x\nfn run() {{\n    match e {{\n{}    }}\n}}\n", arms(lines));
        let with = |text: &str| findings(&[("a.rs", text), (RATCHET, "dispatcher a.rs run\n")]);
        assert_eq!(with(&text(10)), [""; 0]);
        assert!(with(&text(11))[0].contains("not a dispatcher"));
        assert!(with(&format!("//! x\n{}", function("fn run()", 71)))[0].contains("not a dispatcher"));
        assert!(with("//! x\nfn run() {}\n")[0].contains("nothing needs this entry"));
    }

    #[test]
    fn shrinking_lowers_and_removes_and_never_raises() {
        let text = format!("//! x\n{}{}", function("fn a()", 80), function("fn b()", 80));
        let tree = Tree::of(&[("a.rs", &text)]);
        let giants = giants(&Sources::parse(&tree, &mut Findings::default()));
        let ratchet = "# why\nfunction 90 a.rs a\nfunction 75 a.rs b\nfunction 99 a.rs gone\n";
        assert_eq!(shrunk(ratchet, &giants), "# why\nfunction 80 a.rs a\nfunction 75 a.rs b\n");
    }
}
