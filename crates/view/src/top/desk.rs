//! What is looked at, and what keys make of it. It knows neither a terminal nor the network.

use quorate_topology::Address;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The order of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// As they belong together.
    Topology,
    /// By address.
    Node,
    /// The busiest first.
    Ops,
    /// Who is furthest behind first.
    Lag,
    /// Who has most first.
    Keys,
    /// The largest first.
    Memory,
    /// Who has most first.
    Clients,
}

const SORTS: [Sort; 7] = [Sort::Topology, Sort::Node, Sort::Ops, Sort::Lag, Sort::Keys, Sort::Memory, Sort::Clients];

/// What fills the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// The nodes, and the newest events below them.
    Nodes,
    /// One node.
    Node(Address),
    /// All events.
    Events,
    /// How the failover with this number came about.
    Story(u64),
    /// The keys.
    Keys,
}

/// What is to be done after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    Leave,
    /// To go to the background.
    Rest,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Whether what is typed goes to the filter.
    pub(super) is_filtering: bool,
    /// What is open, the topmost last; never empty.
    pages: Vec<Page>,
    /// The node that is chosen in the list, and the event's number in the other.
    pub(super) node: Option<Address>,
    pub(super) event: Option<u64>,
    /// The lines that a page of text is scrolled by.
    pub(super) scroll: u16,
    /// What could be chosen when the screen was drawn last, in its order.
    pub(super) nodes: Vec<Address>,
    pub(super) events: Vec<u64>,
    /// The failovers that can be explained.
    pub(super) stories: Vec<u64>,
    /// How many lines a leap is.
    pub(super) leap: usize,
    has_changed: bool,
}

impl Desk {
    pub(super) fn new(sort: Sort) -> Desk {
        Desk {
            sort,
            is_reversed: false,
            filter: String::new(),
            is_filtering: false,
            pages: vec![Page::Nodes],
            node: None,
            event: None,
            scroll: 0,
            nodes: Vec::new(),
            events: Vec::new(),
            stories: Vec::new(),
            leap: 10,
            has_changed: false,
        }
    }

    pub(super) fn page(&self) -> Page {
        self.pages.last().cloned().unwrap_or(Page::Nodes)
    }

    /// Whether a key has changed what is to be seen since this was asked last.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Stay;
        }
        self.has_changed = true;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Wish::Leave,
                KeyCode::Char('z') => Wish::Rest,
                _ => Wish::Stay,
            };
        }
        if self.is_filtering {
            self.type_filter(key.code);
            return Wish::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Leave,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => self.back(),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.step(self.leap as isize),
            KeyCode::PageUp => self.step(-(self.leap as isize)),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Tab | KeyCode::Char('e') => match self.page() {
                Page::Events => self.back(),
                _ => self.show(Page::Events),
            },
            KeyCode::Char('>' | '.' | 's') => self.sort_by(1),
            KeyCode::Char('<' | ',' | 'S') => self.sort_by(SORTS.len() - 1),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('/') => (self.pages, self.is_filtering) = (vec![Page::Nodes], true),
            KeyCode::Char('?') if self.page() != Page::Keys => self.show(Page::Keys),
            _ => {}
        }
        Wish::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc => {
                self.filter.clear();
                self.is_filtering = false;
            }
            KeyCode::Enter | KeyCode::Down | KeyCode::Tab => self.is_filtering = false,
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(c) if self.filter.len() < 64 => self.filter.push(c),
            _ => {}
        }
    }

    fn sort_by(&mut self, by: usize) {
        let place = SORTS.iter().position(|sort| *sort == self.sort).unwrap_or(0);
        (self.sort, self.is_reversed) = (SORTS[(place + by) % SORTS.len()], false);
    }

    fn show(&mut self, page: Page) {
        self.scroll = 0;
        // What is open already is come back to.
        self.pages.retain(|open| *open != page);
        self.pages.push(page);
    }

    /// Closes what is open; on the first page, the filter.
    fn back(&mut self) {
        self.scroll = 0;
        if self.pages.len() > 1 {
            self.pages.pop();
        } else {
            self.filter.clear();
        }
    }

    fn open(&mut self) {
        match self.page() {
            Page::Nodes => {
                if let Some(node) = self.node.clone() {
                    self.show(Page::Node(node));
                }
            }
            Page::Events => {
                if let Some(story) = self.event.filter(|event| self.stories.contains(event)) {
                    self.show(Page::Story(story));
                }
            }
            Page::Node(_) | Page::Story(_) | Page::Keys => {}
        }
    }

    /// Chooses another line, so many further on, or scrolls.
    fn step(&mut self, by: isize) {
        match self.page() {
            Page::Nodes => self.node = moved(&self.nodes, self.node.as_ref(), by),
            Page::Events => self.event = moved(&self.events, self.event.as_ref(), by),
            Page::Node(_) | Page::Story(_) | Page::Keys => {
                let by = i16::try_from(by).unwrap_or(if by < 0 { i16::MIN } else { i16::MAX });
                self.scroll = self.scroll.saturating_add_signed(by);
            }
        }
    }
}

