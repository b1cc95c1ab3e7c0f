//! The screen in all sizes, drawn of a deployment that a table answers for.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_resp::Reply;
use quorate_stdx::{Machine, Mono, Now};
use quorate_topology::{Fault, Input, Output, Pace, Question};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::*;

/// A deployment that answers INFO from a table; whoever is not in it refuses.
struct World {
    explorer: Explorer,
    answers: BTreeMap<String, String>,
    history: History,
    now: Now,
}

impl World {
    fn of(nodes: &[(&str, &str)]) -> World {
        let now = Now { mono: Mono(0), unix: UnixMs(1_700_000_000_000) };
        let seed = Address::parse(nodes[0].0).unwrap();
        let answers = nodes.iter().map(|(node, info)| ((*node).to_owned(), info.replace(' ', "\r\n"))).collect();
        let explorer = Explorer::new(&[seed], Pace::default(), now);
        let mut world = World { explorer, answers, history: History::default(), now };
        world.perform();
        world
    }

    fn perform(&mut self) {
        while let Some(output) = self.explorer.poll_output() {
            let Output::Ask(address, questions) = output else { continue };
            let info = self.answers.get(&address.to_string());
            let input = match info {
                None => Input::Failed(address, Fault::Refused),
                Some(info) => {
                    let reply = |question: &Question| match question {
                        Question::Info => Reply::Bulk(format!("run_id:{address}\r\n{info}\r\n").into_bytes()),
                        _ => Reply::Error(b"ERR unknown command".to_vec()),
                    };
                    let replies = questions.iter().map(reply).collect();
                    Input::Answered(address, replies)
                }
            };
            self.explorer.handle(self.now, input);
        }
        self.history.add(self.now.unix, self.explorer.topology());
    }

    fn round(&mut self) {
        self.now = Now { mono: self.now.mono + Duration::from_secs(1), unix: self.now.unix + 1000 };
        self.explorer.handle(self.now, Input::Timeout);
        self.perform();
    }

    /// What is seen after these keys, line by line.
    fn seen(&self, desk: &mut Desk, (width, height): (u16, u16), keys: &[KeyCode]) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let scene = Scene { explorer: &self.explorer, history: &self.history, now: self.now.unix };
        terminal.draw(|frame| draw(frame, desk, &scene)).unwrap();
        for key in keys {
            desk.press(KeyEvent::from(*key));
            terminal.draw(|frame| draw(frame, desk, &scene)).unwrap();
        }
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).collect()
    }
}

const PRIMARY: &str = "redis_version:7.2.4 role:master master_repl_offset:3000 instantaneous_ops_per_sec:1234 used_memory:2048 \
    db0:keys=77,expires=0 slave0:ip=r.x,port=2,state=online,offset=1976,lag=0";
const REPLICA: &str = "redis_version:7.2.4 role:slave master_host:p.x master_port:1 master_link_status:up \
    instantaneous_ops_per_sec:5 used_memory:9999 db0:keys=77,expires=0";
const STANDARD: (u16, u16) = (80, 24);

fn pair() -> World {
    World::of(&[("p.x:1", PRIMARY), ("r.x:2", REPLICA)])
}

fn desk() -> Desk {
    Desk::new(Sort::Topology)
}

fn line<'a>(lines: &'a [String], text: &str) -> &'a str {
    lines.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text:?} is not in\n{}", lines.join("\n")))
}

#[test]
fn eighty_columns_have_room_for_what_matters() {
    let lines = pair().seen(&mut desk(), STANDARD, &[]);
    assert!(lines[0].starts_with("healthy  2 nodes, nothing is wrong  1 239 commands/s"), "{}", lines[0]);
    let primary = line(&lines, " p.x:1 ");
    assert!(primary.contains("primary") && primary.contains("1 234") && primary.contains("77"), "{primary}");
    let replica = line(&lines, "   r.x:2 ");
    assert!(replica.contains("replica") && replica.contains("1.0 KB") && replica.contains("9.8 KB"), "{replica}");
    assert!(line(&lines, " role ").contains("memory"), "{lines:#?}");
    line(&lines, "found: a primary");
    assert!(lines[23].contains("open") && lines[23].contains("q end"), "{}", lines[23]);
}

