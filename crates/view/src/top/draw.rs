//! The screen as a function of what is known and of what is looked at.
//!
//! Whatever a server sent passes through `plain`, and no width is taken for granted: what does not fit is cut, the least important
//! columns first.

use quorate_stdx::UnixMs;
use quorate_topology::{Address, Event, Explorer, Facts, Role, State, Story, Tone, Topology, Verdict};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as TableRow, Sparkline, Table, TableState, Wrap};

use super::desk::{Desk, Page, Sort};
use super::rows::{self, Row};
use crate::history::History;
use crate::json;
use crate::report::{conclusion, ranges};
use crate::text::{bytes, clock, plain, span, thousands};

/// What is known.
pub(super) struct Scene<'a> {
    pub(super) explorer: &'a Explorer,
    pub(super) history: &'a History,
    pub(super) now: UnixMs,
}

/// Below so many lines there is room for the nodes only.
const ROOM_FOR_EVENTS: u16 = 16;
/// From so many columns on there is room for a picture beside the events.
const ROOM_FOR_CHARTS: u16 = 100;

/// Draws everything, and notes on the desk what can be chosen now.
pub(super) fn draw(frame: &mut Frame<'_>, desk: &mut Desk, scene: &Scene<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    desk.leap = usize::from(body.height.max(2)) / 2;
    let events: Vec<&Event> = scene.explorer.events().iter().rev().collect();
    desk.events = events.iter().map(|event| event.number).collect();
    desk.stories = scene.explorer.stories().map(|story| story.number).collect();
    draw_head(frame, head, scene);
    match desk.page() {
        Page::Nodes => draw_nodes(frame, body, desk, scene, &events),
        Page::Node(address) => {
            let lines = node_lines(scene, &address, &events);
            draw_text(frame, body, desk, &plain(&address.to_string()), lines);
        }
        Page::Events => draw_events(frame, body, desk, &events),
        Page::Story(number) => {
            let story = scene.explorer.stories().find(|story| story.number == number);
            let lines = story.map_or_else(|| vec![Line::from("It is forgotten.")], |story| story_lines(scene, story));
            draw_text(frame, body, desk, "How it came about", lines);
        }
        Page::Keys => draw_text(frame, body, desk, "Keys", key_lines()),
    }
    draw_foot(frame, foot, desk);
}

fn colour(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Healthy => Color::Green,
        Verdict::Degraded => Color::Yellow,
        Verdict::Down | Verdict::Unreachable => Color::Red,
    }
}

fn tone(tone: Tone) -> Color {
    match tone {
        Tone::Plain => Color::Reset,
        Tone::Good => Color::Green,
        Tone::Warning => Color::Yellow,
        Tone::Bad => Color::Red,
    }
}

