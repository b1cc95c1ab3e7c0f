//! The users of a Sentinel: the rules are a server's, the commands those that a Sentinel has.

use std::sync::{Arc, OnceLock};

use quorate_acl::{Catalog, Log, Terms, User, Users};
use quorate_commands::CATEGORIES;
use quorate_config::{Config, DefaultChannels};

use super::clients::{Client, Clients};
use super::commands;
use crate::users::KeptLines;

/// The users, and what was denied to them.
pub(super) struct Doors {
    pub(super) users: Users,
    pub(super) log: Log,
}

impl Doors {
    pub(super) fn new(users: Users) -> Doors {
        Doors { users, log: Log::default() }
    }

    /// Whether clients have to say who they are.
    pub(super) fn need_auth(&self) -> bool {
        !self.users.default_user().needs_no_login()
    }

    /// The users as lines of the configuration's file.
    pub(super) fn kept(&self, config: &Config) -> KeptLines {
        KeptLines::of(config, &self.users, terms(config))
    }
}

/// The commands that rules name here.
pub(super) fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::new(CATEGORIES, commands::listed_for_rules()))
}

/// What rules mean here.
pub(super) fn terms(config: &Config) -> Terms<'static> {
    Terms { catalog: catalog(), all_channels: config.security.channels == DefaultChannels::All }
}

/// Puts other users in force: connections of users that are gone end, those of `ended` too, and those that listen to what
/// their user may not hear any more.
pub(super) fn put_in_force(doors: &mut Doors, clients: &mut Clients, users: Users, ended: impl Fn(&User) -> bool) {
    for client in clients.iter_mut() {
        let is_default = client.user.name() == quorate_acl::DEFAULT;
        match users.get(client.user.name()) {
            Some(user) if (is_default || !ended(&client.user)) && !listens_to_more(client, user) => {
                client.user = Arc::clone(user);
            }
            _ => client.is_closing = true,
        }
    }
    doors.users = users;
}

fn listens_to_more(client: &Client, user: &User) -> bool {
    let channels = client.channels.iter().map(|name| (name, false));
    let patterns = client.patterns.iter().map(|name| (name, true));
    channels.chain(patterns).any(|(name, is_pattern)| !user.may_listen(name, is_pattern))
}
