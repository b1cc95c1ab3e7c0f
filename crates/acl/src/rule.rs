//! Rules as text: what they look like, what is wrong with them, and words that are one rule together.

use thiserror::Error;

/// Why a rule can't be applied, as Redis words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum RuleError {
    #[error("Syntax error")]
    Syntax,
    #[error("Unknown command or category name in ACL")]
    Unknown,
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgumentOfSubcommand,
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
         'resetkeys' to start with an empty list of patterns"
    )]
    AllKeysAlready,
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
         'resetchannels' to start with an empty list of channels"
    )]
    AllChannelsAlready,
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    #[error("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")]
    BadDigest,
}

/// Puts the words of each selector, from one that begins with a parenthesis to one that ends with it, into one rule.
///
/// # Errors
/// Which word begins a selector that has no end.
pub fn merge<W: AsRef<[u8]>>(words: &[W]) -> Result<Vec<Vec<u8>>, usize> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let (begun, mut rule) = match open.take() {
            Some((begun, mut rule)) => {
                rule.push(b' ');
                rule.extend_from_slice(word);
                (begun, rule)
            }
            None if word.starts_with(b"(") => (index, word.to_vec()),
            None => {
                rules.push(word.to_vec());
                continue;
            }
        };
        if word.ends_with(b")") {
            rules.push(std::mem::take(&mut rule));
        } else {
            open = Some((begun, rule));
        }
    }
    match open {
        Some((begun, _)) => Err(begun),
        None => Ok(rules),
    }
}

/// Whether a pattern could not be told from two: it has a space or a NUL.
pub(crate) fn is_torn(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(line: &str) -> Result<Vec<String>, usize> {
        let words: Vec<&str> = line.split('|').collect();
        let rules = merge(&words)?;
        Ok(rules.into_iter().map(|rule| String::from_utf8(rule).unwrap()).collect())
    }

    #[test]
    fn the_words_of_a_selector_are_one_rule() {
        assert_eq!(merged("on|(~a|+get)|(~b)|x)").unwrap(), ["on", "(~a +get)", "(~b)", "x)"]);
        assert_eq!(merged("on|(~a|b"), Err(1));
        assert_eq!(merged("(~a)x"), Err(0));
        assert_eq!(merged("("), Err(0));
    }
}
