//! The `redis` table: how a script reaches its server.

use quorate_resp::Protocol;
use smallvec::SmallVec;

use crate::host::{Host, LogLevel, Replicate};
use crate::library;
use crate::lua::{Frame, Kind, Raised, Results};
use crate::number::text_shortest;
use crate::reply::{self, Pushed, push_error};
use crate::sandbox::{Whose, World, raise_nonexistent};
use crate::session::Session;
use crate::sha::ScriptId;

/// A reply buffer larger than this is not kept for the next command.
const KEPT_REPLY: usize = 1 << 20;

/// Pushes the `redis` table.
pub(crate) fn push(frame: &mut Frame<'_>, world: World) {
    frame.push_table(0, 32);
    let table = frame.top();
    macro_rules! functions {
        ($($name:literal: $function:expr,)*) => {
            $(frame.push_function($name, $function); frame.raw_set_field(table, $name);)*
        };
    }
    functions! {
        c"call": |frame: &mut Frame<'_>| command(frame, OnError::Raise),
        c"pcall": |frame: &mut Frame<'_>| command(frame, OnError::Return),
        c"log": log,
        c"setresp": setresp,
        c"set_repl": set_repl,
        c"acl_check_cmd": acl_check_cmd,
        c"error_reply": error_reply,
        c"status_reply": status_reply,
        c"sha1hex": sha1hex,
    }
    match world.whose {
        Whose::Scripts => {
            functions! { c"replicate_commands": replicate_commands, c"breakpoint": nothing, c"debug": nothing, }
        }
        Whose::Functions => {
            functions! { c"register_function": library::register_function, }
        }
    }
    let [major, minor, patch] = world.version;
    let numbers = [
        (c"LOG_DEBUG", 0),
        (c"LOG_VERBOSE", 1),
        (c"LOG_NOTICE", 2),
        (c"LOG_WARNING", 3),
        (c"REPL_NONE", 0),
        (c"REPL_AOF", 1),
        (c"REPL_SLAVE", 2),
        (c"REPL_REPLICA", 2),
        (c"REPL_ALL", 3),
        (c"REDIS_VERSION_NUM", u32::from(major) << 16 | u32::from(minor) << 8 | u32::from(patch)),
    ];
    for (name, number) in numbers {
        frame.push_number(f64::from(number));
        frame.raw_set_field(table, name);
    }
    frame.push_bytes(format!("{major}.{minor}.{patch}").as_bytes());
    frame.raw_set_field(table, c"REDIS_VERSION");
}

/// Who serves what needs a server: nobody while a library is loaded, which finds only how to register functions.
fn host(session: &mut Session) -> Option<&mut dyn Host> {
    if session.registering.is_some() { None } else { session.host() }
}

/// What becomes of a command's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnError {
    Raise,
    Return,
}

/// `redis.call(word, ...)` and `redis.pcall(word, ...)`
fn command(frame: &mut Frame<'_>, on_error: OnError) -> Results {
    let mut numbers = SmallVec::new();
    let argv = match arguments(frame, &mut numbers) {
        Ok(argv) => argv,
        Err(complaint) => {
            push_error(frame, complaint.as_bytes(), false);
            return raise_or_return(on_error);
        }
    };
    let session = frame.session();
    if session.ask() {
        return Err(frame.raise(b"stopped"));
    }
    let mut wire = std::mem::take(&mut session.reply);
    wire.clear();
    let Some(host) = host(session) else {
        return Err(raise_nonexistent(frame, if on_error == OnError::Raise { b"call" } else { b"pcall" }));
    };
    host.call(&argv, &mut wire);
    let pushed = reply::push(frame, &wire)?;
    if wire.capacity() <= KEPT_REPLY {
        frame.session().reply = wire;
    }
    match pushed {
        Pushed::Value => Ok(1),
        Pushed::Error => raise_or_return(on_error),
    }
}

fn raise_or_return(on_error: OnError) -> Results {
    match on_error {
        OnError::Raise => Err(Raised),
        OnError::Return => Ok(1),
    }
}

type Argv<'a> = SmallVec<[&'a [u8]; 16]>;

/// The words of a command; numbers are written into `numbers`.
fn arguments<'f: 'n, 'n>(frame: &mut Frame<'f>, numbers: &'n mut SmallVec<[u8; 64]>) -> Result<Argv<'n>, &'static str> {
    let count = frame.arguments();
    if count == 0 {
        return Err("ERR Please specify at least one argument for this redis lib call");
    }
    let mut argv = Argv::with_capacity(count as usize);
    let mut places: SmallVec<[(usize, usize, usize); 8]> = SmallVec::new();
    for index in 1..=count {
        match frame.kind(index) {
            Kind::String => argv.push(frame.arg_bytes(index).unwrap_or_default()),
            Kind::Number => {
                let start = numbers.len();
                numbers.extend_from_slice(text_shortest(frame.number(index).unwrap_or_default()).as_bytes());
                places.push((argv.len(), start, numbers.len()));
                argv.push(b"");
            }
            _ => return Err("ERR Lua redis lib command arguments must be strings or integers"),
        }
    }
    let numbers: &'n [u8] = numbers;
    for (place, start, end) in places {
        argv[place] = &numbers[start..end];
    }
    Ok(argv)
}

