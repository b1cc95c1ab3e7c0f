//! The engine: scripts by name, compiled once and run under a host.

use std::fmt;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use quorate_resp::{Protocol, ReplyWriter};

use crate::answer::{self, Answer};
use crate::dialect::compile_error;
use crate::host::Host;
use crate::lua::{self, Failure, Frame, Kept, Lines, Vm};
use crate::sandbox::{self, Whose, World};
use crate::session::Session;
use crate::sha::ScriptId;
use crate::shebang::{self, Flags, ShebangError};

/// How an engine is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The bytes that scripts and their values may take. A script that needs more ends with an error.
    pub memory_limit: usize,
    /// The bytes that one script's source may have.
    pub source_limit: usize,
    /// The version that `redis.REDIS_VERSION` tells.
    pub version: [u8; 3],
    /// `lua-enable-deprecated-api`: whether `getfenv`, `setfenv` and `newproxy` are there.
    pub deprecated_api: bool,
    /// Where `math.random` begins. A server takes it from the operating system, a test fixes it.
    pub seed: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { memory_limit: 1 << 30, source_limit: 16 << 20, version: [7, 2, 4], deprecated_api: false, seed: 0 }
    }
}

/// One Lua state and the scripts that it has compiled.
pub struct Engine {
    options: Options,
    vm: Vm,
    scripts: HashMap<ScriptId, Script, RandomState>,
    /// The bytes of all sources.
    source_bytes: usize,
}

struct Script {
    function: Kept,
    flags: Option<Flags>,
    hex: [u8; 40],
}

/// One call of a script.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `KEYS`
    pub keys: &'a [&'a [u8]],
    /// `ARGV`
    pub argv: &'a [&'a [u8]],
    /// The version that the caller speaks.
    pub protocol: Protocol,
}

/// How a script ended. In either case its reply has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a value.
    Value,
    /// With an error.
    Error {
        /// A command of the script failed with it and has counted it: the statistics must not do so again.
        counted: bool,
    },
}

/// Why a source is no script. [`fmt::Display`] gives the text for the wire, without its code ERR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// The first line is not understood.
    Shebang(ShebangError),
    /// The rest is not Lua; the compiler's complaint.
    Compile(Vec<u8>),
    /// It is larger than the engine's options allow.
    TooLarge,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Shebang(error) => error.fmt(f),
            LoadError::Compile(complaint) => {
                write!(f, "Error compiling script (new function): {}", String::from_utf8_lossy(complaint))
            }
            LoadError::TooLarge => f.write_str("Error compiling script (new function): the script is too large"),
        }
    }
}

impl std::error::Error for LoadError {}

impl Engine {
    /// An engine without scripts.
    pub fn new(options: Options) -> Engine {
        Engine { options, vm: fresh_vm(&options, Whose::Scripts), scripts: HashMap::default(), source_bytes: 0 }
    }

    /// Compiles `source`, unless that was done before, and returns its name.
    pub fn load(&mut self, source: &[u8]) -> Result<ScriptId, LoadError> {
        let id = ScriptId::of(source);
        if self.scripts.contains_key(&id) {
            return Ok(id);
        }
        if source.len() > self.options.source_limit {
            return Err(LoadError::TooLarge);
        }
        let (flags, body) = shebang::split(source).map_err(LoadError::Shebang)?;
        let mut made: Option<Result<Kept, Vec<u8>>> = None;
        let run = self.vm.protect(&mut |frame| {
            made = Some(if lua::load(frame, c"@user_script", body, Lines::Kept) {
                Ok(frame.keep())
            } else {
                Err(compile_error(frame.bytes(frame.top()).unwrap_or_default()).into_owned())
            });
            Ok(())
        });
        let function = match (run, made) {
            (Ok(()), Some(made)) => made.map_err(LoadError::Compile)?,
            (Err(failure), _) => return Err(LoadError::Compile(failure.text)),
            (Ok(()), None) => unreachable!("the task sets its result before it ends"),
        };
        self.scripts.insert(id, Script { function, flags, hex: id.hex() });
        self.source_bytes += source.len();
        Ok(id)
    }

    /// What the script declares in its first line: `None` if there is no such script, `Some(None)`
    /// if it has no such line, and so is treated as scripts were before there were flags.
    pub fn flags(&self, id: &ScriptId) -> Option<Option<Flags>> {
        self.scripts.get(id).map(|script| script.flags)
    }

    /// Whether there is such a script.
    pub fn exists(&self, id: &ScriptId) -> bool {
        self.scripts.contains_key(id)
    }

    /// How many scripts there are.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether there are no scripts.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Forgets all scripts, and everything else that they have left behind.
    pub fn flush(&mut self) {
        self.scripts = HashMap::default();
        self.source_bytes = 0;
        self.vm = fresh_vm(&self.options, Whose::Scripts);
    }

