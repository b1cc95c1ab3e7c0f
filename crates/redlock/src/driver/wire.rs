//! Commands in Redis' words, and what its answers mean.
//!
//! A plain lock is `SET resource token NX PX ttl`, and everything else compares the token in a script, so that the libraries
//! of other languages contend for the same lock. What they don't have lies under keys of our own: the counter of a resource
//! below `redlock:fence:`, who waits for it below `redlock:queue:` and `redlock:alive:`, and a release is told on the
//! channel `redlock:released:` followed by the resource.

use std::sync::LazyLock;

use redis::{Cmd, RedisError, RedisResult, Value};

use crate::{Answer, Command, Fault};

/// What precedes a resource in the name of the channel on which its release is told.
const RELEASED: &str = "redlock:released:";

/// A counter lives on for a week after the last lock that raised it. One that is gone begins anew at the server's wall clock,
/// in microseconds, which is further on than any counter that began there and was raised once a lock.
const FENCE: &str = "local function counter(key, time)
  local value = tonumber(redis.call('get', key) or '0')
  if value == 0 and time then value = time[1] * 1000000 + time[2] end
  return value
end
local function keep(key, value) redis.call('set', key, string.format('%.0f', value), 'EX', 604800) end
";

/// KEYS: resources; counters, if fenced; queues and lists of who is alive, if fair.
/// ARGV: token, TTL, number of resources, fenced or not, waiter or nothing, since when it waits, its patience.
const ACQUIRE: &str = "local n, time = tonumber(ARGV[3]), redis.call('time')
local free = true
for i = 1, n do
  if redis.call('exists', KEYS[i]) == 1 then free = false end
end
local fenced = ARGV[4] == '1'
local queues = fenced and 2 * n or n
if ARGV[5] ~= '' then
  local ms, patience = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[7])
  for i = 1, n do
    local queue, alive = KEYS[queues + i], KEYS[queues + n + i]
    for _, gone in ipairs(redis.call('zrangebyscore', alive, '-inf', ms)) do
      redis.call('zrem', queue, gone)
      redis.call('zrem', alive, gone)
    end
    redis.call('zadd', queue, ARGV[6], ARGV[5])
    redis.call('zadd', alive, ms + patience, ARGV[5])
    redis.call('pexpire', queue, 2 * patience)
    redis.call('pexpire', alive, 2 * patience)
    if redis.call('zrange', queue, 0, 0)[1] ~= ARGV[5] then free = false end
  end
end
if not free then return 0 end
for i = 1, n do redis.call('set', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) end
if ARGV[5] ~= '' then
  for i = 1, n do
    redis.call('zrem', KEYS[queues + i], ARGV[5])
    redis.call('zrem', KEYS[queues + n + i], ARGV[5])
  end
end
if not fenced then return 1 end
local top = 0
for i = 1, n do top = math.max(top, counter(KEYS[n + i], time)) end
for i = 1, n do keep(KEYS[n + i], top + 1) end
return string.format('%.0f', top + 1)
";

/// KEYS: resources, counters. ARGV: token, fencing token, number of resources.
const RAISE: &str = "local n, fence = tonumber(ARGV[3]), tonumber(ARGV[2])
for i = 1, n do
  if redis.call('get', KEYS[i]) ~= ARGV[1] then return 0 end
end
for i = 1, n do
  if counter(KEYS[n + i]) < fence then keep(KEYS[n + i], fence) end
end
return 1
";

/// KEYS: resources. ARGV: token, TTL.
const EXTEND: &str = "for _, key in ipairs(KEYS) do
  if redis.call('get', key) ~= ARGV[1] then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('pexpire', key, ARGV[2]) end
return 1
";

/// KEYS: resources; queues and lists of who is alive, if fair. ARGV: token, number of resources, told or not, waiter or nothing.
const RELEASE: &str = "local n, ours = tonumber(ARGV[2]), 0
for i = 1, n do
  local held = redis.call('get', KEYS[i]) == ARGV[1]
  if held then
    redis.call('del', KEYS[i])
    ours = ours + 1
  end
  local turn = ''
  if ARGV[4] ~= '' then
    redis.call('zrem', KEYS[n + i], ARGV[4])
    redis.call('zrem', KEYS[2 * n + i], ARGV[4])
    turn = redis.call('zrange', KEYS[n + i], 0, 0)[1] or ''
  end
  if ARGV[3] == '1' and (held or ARGV[4] ~= '') then redis.pcall('publish', 'redlock:released:' .. KEYS[i], turn) end
