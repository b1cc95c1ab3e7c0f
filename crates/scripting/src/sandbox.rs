//! The world that scripts find: the globals of Redis' Lua 5.1, and no way to change or leave them.
//!
//! Luau's libraries are cut down to the names that Redis has, what Lua 5.1 has beyond Luau is added,
//! and then every table that a script can reach is made readonly: the globals, the libraries, the
//! metatable of strings. There is no `io`, `require`, `print`, `dofile`, no `debug`, no bytecode; `os`
//! has a clock and nothing else.

use std::ffi::{CStr, CString};

use crate::dialect::{compile_error, to_lua51};
use crate::lua::{
    Frame, Kind, LUA_GCCOLLECT, LUA_GCCOUNT, LUA_GCCOUNTB, LUA_GCSTEP, Library, Lines, Raised, Results, load,
};
use crate::{api, bit, cjson, cmsgpack, packing, random};

/// What of Luau's base library stays, unless [`DEPRECATED`].
const BASE: &[&CStr] = &[
    c"_G",
    c"assert",
    c"error",
    c"gcinfo",
    c"getmetatable",
    c"ipairs",
    c"next",
    c"pairs",
    c"rawequal",
    c"rawget",
    c"rawset",
    c"select",
    c"setmetatable",
    c"tonumber",
    c"tostring",
    c"type",
    c"unpack",
];

/// What `lua-enable-deprecated-api` brings back.
const DEPRECATED: &[&CStr] = &[c"getfenv", c"setfenv", c"newproxy"];

const COROUTINE: &[&CStr] = &[c"create", c"resume", c"running", c"status", c"wrap", c"yield"];

const TABLE: &[&CStr] = &[c"concat", c"foreach", c"foreachi", c"getn", c"insert", c"maxn", c"remove", c"sort"];

const STRING: &[&CStr] = &[
    c"byte", c"char", c"find", c"format", c"gmatch", c"gsub", c"len", c"lower", c"match", c"rep", c"reverse", c"sub",
    c"upper",
];

const MATH: &[&CStr] = &[
    c"abs", c"acos", c"asin", c"atan", c"atan2", c"ceil", c"cos", c"cosh", c"deg", c"exp", c"floor", c"fmod", c"frexp",
    c"huge", c"ldexp", c"log", c"log10", c"max", c"min", c"modf", c"pi", c"pow", c"rad", c"sin", c"sinh", c"sqrt",
    c"tan", c"tanh",
];

/// What the sandbox is to offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    /// The version that `redis.REDIS_VERSION` tells.
    pub(crate) version: [u8; 3],
    /// Whether `getfenv`, `setfenv` and `newproxy` are there.
    pub(crate) deprecated_api: bool,
    /// Who lives in it.
    pub(crate) whose: Whose,
}

/// What a world is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Scripts, which find `KEYS` and `ARGV` among the globals.
    Scripts,
    /// Libraries of functions, which register them.
    Functions,
}

/// Builds the world, in an empty state.
pub(crate) fn build(frame: &mut Frame<'_>, world: World) -> Result<(), Raised> {
    for library in [Library::Base, Library::Coroutine, Library::Table, Library::String, Library::Math] {
        frame.open(library);
    }
    frame.push_globals();
    let globals = frame.top();
    prune(frame, globals, c"coroutine", COROUTINE);
    prune(frame, globals, c"table", TABLE);
    prune(frame, globals, c"string", STRING);
    prune(frame, globals, c"math", MATH);
    replace_by_prelude(frame, globals)?;
    add_functions(frame, globals);

    let mut keep: Vec<&CStr> = BASE.to_vec();
    keep.extend([c"pcall", c"xpcall", c"load", c"loadstring", c"collectgarbage", c"_VERSION"]);
    keep.extend([c"coroutine", c"table", c"string", c"math"]);
    if world.deprecated_api {
        keep.extend(DEPRECATED);
    }
    cut_down(frame, globals, &keep);
    add_libraries(frame, globals, world);
    if world.whose == Whose::Scripts {
        for name in [c"KEYS", c"ARGV"] {
            frame.push_table(0, 0);
            frame.raw_set_field(globals, name);
        }
    }
    lock(frame, globals);
    frame.pop(1);
    Ok(())
}

/// Cuts the library `name` down to `keep`.
fn prune(frame: &mut Frame<'_>, globals: i32, name: &CStr, keep: &[&CStr]) {
    frame.raw_get_field(globals, name);
    let table = frame.top();
    cut_down(frame, table, keep);
    frame.pop(1);
}

