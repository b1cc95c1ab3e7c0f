//! The ACL categories of a command, as they follow from its group and its flags.

use crate::spec::{Flags, Group, Run, Spec};

/// All categories, without the `@`, in the order in which COMMAND and ACL CAT list them.
pub const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The categories, without the `@`, each once, in the order of [`CATEGORIES`].
pub fn categories(spec: &Spec) -> Vec<&'static str> {
    let flags = spec.flags;
    let mut all = Vec::new();
    let of_flags = [
        (flags.has(Flags::WRITE), "write"),
        // What a script does is not known before it runs.
        (flags.has(Flags::READONLY) && spec.group != Group::Scripting, "read"),
        (flags.has(Flags::ADMIN), "admin"),
        (flags.any(Flags::ADMIN.and(Flags::DANGEROUS)), "dangerous"),
        (flags.has(Flags::PUBSUB), "pubsub"),
        (flags.has(Flags::BLOCKING), "blocking"),
        (flags.has(Flags::FAST), "fast"),
        (!flags.has(Flags::FAST), "slow"),
    ];
    all.extend(of_flags.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name));
    // A generic command that names types is about their values and not about keys (SORT).
    let is_about_values = spec.group == Group::Generic && !spec.categories.is_empty();
    if !matches!(spec.run, Run::Container) && !is_about_values {
        all.extend(of_group(spec.group));
    }
    all.extend(spec.categories);
    let place = |name: &&str| CATEGORIES.iter().position(|other| other == name).unwrap_or(CATEGORIES.len());
    all.sort_by_key(place);
    all.dedup();
    all
}

/// The category that a group is; those of the server and of a cluster say theirs themselves.
fn of_group(group: Group) -> Option<&'static str> {
    match group {
        Group::Generic => Some("keyspace"),
        Group::String => Some("string"),
        Group::List => Some("list"),
        Group::Set => Some("set"),
        Group::SortedSet => Some("sortedset"),
        Group::Hash => Some("hash"),
        Group::PubSub => Some("pubsub"),
        Group::Transactions => Some("transaction"),
        Group::Connection => Some("connection"),
        Group::Scripting => Some("scripting"),
        Group::HyperLogLog => Some("hyperloglog"),
        Group::Geo => Some("geo"),
        Group::Stream => Some("stream"),
        Group::Bitmap => Some("bitmap"),
        Group::Server | Group::Cluster | Group::Sentinel => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_follow_from_group_and_flags() {
        let get =
            Spec { group: Group::String, flags: Flags::READONLY.and(Flags::FAST), run: Run::Server, ..Spec::BLANK };
        assert_eq!(categories(&get), ["read", "string", "fast"]);
        let sort = Spec { categories: &["list", "set"], flags: Flags::WRITE, run: Run::Server, ..Spec::BLANK };
        assert_eq!(categories(&sort), ["write", "set", "list", "slow"]);
        let container = Spec { group: Group::String, flags: Flags::DANGEROUS, ..Spec::BLANK };
        assert_eq!(categories(&container), ["slow", "dangerous"]);
    }
}
