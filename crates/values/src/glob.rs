//! Glob patterns over byte strings: KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET and ACL rules.
//!
//! Not a shell's globs and not regular expressions: there is no notion of a path, and every text is a
//! pattern, because what is malformed has a meaning too (below).
//!
//! | pattern | matches |
//! | --- | --- |
//! | `*` | any bytes, also none; but a pattern of stars alone does not match the empty string |
//! | `?` | any one byte |
//! | `[abx-z]` | one byte of the set; the ends of a range may be given in either order |
//! | `[^abc]` | one byte outside of the set |
//! | `\x` | `x` itself, inside of a set too; a `\` at the very end stands for itself |
//!
//! A set that is not closed ends with the pattern, `[]` matches no byte, and `[^]` matches every byte.
//!
//! **Theory.** Each element but the star takes exactly one byte. So when a match fails behind a star, only the
//! *last* star is worth another try, one byte further: whatever an earlier star could reach, the last
//! one reaches as well. Two positions are all the state there is, the stack stays flat, and the time is
//! at most the product of both lengths, where naive recursion is exponential (CVE-2024-31228).

/// Whether ASCII letters that differ in case are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// `a` is not `A`.
    Sensitive,
    /// `a` is `A`.
    Insensitive,
}

impl Case {
    #[inline]
    fn fold(self, byte: u8) -> u8 {
        match self {
            Case::Sensitive => byte,
            Case::Insensitive => byte.to_ascii_lowercase(),
        }
    }
}

/// Whether all of `text` matches `pattern`.
pub fn glob_matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut pattern_at = 0;
    let mut text_at = 0;
    let mut retry: Option<Retry> = None;
    while text_at < text.len() {
        let rest = &pattern[pattern_at..];
        if rest.first() == Some(&b'*') {
            let stars = rest.iter().take_while(|&&byte| byte == b'*').count();
            pattern_at += stars;
            let Some(found) = next_start(&pattern[pattern_at..], text, text_at, case) else {
                return pattern_at == pattern.len();
            };
            text_at = found;
            retry = Some(Retry { pattern_at, text_at });
            continue;
        }
        if let Some(taken) = matching_element(rest, text[text_at], case) {
            pattern_at += taken;
            text_at += 1;
            continue;
        }
        let Some(star) = &mut retry else { return false };
        let Some(found) = next_start(&pattern[star.pattern_at..], text, star.text_at + 1, case) else { return false };
        star.text_at = found;
        (pattern_at, text_at) = (star.pattern_at, found);
    }
    pattern[pattern_at..].iter().all(|&byte| byte == b'*')
}

/// Whether a pattern has no special byte, so that it matches exactly itself.
pub fn glob_is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Where to go back to: behind the last star, and the byte from which its rest was tried last.
struct Retry {
    pattern_at: usize,
    text_at: usize,
}

/// The first place at or behind `from` where the pattern behind a star may start. `None` when there is none,
/// or nothing stands behind the star.
fn next_start(behind_star: &[u8], text: &[u8], from: usize, case: Case) -> Option<usize> {
    let first = *behind_star.first()?;
    let candidates = text.get(from..)?;
    if case == Case::Sensitive && !matches!(first, b'?' | b'[' | b'\\') {
        return Some(from + memchr::memchr(first, candidates)?);
    }
    (!candidates.is_empty()).then_some(from)
}

/// The length of the pattern's first element when it matches `byte`. The pattern does not start with a star.
#[inline]
fn matching_element(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    let (&first, rest) = pattern.split_first()?;
    match (first, rest) {
        (b'?', _) => Some(1),
        (b'[', set) => {
            let (matched, len) = match_set(set, byte, case);
            matched.then_some(1 + len)
        }
        (b'\\', [escaped, ..]) => (case.fold(*escaped) == case.fold(byte)).then_some(2),
        (literal, _) => (case.fold(literal) == case.fold(byte)).then_some(1),
    }
}

