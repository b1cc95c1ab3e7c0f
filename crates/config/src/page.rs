//! docs/directives.md and docs/configuration.md, written from the tables, so that they can't say anything else than these do.

use std::fmt::Write as _;

use crate::config::Config;
use crate::directives::{self, OTHER_DEFAULTS};
use crate::spec::{Meaning, Origin, Spec};

/// The whole page.
pub fn page() -> String {
    let mut page = String::from(
        "# Directives that behave otherwise than in Redis\n\n\
         This page is written from the tables in `crates/config/src/directives/`; a test keeps it in step. Every directive\n\
         of Redis 7.2 that is not listed here is obeyed.\n",
    );
    section(
        &mut page,
        "Accepted without an effect",
        "They are checked, shown and rewritten, and change nothing.",
        |spec| match spec.meaning {
            Meaning::Accepted(why) if spec.origin == Origin::Redis => Some(why),
            _ => None,
        },
    );
    section(
        &mut page,
        "Without an effect until their part of the server is there",
        "They are checked, shown and rewritten.",
        |spec| match spec.meaning {
            Meaning::ToCome(why) => Some(why),
            _ => None,
        },
    );
    section(
        &mut page,
        "Of later versions of Redis or of Valkey, without an effect",
        "So that their files load.",
        |spec| match spec.meaning {
            Meaning::Accepted(why) if spec.origin == Origin::Later => Some(why),
            _ => None,
        },
    );
    page.push_str("\n## Other defaults\n\n| directive | Redis 7.2 | here | why |\n| --- | --- | --- | --- |\n");
    let defaults = Config::default();
    for other in OTHER_DEFAULTS {
        let spec = directives::find(other.name.as_bytes()).expect("the list names directives");
        let here = String::from_utf8_lossy(&spec.get(&defaults)).into_owned();
        let _ = writeln!(page, "| `{}` | `{}` | `{here}` | {} |", other.name, other.redis, other.why);
    }
    page.push_str("\n## Our own\n\n| directive | default |\n| --- | --- |\n");
    for spec in directives::all().filter(|spec| spec.origin == Origin::Quorate) {
        let _ = writeln!(page, "| `{}` | `{}` |", spec.name, String::from_utf8_lossy(&spec.get(&defaults)));
    }
    page
}

/// Every directive with its default, an area after the other.
pub fn reference() -> String {
    let mut page = String::from(
        "# Every directive\n\n\
         This page is written from the tables in `crates/config/src/directives/`; a test keeps it in step. Each stands in the\n\
         configuration file, or on the command line with two dashes in front. *at once* is what CONFIG SET changes while the server\n\
         runs; the others need a start. What is accepted without an effect is in [directives.md](directives.md) with the reason.\n",
    );
    let defaults = Config::default();
    for (title, table) in directives::AREAS {
        let _ = write!(page, "\n## {title}\n\n| directive | default | changes | |\n| --- | --- | --- | --- |\n");
        for spec in table.iter().filter(|spec| !spec.is_hidden()) {
            let names: Vec<String> = spec.names().map(|name| format!("`{name}`")).collect();
            let default = String::from_utf8_lossy(&spec.get(&defaults)).replace('|', "\\|");
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let changes = if spec.is_immutable() { "at a start" } else { "at once" };
            let effect = match (spec.meaning, spec.origin) {
                (Meaning::Accepted(_), _) => "without effect",
                (Meaning::ToCome(_), _) => "not yet",
                (_, Origin::Quorate) => "our own",
                (_, Origin::Later) => "of later versions",
                (_, Origin::Redis) => "",
            };
            let _ = writeln!(page, "| {} | {default} | {changes} | {effect} |", names.join(" "));
        }
    }
    page
}

fn section(page: &mut String, title: &str, text: &str, why: impl Fn(&Spec) -> Option<&'static str>) {
    let _ = write!(page, "\n## {title}\n\n{text}\n\n| directive | why |\n| --- | --- |\n");
    for spec in directives::all() {
        if let Some(why) = why(spec) {
            let _ = writeln!(page, "| `{}` | {why} |", spec.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change of the tables, write the page anew with `UPDATE_DOCS=1 cargo test -p quorate-config page`.
    #[test]
    fn the_documentation_says_what_the_tables_say() {
        for (name, page) in [("directives.md", page()), ("configuration.md", reference())] {
            let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &page).unwrap();
            }
            let written = std::fs::read_to_string(&path).unwrap();
            assert!(written == page, "docs/{name} is not what the tables say");
        }
    }

    #[test]
    fn names_are_unique_in_lower_case_and_reasons_are_parts_of_sentences() {
        let mut seen = std::collections::HashSet::new();
        for spec in directives::all() {
            for name in spec.names() {
                assert!(seen.insert(name), "{name} is there twice");
                assert_eq!(name, name.to_lowercase());
            }
            if let Meaning::Accepted(why) | Meaning::ToCome(why) = spec.meaning {
                assert!(!why.is_empty() && !why.ends_with('.'), "{}: {why}", spec.name);
            }
        }
    }
}
