//! The short way of a request: a plain command, of a client of whom nothing out of the ordinary is known, on a primary of
//! which the same is true.
//!
//! That is what nearly all requests are, and whatever the long way (`dispatch.rs`, `Cx::call_at`) asks of one is then
//! answered by no. Here it is asked once, by what follows from it: a plain command ([`Command::plain`]) works on data of one
//! key, and changes neither its client nor what is published. What the commands themselves do is the same on both ways, and
//! so is what is told of them. Any doubt leads to the long one.
//!
//! [`Command::plain`]: crate::data::table::Command::plain

use quorate_commands::Args;

use crate::data::call;
use crate::data::client::Session;
use crate::data::table::table;
use crate::data::worker::Worker;
use crate::data::worker::ahead::Next;

/// Requests of more words go the long way, whose steps are few then beside their own.
const MOST_WORDS: usize = 8;

impl Worker {
    /// Runs a request on the short way; false, and nothing done, if it has to go the long one.
    #[inline]
    pub(super) fn run_plain(&mut self, session: &mut Session, next: &Next<'_>) -> bool {
        let Some(place) = next.place.filter(|place| place.db == session.db) else { return false };
        if !self.local.published.all_clear || self.local.saw_busy || !session.is_plain() {
            return false;
        }
        let mut words = [&[][..]; MOST_WORDS];
        let Some(words) = words.get_mut(..next.len()) else { return false };
        next.write_to(words);
        let args = Args::new(words);
        let Some(command) = table().find(args.at(0)) else { return false };
        let Some(run) = command.plain.filter(|_| command.spec.arity.accepts(args.len())) else { return false };
        self.scope.no_touch = session.no_touch;
        let (server, member, local, scope, _) = self.parts();
        if !call::call_plain(server, session, member, scope, local, (command, run), (args, next.raw), place) {
            return false;
        }
        session.commands += 1;
        session.last_command = Some(command);
        true
    }
}
