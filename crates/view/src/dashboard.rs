//! `quorate dashboard`: one page that shows a deployment live, served by this program alone.
//!
//! ```text
//!  nodes ◄──► Watch ──► state ──► (server-sent events) ──► the page
//!               ▲                                            │
//!               └── plans and deeds ◄── gate ◄───────────────┘
//! ```
//!
//! One loop owns the watch. Requests that only read are answered from what it has published; those that would act come to it
//! through `gate`, which says who may. Without `--actions` nobody may.

mod assets;
mod board;
mod deed;
mod gate;
mod http;
mod state;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use quorate_topology::{Address, Pace};
use tokio::net::TcpListener;
use tokio::time::Instant;

use self::board::Board;
use self::deed::Jobs;
use crate::options::{Access, Manners, address};
use crate::watch::Watch;

/// The state is published so often, and at once when something happens.
const PUBLISH: Duration = Duration::from_secs(1);
/// Never more often than that.
const CALM: Duration = Duration::from_millis(100);
/// How long a node may take for an answer, if nobody says otherwise.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the token may stand, so that it need not be in a list of processes.
const TOKEN: &str = "QUORATE_DASHBOARD_TOKEN";

#[derive(clap::Parser)]
#[command(
    name = "quorate dashboard",
    about = "Serves a page that shows a deployment live",
    after_help = "Passwords are read from QUORATE_AUTH or REDISCLI_AUTH; Sentinels that want another one get QUORATE_SENTINEL_AUTH. With \
                  --actions the page asks for the token in QUORATE_DASHBOARD_TOKEN, or for one that is made up and printed.\n\n\
                  Examples:\n  \
                  quorate dashboard --watch 127.0.0.1:6379                 then open http://127.0.0.1:7379\n  \
                  quorate dashboard --watch db1:26379,db2:26379 --actions  more addresses help if some are gone\n  \
                  quorate dashboard --watch db1:7000 --listen 0.0.0.0:80 --name board.example"
)]
pub(crate) struct Options {
    /// Where to begin: any server, Sentinel or node of a cluster will do.
    #[arg(long, required = true, value_name = "HOST:PORT,...", value_delimiter = ',', value_parser = address)]
    watch: Vec<Address>,
    /// Where the page is.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7379")]
    listen: SocketAddr,
    /// A name by which browsers reach the page, beside localhost and numbers. Others are refused, because a page from elsewhere
    /// could be behind them.
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// Lets whoever has the token fail over, add, remove and rebalance.
    #[arg(long)]
    actions: bool,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn show(options: Options) -> anyhow::Result<u8> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| format!("listen on {}", options.listen))?;
    let place = listener.local_addr().context("ask where that is")?;
    let token = options.actions.then(|| match std::env::var(TOKEN) {
        Ok(token) if !token.is_empty() => token,
        _ => {
            let token = format!("{:032x}", rand::random::<u128>());
            println!("The token for actions is {token}");
            token
        }
    });
    println!("The page is at http://{place}");
    let gate = gate::Gate::new(options.names, token);
    serve(listener, &options.watch, options.access.manners()?, gate).await;
    Ok(0)
}

/// Serves the page at `address` on a thread of its own, for ever, beginning at one node. It only shows. Where it is; port 0 is any.
///
/// # Errors
/// The address can't be listened on, or there is no thread to be had.
pub fn start(address: SocketAddr, node: SocketAddr, password: Option<String>) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let place = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seed = Address { host: node.ip().to_string(), port: node.port() };
    let manners = Manners { user: None, passwords: password.into_iter().collect(), limit: PATIENCE, tls: None };
    std::thread::Builder::new().name("dashboard".to_owned()).spawn(move || {
        runtime.block_on(async {
            // It was a listener a moment ago.
            if let Ok(listener) = TcpListener::from_std(listener) {
                serve(listener, &[seed], manners, gate::Gate::new(Vec::new(), None)).await;
            }
        });
    })?;
    Ok(place)
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, seeds: &[Address], manners: Manners, gate: gate::Gate) {
    let mut watch = Watch::new(seeds, manners.clone(), Pace::default());
    let (board, mut orders) = Board::new();
    let may_act = gate.may_act();
    let mut jobs = Jobs::new(manners);
    let local = tokio::task::LocalSet::new();
    let gate = Rc::new(gate);
    let everything = async {
        let board = board;
        tokio::task::spawn_local(http::accept(listener, Rc::clone(&board), gate));
        let mut published = Instant::now();
        let mut last_event = 0;
        loop {
            let due = published + PUBLISH;
            tokio::select! {
                () = watch.step() => {}
                Some(order) = orders.recv() => jobs.take(order, watch.explorer().topology()),
                () = jobs.progress() => {}
                () = tokio::time::sleep_until(due) => {}
            }
            let newest = watch.explorer().events().back().map_or(0, |event| event.number);
            let has_news = newest != last_event || jobs.has_news();
            let age = published.elapsed();
            if age >= PUBLISH || has_news && age >= CALM {
                (published, last_event) = (Instant::now(), newest);
                board.publish(watch.explorer(), watch.now().unix, &mut jobs, may_act, seeds, age >= PUBLISH);
            }
        }
    };
    local.run_until(everything).await
}