/// Removes every field of the table at `table` whose name is not in `keep`.
fn cut_down(frame: &mut Frame<'_>, table: i32, keep: &[&CStr]) {
    let mut gone = Vec::new();
    let mut cursor = 0;
    while let Some(next) = frame.step(table, cursor) {
        let key = frame.top() - 1;
        let kept = frame.bytes(key).is_some_and(|name| keep.iter().any(|keep| keep.to_bytes() == name));
        if !kept && let Some(name) = frame.bytes(key).and_then(|name| CString::new(name).ok()) {
            gone.push(name);
        }
        frame.pop(2);
        cursor = next;
    }
    for name in gone {
        frame.push_nil();
        frame.raw_set_field(table, &name);
    }
}

/// Runs the part of the sandbox that is written in Lua, and puts its functions in place.
fn replace_by_prelude(frame: &mut Frame<'_>, globals: i32) -> Result<(), Raised> {
    if !load(frame, c"=sandbox", include_bytes!("sandbox.luau"), Lines::Dropped) {
        return Err(Raised);
    }
    let prelude = frame.top();
    frame.raw_get_field(globals, c"pcall");
    frame.raw_get_field(globals, c"xpcall");
    from_library(frame, globals, c"coroutine", c"resume");
    from_library(frame, globals, c"table", c"concat");
    frame.raw_get_field(globals, c"error");
    frame.push_function(c"loadstring", loadstring);
    frame.push_function(c"pcall", caught);
    frame.push_function(c"xpcall", heard);
    frame.push_function(c"pcall", proceed);
    frame.call(frame.top() - prelude, 1);
    let made = frame.top();
    for name in [c"pcall", c"xpcall", c"load"] {
        frame.raw_get_field(made, name);
        frame.raw_set_field(globals, name);
    }
    for (library, name) in [(c"coroutine", c"resume"), (c"table", c"setn")] {
        frame.raw_get_field(globals, library);
        let table = frame.top();
        frame.raw_get_field(made, name);
        frame.raw_set_field(table, name);
        frame.pop(1);
    }
    frame.pop(1);
    Ok(())
}

/// Pushes the field `name` of the library `library`.
fn from_library(frame: &mut Frame<'_>, globals: i32, library: &CStr, name: &CStr) {
    frame.raw_get_field(globals, library);
    let table = frame.top();
    frame.raw_get_field(table, name);
    frame.replace(table);
}

fn add_functions(frame: &mut Frame<'_>, globals: i32) {
    frame.push_function(c"loadstring", loadstring);
    frame.raw_set_field(globals, c"loadstring");
    frame.push_function(c"collectgarbage", collectgarbage);
    frame.raw_set_field(globals, c"collectgarbage");
    frame.push_bytes(b"Lua 5.1");
    frame.raw_set_field(globals, c"_VERSION");

    frame.raw_get_field(globals, c"math");
    let math = frame.top();
    frame.push_function(c"random", random::random);
    frame.raw_set_field(math, c"random");
    frame.push_function(c"randomseed", random::randomseed);
    frame.raw_set_field(math, c"randomseed");
    frame.raw_get_field(math, c"fmod");
    frame.raw_set_field(math, c"mod");
    frame.pop(1);

    frame.raw_get_field(globals, c"string");
    let string = frame.top();
    frame.raw_get_field(string, c"gmatch");
    frame.raw_set_field(string, c"gfind");
    frame.pop(1);
}

fn add_libraries(frame: &mut Frame<'_>, globals: i32, world: World) {
    api::push(frame, world);
    frame.push_copy(frame.top());
    frame.raw_set_field(globals, c"server");
    frame.raw_set_field(globals, c"redis");
    cjson::push(frame);
    frame.raw_set_field(globals, c"cjson");
    cmsgpack::push(frame);
    frame.raw_set_field(globals, c"cmsgpack");
    packing::push(frame);
    frame.raw_set_field(globals, c"struct");
    bit::push(frame);
    frame.raw_set_field(globals, c"bit");
    frame.push_table(0, 1);
    let os = frame.top();
    frame.push_function(c"clock", clock);
    frame.raw_set_field(os, c"clock");
    frame.raw_set_field(globals, c"os");
}