/// The verdict with the figures of the whole, and the worst problem.
fn draw_head(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let topology = scene.explorer.topology();
    let health = topology.health();
    let servers = || topology.live().filter(|(_, facts)| facts.holds_data()).map(|(_, facts)| facts);
    let sum = |of: fn(&Facts) -> u64| servers().map(of).sum::<u64>();
    let keys: u64 = servers().filter(|facts| facts.is_primary()).map(|facts| facts.load.keys).sum();
    let figures = format!(
        "  {} commands/s  {}  {} keys",
        thousands(sum(|facts| facts.load.ops)),
        bytes(sum(|facts| facts.load.memory)),
        thousands(keys)
    );
    let verdict = if scene.explorer.is_settled() { json::verdict(health.verdict) } else { "looking" };
    let style = Style::new().fg(colour(health.verdict)).add_modifier(Modifier::BOLD);
    let said = conclusion(topology, &health);
    let said = said.split_once(": ").map_or(said.as_str(), |(_, said)| said).to_owned();
    let first = Line::from(vec![Span::styled(verdict, style), Span::raw("  "), Span::raw(said), Span::raw(figures)]);
    let second = match health.problems.first() {
        None => Line::default(),
        Some(problem) => {
            let node = problem.node.as_ref().map(|node| format!("{node} ")).unwrap_or_default();
            Line::from(plain(&format!("{node}{}", problem.text))).fg(colour(problem.verdict))
        }
    };
    let time = clock(scene.now);
    let width = u16::try_from(time.len()).unwrap_or(0) + 1;
    let [left, right] = Layout::horizontal([Constraint::Min(1), Constraint::Length(width)]).areas(area);
    frame.render_widget(Paragraph::new(vec![first, second]), left);
    frame.render_widget(Paragraph::new(time).alignment(Alignment::Right).dim(), right);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, desk: &Desk) {
    let line = if desk.is_filtering {
        Line::from(vec![
            Span::raw("filter: "),
            Span::raw(plain(&desk.filter)),
            Span::raw("_  Enter keeps it, Esc drops it"),
        ])
    } else {
        let keys: &[(&str, &str)] = match desk.page() {
            Page::Nodes => &[
                ("Enter", "open"),
                ("<>", "sort"),
                ("r", "reverse"),
                ("/", "filter"),
                ("Tab", "events"),
                ("?", "keys"),
            ],
            Page::Events => &[("Enter", "explain"), ("Tab", "nodes"), ("?", "keys")],
            Page::Node(_) | Page::Story(_) | Page::Keys => &[("Esc", "back"), ("↑↓", "scroll")],
        };
        let mut spans = Vec::new();
        for (key, what) in keys.iter().chain(&[("q", "end")]) {
            spans.extend([Span::raw(*key).bold(), Span::raw(format!(" {what}  "))]);
        }
        if !desk.filter.is_empty() {
            spans.push(Span::raw(format!("filter: {}", plain(&desk.filter))).yellow());
        }
        Line::from(spans)
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, desk: &mut Desk, scene: &Scene<'_>, events: &[&Event]) {
    let topology = scene.explorer.topology();
    let rows = rows::rows(topology, desk.sort, desk.is_reversed, &desk.filter);
    desk.nodes = rows.iter().filter_map(Row::address).cloned().collect();
    if !desk.node.as_ref().is_some_and(|node| desk.nodes.contains(node)) {
        desk.node = desk.nodes.first().cloned();
    }
    let below = if area.height < ROOM_FOR_EVENTS { 0 } else { (area.height / 3).clamp(6, 12) };
    let [list, rest] = Layout::vertical([Constraint::Min(1), Constraint::Length(below)]).areas(area);
    draw_table(frame, list, desk, topology, &rows);
    if below == 0 {
        return;
    }
    let charts = if area.width < ROOM_FOR_CHARTS { 0 } else { area.width / 3 };
    let [left, right] = Layout::horizontal([Constraint::Min(1), Constraint::Length(charts)]).areas(rest);
    let lines: Vec<Line<'_>> = events.iter().take(usize::from(below)).map(|event| event_line(event)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title("events")), left);
    if charts > 0 {
        let [ops, lag] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
        let node = desk.node.as_ref();
        let whose = node.map(|node| plain(&node.to_string())).unwrap_or_default();
        chart(frame, ops, &format!("commands/s of {whose}"), &scene.history.ops(node), thousands);
        chart(frame, lag, &format!("behind, {whose}"), &scene.history.lag(node), bytes);
    }
}

/// The newest figures that fit, with the latest in the title.
fn chart(frame: &mut Frame<'_>, area: Rect, title: &str, figures: &[u64], say: fn(u64) -> String) {
    let now = say(figures.last().copied().unwrap_or(0));
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).title(format!("{title}: {now}"));
    let newest = &figures[figures.len().saturating_sub(usize::from(area.width.saturating_sub(1)))..];
    frame.render_widget(Sparkline::default().block(block).data(newest).style(Style::new().cyan()), area);
}

struct Column {
    name: &'static str,
    sort: Option<Sort>,
    width: u16,
    /// Up to how many columns of the terminal it is left out.
    from: u16,
    cell: fn(&Topology, &Address, &Facts) -> String,
}

