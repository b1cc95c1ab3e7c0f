//! SUBSCRIBE and its like for events, and PUBLISH for the hellos of other Sentinels.

use quorate_sentinel::{Input, hello};

use super::{Cx, Outcome};

pub(super) fn subscribe(cx: &mut Cx<'_>) -> Outcome {
    begin(cx, false)
}

pub(super) fn psubscribe(cx: &mut Cx<'_>) -> Outcome {
    begin(cx, true)
}

pub(super) fn unsubscribe(cx: &mut Cx<'_>) -> Outcome {
    end(cx, false)
}

pub(super) fn punsubscribe(cx: &mut Cx<'_>) -> Outcome {
    end(cx, true)
}

fn begin(cx: &mut Cx<'_>, by_pattern: bool) -> Outcome {
    let (words, kind) = (cx.words, if by_pattern { "psubscribe" } else { "subscribe" });
    let client = cx.client();
    for channel in &words[1..] {
        let set = if by_pattern { &mut client.patterns } else { &mut client.channels };
        set.insert(channel.clone());
        confirm(client, kind, Some(channel));
    }
    Ok(())
}

fn end(cx: &mut Cx<'_>, by_pattern: bool) -> Outcome {
    let (words, kind) = (cx.words, if by_pattern { "punsubscribe" } else { "unsubscribe" });
    let client = cx.client();
    let set = if by_pattern { &mut client.patterns } else { &mut client.channels };
    let named: Vec<Vec<u8>> = if words.len() > 1 { words[1..].to_vec() } else { set.iter().cloned().collect() };
    if named.is_empty() {
        confirm(client, kind, None);
    }
    for channel in named {
        let set = if by_pattern { &mut client.patterns } else { &mut client.channels };
        set.remove(&channel);
        confirm(client, kind, Some(&channel));
    }
    Ok(())
}

fn confirm(client: &mut crate::sentinel::clients::Client, kind: &str, channel: Option<&[u8]>) {
    let count = client.subscriptions();
    let mut reply = client.reply();
    reply.push(3);
    reply.bulk(kind.as_bytes());
    match channel {
        Some(channel) => reply.bulk(channel),
        None => reply.null(),
    }
    reply.count(count);
}

pub(super) fn publish(cx: &mut Cx<'_>) -> Outcome {
    if cx.word(1) != hello::CHANNEL.as_bytes() {
        return Err("ERR Only HELLO messages are accepted by Sentinel instances.".to_owned());
    }
    match hello::parse(cx.word(2)) {
        Ok(hello) => cx.shell.tell(Input::Heard { conn: None, hello }),
        Err(error) => return Err(format!("ERR This is no hello of a Sentinel: {error}")),
    }
    cx.client().reply().int(1);
    Ok(())
}