end
if ours == n then return 1 end
return 0
";

/// A script, and the name that servers know it by once they have seen it.
pub(crate) struct Script {
    source: String,
    hash: String,
}

impl Script {
    fn new(source: &str) -> Script {
        Script { source: source.to_owned(), hash: redis::Script::new(source).get_hash().to_owned() }
    }
}

struct Scripts {
    acquire: Script,
    raise: Script,
    extend: Script,
    release: Script,
}

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    acquire: Script::new(&format!("{FENCE}{ACQUIRE}")),
    raise: Script::new(&format!("{FENCE}{RAISE}")),
    extend: Script::new(EXTEND),
    release: Script::new(RELEASE),
});

/// The resources of one lock, in order and without doubles, and the keys that belong to them.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) resources: Vec<String>,
    counters: Vec<String>,
    queues: Vec<String>,
}

impl Keys {
    pub(crate) fn of(mut resources: Vec<String>) -> Keys {
        resources.sort_unstable();
        resources.dedup();
        let below = |prefix: &str| -> Vec<String> { resources.iter().map(|key| format!("{prefix}{key}")).collect() };
        let queues = [below("redlock:queue:"), below("redlock:alive:")].concat();
        Keys { counters: below("redlock:fence:"), queues, resources }
    }

    /// Where releases are told: by us, and by the server itself if it is configured to tell of keys.
    pub(crate) fn channels(&self, db: i64) -> Vec<String> {
        let both = |key: &String| [format!("{RELEASED}{key}"), format!("__keyspace@{db}__:{key}")];
        self.resources.iter().flat_map(both).collect()
    }
}

/// The key of a resource's counter.
pub(crate) fn counter_of(resource: &str) -> String {
    format!("redlock:fence:{resource}")
}

/// Whose turn it is, if a message tells of a release: nobody's in particular, or one waiter's.
pub(crate) fn released(channel: &[u8], payload: &[u8]) -> Option<Option<String>> {
    if channel.starts_with(RELEASED.as_bytes()) {
        let turn = std::str::from_utf8(payload).ok()?;
        return Some((!turn.is_empty()).then(|| turn.to_owned()));
    }
    matches!(payload, b"del" | b"expired" | b"unlink" | b"evicted").then_some(None)
}

/// A request, and the script to send with it if the server does not know it any more.
pub(crate) struct Request {
    pub(crate) cmd: Cmd,
    pub(crate) script: Option<&'static Script>,
}

impl Request {
    fn script(script: &'static Script, keys: &[&[String]]) -> Request {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.hash.as_str()).arg(keys.iter().map(|keys| keys.len()).sum::<usize>());
        keys.iter().flat_map(|keys| keys.iter()).for_each(|key| {
            cmd.arg(key);
        });
        Request { cmd, script: Some(script) }
    }
}

/// Says a command.
pub(crate) fn request(command: &Command, keys: &Keys) -> Request {
    let Keys { resources, counters, queues } = keys;
    let n = resources.len();
    match command {
        Command::Acquire { token, ttl, is_fenced: false, place: None } if n == 1 => {
            let mut cmd = redis::cmd("SET");
            cmd.arg(&resources[0]).arg(token.as_str()).arg("NX").arg("PX").arg(ttl.as_millis() as u64);
            Request { cmd, script: None }
        }
        Command::Acquire { token, ttl, is_fenced, place } => {
            let counters = if *is_fenced { counters.as_slice() } else { &[] };
            let queues = if place.is_some() { queues.as_slice() } else { &[] };
            let mut request = Request::script(&SCRIPTS.acquire, &[resources, counters, queues]);
            request.cmd.arg(token.as_str()).arg(ttl.as_millis() as u64).arg(n).arg(u8::from(*is_fenced));
            match place {
                Some(place) => {
                    request.cmd.arg(place.waiter.as_str()).arg(place.since).arg(place.patience.as_millis() as u64)
                }
                None => request.cmd.arg(""),
            };
            request
        }
        Command::Raise { token, fence } => {
            let mut request = Request::script(&SCRIPTS.raise, &[resources, counters]);
            request.cmd.arg(token.as_str()).arg(*fence).arg(n);
            request
        }
        Command::Extend { token, ttl } => {
            let mut request = Request::script(&SCRIPTS.extend, &[resources]);
            request.cmd.arg(token.as_str()).arg(ttl.as_millis() as u64);
            request
        }
        Command::Release { token, is_told, leave } => {
            let queues = if leave.is_some() { queues.as_slice() } else { &[] };
            let mut request = Request::script(&SCRIPTS.release, &[resources, queues]);
            let waiter = leave.as_ref().map_or("", |place| place.waiter.as_str());
            request.cmd.arg(token.as_str()).arg(n).arg(u8::from(*is_told)).arg(waiter);
            request
        }
    }
}