/// Whether a set, given behind its `[`, has `byte`, and how long it is with its `]`.
fn match_set(set: &[u8], byte: u8, case: Case) -> (bool, usize) {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    let folded = case.fold(byte);
    loop {
        match &set[at..] {
            [] => break,
            // An escape inside of a set is exact, whatever the case rule.
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            // The bounds are put in order before they are folded, so that [Z-a] and [a-Z] stay the same range.
            [one, b'-', other, ..] => {
                let (low, high) = (case.fold(*one.min(other)), case.fold(*one.max(other)));
                found |= (low..=high).contains(&folded);
                at += 3;
            }
            [literal, ..] => {
                found |= case.fold(*literal) == folded;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        glob_matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive)
    }

    #[test]
    fn well_formed_patterns_match_as_documented() {
        for (pattern, text) in [
            ("h?llo", "hello"),
            ("h*llo", "heeeello"),
            ("h*llo", "hllo"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hbllo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("*", "anything"),
            ("**a**", "a"),
            ("*foo*bar", "a foo, a foo bar, a bar"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("[\\^]", "^"),
            ("[a^]", "^"),
            ("", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("h?llo", "hllo"),
            ("h[ae]llo", "hillo"),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("*foo*bar", "foo bar baz"),
            ("\\*", "x"),
            ("a", "A"),
            ("a", "ab"),
            ("ab", "a"),
            ("", "a"),
            ("a", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    /// Each line was observed with KEYS on a live Redis 7.0.15.
    #[test]
    fn malformed_patterns_mean_what_redis_takes_them_for() {
        for (pattern, text, expected) in [
            ("**", "", false),
            ("a*", "a", true),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[^", "a", true),
            ("a[", "a", false),
            ("[a", "a", true),
            ("[a-", "a", true),
            ("[a-]", "a", true),
            ("a\\", "a", false),
            ("a\\", "a\\", true),
            ("a[]*", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_is_ignored_everywhere_but_behind_a_backslash_in_a_set() {
        for (pattern, text, expected) in [
            ("Max*", "maxmemory", true),
            ("[A-C]x", "bX", true),
            ("[Z-a]", "[", false),
            ("\\A", "a", true),
            ("[\\A]", "a", false),
            ("[\\A]", "A", true),
            ("*ORY", "maxmemory", true),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes(), Case::Insensitive), expected, "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let text = vec![b'a'; 20_000];
        let mut pattern = b"a*".repeat(10_000);
        pattern.push(b'b');
        assert!(!glob_matches(&pattern, &text, Case::Sensitive));
        assert!(!glob_matches(&b"*?[ab]".repeat(3_000), &text[..5_000], Case::Insensitive));
    }

    #[test]
    fn a_literal_pattern_is_recognised() {
        assert!(glob_is_literal(b"user:1000"));
        for pattern in ["a*", "a?", "[a", "\\a"] {
            assert!(!glob_is_literal(pattern.as_bytes()), "{pattern}");
        }
    }

    /// The definition of matching, tried in every way: a star takes none or one more byte.
    fn model(pattern: &[u8], text: &[u8], case: Case) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                model(rest, text, case) || text.split_first().is_some_and(|(_, text)| model(pattern, text, case))
            }
            (_, [byte, text @ ..]) => {
                matching_element(pattern, *byte, case).is_some_and(|len| model(&pattern[len..], text, case))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn going_back_to_the_last_star_is_enough(
            pattern in "[ab*?]{0,10}|(\\*|a|B|\\[ab\\]|\\[\\^a\\]|\\[a|\\\\){0,8}",
            text in "[aAb]{1,12}",
            insensitive: bool,
        ) {
            let case = if insensitive { Case::Insensitive } else { Case::Sensitive };
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob_matches(pattern, text, case), model(pattern, text, case));
        }

        #[test]
        fn arbitrary_bytes_never_trouble_the_matcher(pattern: Vec<u8>, text: Vec<u8>) {
            glob_matches(&pattern, &text, Case::Sensitive);
            glob_matches(&pattern, &text, Case::Insensitive);
        }
    }
}