const fn column(
    name: &'static str,
    sort: Option<Sort>,
    (width, from): (u16, u16),
    cell: fn(&Topology, &Address, &Facts) -> String,
) -> Column {
    Column { name, sort, width, from, cell }
}

fn figure(facts: &Facts, of: fn(&Facts) -> String) -> String {
    if facts.holds_data() { of(facts) } else { String::new() }
}

static COLUMNS: &[Column] = &[
    column("ops/s", Some(Sort::Ops), (9, 50), |_, _, facts| figure(facts, |facts| thousands(facts.load.ops))),
    column("behind", Some(Sort::Lag), (10, 40), behind),
    column("keys", Some(Sort::Keys), (10, 62), |_, _, facts| figure(facts, |facts| thousands(facts.load.keys))),
    column("memory", Some(Sort::Memory), (9, 72), |_, _, facts| figure(facts, |facts| bytes(facts.load.memory))),
    column("clients", Some(Sort::Clients), (8, 90), |_, _, facts| thousands(facts.load.clients)),
    column("in/s", None, (9, 104), |_, _, facts| figure(facts, |facts| bytes(facts.load.input))),
    column("out/s", None, (9, 114), |_, _, facts| figure(facts, |facts| bytes(facts.load.output))),
    column("program", None, (16, 132), |_, _, facts| plain(&format!("{} {}", json::make(facts.make), facts.version))),
];

fn behind(topology: &Topology, address: &Address, facts: &Facts) -> String {
    match &facts.role {
        Role::Replica { is_linked: true, .. } => topology.lag(address).map_or_else(String::new, |(lag, _)| bytes(lag)),
        Role::Replica { is_syncing: true, .. } => "copying".to_owned(),
        Role::Replica { .. } => "no link".to_owned(),
        Role::Primary | Role::Sentinel => String::new(),
    }
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, desk: &Desk, topology: &Topology, rows: &[Row]) {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| area.width >= column.from).collect();
    let mark = |sort: Option<Sort>| match sort {
        Some(sort) if sort == desk.sort => {
            if desk.is_reversed {
                " ^"
            } else {
                " v"
            }
        }
        _ => "",
    };
    let by_node = if desk.sort == Sort::Node { Some(Sort::Node) } else { None };
    let mut names = vec![Cell::from(format!("node{}", mark(by_node))), Cell::from("role")];
    names.extend(columns.iter().map(|column| {
        Cell::from(Line::from(format!("{}{}", column.name, mark(column.sort))).alignment(Alignment::Right))
    }));
    let mut widths = vec![Constraint::Min(12), Constraint::Length(9)];
    widths.extend(columns.iter().map(|column| Constraint::Length(column.width)));
    let table_rows = rows.iter().map(|row| match row {
        Row::Title(title) => TableRow::new([Cell::from(plain(title).bold().cyan())]),
        Row::Node { address, depth } => node_row(topology, address, *depth, &columns),
    });
    let table = Table::new(table_rows, widths)
        .header(TableRow::new(names).style(Style::new().add_modifier(Modifier::DIM | Modifier::UNDERLINED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let chosen = rows.iter().position(|row| row.address().is_some() && row.address() == desk.node.as_ref());
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(chosen));
}

fn node_row<'a>(topology: &Topology, address: &Address, depth: usize, columns: &[&Column]) -> TableRow<'a> {
    let place = format!(" {}{}", "  ".repeat(depth), plain(&address.to_string()));
    let Some(node) = topology.node(address) else {
        return TableRow::new([Cell::from(place), Cell::from("unseen")]).style(Style::new().red());
    };
    let role = match (&node.state, node.live()) {
        (State::Unknown, _) => "looking",
        (State::Down { .. }, _) => "down",
        _ => rows::role(node),
    };
    let mut cells = vec![Cell::from(place), Cell::from(role)];
    if let Some(facts) = node.live() {
        cells.extend(
            columns.iter().map(|column| {
                Cell::from(Line::from((column.cell)(topology, address, facts)).alignment(Alignment::Right))
            }),
        );
    }
    let is_impaired = node.live().is_some_and(|facts| {
        !facts.complaints.is_empty() || matches!(facts.role, Role::Replica { is_linked: false, .. })
    });
    let style = match (&node.state, is_impaired) {
        (State::Down { .. }, _) => Style::new().red(),
        (State::Unknown, _) => Style::new().dim(),
        (State::Up, true) => Style::new().yellow(),
        (State::Up, false) => Style::new(),
    };
    TableRow::new(cells).style(style)
}

fn event_line(event: &Event) -> Line<'static> {
    let node = event.node.as_ref().map(|node| format!("{node} ")).unwrap_or_default();
    let text = plain(&format!("{node}{}", event.text));
    Line::from(vec![Span::raw(clock(event.at)).dim(), Span::raw(" "), Span::raw(text).fg(tone(event.tone))])
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, desk: &mut Desk, events: &[&Event]) {
    if !desk.event.is_some_and(|event| desk.events.contains(&event)) {
        desk.event = desk.events.first().copied();
    }
    let lines = events.iter().map(|event| {
        let mut line = event_line(event);
        if desk.stories.contains(&event.number) {
            line.push_span(Span::raw("  [Enter explains]").cyan());
        }
        TableRow::new([Cell::from(line)])
    });
    let table = Table::new(lines, [Constraint::Min(1)])
        .block(Block::new().borders(Borders::TOP).title("events"))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let chosen = desk.events.iter().position(|event| Some(*event) == desk.event);
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(chosen));
}