/// `redis.acl_check_cmd(word, ...)`
fn acl_check_cmd(frame: &mut Frame<'_>) -> Results {
    let mut numbers = SmallVec::new();
    let argv = match arguments(frame, &mut numbers) {
        Ok(argv) => argv,
        Err(complaint) => return Err(refuse(frame, complaint)),
    };
    let Some(host) = host(frame.session()) else { return Err(raise_nonexistent(frame, b"acl_check_cmd")) };
    match host.may_run(&argv) {
        Some(allowed) => {
            frame.push_boolean(allowed);
            Ok(1)
        }
        None => Err(refuse(frame, "ERR Invalid command passed to redis.acl_check_cmd()")),
    }
}

/// The error table that misuse of this library raises.
pub(crate) fn refuse(frame: &mut Frame<'_>, complaint: &str) -> Raised {
    push_error(frame, complaint.as_bytes(), false);
    Raised
}

/// `redis.log(level, text, ...)`
fn log(frame: &mut Frame<'_>) -> Results {
    if frame.arguments() < 2 {
        return Err(refuse(frame, "ERR redis.log() requires two arguments or more."));
    }
    let level = match frame.number(1).map(|level| level as i64) {
        None => return Err(refuse(frame, "ERR First argument must be a number (log level).")),
        Some(0) => LogLevel::Debug,
        Some(1) => LogLevel::Verbose,
        Some(2) => LogLevel::Notice,
        Some(3) => LogLevel::Warning,
        Some(_) => return Err(refuse(frame, "ERR Invalid debug level.")),
    };
    let mut message = Vec::new();
    for index in 2..=frame.arguments() {
        if let Some(word) = frame.arg_bytes(index) {
            if index > 2 {
                message.push(b' ');
            }
            message.extend_from_slice(word);
        }
    }
    if let Some(host) = frame.session().host() {
        host.log(level, &message);
    }
    Ok(0)
}

/// `redis.setresp(version)`
fn setresp(frame: &mut Frame<'_>) -> Results {
    if frame.arguments() != 1 {
        return Err(refuse(frame, "ERR redis.setresp() requires one argument."));
    }
    let protocol = match frame.number(1).map(|version| version as i64) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        _ => return Err(refuse(frame, "ERR RESP version must be 2 or 3.")),
    };
    let Some(host) = host(frame.session()) else { return Err(raise_nonexistent(frame, b"setresp")) };
    host.set_protocol(protocol);
    frame.session().protocol = protocol;
    Ok(0)
}

/// `redis.set_repl(where)`
fn set_repl(frame: &mut Frame<'_>) -> Results {
    if frame.arguments() != 1 {
        return Err(refuse(frame, "ERR redis.set_repl() requires two arguments."));
    }
    let bits = frame.number(1).unwrap_or_default() as i64;
    if bits & !3 != 0 {
        let complaint = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(refuse(frame, complaint));
    }
    let Some(host) = host(frame.session()) else { return Err(raise_nonexistent(frame, b"set_repl")) };
    host.set_replication(Replicate { aof: bits & 1 != 0, replicas: bits & 2 != 0 });
    Ok(0)
}

/// `redis.error_reply(text)`: text without a code gets the code ERR.
fn error_reply(frame: &mut Frame<'_>) -> Results {
    let text = match (frame.arguments(), frame.kind(1)) {
        (1, Kind::String) => frame.arg_bytes(1).unwrap_or_default(),
        _ => {
            push_error(frame, WRONG_ARGUMENTS, false);
            return Ok(1);
        }
    };
    let text = text.strip_prefix(b"-").unwrap_or(text);
    if text.contains(&b' ') {
        push_error(frame, text, false);
    } else {
        push_error(frame, &[b"ERR ", text].concat(), false);
    }
    Ok(1)
}

const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";

/// `redis.status_reply(text)`
fn status_reply(frame: &mut Frame<'_>) -> Results {
    match (frame.arguments(), frame.kind(1)) {
        (1, Kind::String) => {
            frame.push_table(0, 1);
            frame.push_copy(1);
            frame.raw_set_field(2, c"ok");
        }
        _ => push_error(frame, WRONG_ARGUMENTS, false),
    }
    Ok(1)
}

/// `redis.sha1hex(text)`
fn sha1hex(frame: &mut Frame<'_>) -> Results {
    if frame.arguments() != 1 {
        return Err(refuse(frame, "ERR wrong number of arguments"));
    }
    let id = ScriptId::of(frame.arg_bytes(1).unwrap_or_default());
    frame.push_bytes(&id.hex());
    Ok(1)
}

/// `redis.replicate_commands()`: effects are all that is ever replicated.
fn replicate_commands(frame: &mut Frame<'_>) -> Results {
    frame.push_boolean(true);
    Ok(1)
}

/// `redis.breakpoint()` and `redis.debug(...)`: there is no debugger.
fn nothing(frame: &mut Frame<'_>) -> Results {
    frame.push_boolean(false);
    Ok(1)
}
