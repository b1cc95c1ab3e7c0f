//! The binary: `quorate server`, and what else it answers to.

use quorate_server::start;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let after =
        |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    let port = after("--port").and_then(|port| port.parse().ok()).unwrap_or(6379);
    let threads = after("--network-threads").and_then(|count| count.parse().ok()).filter(|count| *count > 0);
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |count| count.get()));
    start::run(&start::Options { port, threads })
}
