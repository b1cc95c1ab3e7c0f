//! Rust sources, parsed once for all rules: their syntax, the paths that they name, and which of their lines are tests.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta};

use super::Findings;
use super::tree::Tree;

pub(super) struct Sources<'a>(pub(super) Vec<Source<'a>>);

pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    pub(super) syntax: syn::File,
    pub(super) named: Vec<Named>,
    pub(super) attributes: Vec<(usize, TokenStream)>,
    /// Whether the whole file is compiled for tests only.
    pub(super) is_test: bool,
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A path as it stands in code, in macros and in `use`, where each item of a group is a path of its own.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// Whether it names a macro that is called.
    pub(super) is_call: bool,
}

impl<'a> Sources<'a> {
    /// Parses every `.rs` file; one that cannot be parsed is a finding and left out.
    pub(super) fn parse(tree: &'a Tree, found: &mut Findings) -> Sources<'a> {
        let mut sources: Vec<Source<'a>> = Vec::new();
        for (path, text) in tree.ending(&[".rs"]) {
            match parse(path, text) {
                Ok(source) => sources.push(source),
                Err(error) => found.push(path, error.span().start().line, format!("cannot be parsed: {error}")),
            }
        }
        let test_files: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut sources {
            let stem = source.path.strip_suffix(".rs").unwrap_or(source.path);
            source.is_test |= test_files.iter().any(|test| {
                stem.strip_prefix(test.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
        }
        Sources(sources)
    }
}

impl Source<'_> {
    pub(super) fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// How many lines are not compiled for tests only.
    pub(super) fn product_lines(&self) -> usize {
        if self.is_test { 0 } else { (1..=self.text.lines().count()).filter(|&line| !self.is_test_line(line)).count() }
    }

    /// The paths, without `.rs`, of modules in files of their own that are declared for tests only.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(self.path);
        let directory = match stem.rsplit_once('/') {
            Some((parent, "lib" | "main")) => parent,
            _ => stem,
        };
        let outside = |item: &Item| match item {
            Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
                Some(format!("{directory}/{}", module.ident))
            }
            _ => None,
        };
        self.syntax.items.iter().filter_map(outside).collect()
    }
}

fn parse<'a>(path: &'a str, text: &'a str) -> syn::Result<Source<'a>> {
    let syntax = syn::parse_file(text)?;
    let tokens: TokenStream = text.parse().map_err(syn::Error::from)?;
    let mut tests = TestLines::default();
    tests.visit_file(&syntax);
    let (mut named, mut attributes) = (Vec::new(), Vec::new());
    collect_paths(tokens.clone(), &[], &mut named);
    collect_attributes(tokens, &mut attributes);
    // Integration tests, benchmarks and examples lie beside `src`.
    let is_test = path.starts_with("tests/") || path.contains("/tests/") && !path.contains("/src/");
    Ok(Source { path, text, syntax, named, attributes, is_test, test_lines: tests.0 })
}

#[derive(Default)]
struct TestLines(Vec<RangeInclusive<usize>>);

impl Visit<'_> for TestLines {
    fn visit_item(&mut self, item: &Item) {
        let attributes: &[Attribute] = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if is_for_tests(attributes) {
            self.0.push(lines_of(item));
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if is_for_tests(&item.attrs) {
            self.0.push(lines_of(item));
        }
    }
}

/// Attributes and comments of an item count as its lines.
fn lines_of(item: &impl Spanned) -> RangeInclusive<usize> {
    item.span().start().line..=item.span().end().line
}

/// Whether one of the attributes is `test`, or a `cfg` that holds `test` and no `not`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let mut words = Vec::new();
            collect_paths(list.tokens.clone(), &[], &mut words);
            let has = |word: &str| words.iter().any(|named| named.segments == [word]);
            has("test") && !has("not")
        }
        _ => false,
    })
}

