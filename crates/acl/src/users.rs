//! All users of a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::rule::is_torn;
use crate::{Terms, User};

/// The user that connections are of before they say who they are.
pub const DEFAULT: &[u8] = b"default";

/// All users, by name. There is always [`DEFAULT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users(BTreeMap<Box<[u8]>, Arc<User>>);

/// Whether a user may have this name: lines of users are told apart by spaces.
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && !is_torn(name)
}

impl Users {
    /// The default user alone.
    pub fn new(terms: Terms<'_>) -> Users {
        Users(BTreeMap::from([(DEFAULT.into(), Arc::new(User::new_default(terms)))]))
    }

    /// The user of that name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.0.get(name)
    }

    /// The default user.
    pub fn default_user(&self) -> &Arc<User> {
        self.get(DEFAULT).expect("it can't be removed")
    }

    /// Adds a user, or replaces the one of the same name.
    pub fn insert(&mut self, user: User) {
        self.0.insert(user.name().into(), Arc::new(user));
    }

    /// Removes a user; whether there was one. The default user stays.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        name != DEFAULT && self.0.remove(name).is_some()
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<User>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is the default user.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// A line for each (ACL LIST).
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.iter().map(|user| user.line()).collect()
    }
}