    /// The bytes that Lua holds (`used_memory_vm_eval`).
    pub fn vm_memory(&self) -> usize {
        self.vm.memory()
    }

    /// The bytes that the engine takes for its list of scripts (`used_memory_scripts_eval`), roughly.
    pub fn cache_memory(&self) -> usize {
        self.scripts.allocation_size() + self.source_bytes
    }

    /// Runs a script and appends its reply to `out`. `None`, and nothing written: there is no such script.
    pub fn eval(&mut self, id: &ScriptId, call: &Call<'_>, host: &mut dyn Host, out: &mut Vec<u8>) -> Option<Outcome> {
        let script = self.scripts.get(id)?;
        let push = |frame: &mut Frame<'_>| {
            frame.set_call_globals(call.keys, call.argv);
            frame.push_kept(&script.function);
            0
        };
        Some(run(&mut self.vm, &push, &script.hex, call.protocol, host, out))
    }
}

/// Runs what `push` puts on the stack, a function and as many arguments as it says, and appends its reply to `out`.
/// An error names `name`.
pub(crate) fn run(
    vm: &mut Vm,
    push: &dyn Fn(&mut Frame<'_>) -> i32,
    name: &[u8],
    protocol: Protocol,
    host: &mut dyn Host,
    out: &mut Vec<u8>,
) -> Outcome {
    let start = out.len();
    let mut answer = Answer::Value;
    vm.session().begin(host);
    let run = vm.protect(&mut |frame| {
        let arguments = push(frame);
        frame.call(arguments, 1);
        let session = frame.session();
        if let Some(stop) = session.stopped {
            return Err(frame.raise(stop.text()));
        }
        let script_protocol = session.protocol;
        let mut writer = ReplyWriter::new(out, protocol);
        answer = answer::write(frame, &mut writer, script_protocol);
        Ok(())
    });
    vm.session().end();
    match (run, answer) {
        (Ok(()), Answer::Value) => Outcome::Value,
        (Ok(()), Answer::Error { counted }) => Outcome::Error { counted },
        (Err(failure), _) => {
            out.truncate(start);
            report(&failure, name, out);
            if failure.text.ends_with(b"not enough memory") {
                vm.collect();
            }
            Outcome::Error { counted: failure.counted }
        }
    }
}

/// A Lua state whose sandbox is built.
pub(crate) fn fresh_vm(options: &Options, whose: Whose) -> Vm {
    let mut vm = Vm::new(Session::new(options.seed, options.source_limit));
    let world = World { version: options.version, deprecated_api: options.deprecated_api, whose };
    vm.protect(&mut |frame| sandbox::build(frame, world)).expect("the sandbox is built from sources of our own");
    vm.collect();
    vm.set_memory_limit(options.memory_limit);
    vm
}

/// Writes `failure` as the error of the script or function `name`.
fn report(failure: &Failure, name: &[u8], out: &mut Vec<u8>) {
    let mut text = failure.text.clone();
    text.extend_from_slice(b" script: ");
    text.extend_from_slice(name);
    if let Some((source, line)) = &failure.at {
        text.extend_from_slice(b", on ");
        text.extend_from_slice(source);
        text.extend_from_slice(format!(":{line}.").as_bytes());
    }
    ReplyWriter::new(out, Protocol::Resp2).error(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Trial;

    fn eval(engine: &mut Engine, source: &str, keys: &[&[u8]], argv: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let id = engine.load(source.as_bytes()).unwrap();
        let call = Call { keys, argv, protocol: Protocol::Resp2 };
        engine.eval(&id, &call, &mut Trial::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_call_sees_its_own_keys_and_arguments_and_nothing_of_earlier_ones() {
        let mut engine = Engine::new(Options::default());
        let source = "local n = #KEYS return {KEYS[1] or '-', ARGV[1] or '-', n, #ARGV, KEYS.left or 'clean'}";
        for (keys, argv, reply) in [
            (&[&b"a"[..]][..], &[&b"x"[..], b"y"][..], "*5\r\n$1\r\na\r\n$1\r\nx\r\n:1\r\n:2\r\n$5\r\nclean\r\n"),
            (&[], &[b"z"], "*5\r\n$1\r\n-\r\n$1\r\nz\r\n:0\r\n:1\r\n$5\r\nclean\r\n"),
            (&[b"b"], &[], "*5\r\n$1\r\nb\r\n$1\r\n-\r\n:1\r\n:0\r\n$5\r\nclean\r\n"),
        ] {
            assert_eq!(eval(&mut engine, source, keys, argv), reply);
            eval(
                &mut engine,
                "KEYS.left = 1 setmetatable(KEYS, {__index = function() return 'bad' end}) ARGV[7] = 7",
                &[b"k"],
                &[],
            );
        }
        assert_eq!(eval(&mut engine, "return {unpack(ARGV)}", &[], &[b"1", b"2"]), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    }
}
