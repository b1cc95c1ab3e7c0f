//! Deleting what slots hold that belong to other nodes: on a thread of its own, a few keys at a time, here and at our replicas.
//! No client of the cluster can see these keys any more, so nobody waits for it; and nobody is made to.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_cluster::Slots;
use quorate_keyspace::{Db, Member, Scope, Slot, SlotSet};
use quorate_stdx::Rng;

use crate::log;
use crate::server::{Role, Server, unix_now};

/// Keys that are deleted before others have their turn.
const BITE: usize = 64;

/// What is to be deleted.
#[derive(Default)]
pub(super) struct Drops(Mutex<Work>);

#[derive(Default)]
struct Work {
    slots: VecDeque<Slots>,
    /// Whether there is a thread for it.
    is_running: bool,
}

impl Drops {
    /// Lets the keys of these slots be deleted.
    pub(super) fn add(&self, server: &Arc<Server>, slots: Slots) {
        let mut work = self.0.lock();
        work.slots.push_back(slots);
        if work.is_running {
            return;
        }
        let server = Arc::clone(server);
        let spawned = std::thread::Builder::new().name("drop".to_owned()).spawn(move || run(&server));
        match spawned {
            Ok(_) => work.is_running = true,
            // They stay where no client sees them, until there is more to delete.
            Err(error) => {
                log::warning(&format!("Can't start a thread that deletes keys of other nodes' slots: {error}"))
            }
        }
    }

    fn next(&self) -> Option<Slots> {
        let mut work = self.0.lock();
        let next = work.slots.pop_front();
        work.is_running = next.is_some();
        next
    }
}

fn run(server: &Arc<Server>) {
    let drops = &server.node().expect("only a node has slots").drops;
    let mut member = server.space.join();
    while let Some(slots) = drops.next() {
        for slot in slots.iter().filter_map(|slot| Slot::new(usize::from(slot))) {
            let goes_on = || !server.stopping.load(std::sync::atomic::Ordering::Acquire);
            while goes_on() && drop_some(server, &mut member, slot) {
                // Who waits for the slot comes first.
                std::thread::yield_now();
            }
        }
    }
}

/// Deletes some keys of a slot that is somebody else's; whether there may be more.
fn drop_some(server: &Arc<Server>, member: &mut Member, slot: Slot) -> bool {
    let published = server.published();
    let scope: Scope = published.scope(unix_now(), Rng::new(0));
    if member.space().next_occupied(Db(0), slot.index()) != Some(slot) {
        return false;
    }
    member.enter();
    // Looked at while active: so it holds until we are done.
    let published = server.published();
    let is_elsewhere = published.cluster.as_ref().is_some_and(|routing| {
        let number = slot.index() as u16;
        !routing.map.is_ours(number) && !routing.map.is_moving(number) && routing.map.owner(number).is_some()
    });
    let mut dropped = 0;
    if is_elsewhere && published.role == Role::Primary {
        let keys = member.view(SlotSet::None, &scope).keys_in(Db(0), slot, BITE);
        let mut view = member.view(SlotSet::One(slot), &scope);
        for key in keys {
            if let Some(entry) = view.remove_raw(Db(0), &key) {
                view.discard(entry, true);
            }
            if server.feed.is_on() {
                let mut request = Vec::new();
                quorate_resp::encode_request(&mut request, &[b"DEL", &*key]);
                server.feed.append(Db(0), &request);
            }
            dropped += 1;
        }
    }
    member.leave();
    server.replicas.flush(&server.feed);
    dropped == BITE
}
