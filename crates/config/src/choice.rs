//! Values that are one word of a list.

use crate::spec::Refusal;

/// An enumeration whose values have words.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Every word with its value, in the order in which messages list them. Of two words for one value the first is
    /// shown.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for a value.
    fn as_word(self) -> &'static str {
        let own = Self::WORDS.iter().find(|(_, value)| *value == self);
        own.expect("every value has a word").0
    }

    /// The value of a word that [`Words::find`] returned.
    fn named(word: &str) -> Self {
        let named = Self::WORDS.iter().find(|(own, _)| *own == word);
        named.expect("only words of the list are looked up").1
    }

    /// The words alone.
    fn words() -> Words {
        Words(Self::WORDS.iter().map(|(word, _)| *word).collect())
    }
}

/// The words that a choice has.
#[derive(Debug)]
pub(crate) struct Words(Vec<&'static str>);

impl Words {
    /// The word that `argument` is in any case.
    pub(crate) fn find(&self, argument: &[u8]) -> Result<&'static str, Refusal> {
        find(&self.0, argument)
    }
}

/// The word of a list that `argument` is in any case.
pub(crate) fn find(words: &[&'static str], argument: &[u8]) -> Result<&'static str, Refusal> {
    let is_meant = |word: &&&'static str| word.as_bytes().eq_ignore_ascii_case(argument);
    match words.iter().find(is_meant) {
        Some(word) => Ok(word),
        None => Err(none_of(words)),
    }
}

/// The refusal of what is no word of the list.
pub(crate) fn none_of(words: &[&'static str]) -> Refusal {
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Colour {
        Red,
        Blue,
    }

    impl Choice for Colour {
        const WORDS: &'static [(&'static str, Colour)] =
            &[("red", Colour::Red), ("crimson", Colour::Red), ("blue", Colour::Blue)];
    }

    #[test]
    fn a_word_is_found_in_any_case_and_the_first_word_is_shown() {
        assert_eq!(Colour::named(Colour::words().find(b"CRIMSON").unwrap()), Colour::Red);
        assert_eq!(Colour::Red.as_word(), "red");
        assert_eq!(Colour::Blue.as_word(), "blue");
    }

    #[test]
    fn a_refusal_lists_the_words() {
        let refusal = Colour::words().find(b"green").unwrap_err();
        assert_eq!(refusal.to_string(), "argument(s) must be one of the following: red, crimson, blue");
    }
}