#[test]
fn every_size_is_drawn() {
    let world = pair();
    let everywhere = [&[][..], &[KeyCode::Enter], &[KeyCode::Tab], &[KeyCode::Char('?')], &[KeyCode::Char('/')]];
    for width in [1, 2, 7, 20, 40, 80, 133, 300] {
        for height in [1, 2, 3, 5, 10, 24, 60] {
            for keys in everywhere {
                world.seen(&mut desk(), (width, height), keys);
            }
        }
    }
    let wide = world.seen(&mut desk(), (160, 40), &[]);
    assert!(line(&wide, "program").contains("out/s") && line(&wide, "p.x:1").contains("Redis 7.2.4"), "{wide:#?}");
    line(&wide, "commands/s of p.x:1: 1 234");
}

#[test]
fn keys_sort_filter_and_drill_down() {
    let world = pair();
    let mut desk = desk();
    let place = |lines: &[String], text| lines.iter().position(|line| line.contains(text)).unwrap();
    let by = |desk: &mut Desk, sort, keys: &[KeyCode]| {
        (desk.sort, desk.is_reversed) = (sort, false);
        let lines = world.seen(desk, STANDARD, keys);
        let list = &lines[..12];
        place(list, " p.x:1 ") < place(list, " r.x:2 ")
    };
    assert!(by(&mut desk, Sort::Ops, &[]) && !by(&mut desk, Sort::Memory, &[]) && !by(&mut desk, Sort::Lag, &[]));
    assert!(!by(&mut desk, Sort::Ops, &[KeyCode::Char('r')]));
    desk.sort = Sort::Topology;
    let typed = [KeyCode::Char('/'), KeyCode::Char('r'), KeyCode::Char('e'), KeyCode::Char('p'), KeyCode::Enter];
    let lines = world.seen(&mut desk, STANDARD, &typed);
    assert!(!lines[..12].iter().any(|line| line.contains(" p.x:1 ")), "{lines:#?}");
    let lines = world.seen(&mut desk, STANDARD, &[KeyCode::Enter]);
    line(&lines, "replica of p.x:1: 1.0 KB behind");
    let lines = world.seen(&mut desk, STANDARD, &[KeyCode::Esc, KeyCode::Esc]);
    line(&lines, " p.x:1 ");
}

#[test]
fn a_failover_is_told_and_explained() {
    let mut world = pair();
    world.answers.remove("p.x:1");
    world.round();
    let mut desk = desk();
    let lines = world.seen(&mut desk, STANDARD, &[]);
    assert!(lines[0].starts_with("down") && lines[1].contains("takes no writes"), "{lines:#?}");
    assert!(line(&lines, " p.x:1 ").contains("down"), "{lines:#?}");
    world.answers.insert("r.x:2".to_owned(), "redis_version:7.2.4\r\nrole:master".to_owned());
    world.round();
    let lines = world.seen(&mut desk, STANDARD, &[KeyCode::Tab]);
    line(&lines, "[Enter explains]");
    let mut keys = Vec::new();
    while !desk.stories.contains(&desk.event.unwrap()) {
        keys.push(KeyCode::Down);
        world.seen(&mut desk, STANDARD, &[KeyCode::Down]);
        assert!(keys.len() < 20, "no event can be explained");
    }
    let lines = world.seen(&mut desk, STANDARD, &[KeyCode::Enter]);
    line(&lines, "r.x:2 took over from p.x:1");
    line(&lines, "has become a primary");
}

#[test]
fn nothing_that_a_server_sent_steers_the_terminal() {
    let evil = "redis_version:\x1b[2J\x07 role:slave master_host:\x1b]0;owned\x07 master_port:1 master_link_status:up";
    let world = World::of(&[("p.x:1", evil)]);
    for keys in [&[][..], &[KeyCode::Enter], &[KeyCode::Tab]] {
        let lines = world.seen(&mut desk(), (160, 40), keys);
        assert!(!lines.concat().contains(char::is_control), "{lines:?}");
    }
}

#[test]
fn nobody_is_shown_as_nobody() {
    let mut world = World::of(&[("p.x:1", PRIMARY)]);
    world.answers.clear();
    world.round();
    let lines = world.seen(&mut desk(), STANDARD, &[KeyCode::Enter]);
    line(&lines, "connection refused");
}
