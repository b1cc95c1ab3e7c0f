//! What the kernel is told of the process.

use quorate_values::parse_i64;

use crate::choice::Choice;
use crate::config::Config;
use crate::spec::{Apply, Flags, Form, How, Lines, Refusal, Spec, choice, kept, special};

/// What the kernel is told of the process.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// `oom-score-adj`: whether the kernel is told how dear the process is when memory runs out.
    pub oom_score: OomScore,
    /// `oom-score-adj-values`: for a primary, a replica and a background task: -2000 to 2000 each.
    pub oom_scores: [i32; 3],
}

impl Default for Process {
    fn default() -> Process {
        Process { oom_score: OomScore::No, oom_scores: [0, 200, 800] }
    }
}

/// How `oom-score-adj-values` are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomScore {
    /// The kernel is told nothing.
    No,
    /// They are added to the score at the start.
    Relative,
    /// They are the score.
    Absolute,
}

impl Choice for OomScore {
    const WORDS: &'static [(&'static str, OomScore)] = &[
        ("no", OomScore::No),
        ("yes", OomScore::Relative),
        ("relative", OomScore::Relative),
        ("absolute", OomScore::Absolute),
    ];

    /// `yes` is read and `relative` is shown.
    fn as_word(self) -> &'static str {
        match self {
            OomScore::No => "no",
            OomScore::Relative => "relative",
            OomScore::Absolute => "absolute",
        }
    }
}

pub(super) static TABLE: &[Spec] = &[
    choice(
        "oom-score-adj",
        OomScore::words,
        |c| c.process.oom_score.as_word(),
        |c, word| c.process.oom_score = Choice::named(word),
    )
    .applies(Apply::OomScore),
    special("oom-score-adj-values", get_scores, set_scores, Lines::Words).is(Flags::MANY).applies(Apply::OomScore),
    kept("jemalloc-bg-thread", Form::Switch, "yes", "the allocator always has its own thread for returning memory"),
    kept("watchdog-period", Form::Number(crate::quantity::decimal(0, crate::quantity::INT)), "0", NO_WATCHDOG)
        .is(Flags::HIDDEN),
];

const NO_WATCHDOG: &str = "a thread that hangs is not interrupted for a report";

fn get_scores(config: &Config) -> Vec<u8> {
    let scores: Vec<String> = config.process.oom_scores.iter().map(i32::to_string).collect();
    scores.join(" ").into_bytes()
}

fn set_scores(config: &mut Config, arguments: &[&[u8]], _: How) -> Result<(), Refusal> {
    let &[primary, replica, background] = arguments else { return Err("wrong number of arguments".into()) };
    let parse = |text: &[u8]| parse_i64(text).filter(|score| (-2000..=2000).contains(score)).map(|score| score as i32);
    let (Some(primary), Some(replica), Some(background)) = (parse(primary), parse(replica), parse(background)) else {
        return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into());
    };
    config.process.oom_scores = [primary, replica, background];
    Ok(())
}
