//! Scripts under trial: a host for tests, which answers from a list and notes what it is asked.

use quorate_resp::Protocol;

use crate::{Call, Engine, Host, LogLevel, Options, Outcome, Replicate, Stop};

/// A host whose every answer is prepared.
#[derive(Default)]
pub(crate) struct Trial {
    /// What each command is answered; `+OK` if nothing is prepared. The command `echo` echoes.
    pub(crate) reply: Option<Vec<u8>>,
    /// The commands that came.
    pub(crate) commands: Vec<Vec<Vec<u8>>>,
    pub(crate) logged: Vec<(LogLevel, Vec<u8>)>,
    pub(crate) replication: Vec<Replicate>,
    pub(crate) protocol: Protocol,
    /// After how many questions the script has to end, and why.
    pub(crate) stop: Option<(u32, Stop)>,
    pub(crate) asked: u32,
}

impl Host for Trial {
    fn call(&mut self, argv: &[&[u8]], reply: &mut Vec<u8>) {
        self.commands.push(argv.iter().map(|word| word.to_vec()).collect());
        match (&self.reply, argv) {
            (Some(prepared), _) => reply.extend_from_slice(prepared),
            (None, [b"echo", text, ..]) => quorate_resp::push_bulk(reply, text),
            _ => reply.extend_from_slice(b"+OK\r\n"),
        }
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.logged.push((level, message.to_vec()));
    }

    fn set_replication(&mut self, replicate: Replicate) {
        self.replication.push(replicate);
    }

    fn may_run(&mut self, argv: &[&[u8]]) -> Option<bool> {
        match argv {
            [b"unknown", ..] => None,
            [command, ..] => Some(*command != b"forbidden"),
            [] => None,
        }
    }

    fn should_stop(&mut self) -> Option<Stop> {
        self.asked += 1;
        self.stop.and_then(|(after, stop)| (self.asked > after).then_some(stop))
    }
}

/// Runs `script` in a fresh engine and returns the reply, lossily as text.
pub(crate) fn run(script: &str) -> String {
    run_under(&mut Engine::new(Options::default()), &mut Trial::default(), script, Protocol::Resp2).0
}

/// The same for a caller that speaks RESP3.
pub(crate) fn run_resp3(script: &str) -> String {
    run_under(&mut Engine::new(Options::default()), &mut Trial::default(), script, Protocol::Resp3).0
}

/// Runs `script` with a host that answers `reply`.
pub(crate) fn run_with_reply(reply: &str, script: &str) -> String {
    let mut host = Trial { reply: Some(reply.as_bytes().to_vec()), ..Trial::default() };
    run_under(&mut Engine::new(Options::default()), &mut host, script, Protocol::Resp3).0
}

/// Runs `script` in `engine` under `host`; returns the reply and the outcome.
pub(crate) fn run_under(engine: &mut Engine, host: &mut Trial, script: &str, protocol: Protocol) -> (String, Outcome) {
    let mut out = Vec::new();
    let call = Call { keys: &[b"key1", b"key2"], argv: &[b"arg1", b"5"], protocol };
    let id = match engine.load(script.as_bytes()) {
        Ok(id) => id,
        Err(error) => return (format!("-ERR {error}\r\n"), Outcome::Error { counted: false }),
    };
    let outcome = engine.eval(&id, &call, host, &mut out).expect("the script was loaded");
    (String::from_utf8_lossy(&out).into_owned(), outcome)
}

/// The error that `script` ends with, without the script's name.
pub(crate) fn error_of(script: &str) -> String {
    let reply = run(script);
    let error = reply.strip_prefix('-').unwrap_or_else(|| panic!("{script} answers {reply:?}"));
    error.split(" script: ").next().unwrap_or_default().trim_end().to_owned()
}

mod tests {
    use super::*;

    #[test]
    fn a_script_reaches_its_host_and_gets_its_reply() {
        let (mut engine, mut host) = (Engine::new(Options::default()), Trial::default());
        let script = "redis.log(redis.LOG_WARNING, 'look') return redis.call('echo', KEYS[2])";
        let (reply, _) = run_under(&mut engine, &mut host, script, Protocol::Resp2);
        assert_eq!(reply, "$4\r\nkey2\r\n");
        assert_eq!(host.commands, [vec![b"echo".to_vec(), b"key2".to_vec()]]);
        assert_eq!(host.logged.len(), 1);
    }

    #[test]
    fn the_callers_protocol_decides_how_a_map_is_written() {
        assert_eq!(run("return {ok = 'fine'}"), "+fine\r\n");
        assert_eq!(run_resp3("return {map = {a = 1}}"), "%1\r\n$1\r\na\r\n:1\r\n");
        assert_eq!(run_with_reply("-BAD luck\r\n", "return redis.pcall('x').err"), "$8\r\nBAD luck\r\n");
    }

    #[test]
    fn a_script_that_fails_names_its_error() {
        assert_eq!(error_of("return redis.call()"), "ERR Please specify at least one argument for this redis lib call");
    }
}
