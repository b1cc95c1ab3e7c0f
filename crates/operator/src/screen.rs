//! What is shown: lines for people and scripts on the standard output, progress on the terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

const WIDTH: usize = 30;
/// How often a bar is drawn anew.
const REFRESH: Duration = Duration::from_millis(100);

/// What is waited for is not shown before so long: most of it is over by then.
const DELAY: Duration = Duration::from_secs(1);

/// A bar with an estimate, or a line that says what is waited for, on a terminal; nothing elsewhere.
#[derive(Debug)]
pub struct Bar {
    what: String,
    /// Nothing if nobody can say how much it is.
    total: Option<usize>,
    begun: Instant,
    drawn: Option<Instant>,
    is_shown: bool,
}

impl Bar {
    /// A bar for so many steps.
    pub fn new(what: String, total: usize) -> Bar {
        Bar::of(what, Some(total))
    }

    /// A line for what takes its time, and nobody knows how long.
    pub fn waiting(what: String) -> Bar {
        Bar::of(what, None)
    }

    fn of(what: String, total: Option<usize>) -> Bar {
        Bar { what, total, begun: Instant::now(), drawn: None, is_shown: std::io::stderr().is_terminal() }
    }

    /// So many are done; and what more there is to say.
    pub fn at(&mut self, done: usize, note: &str) {
        let is_last = self.total.is_some_and(|total| done >= total);
        let is_fresh = self.drawn.is_some_and(|drawn| drawn.elapsed() < REFRESH) && !is_last;
        let is_early = self.total.is_none() && self.begun.elapsed() < DELAY;
        if !self.is_shown || is_fresh || is_early {
            return;
        }
        self.drawn = Some(Instant::now());
        let spent = self.begun.elapsed();
        let line = match self.total {
            Some(total) => line(&self.what, done, total, spent, note),
            None => waiting(&self.what, spent, note),
        };
        // Nothing depends on whether anybody sees it.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, done: usize, total: usize, spent: Duration, note: &str) -> String {
    let part = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    let filled = (part * WIDTH as f64) as usize;
    let bar = "#".repeat(filled) + &".".repeat(WIDTH - filled);
    let left = match done {
        0 => String::new(),
        _ => format!(", {} s left", (spent.as_secs_f64() * (1.0 - part) / part).round()),
    };
    let note = if note.is_empty() { String::new() } else { format!(", {note}") };
    format!("{what} [{bar}] {done}/{total}{left}{note}")
}

fn waiting(what: &str, spent: Duration, note: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!(": {note}") };
    format!("{what}, for {} s{note}", spent.as_secs())
}

/// Asks whether to go on; no if nobody can answer.
pub(crate) fn confirm(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        println!("{question} (nobody to ask: give --yes)");
        return false;
    }
    print!("{question} (type 'yes' to accept): ");
    let mut answer = String::new();
    std::io::stdout().flush().is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// A text as JSON has it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted += &format!("\\u{:04x}", control as u32),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_how_far_it_is_and_how_long_it_will_take() {
        let shown = line("moving", 25, 100, Duration::from_secs(10), "");
        assert_eq!(shown, format!("moving [{}{}] 25/100, 30 s left", "#".repeat(7), ".".repeat(23)));
        assert!(line("moving", 0, 0, Duration::ZERO, "").ends_with("0/0"));
        assert_eq!(waiting("waiting", Duration::from_secs(3), "2 of 3"), "waiting, for 3 s: 2 of 3");
    }

    #[test]
    fn no_text_leaves_its_quotes() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
