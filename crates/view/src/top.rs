//! `quorate top`: a deployment live in a terminal, with the same eyes as `quorate status` and the dashboard.
//!
//! ```text
//!  nodes ◄──► Watch ──► Scene ──► draw ──► the terminal
//!                         ▲
//!  keys ──► Desk ─────────┘   (what is looked at, and in which order)
//! ```
//!
//! `Desk` is what the keys change and knows no terminal; `draw` is a pure function of it and of what is known. Only `stage` touches
//! the terminal, and gives it back on every way out.

mod desk;
mod draw;
mod rows;
mod stage;

use std::time::Duration;

use anyhow::{Result, ensure};
use quorate_topology::{Address, Pace};
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use self::desk::{Desk, Wish};
use self::draw::Scene;
use self::stage::Stage;
use crate::history::History;
use crate::options::{Access, address};
use crate::watch::Watch;

/// Figures are noted so often, and the screen is drawn anew at least.
const SAMPLE: Duration = Duration::from_secs(1);
/// What happens is drawn no more often than that.
const CALM: Duration = Duration::from_millis(100);
/// The exit status of what a signal has ended is this and the signal's number.
const SIGNALLED: u8 = 128;

#[derive(clap::Parser)]
#[command(
    name = "quorate top",
    about = "Shows a deployment live in the terminal",
    after_help = "Keys: arrows or j k choose, Enter opens a node or explains a failover, Esc goes back, Tab goes to the events, < > sort \
                  by another column, r turns the order around, / filters, ? shows all keys, q ends it.\n\n\
                  Passwords are read from QUORATE_AUTH or REDISCLI_AUTH; Sentinels that want another one get QUORATE_SENTINEL_AUTH.\n\n\
                  Examples:\n  \
                  quorate top 127.0.0.1:6379            any server, Sentinel or node of a cluster will do\n  \
                  quorate top db1:26379 db2:26379       more addresses help if some are gone\n  \
                  quorate top --sort lag db1:6379       who is furthest behind stands first"
)]
pub(crate) struct Options {
    /// Where to begin. More than one helps if some may be gone.
    #[arg(required = true, value_name = "HOST:PORT", value_parser = address)]
    nodes: Vec<Address>,
    /// The order of the nodes.
    #[arg(long, value_enum, default_value_t = desk::Sort::Topology)]
    sort: desk::Sort,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn show(options: Options) -> Result<u8> {
    ensure!(stage::is_terminal(), "it needs a terminal; quorate status prints the same once");
    let mut watch = Watch::new(&options.nodes, options.access.manners()?, Pace::default());
    let (mut history, mut desk) = (History::default(), Desk::new(options.sort));
    let mut ends = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()]
        .map(|kind| Ok::<_, std::io::Error>((kind.as_raw_value(), signal(kind)?)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut stage = Stage::enter()?;
    let mut keys = keys();
    let (mut drawn, mut sampled) = (None::<Instant>, Instant::now());
    loop {
        let age = drawn.map_or(SAMPLE, |drawn| drawn.elapsed());
        let is_sample = sampled.elapsed() >= SAMPLE;
        if is_sample {
            sampled = Instant::now();
            history.add(watch.now().unix, watch.explorer().topology());
        }
        if age >= CALM {
            let scene = Scene { explorer: watch.explorer(), history: &history, now: watch.now().unix };
            stage.draw(|frame| draw::draw(frame, &mut desk, &scene))?;
            drawn = Some(Instant::now());
        }
        let due = drawn.unwrap_or(sampled) + if desk.take_change() { CALM } else { SAMPLE };
        tokio::select! {
            () = watch.step() => {}
            () = tokio::time::sleep_until(due.min(sampled + SAMPLE)) => {}
            code = ended(&mut ends) => return Ok(code),
            event = keys.recv() => match event {
                // The terminal is gone.
                None => return Ok(SIGNALLED + 1),
                Some(event) => {
                    drawn = None;
                    if let Event::Key(key) = event {
                        match desk.press(key) {
                            Wish::Stay => {}
                            Wish::Leave => return Ok(0),
                            Wish::Rest => stage.rest()?,
                        }
                    }
                }
            }
        }
    }
}

/// Waits for a signal that ends the program; its exit status.
async fn ended(ends: &mut [(i32, tokio::signal::unix::Signal)]) -> u8 {
    let all = ends.iter_mut().map(|(number, signal)| {
        Box::pin(async move {
            signal.recv().await;
            SIGNALLED.saturating_add(u8::try_from(*number).unwrap_or(0))
        })
    });
    futures_util::future::select_all(all).await.0
}

/// What is typed, and when the terminal changes its size: read by a thread, because a terminal can't be waited for otherwise.
fn keys() -> UnboundedReceiver<Event> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}
