//! `notify-keyspace-events`: the classes of events that are published, a letter each.

use crate::config::Config;
use crate::spec::{How, Lines, Refusal, Spec, special};

/// A set of classes of keyspace events: a bit for each letter of [`LETTERS`], in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventClasses(u32);

/// Every class: `K` and `E` say where events are published, the others which.
const LETTERS: &[u8] = b"KEg$lshzxetmdn";
/// What `A` stands for: all of them but `m` (misses) and `n` (new keys).
const ALL: &[u8] = b"g$lshzxetd";

impl EventClasses {
    /// Whether the class of this letter is in the set.
    pub fn has(self, letter: u8) -> bool {
        bit(letter).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The letters of the set, in the order in which `notify-keyspace-events` documents them.
    pub fn letters(self) -> impl Iterator<Item = u8> {
        LETTERS.iter().copied().filter(move |&letter| self.has(letter))
    }

    fn parse(text: &[u8]) -> Option<EventClasses> {
        let mut classes = 0;
        for &letter in text {
            match letter {
                b'A' => ALL.iter().filter_map(|&letter| bit(letter)).for_each(|bit| classes |= bit),
                letter => classes |= bit(letter)?,
            }
        }
        Some(EventClasses(classes))
    }

    /// The one spelling that Redis shows.
    fn show(self) -> Vec<u8> {
        let mut shown = Vec::new();
        if ALL.iter().all(|&letter| self.has(letter)) {
            shown.push(b'A');
        } else {
            shown.extend(b"g$lshzxetdn".iter().filter(|&&letter| self.has(letter)));
        }
        shown.extend(b"KEm".iter().filter(|&&letter| self.has(letter)));
        shown
    }
}

fn bit(letter: u8) -> Option<u32> {
    LETTERS.iter().position(|&own| own == letter).map(|index| 1 << index)
}

pub(super) static TABLE: &[Spec] = &[special("notify-keyspace-events", |c| c.events.show(), set_events, Lines::One)];

fn set_events(config: &mut Config, arguments: &[&[u8]], _: How) -> Result<(), Refusal> {
    let &[text] = arguments else { return Err("wrong number of arguments".into()) };
    match EventClasses::parse(text) {
        Some(classes) => config.events = classes,
        None => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        String::from_utf8(EventClasses::parse(text.as_bytes()).unwrap().show()).unwrap()
    }

    #[test]
    fn a_set_of_classes_is_shown_in_one_spelling() {
        for (text, expected) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KElgm", "glKEm"),
            ("Kg$lshzxetd", "AK"),
            ("KEn", "nKE"),
            ("g$lshzxetdmnKE", "AKEm"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(EventClasses::parse(b"KEX"), None);
    }
}
