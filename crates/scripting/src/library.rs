//! Libraries of functions: what FUNCTION LOAD takes and FCALL calls.
//!
//! A library is a source whose first line names it (`#!lua name=mylib`). Run once when it is loaded, it registers its
//! functions; each of them is called with its keys and its arguments from then on. While it is loaded it finds nothing
//! of the server but `redis.register_function` and what needs no server.
//!
//! Theory: one [`Functions`] holds one Lua state, in which each library was run once. What a library keeps in local
//! variables lives as long as that state: a host that has several of them has several such variables, too.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use quorate_resp::split_words;

use crate::api::refuse;
use crate::dialect::compile_error;
use crate::engine::{self, Call, Options, Outcome};
use crate::host::Host;
use crate::lua::{self, Frame, Kept, Kind, Lines, Results, Vm};
use crate::sandbox::Whose;
use crate::shebang::Flags;

/// A library and what it has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: Vec<u8>,
    /// All of it, with its first line.
    pub source: Arc<[u8]>,
    /// Its functions, in the order in which they were registered; at least one.
    pub functions: Vec<Function>,
}

/// A function as it was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: Vec<u8>,
    /// What it says of itself.
    pub description: Option<Vec<u8>>,
    /// What it declares.
    pub flags: Flags,
}

/// A function that a library registers while it is loaded.
pub(crate) struct Registered {
    function: Function,
    callback: Kept,
}

/// Why a source is no library. [`fmt::Display`] gives the text for the wire, without its code ERR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LibraryError {
    /// The first line is not understood; why.
    Metadata(String),
    /// The rest is not Lua; the compiler's complaint.
    Compile(Vec<u8>),
    /// It failed when it was run; the error with its code.
    Run(Vec<u8>),
    /// It registers nothing.
    NoFunctions,
}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LibraryError::Metadata(why) => f.write_str(why),
            LibraryError::Compile(complaint) => {
                write!(f, "Error compiling function: {}", String::from_utf8_lossy(complaint))
            }
            LibraryError::Run(text) => write!(f, "Error registering functions: {}", String::from_utf8_lossy(text)),
            LibraryError::NoFunctions => f.write_str("No functions registered"),
        }
    }
}

impl std::error::Error for LibraryError {}

/// One Lua state and the libraries that were run in it.
pub struct Functions {
    options: Options,
    vm: Vm,
    libraries: HashMap<Vec<u8>, HashMap<Vec<u8>, Kept>>,
}

impl Functions {
    /// A state without libraries.
    pub fn new(options: Options) -> Functions {
        Functions { options, vm: engine::fresh_vm(&options, Whose::Functions), libraries: HashMap::new() }
    }

    /// Runs a library, in place of an earlier one of that name. Of `host` only the patience is asked for.
    pub fn load(&mut self, source: &[u8], host: &mut dyn Host) -> Result<Library, LibraryError> {
        let (name, body) = split(source)?;
        if source.len() > self.options.source_limit {
            return Err(LibraryError::Compile(b"the library is too large".to_vec()));
        }
        let mut refused = None;
        self.vm.session().begin(host);
        self.vm.session().registering = Some(Vec::new());
        let run = self.vm.protect(&mut |frame| {
            if lua::load(frame, c"@user_function", body, Lines::Kept) {
                frame.call(0, 0);
            } else {
                refused = Some(compile_error(frame.bytes(frame.top()).unwrap_or_default()).into_owned());
            }
            match frame.session().stopped {
                Some(stop) => Err(frame.raise(stop.text())),
                None => Ok(()),
            }
        });
        self.vm.session().end();
        let registered = self.vm.session().registering.take().unwrap_or_default();
        if let Some(complaint) = refused {
            return Err(LibraryError::Compile(complaint));
        }
        run.map_err(|failure| LibraryError::Run(failure.text))?;
        if registered.is_empty() {
            return Err(LibraryError::NoFunctions);
        }
        let (mut functions, mut callbacks) = (Vec::new(), HashMap::new());
        for Registered { function, callback } in registered {
            callbacks.insert(function.name.clone(), callback);
            functions.push(function);
        }
        self.libraries.insert(name.clone(), callbacks);
        Ok(Library { name, source: source.into(), functions })
    }

    /// Whether the library was run here.
    pub fn has(&self, library: &[u8]) -> bool {
        self.libraries.contains_key(library)
    }

    /// Calls a function and appends its reply to `out`. `None`, and nothing written: there is no such function here.
    pub fn call(
        &mut self,
        library: &[u8],
        function: &[u8],
        call: &Call<'_>,
        host: &mut dyn Host,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let callback = self.libraries.get(library)?.get(function)?;
        let push = |frame: &mut Frame<'_>| {
            frame.push_kept(callback);
            for strings in [call.keys, call.argv] {
                frame.push_table(strings.len(), 0);
                let table = frame.top();
                for (string, position) in strings.iter().zip(1..) {
                    frame.push_bytes(string);
                    frame.raw_set_index(table, position);
                }
            }
            2
        };
        Some(engine::run(&mut self.vm, &push, function, call.protocol, host, out))
    }

    /// Forgets all libraries, and everything that they have left behind.
    pub fn flush(&mut self) {
        if !self.libraries.is_empty() {
            *self = Functions::new(self.options);
        }
    }

    /// The bytes that Lua holds (`used_memory_vm_functions`).
    pub fn vm_memory(&self) -> usize {
        self.vm.memory()
    }
}

