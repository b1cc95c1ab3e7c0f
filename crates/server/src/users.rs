//! The users of a running server: where they come from, how a change of them comes into force, where they are kept.
//!
//! They are published state ([`Published::users`](crate::server::Published)), and each session has its user beside it, with
//! a flag that says whether there is anything to ask at all; so a request of somebody who may do everything costs one look
//! at the session. Whoever changes users is alone, and brings every session up to date before anybody else goes on.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_acl::{Terms, User, Users};
use quorate_config::{Config, DefaultChannels, Kept, ParseError, UserLines};

use crate::data::client::{Client, ClientId, Closing, Session};
use crate::data::guard;
use crate::data::table::table;
use crate::data::worker::Mail;
use crate::process::plain;
use crate::server::Server;

/// What rules mean on this server.
pub fn terms(config: &Config) -> Terms<'static> {
    Terms { catalog: table().catalog(), all_channels: config.security.channels == DefaultChannels::All }
}

/// The users of a server that was told of none.
pub fn of(config: &Config, terms: Terms<'_>) -> Users {
    let mut users = Users::new(terms);
    if let Some(password) = &config.security.password {
        set_password(&mut users, Some(password.reveal()));
    }
    users
}

/// Gives the default user this password alone (`requirepass`).
pub fn set_password(users: &mut Users, password: Option<&[u8]>) {
    let mut user = User::clone(users.default_user());
    user.set_password(password);
    users.insert(user);
}

/// Reads the `user` lines of a configuration on top of `users`.
///
/// # Errors
/// The first line that is wrong.
pub fn read_lines(users: &mut Users, lines: &[Kept], terms: Terms<'_>) -> Result<(), ParseError> {
    for line in lines {
        let (name, words) = line.arguments.split_first().expect("the line has a name, or it would have been refused");
        let show = String::from_utf8_lossy;
        let at = |why: String| {
            ParseError::at(line.place.clone(), format!("Error in user declaration '{}': {why}", show(name)))
        };
        if !quorate_acl::is_valid_name(name) {
            return Err(ParseError::at(line.place.clone(), "Spaces not allowed in ACL usernames"));
        }
        let rules =
            quorate_acl::merge(words).map_err(|_| at("Unmatched parenthesis in selector definition.".to_owned()))?;
        let user = User::new(name, terms);
        users.insert(user.with(&rules, terms).map_err(|(_, error)| at(error.to_string()))?);
    }
    Ok(())
}

/// The path of the file of the users, and what errors call it, if there is to be one.
fn file(config: &Config) -> Option<(PathBuf, String)> {
    let name = &config.security.acl_file;
    (!name.is_empty()).then(|| (name.as_path().to_owned(), name.to_string()))
}

/// Whether the users are kept in a file of their own.
pub fn have_file(config: &Config) -> bool {
    file(config).is_some()
}

/// The users as lines of the configuration's file.
pub struct KeptLines {
    lines: Vec<Vec<u8>>,
    go_without_saying: bool,
}

impl KeptLines {
    /// Those of `users`, beside the rest of `config`.
    pub fn of(config: &Config, users: &Users, terms: Terms<'_>) -> KeptLines {
        let lines = if have_file(config) { Vec::new() } else { users.lines() };
        KeptLines { lines, go_without_saying: *users == of(config, terms) }
    }

    /// For whoever writes the file.
    pub fn lines(&self) -> UserLines<'_> {
        UserLines { lines: &self.lines, go_without_saying: self.go_without_saying }
    }
}

/// Reads the file of the users.
///
/// # Errors
/// It can't be read, or is wrong; as ACL LOAD answers.
pub fn load(config: &Config, terms: Terms<'_>) -> Result<Users, String> {
    let Some((path, name)) = file(config) else { return Err("there is no ACL file".to_owned()) };
    let text =
        std::fs::read(path).map_err(|error| format!("Error loading ACLs, opening file '{name}': {}", plain(&error)))?;
    quorate_acl::parse_file(&text, &name, terms).map_err(|error| error.to_string())
}

/// Writes the file of the users, so that whoever reads it sees the old one or the new one.
///
/// # Errors
/// It can't be written.
pub fn save(config: &Config, users: &Users) -> std::io::Result<()> {
    let Some((path, _)) = file(config) else { return Ok(()) };
    quorate_config::write_file(&path, &quorate_acl::file_text(users))
}

/// Puts other users in force. The calling thread is alone; `own` is the client whose session it has in use, if any.
///
/// Clients of a user that is gone are closed, those of `ended` too, and those that listen to what their user may not hear
/// any more.
pub fn put_in_force(server: &Server, own: (&Client, &mut Session), users: Users, ended: impl Fn(&User) -> bool) {
    let users = Arc::new(users);
    server.publish(|published| published.users = Arc::clone(&users));
    bring_up_to_date(server, own, ended);
}

/// Lets every session know of the users that are in force; see [`put_in_force`].
pub fn bring_up_to_date(server: &Server, own: (&Client, &mut Session), ended: impl Fn(&User) -> bool) {
    let published = server.published();
    let is_over = |session: &Session, name: &[u8], user: Option<&Arc<User>>| {
        let Some(user) = user else { return true };
        session.user.as_deref().is_some_and(&ended) && name != quorate_acl::DEFAULT || listens_to_more(session, user)
    };
    let update = |client: &Client, session: &mut Session| {
        let Some(name) = session.user.as_ref().map(|user| user.name().to_vec()) else { return false };
        let user = published.users.get(&name);
        if is_over(session, &name, user) {
            return true;
        }
        session.user = user.cloned();
        session.judge(published.needs_auth);
        *client.limits.lock() = guard::limits_of(session);
        server.waiters.set_user(client.id, session.user.as_ref());
        false
    };
    let (own_client, own_session) = own;
    if update(own_client, own_session) {
        own_session.closing = Some(Closing::AfterReplies);
    }
    let clients: Vec<Arc<Client>> = server.clients.lock().values().cloned().collect();
    let mut victims = Vec::new();
    for client in clients.iter().filter(|client| client.id != own_client.id) {
        // SAFETY: the calling thread is alone, and the session that it has in use was left out.
        let session = unsafe { client.session() };
        if update(client, session) {
            client.condemn();
            // Its thread may be kept from closing it, and the other end is to know now.
            session.socket.shut();
            victims.push(client.id);
        }
    }
    dismiss(server, victims);
}

/// Takes clients that are to be closed off the list, and lets their threads close them.
pub fn dismiss(server: &Server, victims: Vec<ClientId>) {
    for id in victims {
        let Some(client) = server.clients.lock().remove(&id) else { continue };
        server.mail(client.worker, Mail::Look(id));
    }
}

/// Whether a client listens to what this user may not hear.
fn listens_to_more(session: &Session, user: &User) -> bool {
    let channels = session.channels.iter().chain(&session.shard_channels).map(|name| (name, false));
    let patterns = session.patterns.iter().map(|name| (name, true));
    channels.chain(patterns).any(|(name, is_pattern)| !user.may_listen(name, is_pattern))
}
