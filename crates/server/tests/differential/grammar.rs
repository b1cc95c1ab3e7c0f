//! Requests from lines such as `SET K V {NX|XX|GET|EX N|KEEPTTL}*`.
//!
//! In a line, words stand for themselves, except:
//!
//! | word | becomes |
//! | --- | --- |
//! | `K` `V` `M` | a key, a value, a member or field, each out of few, so that they meet |
//! | `N` `F` `I` | a small number, a number with a fraction, an index from either end |
//! | `T` `S` | milliseconds or seconds that are long or over, `TA` `SA` the same as points in time |
//! | `P` | a glob pattern |
//! | `{a\|b c}*` | some of these, in any order; `?` instead of `*`: one or none; `+`: one to four of them |

use quorate_stdx::Rng;

pub(crate) struct Grammar {
    rng: Rng,
}

/// Numbers that are none, or that are too large, or that are written oddly.
const ODD: &[&str] = &[
    "",
    " ",
    "-",
    "+1",
    "-0",
    "01",
    "1 ",
    " 1",
    "1e3",
    "0x10",
    "1.0",
    "1.5e300",
    "-1.7e308",
    "nan",
    "inf",
    "-inf",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "99999999999999999999",
    "4294967296",
    "2147483648",
    "-2147483649",
    "abc",
    "3.0e3",
    "1.",
    ".5",
];

impl Grammar {
    pub(crate) fn new(rng: Rng) -> Grammar {
        Grammar { rng }
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// A request of the line, in one of ten cases not quite as it should be.
    pub(crate) fn request(&mut self, line: &str) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        self.expand(line, &mut words);
        if self.one_in(10) {
            self.spoil(&mut words);
        }
        if self.one_in(20) {
            words[0] = words[0].to_ascii_uppercase();
        }
        words
    }

    /// Takes an argument away, adds one, or replaces one by an odd number or another word.
    fn spoil(&mut self, words: &mut Vec<Vec<u8>>) {
        match self.below(4) {
            0 if words.len() > 1 => drop(words.pop()),
            1 => {
                let word = self.one_of(&["k1", "EX", "1", "NX", "", "foo", "COUNT", "GT"]);
                words.push(word.into());
            }
            _ if words.len() > 1 => {
                let at = 1 + self.below(words.len() - 1);
                words[at] =
                    if self.one_in(3) { self.one_of(&["k1", "nx", "", "LIMIT"]) } else { self.one_of(ODD) }.into();
            }
            _ => {}
        }
    }

    fn expand(&mut self, line: &str, words: &mut Vec<Vec<u8>>) {
        let mut rest = line;
        while !rest.is_empty() {
            if let Some(group) = rest.strip_prefix('{') {
                let (choices, after) = group.split_once('}').expect("a group is closed");
                let choices: Vec<&str> = choices.split('|').collect();
                let times = match after.as_bytes().first() {
                    Some(b'*') => self.below(4),
                    Some(b'+') => 1 + self.below(4),
                    Some(b'?') => self.below(2),
                    _ => panic!("a group is followed by *, + or ?: {line}"),
                };
                for _ in 0..times {
                    let choice = self.one_of(&choices);
                    self.expand(choice, words);
                }
                rest = after[1..].trim_start();
            } else {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                words.push(self.word(word));
                rest = after;
            }
        }
    }

    fn word(&mut self, word: &str) -> Vec<u8> {
        if matches!(word, "N" | "F" | "I" | "T" | "S") && self.one_in(25) {
            return self.one_of(ODD).into();
        }
        let text = match word {
            "K" => format!("k{}", self.below(6)),
            "V" => return self.value(),
            "M" => return self.member(),
            "N" => (self.below(14) as i64 - 3).to_string(),
            "I" => (self.below(24) as i64 - 12).to_string(),
            "F" => self.one_of(&["1", "-1", "0.5", "2.25", "-3.75", "1e2", "0", "100", "7", "0.1"]).to_owned(),
            "T" => self.one_of(&["100000000", "200000000", "999999999", "0", "-5"]).to_owned(),
            "S" => self.one_of(&["100000", "200000", "999999", "0", "-5"]).to_owned(),
            "TA" => self.one_of(&["33000000000000", "33000000000001", "1000", "0", "-1"]).to_owned(),
            "SA" => self.one_of(&["33000000000", "33000000001", "1", "0", "-1"]).to_owned(),
            "P" => self.one_of(&["*", "k*", "k[1-3]", "?1", "nothing", "m*", "", "[^k]*", "\\k1", "*1*"]).to_owned(),
            other => other.to_owned(),
        };
        text.into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(12) {
            0..=4 => (self.below(2000) as i64 - 1000).to_string().into_bytes(),
            5 => self.one_of(ODD).into(),
            6 => vec![b'x'; self.below(100)],
            7 => vec![b'y'; 1000 + self.below(3000)],
            8 => b"\x00\xff binary \r\n".to_vec(),
            9 => format!("{}.{}", self.below(50), self.below(100)).into_bytes(),
            _ => self.one_of(&["ohmytext", "mynewtext", "hello", "world", ""]).into(),
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.below(12) {
            0..=5 => self.below(30).to_string().into_bytes(),
            6..=9 => format!("m{}", self.below(20)).into_bytes(),
            10 => vec![b'z'; 60 + self.below(20)],
            _ => self.value(),
        }
    }
}
