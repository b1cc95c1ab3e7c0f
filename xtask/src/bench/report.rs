//! The figures of a run, as tables to read and quote, and as JSON to compare.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::server::Kind;
use super::stats::Samples;
use super::throughput::Row;

/// A figure that is not about one of the throughput cases, for each server that has it.
pub(super) struct Figure {
    name: String,
    unit: Unit,
    of: Vec<(Kind, Samples)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Unit {
    Bytes,
    Millis,
    Nanos,
    /// A ratio within one server.
    Times,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Millis => "ms",
            Unit::Nanos => "ns",
            Unit::Times => "times",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Bytes | Unit::Nanos => format!("{value:.0}"),
            Unit::Millis if value < 10.0 => format!("{value:.2}"),
            Unit::Millis => format!("{value:.0}"),
            Unit::Times => format!("{value:.2}"),
        }
    }
}

impl Figure {
    pub(super) fn new(name: String, unit: Unit) -> Figure {
        Figure { name, unit, of: Vec::new() }
    }

    pub(super) fn push(&mut self, kind: Kind, samples: Samples) {
        self.of.push((kind, samples));
    }

    /// The median, and behind it the range if there is one.
    fn cell(&self, kind: Kind) -> String {
        let Some(samples) = self.samples(kind) else { return String::new() };
        let (least, greatest) = samples.range();
        let median = self.unit.show(samples.median());
        match samples.as_slice() {
            [_] => median,
            _ => format!("{median} ({}–{})", self.unit.show(least), self.unit.show(greatest)),
        }
    }

    fn samples(&self, kind: Kind) -> Option<&Samples> {
        self.of.iter().find(|(of, _)| *of == kind).map(|(_, samples)| samples)
    }
}

