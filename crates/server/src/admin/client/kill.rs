//! CLIENT LIST and CLIENT KILL: connections by what they are.

use std::sync::Arc;

use quorate_commands::{Args, CommandError, Outcome};

use crate::data::call::Cx;
use crate::data::client::{Client, ClientId, Closing, Kind, Session};
use crate::users;

/// The kinds of connections that TYPE tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl Type {
    fn parse(name: &[u8]) -> Result<Type, CommandError> {
        Ok(match name.to_ascii_lowercase().as_slice() {
            b"normal" => Type::Normal,
            b"master" => Type::Master,
            b"slave" | b"replica" => Type::Replica,
            b"pubsub" => Type::PubSub,
            _ => {
                let name = String::from_utf8_lossy(name);
                return Err(CommandError::Bytes(format!("ERR Unknown client type '{name}'").into_bytes()));
            }
        })
    }

    fn of(session: &Session) -> Type {
        match session.kind {
            Kind::Replica => Type::Replica,
            _ if session.is_subscriber() => Type::PubSub,
            _ => Type::Normal,
        }
    }
}

/// Which connections are meant: those to which everything applies that is given.
#[derive(Debug, Default)]
struct Filter {
    ids: Option<Vec<u64>>,
    kind: Option<Type>,
    address: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
}

impl Filter {
    fn applies(&self, client: &Client, session: &Session) -> bool {
        let differs = |wanted: &Option<Vec<u8>>, is: &[u8]| wanted.as_ref().is_some_and(|wanted| wanted != is);
        !(self.ids.as_ref().is_some_and(|ids| !ids.contains(&client.id.0))
            || self.kind.is_some_and(|kind| kind != Type::of(session))
            || differs(&self.address, session.peer.remote().as_bytes())
            || differs(&self.local, session.peer.local().as_bytes())
            || differs(&self.user, session.user_name()))
    }
}

/// The connections to which `filter` applies, with the session of each, in order of their numbers. The
/// calling thread is alone.
fn each(cx: &mut Cx<'_, '_>, filter: &Filter, mut work: impl FnMut(&Arc<Client>, &mut Session)) {
    let clients: Vec<Arc<Client>> = cx.server.clients.lock().values().cloned().collect();
    for client in clients {
        if client.id == cx.client.id {
            if filter.applies(cx.client, cx.session) {
                work(cx.client, cx.session);
            }
            continue;
        }
        // SAFETY: the command runs alone, and our own session, which is borrowed, was excluded.
        let session = unsafe { client.session() };
        if filter.applies(&client, session) {
            work(&client, session);
        }
    }
}

pub(super) fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut filter = Filter::default();
    if args.is(2, "TYPE") && args.len() == 4 {
        filter.kind = Some(Type::parse(args.at(3))?);
    } else if args.is(2, "ID") && args.len() > 3 {
        let invalid = |_| CommandError::text("ERR Invalid client ID");
        let ids: Result<Vec<u64>, _> = (3..args.len())
            .map(|index| args.int(index).map_err(invalid).map(|id| u64::try_from(id).unwrap_or(0)))
            .collect();
        filter.ids = Some(ids?);
    } else if args.len() > 2 {
        return Err(CommandError::Syntax);
    }
    let (now, own) = (cx.now, cx.client.id);
    let mut text = String::new();
    let mut describe = |client: &Arc<Client>, session: &mut Session| {
        let under_way = if client.id == own { super::wire_len(args) } else { 0 };
        text += &super::describe(client, session, now, under_way);
        text.push('\n');
    };
    cx.with_output_in_place(|cx| each(cx, &filter, &mut describe));
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

pub(super) fn kill(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut filter = Filter::default();
    let mut spares_me = true;
    let old_form = args.len() == 3;
    if old_form {
        filter.address = Some(args.at(2).to_vec());
        spares_me = false;
    }
    for at in (2..args.len()).step_by(2).take_while(|_| !old_form) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if args.is(at, "ID") {
            let id = args.int_within(at + 1, 1, i64::MAX, CommandError::text("ERR client-id should be greater than 0"));
            let id = id.map_err(|_| CommandError::text("ERR client-id should be greater than 0"))?;
            filter.ids = Some(vec![id as u64]);
        } else if args.is(at, "TYPE") {
            filter.kind = Some(Type::parse(value)?);
        } else if args.is(at, "ADDR") {
            filter.address = Some(value.to_vec());
        } else if args.is(at, "LADDR") {
            filter.local = Some(value.to_vec());
        } else if args.is(at, "USER") {
            if cx.server.published().users.get(value).is_none() {
                let name = String::from_utf8_lossy(value);
                return Err(CommandError::Bytes(format!("ERR No such user '{name}'").into_bytes()));
            }
            filter.user = Some(value.to_vec());
        } else if args.is(at, "SKIPME") {
            spares_me = match value.to_ascii_lowercase().as_slice() {
                b"yes" => true,
                b"no" => false,
                _ => return Err(CommandError::Syntax),
            };
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let killed = end(cx, &filter, spares_me);
    if !old_form {
        cx.reply().count(killed);
    } else if killed > 0 {
        cx.reply().ok();
    } else {
        return Err(CommandError::text("ERR No such client"));
    }
    Ok(())
}

/// Ends these connections; ours, if it is among them, once the reply is sent.
fn end(cx: &mut Cx<'_, '_>, filter: &Filter, spares_me: bool) -> usize {
    let own = cx.client.id;
    let mut victims: Vec<ClientId> = Vec::new();
    let mut killed = 0;
    each(cx, filter, |client, session| {
        if client.id != own {
            client.condemn();
            // Its thread may be kept from closing it, and the other end is to know now.
            session.socket.shut();
            victims.push(client.id);
            killed += 1;
        } else if !spares_me {
            session.closing = Some(Closing::AfterReplies);
            killed += 1;
        }
    });
    // They are on no list any more, even before their threads have closed them.
    users::dismiss(cx.server, victims);
    killed
}
