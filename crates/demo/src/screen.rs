//! What the demonstration shows while it runs: the timeline, and below it the state of things now.
//!
//! On a terminal the state is drawn over and over in place. Elsewhere it is a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the state is shown on a terminal, and elsewhere.
const FRAME: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(1);

pub(crate) struct Screen {
    start: Instant,
    is_terminal: bool,
    /// Lines of the state that are on the terminal now.
    drawn: usize,
    shown: Option<Instant>,
    timeline: Vec<(Duration, String)>,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let is_terminal = io::stdout().is_terminal();
        Screen { start: Instant::now(), is_terminal, drawn: 0, shown: None, timeline: Vec::new() }
    }

    /// Something happened that the timeline tells.
    pub(crate) fn event(&mut self, text: impl Into<String>) {
        let (at, text) = (self.start.elapsed(), text.into());
        self.clear();
        println!("{}", entry(at, &text));
        self.timeline.push((at, text));
    }

    /// Whether the state should be shown anew.
    pub(crate) fn is_due(&self) -> bool {
        let period = if self.is_terminal { FRAME } else { LINE };
        self.shown.is_none_or(|shown| shown.elapsed() >= period)
    }

    pub(crate) fn state(&mut self, lines: &[String]) {
        self.shown = Some(Instant::now());
        if self.is_terminal {
            self.clear();
            for line in lines {
                println!("  {line}");
            }
            self.drawn = lines.len();
            // A terminal that is gone is noticed when the demonstration ends.
            let _ = io::stdout().flush();
        } else {
            println!("{}  {}", clock(self.start.elapsed()), lines.join(" | "));
        }
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    /// Repeats the timeline without what was between.
    pub(crate) fn tell(&mut self) {
        self.clear();
        println!("\nTimeline");
        for (at, text) in &self.timeline {
            println!("{}", entry(*at, text));
        }
    }
}

fn entry(at: Duration, text: &str) -> String {
    format!("{}  {text}", clock(at))
}

fn clock(at: Duration) -> String {
    format!("{:8.3} s", at.as_secs_f64())
}