/// Reads the first line: the library's name, and the rest, which begins with the line's end.
fn split(source: &[u8]) -> Result<(Vec<u8>, &[u8]), LibraryError> {
    let refuse = |why: &str| LibraryError::Metadata(why.to_owned());
    if !source.starts_with(b"#!") {
        return Err(refuse("Missing library metadata"));
    }
    let end = source.iter().position(|&byte| byte == b'\n').ok_or_else(|| refuse("Invalid library metadata"))?;
    let words = split_words(&source[..end]).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| refuse("Invalid library metadata"))?;
    let mut name = None;
    for word in &words[1..] {
        let Some((key, value)) = word.split_at_checked(5).filter(|(key, _)| key.eq_ignore_ascii_case(b"name=")) else {
            return Err(refuse(&format!("Invalid metadata value given: {}", String::from_utf8_lossy(word))));
        };
        debug_assert_eq!(key.len(), 5);
        if name.replace(value.to_vec()).is_some() {
            return Err(refuse("Invalid metadata value, name argument was given multiple times"));
        }
    }
    let name = name.ok_or_else(|| refuse("Library name was not given"))?;
    if !is_name(&name) {
        return Err(refuse(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
        ));
    }
    let engine = &words[0][2..];
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(refuse(&format!("Engine '{}' not found", String::from_utf8_lossy(engine))));
    }
    Ok((name, &source[end..]))
}

fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `redis.register_function(name, callback)` and
/// `redis.register_function{function_name=..., callback=..., flags=..., description=...}`
pub(crate) fn register_function(frame: &mut Frame<'_>) -> Results {
    if frame.session().registering.is_none() {
        return Err(refuse(frame, "ERR redis.register_function can only be called on FUNCTION LOAD command"));
    }
    let registered = match frame.arguments() {
        1 => from_table(frame),
        2 => from_values(frame),
        _ => Err("ERR wrong number of arguments to redis.register_function"),
    };
    let registered = registered.and_then(|registered| {
        if !is_name(&registered.function.name) {
            return Err(
                "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                 character long",
            );
        }
        Ok(registered)
    });
    let outcome = registered.and_then(|registered| {
        let all = frame.session().registering.get_or_insert_default();
        if all.iter().any(|other| other.function.name == registered.function.name) {
            return Err("ERR Function already exists in the library");
        }
        all.push(registered);
        Ok(())
    });
    outcome.map(|()| 0).map_err(|complaint| refuse(frame, complaint))
}