/// The scripts, to be loaded when a connection is made.
pub(crate) fn load_scripts() -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    for script in [&SCRIPTS.acquire, &SCRIPTS.raise, &SCRIPTS.extend, &SCRIPTS.release] {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source.as_str());
    }
    pipeline
}

/// `EVALSHA` with the script itself instead of its hash.
pub(crate) fn with_source(request: &Request) -> Option<Cmd> {
    let script = request.script?;
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(script.source.as_str());
    for arg in request.cmd.args_iter().skip(2) {
        match arg {
            redis::Arg::Simple(bytes) => cmd.arg(bytes),
            _ => &mut cmd,
        };
    }
    Some(cmd)
}

/// What an answer means.
pub(crate) fn answer(reply: RedisResult<Value>) -> Answer {
    let reply = match reply {
        Ok(Value::ServerError(error)) => return Answer::Failed(fault(&RedisError::from(error))),
        Ok(reply) => reply,
        Err(error) => return Answer::Failed(fault(&error)),
    };
    match reply {
        Value::Okay | Value::Int(1) => Answer::Done { fence: None },
        Value::Nil | Value::Int(0) => Answer::NotOurs,
        Value::BulkString(digits) => match std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()) {
            Some(fence) => Answer::Done { fence: Some(fence) },
            None => Answer::Failed(Fault::Refused("an answer that is none".into())),
        },
        other => Answer::Failed(Fault::Refused(format!("an answer that is none: {other:?}"))),
    }
}

/// Why there was no answer, in words that say what to do where that is known.
pub(crate) fn fault(error: &RedisError) -> Fault {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    match error.code() {
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => {
            Fault::Refused(format!("{text} (check the user and password of its address)"))
        }
        Some("NOAUTH" | "WRONGPASS") => Fault::Refused(format!("{text} (check the user and password of its address)")),
        Some(_) => Fault::Refused(text),
        None if error.is_timeout() => Fault::Silent,
        None => Fault::Unreachable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;
    use std::time::Duration;

    fn words(request: &Request) -> Vec<String> {
        let text = |arg| match arg {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        request.cmd.args_iter().map(text).collect()
    }

    #[test]
    fn a_plain_lock_is_what_every_library_sends() {
        let token = Token::of(1, 1);
        let ttl = Duration::from_millis(1500);
        let command = Command::Acquire { token: token.clone(), ttl, is_fenced: false, place: None };
        let request = request(&command, &Keys::of(vec!["r".into()]));
        assert_eq!(words(&request), ["SET", "r", token.as_str(), "NX", "PX", "1500"]);
    }

    #[test]
    fn resources_are_sorted_and_named_once() {
        let keys = Keys::of(vec!["b".into(), "a".into(), "b".into()]);
        assert_eq!(keys.resources, ["a", "b"]);
        assert_eq!(keys.channels(3)[..2], ["redlock:released:a", "__keyspace@3__:a"]);
        let command = Command::Raise { token: Token::of(1, 1), fence: 9 };
        let request = request(&command, &keys);
        assert_eq!(words(&request)[2..7], ["4", "a", "b", "redlock:fence:a", "redlock:fence:b"]);
        let with_source = Request { cmd: with_source(&request).unwrap(), script: None };
        assert_eq!(words(&with_source)[2..], words(&request)[2..]);
    }

    #[test]
    fn answers_are_votes() {
        assert_eq!(answer(Ok(Value::Okay)), Answer::Done { fence: None });
        assert_eq!(answer(Ok(Value::Nil)), Answer::NotOurs);
        assert_eq!(answer(Ok(Value::BulkString(b"17".to_vec()))), Answer::Done { fence: Some(17) });
        assert!(matches!(answer(Ok(Value::BulkString(b"x".to_vec()))), Answer::Failed(_)));
    }

    #[test]
    fn messages_of_releases_are_told_from_others() {
        assert_eq!(released(b"redlock:released:r", b""), Some(None));
        assert_eq!(released(b"redlock:released:r", b"00"), Some(Some("00".into())));
        assert_eq!(released(b"__keyspace@0__:r", b"expired"), Some(None));
        assert_eq!(released(b"__keyspace@0__:r", b"set"), None);
    }
}