/// Makes everything that can be reached from the globals readonly.
fn lock(frame: &mut Frame<'_>, globals: i32) {
    let mut cursor = 0;
    while let Some(next) = frame.step(globals, cursor) {
        let value = frame.top();
        // The globals hold themselves; they are locked last.
        if frame.kind(value) == Kind::Table && !frame.same(value, globals) {
            frame.set_readonly(value, true);
        }
        frame.pop(2);
        cursor = next;
    }
    frame.push_bytes(b"");
    if frame.push_metatable(frame.top()) {
        frame.set_readonly(frame.top(), true);
        frame.pop(1);
    }
    frame.pop(1);

    frame.push_table(0, 1);
    let metatable = frame.top();
    frame.push_function(c"__index", nonexistent);
    frame.raw_set_field(metatable, c"__index");
    frame.set_readonly(metatable, true);
    frame.set_metatable(globals);
    frame.set_readonly(globals, true);
    frame.set_safe_env(globals);
}

/// `__index` of the globals: there are no undeclared ones.
fn nonexistent(frame: &mut Frame<'_>) -> Results {
    let name = frame.arg_bytes(2).unwrap_or(b"?");
    Err(raise_nonexistent(frame, name))
}

/// Complains that there is no global of that name.
pub(crate) fn raise_nonexistent(frame: &mut Frame<'_>, name: &[u8]) -> Raised {
    let text = [b"Script attempted to access nonexistent global variable '", name, b"'"].concat();
    frame.raise_here(&text)
}

/// `loadstring(text [, name])`; bytecode is no text and is refused as such by the compiler.
fn loadstring(frame: &mut Frame<'_>) -> Results {
    let source = frame.check_bytes(1)?;
    let name = match frame.kind(2) {
        Kind::None | Kind::Nil => source,
        _ => frame.check_bytes(2)?,
    };
    let name = CString::new(name.split(|&byte| byte == 0).next().unwrap_or_default()).unwrap_or_default();
    if source.len() > frame.session().source_limit {
        frame.push_nil();
        frame.push_bytes(b"chunk is too large");
        return Ok(2);
    }
    if load(frame, &name, source, Lines::Kept) {
        return Ok(1);
    }
    let complaint = compile_error(frame.bytes(frame.top()).unwrap_or_default()).into_owned();
    frame.push_nil();
    frame.push_bytes(&complaint);
    Ok(2)
}

/// What `pcall` hands back for an error: the text of a command's error, Lua's own errors in the
/// words of Lua 5.1, everything else as it is. The end of a script is raised again.
fn caught(frame: &mut Frame<'_>) -> Results {
    proceed(frame)?;
    frame.set_top(1.max(frame.top()));
    match frame.kind(1) {
        Kind::Table => {
            if frame.raw_get_field(1, c"err") != Kind::String {
                frame.push_copy(1);
            }
            Ok(1)
        }
        _ => heard(frame),
    }
}

/// An error as a handler sees it: Lua's own errors in the words of Lua 5.1, everything else as it is.
fn heard(frame: &mut Frame<'_>) -> Results {
    frame.set_top(1.max(frame.top()));
    if frame.kind(1) == Kind::String {
        let text = to_lua51(frame.bytes(1).unwrap_or_default()).into_owned();
        frame.push_bytes(&text);
    } else {
        frame.push_copy(1);
    }
    Ok(1)
}

/// Raises again if the script has to end.
fn proceed(frame: &mut Frame<'_>) -> Results {
    match frame.session().stopped {
        Some(stop) => Err(frame.raise(stop.text())),
        None => Ok(0),
    }
}

/// `collectgarbage([option [, number]])`. What would tune or stop the collector does nothing.
fn collectgarbage(frame: &mut Frame<'_>) -> Results {
    let option = match frame.kind(1) {
        Kind::None | Kind::Nil => b"collect",
        _ => frame.check_bytes(1)?,
    };
    match option {
        b"collect" => {
            frame.collect(LUA_GCCOLLECT, 0);
            frame.push_number(0.0);
        }
        b"count" => {
            let bytes = f64::from(frame.collect(LUA_GCCOUNT, 0)) * 1024.0 + f64::from(frame.collect(LUA_GCCOUNTB, 0));
            frame.push_number(bytes / 1024.0);
        }
        b"step" => {
            let size = frame.number(2).unwrap_or_default().clamp(0.0, 1e6) as i32;
            let done = frame.collect(LUA_GCSTEP, size) != 0;
            frame.push_boolean(done);
        }
        b"stop" | b"restart" => frame.push_number(0.0),
        b"setpause" | b"setstepmul" => frame.push_number(200.0),
        _ => {
            let complaint = format!("invalid option '{}'", String::from_utf8_lossy(option));
            return Err(frame.argument_error(1, &complaint));
        }
    }
    Ok(1)
}

/// `os.clock()`: seconds that have passed since some point in the past.
fn clock(frame: &mut Frame<'_>) -> Results {
    let seconds = crate::lua::seconds();
    frame.push_number(seconds);
    Ok(1)
}