/// Gathers the paths of a token stream. Every path begins with `prefix`, which is what stood before a group in `use`.
fn collect_paths(tokens: TokenStream, prefix: &[String], out: &mut Vec<Named>) {
    let mut path = Named { segments: prefix.to_vec(), line: 0, is_call: false };
    let mut goes_on = !prefix.is_empty();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) => {
                if !goes_on {
                    flush(&mut path, prefix, out);
                    path.segments.clear();
                }
                path.segments.push(ident.to_string());
                path.line = ident.span().start().line;
                goes_on = false;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' && is_mark(tokens.peek(), ':') => {
                tokens.next();
                goes_on = true;
            }
            TokenTree::Punct(mark) if mark.as_char() == ',' && !prefix.is_empty() => {
                flush(&mut path, prefix, out);
                path.segments = prefix.to_vec();
                goes_on = true;
            }
            TokenTree::Punct(mark) => {
                path.is_call = mark.as_char() == '!' && matches!(tokens.peek(), Some(TokenTree::Group(_)));
                flush(&mut path, prefix, out);
                goes_on = false;
            }
            TokenTree::Group(group) if goes_on && group.delimiter() == Delimiter::Brace => {
                collect_paths(group.stream(), &path.segments, out);
                path.segments.clear();
                goes_on = false;
            }
            TokenTree::Group(group) => {
                flush(&mut path, prefix, out);
                collect_paths(group.stream(), &[], out);
                goes_on = false;
            }
            TokenTree::Literal(_) => {
                flush(&mut path, prefix, out);
                goes_on = false;
            }
        }
    }
    flush(&mut path, prefix, out);
}

/// Ends a path; what is only the prefix of a group is none.
fn flush(path: &mut Named, prefix: &[String], out: &mut Vec<Named>) {
    let ended = Named { segments: std::mem::take(&mut path.segments), line: path.line, is_call: path.is_call };
    path.is_call = false;
    if !ended.segments.is_empty() && ended.segments != prefix {
        out.push(ended);
    }
}

fn is_mark(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// Gathers what stands in `#[...]` and `#![...]`, in macros too.
fn collect_attributes(tokens: TokenStream, out: &mut Vec<(usize, TokenStream)>) {
    let mut after_hash = false;
    for token in tokens {
        let is_mark =
            matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#' || mark.as_char() == '!' && after_hash);
        if let TokenTree::Group(group) = token {
            if after_hash && group.delimiter() == Delimiter::Bracket {
                out.push((line_of(&group), group.stream()));
            } else {
                collect_attributes(group.stream(), out);
            }
        }
        after_hash = is_mark;
    }
}

fn line_of(group: &Group) -> usize {
    group.span_open().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        collect_paths(text.parse().unwrap(), &[], &mut out);
        out.iter().map(|named| named.segments.join("::") + if named.is_call { "!" } else { "" }).collect()
    }

    #[test]
    fn every_item_of_a_use_group_is_a_whole_path() {
        let found = named("use std::{fs, io::{self, Read}, time::Instant as Clock};");
        assert_eq!(found, ["use", "std::fs", "std::io::self", "std::io::Read", "std::time::Instant", "as", "Clock"]);
    }

    #[test]
    fn paths_are_found_in_code_and_in_macros_but_not_in_strings_and_comments() {
        let text =
            "fn f() { g::<u8>::h(1); /* no::comment */ assert_eq!(a::b(), \"no::string\"); if x != y {} todo!() }";
        assert_eq!(named(text), ["fn", "f", "g", "u8", "h", "assert_eq!", "a::b", "if", "x", "y", "todo!"]);
    }

    #[test]
    fn lines_for_tests_are_known_in_a_file_and_across_files() {
        let lib = "//! x\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(test)]\nmod model;\n#[cfg(not(test))]\nfn c() {}\n";
        let tree =
            Tree::of(&[("c/src/lib.rs", lib), ("c/src/model.rs", "//! x\n"), ("c/src/model/deep.rs", "//! x\n")]);
        let mut found = Findings::default();
        let sources = Sources::parse(&tree, &mut found).0;
        assert_eq!((1..=10).filter(|&line| sources[0].is_test_line(line)).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
        assert_eq!(sources[0].product_lines(), 4);
        assert!(!sources[0].is_test && sources[1].is_test && sources[2].is_test);
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_a_finding() {
        let mut found = Findings::default();
        assert!(Sources::parse(&Tree::of(&[("a.rs", "//! x\nfn {")]), &mut found).0.is_empty());
        assert_eq!(found.places(), ["a.rs:2"]);
    }
}