/// A page of text, scrolled no further than to its end.
fn draw_text(frame: &mut Frame<'_>, area: Rect, desk: &mut Desk, title: &str, lines: Vec<Line<'_>>) {
    let width = usize::from(area.width.max(1));
    let height: usize = lines.iter().map(|line| line.width().div_ceil(width).max(1)).sum();
    let most = u16::try_from(height).unwrap_or(u16::MAX).saturating_sub(area.height.saturating_sub(1));
    desk.scroll = desk.scroll.min(most);
    let block = Block::new().borders(Borders::TOP).title(title.to_owned());
    let text = Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((desk.scroll, 0)).block(block);
    frame.render_widget(text, area);
}

fn fact(name: &str, value: impl AsRef<str>) -> Line<'static> {
    Line::from(vec![Span::raw(format!("{name:<12}")).dim(), Span::raw(plain(value.as_ref()))])
}

fn node_lines(scene: &Scene<'_>, address: &Address, events: &[&Event]) -> Vec<Line<'static>> {
    let topology = scene.explorer.topology();
    let Some(node) = topology.node(address) else { return vec![Line::from("It is not known any more.")] };
    let mut lines = Vec::new();
    lines.push(match &node.state {
        State::Unknown => fact("state", "not asked yet"),
        State::Up => fact("state", "up"),
        State::Down { fault, since } => {
            fact("state", format!("{fault}, since {} s", (scene.now - *since) / 1000)).fg(Color::Red)
        }
    });
    if let Some(facts) = &node.facts {
        said_lines(topology, address, facts, &mut lines);
    }
    let own = events.iter().filter(|event| event.node.as_ref() == Some(address) || event.others.contains(address));
    lines.extend([Line::default(), Line::from("What happened").bold()]);
    lines.extend(own.take(100).map(|event| event_line(event)));
    lines
}

fn said_lines(topology: &Topology, address: &Address, facts: &Facts, lines: &mut Vec<Line<'static>>) {
    let load = &facts.load;
    lines.extend(facts.complaints.iter().map(|text| fact("complains", text).fg(Color::Yellow)));
    lines.push(fact("program", format!("{} {}, up for {}", json::make(facts.make), facts.version, span(facts.uptime))));
    match &facts.role {
        Role::Primary => lines.push(fact("role", "primary")),
        Role::Sentinel => lines.push(fact("role", "sentinel")),
        Role::Replica { of, is_linked, is_syncing, down_for } => {
            let link = match (is_linked, is_syncing, topology.lag(address)) {
                (true, _, Some((lag, heard))) => format!("{} behind, heard {heard} s ago", bytes(lag)),
                (true, _, None) => "linked".to_owned(),
                (false, true, _) => "copies its dataset".to_owned(),
                (false, false, _) => format!("no link for {down_for} s"),
            };
            lines.push(fact("role", format!("replica of {of}: {link}")));
        }
    }
    if facts.holds_data() {
        let most = if load.max_memory > 0 { format!(" of {}", bytes(load.max_memory)) } else { String::new() };
        let rates = [load.ops, load.input, load.output];
        let waiting = thousands(load.blocked);
        lines.extend([
            fact("memory", format!("{}{most}", bytes(load.memory))),
            fact(
                "rates",
                format!("{} commands/s, {}/s in, {}/s out", thousands(rates[0]), bytes(rates[1]), bytes(rates[2])),
            ),
            fact("clients", format!("{}, {waiting} of them wait", thousands(load.clients))),
            fact("keys", format!("{}, {} evicted", thousands(load.keys), thousands(load.evicted))),
            fact("lookups", format!("{} found, {} not", thousands(load.hits), thousands(load.misses))),
            fact("offset", thousands(facts.offset)),
        ]);
    }
    for replica in &facts.replicas {
        let lag = bytes(facts.offset.saturating_sub(replica.offset));
        lines.push(fact("replica", format!("{} {}, {lag} behind", replica.address, replica.state)));
    }
    if let Some(cluster) = &facts.cluster {
        let own = cluster.myself();
        let slots = own.map(|own| ranges(&own.slots)).unwrap_or_default();
        let state = if cluster.is_ok { "works" } else { "is down" };
        lines.push(fact("cluster", format!("{state}, epoch {}, {slots}", cluster.epoch)));
        for open in &cluster.moving {
            let way = if open.leaves { "leaves" } else { "arrives" };
            lines.push(fact("slot", format!("{} {way}", open.slot)));
        }
    }
    for watched in &facts.watched {
        lines.push(fact("watches", format!("{}: {} ({})", watched.name, watched.primary, watched.flags.join(", "))));
        lines.extend(watched.refusal.iter().map(|text| fact("", text).fg(Color::Yellow)));
        lines.extend(watched.explanation.iter().map(|text| fact("", text)));
    }
}

fn story_lines(scene: &Scene<'_>, story: &Story) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(plain(&story.summary)).bold(), Line::default()];
    for step in &story.steps {
        let after = (step.at - story.at) as f64 / 1000.0;
        let node = step.node.as_ref().map(|node| format!("{node} ")).unwrap_or_default();
        lines.push(Line::from(vec![
            Span::raw(format!("{after:+9.3} s  ")).dim(),
            Span::raw(plain(&format!("{node}{}", step.text))),
        ]));
    }
    let told = scene.explorer.topology().live().flat_map(|(node, facts)| {
        let is_about = |address: &Address| *address == story.from || *address == story.to;
        let watched = facts.watched.iter().filter(move |watched| is_about(&watched.primary));
        watched.filter(|watched| !watched.explanation.is_empty()).map(move |watched| (&node.address, watched))
    });
    if let Some((sentinel, watched)) = told.into_iter().next() {
        lines.extend([Line::default(), Line::from(plain(&format!("{sentinel} explains"))).bold()]);
        lines.extend(watched.explanation.iter().map(|text| Line::from(plain(text))));
    }
    lines
}

fn key_lines() -> Vec<Line<'static>> {
    let keys = [
        ("↑ ↓  k j", "choose a line, or scroll"),
        ("PgUp PgDn", "the same in leaps"),
        ("Home End", "the first, the last"),
        ("Enter  →", "open a node; explain a failover among the events"),
        ("Esc  ←", "back; on the first page, drop the filter"),
        ("Tab  e", "the events"),
        ("< >", "sort by another column; r turns it around"),
        ("/", "filter by address, role or state"),
        ("Ctrl-Z", "to the background"),
        ("q  Ctrl-C", "end"),
    ];
    keys.into_iter().map(|(key, what)| fact(key, what)).collect()
}

#[cfg(test)]
mod tests;
