//! `quorate up`, `down` and `chaos`: a deployment on this machine that stays, for whoever wants to see one and to break it.
//!
//! It is a folder: a file that lists the processes (`folder.rs`), and for each of them its configuration, its data and its log.
//! Nothing else remembers it, so `down` and `chaos` work from any terminal. Processes are ended only if they still are what the
//! list says: whoever else has got the number of one was started later.

mod chaos;
mod folder;
mod up;

use std::path::PathBuf;

pub(crate) use chaos::{Chaos, down, play};
pub(crate) use up::{Up, up};

/// Where a deployment is, if nothing else is said.
const FOLDER: &str = "quorate-local";

#[derive(clap::Args)]
pub(crate) struct Place {
    /// The folder of the deployment.
    #[arg(long, value_name = "FOLDER", default_value = FOLDER)]
    dir: PathBuf,
}

#[derive(clap::Parser)]
#[command(
    name = "quorate down",
    about = "Ends a deployment that quorate up has started",
    after_help = "Examples:\n  quorate down            ends the processes and keeps their data\n  \
                  quorate down --delete   deletes the folder, too"
)]
pub(crate) struct Down {
    #[command(flatten)]
    place: Place,
    /// Deletes the folder.
    #[arg(long)]
    delete: bool,
}
