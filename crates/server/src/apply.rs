//! What a changed directive needs before it is in force, besides being published.

use std::path::Path;

use quorate_config::{Apply, Change, ChangeError, Config};

use crate::log;
use crate::process;
use crate::server::{Role, Server};

/// Puts a change in force: all of it, or, after an error, nothing. The calling thread is alone.
///
/// # Errors
/// What could not be done, as CONFIG SET answers.
pub fn apply(server: &Server, change: &Change) -> Result<(), ChangeError> {
    let old = server.config.load_full();
    for (index, (apply, directive)) in change.applies.iter().enumerate() {
        if let Err(error) = apply_one(server, &old, &change.config, *apply, directive) {
            for (done, directive) in change.applies[..index].iter().rev() {
                if let Err(error) = apply_one(server, &change.config, &old, *done, directive) {
                    log::warning(&format!("Failed applying restored failed configuration: {error}"));
                }
            }
            return Err(error);
        }
    }
    server.configure(change);
    Ok(())
}

fn apply_one(server: &Server, old: &Config, new: &Config, apply: Apply, directive: &str) -> Result<(), ChangeError> {
    match apply {
        Apply::Directory => {
            let folder = new.general.directory.as_ref().map_or(Path::new("."), |folder| folder.as_path());
            std::env::set_current_dir(folder).map_err(|error| ChangeError::failed(directive, process::plain(&error)))
        }
        Apply::Listen => server.desk.listen_elsewhere(old, new, directive),
        Apply::Log => {
            log::set_level(new.general.log_level.into());
            Ok(())
        }
        Apply::MaxClients => {
            let fitting = process::make_room_for_clients(new.clients.max);
            if fitting >= new.clients.max {
                return Ok(());
            }
            Err(ChangeError::failed(
                directive,
                format!("The operating system is not able to handle the specified number of clients, try with {fitting}"),
            ))
        }
        Apply::OomScore => {
            let is_replica = matches!(server.published().role, Role::Replica(_));
            process::set_oom_score(new, is_replica).map_err(|error| {
                log::warning(&format!("Unable to write oom_score_adj: {}", process::plain(&error)));
                ChangeError::failed(directive, "Failed to apply new oom_score_adj configuration, check server logs.")
            })
        }
        // These follow from what is published, or from the listeners of `Server::on_config_change`.
        Apply::Nothing
        | Apply::MaxMemory
        | Apply::ClientMemory
        | Apply::Backlog
        | Apply::GoodReplicas
        | Apply::DefaultUser
        | Apply::Timers
        | Apply::ProcessTitle
        | Apply::CrashLog
        // These have nothing to be applied to yet, and are refused at the start or by CONFIG SET.
        | Apply::ListenTls
        | Apply::Tls
        | Apply::AppendOnly
        | Apply::ClusterAnnounce
        | Apply::ClusterFailover => Ok(()),
    }
}
