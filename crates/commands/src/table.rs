//! The list of data commands, sorted by name: the one place where a command is registered.

use crate::spec::Spec;
use crate::string;

/// Every data command.
pub static TABLE: &[&Spec] = &[&string::get::GET, &string::set::SET];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_are_in_lower_case() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} stands behind {}", pair[1].name, pair[0].name);
        }
        for spec in TABLE {
            assert_eq!(spec.name, spec.name.to_lowercase());
            assert!(!spec.summary.is_empty() && !spec.since.is_empty(), "{} is not documented", spec.name);
        }
    }
}
