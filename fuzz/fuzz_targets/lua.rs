//! Scripts and what they are given: any text is a script or an error; whatever a script decodes, packs or answers ends in one
//! reply, within the memory and the steps that it has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_resp::{Protocol, parse_reply};
use quorate_scripting::{Call, Engine, Host, LogLevel, Options, Replicate, Stop};

/// What each script may take.
const MEMORY: usize = 16 << 20;
/// How often it is asked whether it has to end.
const QUESTIONS: u32 = 20;

/// What decodes bytes of a client, and goes back the way where there is one.
const DECODERS: [&str; 7] = [
    "local ok, value = pcall(cjson.decode, ARGV[1]) if ok then return cjson.encode(value) end",
    "local ok, value = pcall(cmsgpack.unpack, ARGV[1]) if ok then return cmsgpack.pack(value) end",
    "return {pcall(cmsgpack.unpack_limit, ARGV[1], 1, 0)}",
    "return {pcall(struct.unpack, ARGV[2], ARGV[1])}",
    "return {pcall(struct.pack, ARGV[2], ARGV[1], 1, 2, 3)}",
    "return {pcall(string.format, ARGV[2], ARGV[1], 1, 2, 3)}",
    "return {pcall(string.find, ARGV[1], ARGV[2])}",
];

/// A host whose commands answer with bytes of the input.
struct Fuzzed<'a> {
    replies: &'a [u8],
    questions: u32,
}

impl Host for Fuzzed<'_> {
    fn call(&mut self, _: &[&[u8]], reply: &mut Vec<u8>) {
        match parse_reply(self.replies) {
            Ok(Some((_, length))) => {
                reply.extend_from_slice(&self.replies[..length]);
                self.replies = &self.replies[length..];
            }
            _ => reply.extend_from_slice(b"+OK\r\n"),
        }
    }
    fn set_protocol(&mut self, _: Protocol) {}
    fn log(&mut self, _: LogLevel, _: &[u8]) {}
    fn set_replication(&mut self, _: Replicate) {}
    fn may_run(&mut self, _: &[&[u8]]) -> Option<bool> {
        Some(true)
    }
    fn should_stop(&mut self) -> Option<Stop> {
        self.questions += 1;
        (self.questions > QUESTIONS).then_some(Stop::ScriptKill)
    }
}

fn run(engine: &mut Engine, source: &[u8], argv: &[&[u8]], replies: &[u8]) {
    let Ok(id) = engine.load(source) else { return };
    let (mut reply, mut host) = (Vec::new(), Fuzzed { replies, questions: 0 });
    let call = Call { keys: &[b"key"], argv, protocol: Protocol::Resp3 };
    engine.eval(&id, &call, &mut host, &mut reply).expect("it was loaded");
    let (_, length) = parse_reply(&reply).expect("it is a reply").expect("it is whole");
    assert_eq!(length, reply.len(), "a script answers once");
}

fuzz_target!(|input: (u8, &[u8], &[u8], &[u8])| {
    let (choice, first, second, replies) = input;
    let mut engine = Engine::new(Options { memory_limit: MEMORY, ..Options::default() });
    match DECODERS.get(usize::from(choice)) {
        Some(decoder) => run(&mut engine, decoder.as_bytes(), &[first, second], replies),
        None => run(&mut engine, first, &[second], replies),
    }
});
