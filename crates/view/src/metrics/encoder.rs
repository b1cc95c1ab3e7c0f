//! Writes families of samples in either format.

use std::fmt::Write as _;

use super::Format;

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What goes up and down.
    Gauge,
    /// What only grows; its name ends in `_total`.
    Counter,
    /// What only grows under a name that OpenMetrics does not allow for that, but dashboards read.
    OddCounter,
}

pub(super) struct Encoder {
    format: Format,
    text: String,
}

/// A family; nothing is written of it until it has a sample.
pub(super) struct Family<'a> {
    encoder: &'a mut Encoder,
    name: String,
    kind: Kind,
    help: &'a str,
    is_begun: bool,
}

impl Encoder {
    pub(super) fn new(format: Format) -> Encoder {
        Encoder { format, text: String::with_capacity(16 * 1024) }
    }

    pub(super) fn family<'a>(&'a mut self, name: &str, kind: Kind, help: &'a str) -> Family<'a> {
        Family { encoder: self, name: name.to_owned(), kind, help, is_begun: false }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::Open {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let is_open = self.encoder.format == Format::Open;
        let text = &mut self.encoder.text;
        if !self.is_begun {
            self.is_begun = true;
            // A counter of OpenMetrics has its suffix in samples alone.
            let family =
                if is_open && self.kind == Kind::Counter { self.name.trim_end_matches("_total") } else { &self.name };
            let kind = match (self.kind, is_open) {
                (Kind::Gauge, _) => "gauge",
                (Kind::Counter, _) | (Kind::OddCounter, false) => "counter",
                (Kind::OddCounter, true) => "unknown",
            };
            // Writing to a string can't fail.
            let _ = write!(text, "# HELP {family} {}\n# TYPE {family} {kind}\n", self.help);
        }
        text.push_str(&self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(text, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c if c.is_control() => text.push('\u{fffd}'),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}
