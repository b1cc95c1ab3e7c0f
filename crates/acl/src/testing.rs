//! A small catalog for tests.

use crate::{Catalog, Listed, Terms, User};

const CATEGORIES: &[&str] = &["read", "write", "string", "connection", "admin", "fast", "slow", "dangerous"];

/// A few commands of each kind.
pub(crate) fn catalog() -> Catalog {
    let listed = |name: &str, container, categories: &[&'static str]| Listed {
        name: name.to_owned(),
        container,
        categories: categories.to_vec(),
    };
    Catalog::new(
        CATEGORIES,
        [
            listed("get", None, &["read", "string", "fast"]),
            listed("set", None, &["write", "string", "slow"]),
            listed("mget", None, &["read", "string", "fast"]),
            listed("select", None, &["connection", "fast"]),
            listed("config", None, &["slow"]),
            listed("config|get", Some(4), &["admin", "slow", "dangerous"]),
            listed("config|set", Some(4), &["admin", "slow", "dangerous"]),
            listed("publish", None, &["fast"]),
        ],
    )
}

/// The terms of a test.
pub(crate) fn terms(catalog: &Catalog) -> Terms<'_> {
    Terms { catalog, all_channels: false }
}

/// A user of these rules.
pub(crate) fn user(catalog: &Catalog, rules: &str) -> User {
    let words: Vec<&str> = rules.split(' ').collect();
    let rules = crate::merge(&words).unwrap();
    User::new(b"u", terms(catalog)).with(&rules, terms(catalog)).unwrap()
}
