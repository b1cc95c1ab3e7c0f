//! The binary: `quorate server`, and what else it answers to.

use std::process::ExitCode;

use quorate_server::command_line::{self, Invocation};
use quorate_server::{log, persist, server::unix_now, start};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Asks the kernel for large pages. A key that is not in a cache costs walks through page tables too, most of all on a
/// virtual machine; and since nothing here forks, no page of 2 MiB is ever copied because of one write in it.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 30] = b"thp:always,metadata_thp:auto\0\0";

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().map(std::os::unix::ffi::OsStringExt::into_vec).collect();
    match command_line::read(&arguments) {
        Invocation::Server(options) => {
            abort_on_panic();
            start::run(&options)
        }
        Invocation::Sentinel(options) => {
            abort_on_panic();
            quorate_server::sentinel::run(&options)
        }
        Invocation::CheckRdb(path) => {
            let checked = persist::check::check(&path, unix_now(), &mut std::io::stdout().lock());
            if matches!(checked, Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Invocation::CheckAof(task, path) => {
            let (answers, out) = (&mut std::io::stdin().lock(), &mut std::io::stdout().lock());
            let checked = persist::aof::check::Check { task, now: unix_now(), answers, out }.run(&path);
            if matches!(checked, Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Invocation::Demo(words) => quorate_demo::run(&words),
        Invocation::Lock(words) => quorate_lock::run(&words),
        Invocation::Cluster(words) => quorate_operator::run(&words),
        Invocation::View(command, words) => quorate_view::run(&command, &words),
        Invocation::Manual(folder) => match quorate_server::manual::write_pages(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("quorate manual: {}: {error}", folder.display());
                ExitCode::FAILURE
            }
        },
        Invocation::Say(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Invocation::Refuse(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Lets a panic of any thread end the process, once it is reported: what a broken invariant leaves behind (a slot's
/// lock, a member that is active for ever) is nothing to go on with. It is not the build that says so, because scripts
/// need frames that unwind.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Where each line is an object, the report is one, too.
        if log::is_for_programs() {
            log::warning(&panic.to_string())
        } else {
            report(panic)
        }
        std::process::abort();
    }));
}
