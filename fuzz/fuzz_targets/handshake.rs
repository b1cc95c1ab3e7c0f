//! What either side of a replication link may say before the stream: every line is understood or refused, and what we
//! would say ourselves is understood as meant.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_replication::wire::{self, Origin, PsyncReply, Reply};
use quorate_replication::{Introduction, Psync};

fuzz_target!(|input: &[u8]| {
    let words: Vec<&[u8]> = input.split(|&byte| byte == b' ').collect();
    let mut introduction = Introduction::default();
    let _ = introduction.replconf(&words);
    if let [id, next, rest @ ..] = words.as_slice() {
        let _ = Psync::parse(id, next, rest);
    }
    let reply = Reply::parse(input);
    if let Reply::Snapshot(framing) = &reply {
        assert_eq!(Reply::parse(framing.line().as_bytes()), reply);
    }
    match PsyncReply::parse(&reply) {
        PsyncReply::FullResync { id, at } => {
            let line = Reply::parse(wire::full_resync_line(id, at).as_bytes());
            assert_eq!(PsyncReply::parse(&line), PsyncReply::FullResync { id, at });
        }
        PsyncReply::Continue { id } => {
            let line = Reply::parse(wire::continue_line(id).as_bytes());
            assert_eq!(PsyncReply::parse(&line), PsyncReply::Continue { id });
        }
        PsyncReply::Later | PsyncReply::Malformed | PsyncReply::Unsupported => {}
    }
    let _ = Origin::parse(input);
});