/// All that a run has found.
#[derive(Default)]
pub(super) struct Report {
    /// What was measured where, and how.
    pub(super) setting: Vec<(&'static str, String)>,
    pub(super) rows: Vec<Row>,
    pub(super) figures: Vec<Figure>,
}

impl Report {
    /// Aligned Markdown.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.setting {
            let _ = writeln!(text, "{name}: {value}");
        }
        if !self.rows.is_empty() {
            text.push('\n');
            text.push_str(&table(self.throughput()));
        }
        if !self.figures.is_empty() {
            text.push('\n');
            text.push_str(&table(self.other()));
        }
        text
    }

    fn throughput(&self) -> Vec<Vec<String>> {
        let counted = self.rows.iter().any(|row| row.instructions.is_some());
        let mut head =
            vec!["case", "server", "req/s", "CPU ns/req", "spread", "× floor", "× redis", "busy", "load busy"];
        head.extend(counted.then_some("instr/req"));
        let mut lines = vec![head.into_iter().map(str::to_owned).collect()];
        for row in &self.rows {
            let times = |kind| match self.ratio(row, kind) {
                Some(ratio) if kind != row.kind && row.kind != Kind::Floor => format!("{:.2}", ratio.median()),
                _ => String::new(),
            };
            let mut line = vec![
                row.case.to_owned(),
                row.kind.name().to_owned(),
                format!("{:.0}k", row.requests_per_second.median() / 1e3),
                format!("{:.0}", row.cpu_nanos_per_request.median()),
                percent(row.cpu_nanos_per_request.spread()),
                times(Kind::Floor),
                times(Kind::Redis),
                percent(row.busy.median()),
                percent(row.load_busy.median()),
            ];
            line.extend(counted.then(|| row.instructions.map_or(String::new(), |count| format!("{count:.0}"))));
            lines.push(line);
        }
        lines
    }

    /// A row's CPU per request relative to another server's in the same case, round by round.
    fn ratio(&self, row: &Row, base: Kind) -> Option<Samples> {
        let base = self.rows.iter().find(|other| other.case == row.case && other.kind == base)?;
        Some(row.cpu_nanos_per_request.over(&base.cpu_nanos_per_request))
    }

    fn other(&self) -> Vec<Vec<String>> {
        let head = ["figure", "unit", "quorate", "redis", "quorate / redis"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        for figure in &self.figures {
            let medians = [Kind::Quorate, Kind::Redis].map(|kind| figure.samples(kind).map(Samples::median));
            let ratio = match medians {
                [Some(ours), Some(theirs)] if figure.unit != Unit::Times => format!("{:.2}", ours / theirs),
                _ => String::new(),
            };
            let cells = [Kind::Quorate, Kind::Redis].map(|kind| figure.cell(kind));
            let [ours, theirs] = cells;
            lines.push(vec![figure.name.clone(), figure.unit.name().to_owned(), ours, theirs, ratio]);
        }
        lines
    }

    /// `setting`, `throughput` and `figures`; every sample is there.
    pub(super) fn json(&self) -> Value {
        let setting: serde_json::Map<String, Value> =
            self.setting.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let rows = self.rows.iter().map(|row| {
            json!({
                "case": row.case,
                "server": row.kind.name(),
                "requests_per_second": row.requests_per_second.as_slice(),
                "cpu_nanos_per_request": row.cpu_nanos_per_request.as_slice(),
                "busy": row.busy.as_slice(),
                "load_busy": row.load_busy.as_slice(),
                "instructions_per_request": row.instructions,
            })
        });
        let figures = self.figures.iter().flat_map(|figure| {
            figure.of.iter().map(|(kind, samples)| {
                json!({
                    "figure": figure.name,
                    "unit": figure.unit.name(),
                    "server": kind.name(),
                    "samples": samples.as_slice(),
                })
            })
        });
        json!({
            "setting": setting,
            "throughput": rows.collect::<Vec<_>>(),
            "figures": figures.collect::<Vec<_>>(),
        })
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A Markdown table whose columns line up in plain text: the first two to the left, figures to the right.
fn table(lines: Vec<Vec<String>>) -> String {
    let columns = lines[0].len();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 | 1 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column < 2 { '-' } else { ':' };
                let _ = write!(text, "| {}{end} ", "-".repeat(width - 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, cpu: [f64; 2]) -> Row {
        let one = || [1.0, 1.0].into_iter().collect::<Samples>();
        Row {
            case: "get",
            kind,
            requests_per_second: [1000.0, 3000.0].into_iter().collect(),
            cpu_nanos_per_request: cpu.into_iter().collect(),
            busy: one(),
            load_busy: one(),
            instructions: None,
        }
    }

    fn report() -> Report {
        let mut figure = Figure::new("say \"hi\"".to_owned(), Unit::Millis);
        figure.push(Kind::Redis, [4.0, 8.0, 6.0].into_iter().collect());
        figure.push(Kind::Quorate, [3.0].into_iter().collect());
        let rows = vec![row(Kind::Floor, [100.0, 200.0]), row(Kind::Redis, [300.0, 600.0])];
        Report { setting: vec![("keys", "7".to_owned())], rows, figures: vec![figure] }
    }

    #[test]
    fn a_table_lines_up_and_shows_ratios() {
        let text = report().text();
        assert_eq!(
            text,
            "keys: 7\n\
             \n\
             | case | server | req/s | CPU ns/req | spread | × floor | × redis | busy | load busy |\n\
             | ---- | ------ | ----: | ---------: | -----: | ------: | ------: | ---: | --------: |\n\
             | get  | floor  |    2k |        150 |    67% |         |         | 100% |      100% |\n\
             | get  | redis  |    2k |        450 |    67% |    3.00 |         | 100% |      100% |\n\
             \n\
             | figure   | unit | quorate |            redis | quorate / redis |\n\
             | -------- | ---- | ------: | ---------------: | --------------: |\n\
             | say \"hi\" | ms   |    3.00 | 6.00 (4.00–8.00) |            0.50 |\n"
        );
    }

    #[test]
    fn json_holds_every_sample() {
        let json = report().json();
        assert_eq!(json["setting"]["keys"], "7");
        assert_eq!(json["throughput"][1]["cpu_nanos_per_request"], json!([300.0, 600.0]));
        assert_eq!(json["figures"][0]["server"], "redis");
        assert_eq!(json["figures"][0]["samples"], json!([4.0, 8.0, 6.0]));
    }
}