fn from_values(frame: &mut Frame<'_>) -> Result<Registered, &'static str> {
    let name = frame.arg_bytes(1).map(<[u8]>::to_vec);
    let name = name.ok_or("ERR first argument to redis.register_function must be a string")?;
    if frame.kind(2) != Kind::Function {
        return Err("ERR second argument to redis.register_function must be a function");
    }
    frame.push_copy(2);
    let function = Function { name, description: None, flags: Flags::default() };
    Ok(Registered { function, callback: frame.keep() })
}

fn from_table(frame: &mut Frame<'_>) -> Result<Registered, &'static str> {
    if frame.kind(1) != Kind::Table {
        return Err(
            "ERR calling redis.register_function with a single argument is only applicable to Lua table (representing \
             named arguments).",
        );
    }
    let (mut name, mut description, mut flags, mut callback) = (None, None, Flags::default(), None);
    let mut cursor = 0;
    while let Some(next) = frame.step(1, cursor) {
        let value = frame.top();
        let text = frame.bytes(value).map(<[u8]>::to_vec);
        match frame.bytes(value - 1).unwrap_or_default() {
            b"function_name" => {
                let wrong = "ERR function_name argument given to redis.register_function must be a string";
                name = Some(text.ok_or(wrong)?);
            }
            b"description" => {
                let wrong = "ERR description argument given to redis.register_function must be a string";
                description = Some(text.ok_or(wrong)?);
            }
            b"callback" if frame.kind(value) != Kind::Function => {
                return Err("ERR callback argument given to redis.register_function must be a function");
            }
            b"callback" => {
                frame.push_copy(value);
                callback = Some(frame.keep());
            }
            b"flags" => flags = flags_of(frame, value)?,
            _ => return Err("ERR unknown argument given to redis.register_function"),
        }
        frame.pop(2);
        cursor = next;
    }
    let name = name.ok_or("ERR redis.register_function must get a function name argument")?;
    let callback = callback.ok_or("ERR redis.register_function must get a callback argument")?;
    Ok(Registered { function: Function { name, description, flags }, callback })
}

fn flags_of(frame: &mut Frame<'_>, table: i32) -> Result<Flags, &'static str> {
    if frame.kind(table) != Kind::Table {
        return Err("ERR flags argument to redis.register_function must be a table representing function flags");
    }
    let mut flags = Flags::default();
    let mut position = 1;
    while frame.raw_get_index(table, position) == Kind::String {
        *flags.named(frame.bytes(frame.top()).unwrap_or_default()).ok_or("ERR unknown flag given")? = true;
        frame.pop(1);
        position += 1;
    }
    let ends = frame.kind(frame.top()) == Kind::Nil;
    frame.pop(1);
    if ends { Ok(flags) } else { Err("ERR unknown flag given") }
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use super::*;
    use crate::host::Stop;
    use crate::trial::Trial;

    fn load(source: &str) -> Result<Library, String> {
        let mut functions = Functions::new(Options::default());
        functions.load(source.as_bytes(), &mut Trial::default()).map_err(|error| error.to_string())
    }

    fn refusal(source: &str) -> String {
        load(source).unwrap_err()
    }

    #[test]
    fn the_first_line_names_the_library_or_is_refused_in_the_words_of_redis() {
        for (source, why) in [
            ("return 1", "Missing library metadata"),
            ("#!lua", "Invalid library metadata"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua name=a foo=b\n", "Invalid metadata value given: foo=b"),
            ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
            ("#!js name=a\n", "Engine 'js' not found"),
            (
                "#!lua name=a-b\n",
                "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
            ),
            ("#!lua name=a\nreturn 1", "No functions registered"),
        ] {
            assert_eq!(refusal(source), why);
        }
    }

    #[test]
    fn what_goes_wrong_while_a_library_is_loaded_is_told_with_its_line() {
        let at = |rest: &str| refusal(&format!("#!lua name=a\n{rest}"));
        let prefix = "Error registering functions: ERR ";
        for (rest, why) in [
            ("return x", "user_function:2: Script attempted to access nonexistent global variable 'x'"),
            ("redis.call('ping')", "user_function:2: Script attempted to access nonexistent global variable 'call'"),
            ("redis.setresp(3)", "user_function:2: Script attempted to access nonexistent global variable 'setresp'"),
            ("redis.register_function()", "wrong number of arguments to redis.register_function"),
            ("redis.register_function({}, 2)", "first argument to redis.register_function must be a string"),
            ("redis.register_function('x', 2)", "second argument to redis.register_function must be a function"),
            ("redis.register_function{bad = 1}", "unknown argument given to redis.register_function"),
            ("redis.register_function{function_name = 'x'}", "redis.register_function must get a callback argument"),
            ("redis.register_function{flags = {'hu'}}", "unknown flag given"),
            (
                "local f = function() end for i = 1, 2 do redis.register_function('x', f) end",
                "Function already exists in the library",
            ),
        ] {
            assert_eq!(at(rest), format!("{prefix}{why}"), "{rest}");
        }
        assert!(at("return x y").starts_with("Error compiling function: user_function:2:"));
    }

    #[test]
    fn a_library_that_is_not_done_in_time_is_given_up() {
        let mut host = Trial { stop: Some((2, Stop::LoadTimeout)), ..Trial::default() };
        let mut functions = Functions::new(Options::default());
        let error = functions.load(b"#!lua name=a\nwhile true do end", &mut host).unwrap_err();
        assert_eq!(error.to_string(), "Error registering functions: ERR FUNCTION LOAD timeout");
    }

    #[test]
    fn a_function_is_called_with_its_keys_and_arguments_and_keeps_what_is_local_to_its_library() {
        let source = b"#!lua name=lib\nlocal n = 0\nredis.register_function{function_name = 'f', description = 'd', \
            flags = {'no-writes'}, callback = function(keys, args) n = n + 1 return {keys[1], args[2], n} end}\n\
            redis.register_function('bad', function() return redis.call('echo') .. nil end)";
        let (mut functions, mut host) = (Functions::new(Options::default()), Trial::default());
        let library = functions.load(source, &mut host).unwrap();
        assert_eq!(library.functions.len(), 2);
        assert_eq!(library.functions[0].flags.names().collect::<Vec<_>>(), ["no-writes"]);
        let call = Call { keys: &[b"k"], argv: &[b"x", b"y"], protocol: Protocol::Resp2 };
        for count in 1..3 {
            let mut out = Vec::new();
            assert_eq!(functions.call(b"lib", b"f", &call, &mut host, &mut out), Some(Outcome::Value));
            assert_eq!(String::from_utf8(out).unwrap(), format!("*3\r\n$1\r\nk\r\n$1\r\ny\r\n:{count}\r\n"));
        }
        let mut out = Vec::new();
        functions.call(b"lib", b"bad", &call, &mut host, &mut out);
        assert!(String::from_utf8(out).unwrap().ends_with(" script: bad, on @user_function:4.\r\n"));
        functions.flush();
        assert_eq!(functions.call(b"lib", b"f", &call, &mut host, &mut Vec::new()), None);
    }
}
