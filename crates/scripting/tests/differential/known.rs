//! Where the engine is known to answer otherwise than Redis 7.0.15, and why.

/// A script that answers otherwise.
pub(crate) struct Known {
    /// The script as it stands in its file.
    pub(crate) script: &'static str,
    /// A part of our answer that shows what it is.
    pub(crate) ours: &'static str,
    /// Why it is so.
    #[allow(dead_code, reason = "it is there to be read")]
    pub(crate) why: &'static str,
}

/// What the globals of Redis have and ours have not: an internal function of Redis, and bytecode.
pub(crate) const MISSING_GLOBALS: &[&str] = &["__redis__err__handler", "string.dump function"];

/// What ours have and those of Redis 7.0 have not: Redis 8's clock and Valkey's name for `redis`.
pub(crate) const ADDED_GLOBALS: &[&str] = &["os", "os.clock function", "server"];

/// The scripts that answer otherwise.
#[rustfmt::skip]
pub(crate) const DIFFERENCES: &[Known] = &[
    Known {
        script: r#"return {double=0.1}"#,
        ours: r#"0.1"#,
        why: "Redis 7.2 writes doubles in the fewest digits, 7.0 with 17",
    },
    Known {
        script: r#"return {double=0/0}"#,
        ours: r#"nan"#,
        why: "Redis 7.2 writes doubles in the fewest digits, 7.0 with 17",
    },
    Known {
        script: r#"return {double=1e300}"#,
        ours: r#"1e+300"#,
        why: "Redis 7.2 writes doubles in the fewest digits, 7.0 with 17",
    },
    Known {
        script: r#"return {double=2^60}"#,
        ours: r#"1152921504606846976"#,
        why: "Redis 7.2 writes doubles in the fewest digits, 7.0 with 17",
    },
    Known {
        script: r#"redis.foo()"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"syntax error here"#,
        ours: r#"-ERR Error compiling script (new function): user_script:1: '=' expected"#,
        why: "Luau's compiler does not tell what stands nearby",
    },
    Known {
        script: r#"return 'abc"#,
        ours: r#"-ERR Error compiling script (new function): user_script:1: unfinished string"#,
        why: "Luau's compiler does not tell what stands nearby",
    },
    Known {
        script: r#"local a,b=pcall() return b"#,
        ours: r#"-ERR bad argument #1 to '?' (value expected)"#,
        why: "Luau does not know (or knows better) what the function is called",
    },
    Known {
        script: concat!(
            r#"return {tostring(1e15),tostring(2^53),tostring(0.1),tostring(1/3),"#,
            r#"tostring(-0),tostring(1e100),tostring(0/0),tostring(-(0/0)),tostring(1/0),tostring(3.0)}"#
        ),
        ours: r#"9.007199254741e+15"#,
        why: "1/0 is inf; Lua 5.1 confuses the constants 0 and -0",
    },
    Known {
        script: r#"return "\x41\q\065""#,
        ours: r#"AqA"#,
        why: "Luau understands \\x and \\u in strings; in Lua 5.1 they are x and u",
    },
    Known {
        script: r#"return tostring(select(2,loadstring("error('x')","=foo")))"#,
        ours: r#"-ERR user_script:1: bad argument #1 to '?' (value expected)"#,
        why: "Luau does not know (or knows better) what the function is called",
    },
    Known {
        script: r#"return tostring(select(2,loadstring(string.dump(function() end))))"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "there is no bytecode to be had, so there is no string.dump",
    },
    Known {
        script: r#"return type(string.dump(function() end))"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "there is no bytecode to be had, so there is no string.dump",
    },
    Known {
        script: r#"local t=nil return t.x"#,
        ours: r#"-ERR user_script:1: attempt to index a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"local t=nil return t[1]"#,
        ours: r#"-ERR user_script:1: attempt to index a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"local t=nil t.x=1"#,
        ours: r#"-ERR user_script:1: attempt to index a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"local t={} t.x.y=1"#,
        ours: r#"-ERR user_script:1: attempt to index a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"local t={} t.x()"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"("x"):rep({})"#,
        ours: r#"-ERR user_script:1: bad argument #2 to 'rep' (number expected, got table)"#,
        why: "??? -ERR user_script:1: bad argument #1 to 'rep' (number expected, got table) @ @user_script:1.\r\n",
    },
    Known {
        script: r#"tostring()"#,
        ours: r#"-ERR user_script:1: bad argument #1 to '?' (value expected)"#,
        why: "Luau does not know (or knows better) what the function is called",
    },
    Known {
        script: r#"table.sort(_G)"#,
        ours: r#"-ERR Attempt to modify a readonly table"#,
        why: "Luau refuses to sort a readonly table even if that would change nothing",
    },
    Known {
        script: r#"local x = 5; return x // 2"#,
        ours: r#":2"#,
        why: "Luau's grammar is larger",
    },
    Known {
        script: r#"local t = {1} for k,v in t do end"#,
        ours: r#""#,
        why: "Luau's grammar is larger",
    },
    Known {
        script: r#"local x = 1 x += 1"#,
        ours: r#""#,
        why: "Luau's grammar is larger",
    },
    Known {
        script: r#"local function f(...) return arg.n end return f(1,2)"#,
        ours: r#"-ERR user_script:1: Script attempted to access nonexistent global variable 'arg'"#,
        why: "a function with ... has no local `arg`",
    },
    Known {
        script: r#"local function f(...) return #arg end return f(1,2)"#,
        ours: r#"-ERR user_script:1: Script attempted to access nonexistent global variable 'arg'"#,
        why: "a function with ... has no local `arg`",
    },
    Known {
        script: r#"local co=coroutine.create(function() pcall(coroutine.yield,1) return 2 end) return {coroutine.resume(co)}"#,
        ours: r#"*2"#,
        why: "Luau can yield out of pcall",
    },
    Known {
        script: r#"return select(2,pcall(function() local x=nil; return x() end))"#,
        ours: r#"user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"return select(2,pcall(string.rep))"#,
        ours: r#"bad argument #1 to 'rep' (string expected, got no value)"#,
        why: "Luau does not know (or knows better) what the function is called",
    },
    Known {
        script: r#"return select(2,pcall(setmetatable,1,2))"#,
        ours: r#"bad argument #1 to 'setmetatable' (table expected, got number)"#,
        why: "Luau does not know (or knows better) what the function is called",
    },
    Known {
        script: r#"local function f(n) if n==0 then return 0 end return f(n-1) end return f(100000)"#,
        ours: r#"-ERR user_script:1: stack overflow"#,
        why: "Luau has no tail calls: recursion ends after 20000 levels",
    },
    Known {
        script: r#"return os"#,
        ours: r#"*0"#,
        why: "`os` is there, with `clock` alone, as in Redis 8",
    },
    Known {
        script: r#"return math.round(1.5)"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"return math.clamp(5,1,3)"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"return table.unpack({1})"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"local math=math return math.sign(-3)"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"local u=table.unpack return u({1})"#,
        ours: r#"-ERR user_script:1: attempt to call a nil value"#,
        why: "Luau does not know the name of what is nil",
    },
    Known {
        script: r#"return cjson.encode({a=1,[1]=2})"#,
        ours: r#"{"1":2,"a":1}"#,
        why: "the order of a table's keys is not defined, and differs",
    },
    Known {
        script: r#"return cjson.encode("a\"b\\c/d\n\r\t\b\f\0\x7f\1 \127 \200é")"#,
        ours: r#""a\\"b\\\\c\\/d\\n\\r\\t\\b\\f\\u0000\\u007f\\u0001 \\u007f \xc8\xc3\xa9""#,
        why: "Luau understands \\x and \\u in strings; in Lua 5.1 they are x and u",
    },
    Known {
        script: r#"return {pcall(cjson.encode_max_depth,1,2)}"#,
        ours: r#"bad argument #2 to 'encode_max_depth' (found too many arguments)"#,
        why: "Luau does not know (or knows better) what the function is called",
    },
    Known {
        script: r#"return cjson.decode('"\u00e9\u4e2d"')"#,
        ours: r#"-ERR Error compiling script (new function): user_script:1: String literal contains malformed escape sequence"#,
        why: "Luau understands \\x and \\u in strings; in Lua 5.1 they are x and u",
    },
    Known {
        script: r#"return type(cmsgpack.unpack(("\145"):rep(5000).."\1"))"#,
        ours: r#"-ERR user_script:1: stack overflow (the data is nested too deeply)"#,
        why: "our own text",
    },
    Known {
        script: r#"return type(cmsgpack.unpack(("\145"):rep(100000).."\1"))"#,
        ours: r#"-ERR user_script:1: stack overflow (the data is nested too deeply)"#,
        why: "our own text",
    },
    Known {
        script: concat!(
            r#"return {collectgarbage("collect"),collectgarbage("step"),collectgarbage("stop"),"#,
            r#"collectgarbage("restart"),collectgarbage("setpause",100)}"#
        ),
        ours: r#":0\r\n:200"#,
        why: "the collector can't be tuned, and says 200 always",
    },
];
