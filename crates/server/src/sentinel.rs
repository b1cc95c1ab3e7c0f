//! `quorate sentinel`: the driver of Sentinel's machine, and what clients of a Sentinel may ask.
//!
//! One thread and one epoll loop hold everything: the machine, the links that it asked for, and the clients. So outputs are
//! performed in their order without any further thought, and `Persist` is a barrier because the loop waits for the disk.
//! What may take long is done elsewhere: names are resolved and scripts run by threads and processes of their own, which
//! send their results to the loop.
//!
//! Read in this order: `shell` (the loop), `links` (connections that we open), `clients` (connections that others open),
//! `commands` (what they may ask).

mod clients;
mod commands;
mod links;
mod scripts;
mod shell;
mod start;
mod users;
mod webhook;

pub use start::run;
