//! What a changed directive needs before it is in force, besides being published.

use std::path::Path;
use std::sync::Arc;

use quorate_config::{Apply, Change, ChangeError, Config};
use quorate_tls::Contexts;

use crate::listen::Which;
use crate::log;
use crate::process;
use crate::server::{Role, Server};

/// Puts a change in force: all of it, or, after an error, nothing. The calling thread is alone.
///
/// # Errors
/// What could not be done, as CONFIG SET answers.
pub fn apply(server: &Server, change: &Change) -> Result<(), ChangeError> {
    let old = server.config.load_full();
    let contexts = server.tls.load_full();
    for (index, (apply, directive)) in change.applies.iter().enumerate() {
        if let Err(error) = apply_one(server, &old, &change.config, *apply, directive) {
            for (done, directive) in change.applies[..index].iter().rev() {
                if let Err(error) = apply_one(server, &change.config, &old, *done, directive) {
                    log::warning(&format!("Failed applying restored failed configuration: {error}"));
                }
            }
            // What the files say now need not be what they said.
            server.tls.store(contexts);
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
        Apply::Listen => {
            let which = if old.network.bind == new.network.bind { Which::Plain } else { Which::All };
            server.desk.listen_elsewhere((old, new), which, directive)
        }
        Apply::ListenTls => {
            read_certificates(server, new, directive)?;
            server.desk.listen_elsewhere((old, new), Which::Tls, directive)
        }
        Apply::Tls => read_certificates(server, new, directive),
        Apply::Log => {
            log::set_level(new.general.log_level.into());
            log::set_form(new.general.log_format, new.general.log_time);
            Ok(())
        }
        Apply::MaxClients => {
            let fitting = process::make_room_for_clients(new.clients.max);
            if fitting >= new.clients.max {
                return Ok(());
            }
            Err(ChangeError::failed(
                directive,
                format!(
                    "The operating system is not able to handle the specified number of clients, try with {fitting}"
                ),
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
        | Apply::AppendOnly
        | Apply::ClusterAnnounce
        | Apply::ClusterFailover => Ok(()),
    }
}

/// Reads certificates and keys anew, if anything is encrypted: new connections are made from them. If they are not good,
/// those that were read before stay in force.
fn read_certificates(server: &Server, new: &Config, directive: &str) -> Result<(), ChangeError> {
    if !new.tls.is_used() {
        return Ok(());
    }
    match Contexts::load(&new.tls) {
        Ok(contexts) => {
            server.tls.store(Some(Arc::new(contexts)));
            Ok(())
        }
        Err(error) => {
            log::warning(&error.to_string());
            Err(ChangeError::failed(directive, "Unable to update TLS configuration. Check server logs."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_config::Conditions;

    fn change(server: &Server, pairs: &[(&str, &str)]) -> Change {
        let pairs: Vec<(&[u8], &[u8])> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        Change::of(&server.config.load(), &pairs, Conditions { loading: false, local: true }).unwrap()
    }

    #[test]
    fn a_change_is_published_and_told_to_those_who_listen() {
        let server = Server::new(Config::default(), 1);
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let ears = std::sync::Arc::clone(&heard);
        server.on_config_change(move |change| {
            ears.lock().unwrap().extend(change.changed.iter().map(|spec| spec.name));
        });
        let change = change(&server, &[("repl-timeout", "7"), ("requirepass", "x"), ("timeout", "0")]);
        apply(&server, &change).unwrap();
        assert_eq!(*heard.lock().unwrap(), ["repl-timeout", "requirepass"]);
        assert!(server.published().needs_auth);
        assert_eq!(server.config.load().replication.timeout.as_secs(), 7);
    }

    #[test]
    fn after_an_error_nothing_has_changed() {
        let server = Server::new(Config::default(), 1);
        let change = change(&server, &[("maxmemory", "1mb"), ("maxclients", "4000000000")]);
        let error = apply(&server, &change).unwrap_err().to_string();
        assert!(error.contains("(possibly related to argument 'maxclients')"), "{error}");
        assert_eq!(server.config.load().memory.max, 0);
        assert_eq!(server.published().memory.max, 0);
    }
}