/// The item so many further on, as far as there are any; the first if none was chosen, or if that is gone.
fn moved<T: Clone + PartialEq>(items: &[T], chosen: Option<&T>, by: isize) -> Option<T> {
    let last = items.len().checked_sub(1)?;
    let place = items.iter().position(|item| Some(item) == chosen);
    let place = place.map_or(0, |place| place.saturating_add_signed(by).min(last));
    items.get(place).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Desk {
        let mut desk = Desk::new(Sort::Topology);
        desk.nodes = ["a:1", "b:1", "c:1"].iter().filter_map(|text| Address::parse(text)).collect();
        (desk.events, desk.stories, desk.leap) = (vec![9, 8, 7], vec![8], 2);
        desk.node = desk.nodes.first().cloned();
        desk
    }

    fn press(desk: &mut Desk, keys: &[KeyCode]) -> Wish {
        keys.iter().map(|code| desk.press(KeyEvent::from(*code))).last().unwrap()
    }

    #[test]
    fn nodes_are_chosen_and_opened_and_left() {
        let mut desk = desk();
        let name = |desk: &Desk| desk.node.as_ref().unwrap().to_string();
        press(&mut desk, &[KeyCode::Down]);
        assert_eq!(name(&desk), "b:1");
        press(&mut desk, &[KeyCode::PageDown]);
        assert_eq!(name(&desk), "c:1");
        press(&mut desk, &[KeyCode::Home, KeyCode::Up]);
        assert_eq!(name(&desk), "a:1");
        press(&mut desk, &[KeyCode::End, KeyCode::Enter]);
        assert_eq!(desk.page(), Page::Node(Address::parse("c:1").unwrap()));
        press(&mut desk, &[KeyCode::Esc]);
        assert_eq!(desk.page(), Page::Nodes);
        assert_eq!(press(&mut desk, &[KeyCode::Esc]), Wish::Stay);
        assert_eq!(press(&mut desk, &[KeyCode::Char('q')]), Wish::Leave);
        assert_eq!(desk.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Leave);
        assert_eq!(desk.press(KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL)), Wish::Rest);
    }

    #[test]
    fn only_failovers_are_explained() {
        let mut desk = desk();
        press(&mut desk, &[KeyCode::Tab, KeyCode::Down, KeyCode::Enter]);
        assert_eq!((desk.page(), desk.event), (Page::Events, Some(9)));
        press(&mut desk, &[KeyCode::Down, KeyCode::Enter]);
        assert_eq!(desk.page(), Page::Story(8));
        press(&mut desk, &[KeyCode::Esc, KeyCode::Esc]);
        assert_eq!(desk.page(), Page::Nodes);
    }

    #[test]
    fn what_is_typed_into_the_filter_is_no_order() {
        let mut desk = desk();
        assert_eq!(press(&mut desk, &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Char('s')]), Wish::Stay);
        assert_eq!((desk.filter.as_str(), desk.sort), ("qs", Sort::Topology));
        press(&mut desk, &[KeyCode::Enter, KeyCode::Char('>'), KeyCode::Char('>'), KeyCode::Char('r')]);
        assert_eq!((desk.filter.as_str(), desk.sort, desk.is_reversed), ("qs", Sort::Ops, true));
        press(&mut desk, &[KeyCode::Esc, KeyCode::Char('<')]);
        assert_eq!((desk.filter.as_str(), desk.sort, desk.is_reversed), ("", Sort::Node, false));
    }

    #[test]
    fn nothing_can_be_chosen_where_nothing_is() {
        let mut desk = Desk::new(Sort::Ops);
        press(&mut desk, &[KeyCode::Down, KeyCode::End, KeyCode::Enter, KeyCode::Tab, KeyCode::Down, KeyCode::Enter]);
        assert_eq!((desk.page(), desk.node, desk.event), (Page::Events, None, None));
    }
}
