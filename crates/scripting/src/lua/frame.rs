//! One C function's view of the Lua stack, with the bounds checked that Luau's C API leaves unchecked.
//!
//! **Errors.** Luau raises errors as C++ exceptions. A native function of ours returns
//! `Err(Raised)` with the error value on top of the stack, and [`enter`] raises it when no Rust
//! value is alive any more. Luau itself may raise from inside nearly every call below (out of
//! memory, a readonly table); such an exception runs through our frames under the `C-unwind` ABI
//! and drops their values on its way, so nothing leaks. This is why the crate refuses to be built
//! with `panic = "abort"`.
//!
//! **Indices** count from 1 and never reach below the frame, a read beyond the top answers "none",
//! and what a function was called with stays in place until it returns: [`Frame::pop`] and
//! [`Frame::set_top`] stop above the arguments. That is what lets [`Frame::arg_bytes`] lend an
//! argument's bytes for as long as the frame lives.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;

use mlua::ffi;

use super::Session;

/// An error value lies on top of the stack and waits to be raised.
#[derive(Debug)]
pub(crate) struct Raised;

/// What a native function returns: how many results it has left on top of the stack.
pub(crate) type Results = Result<c_int, Raised>;

/// The type of a Lua value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no value at that index.
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
    /// Luau's integer, vector and buffer, which the sandbox gives no way to make.
    Foreign,
}

/// The stack of one running native function.
pub(crate) struct Frame<'f> {
    state: *mut ffi::lua_State,
    /// How many arguments lie at the bottom of the frame.
    floor: c_int,
    lives: PhantomData<&'f ()>,
}

/// Runs the native function `F` for Luau.
///
/// # Safety
/// Only Luau may call it, with the state of the calling thread.
pub(crate) unsafe extern "C-unwind" fn enter<F>(state: *mut ffi::lua_State) -> c_int
where
    F: Fn(&mut Frame<'_>) -> Results + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a native function captures nothing") };
    // SAFETY: `F` has no bytes to read, and `push_function` had a value of it in hand.
    let function: F = unsafe { std::ptr::NonNull::<F>::dangling().read() };
    // SAFETY: Luau calls with a valid state.
    let floor = unsafe { ffi::lua_gettop(state) };
    let outcome = {
        let mut frame = Frame { state, floor, lives: PhantomData };
        function(&mut frame)
    };
    match outcome {
        Ok(results) => results,
        // SAFETY: `Raised` promises an error value on top, and no Rust value is alive here.
        Err(Raised) => unsafe { ffi::lua_error(state) },
    }
}

impl<'f> Frame<'f> {
    /// The frame of the native function that runs on `state`, for callbacks that aren't entered by [`enter`].
    ///
    /// # Safety
    /// `state` is valid, and the frame is not used once the callback has returned.
    pub(super) unsafe fn of(state: *mut ffi::lua_State) -> Frame<'f> {
        // SAFETY: the caller's promise.
        let floor = unsafe { ffi::lua_gettop(state) };
        Frame { state, floor, lives: PhantomData }
    }

    /// What the engine keeps for its native functions.
    pub(crate) fn session(&mut self) -> &mut Session {
        // SAFETY: the VM stores a pointer to its boxed session before the first function runs, the
        // box outlives the state, and the borrow of the frame keeps Luau (and so every other user
        // of the session) from running while it is held.
        unsafe { &mut *(*ffi::lua_callbacks(self.state)).userdata.cast::<Session>() }
    }

    /// How many arguments the function was called with.
    pub(crate) fn arguments(&self) -> c_int {
        self.floor
    }

    /// The index of the topmost value; 0 if the frame is empty.
    pub(crate) fn top(&self) -> c_int {
        // SAFETY: the state is valid.
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// The type of the value at `index`.
    #[inline]
    pub(crate) fn kind(&self, index: c_int) -> Kind {
        assert!(index > 0, "indices count from the bottom of the frame");
        // SAFETY: a positive index beyond the top is answered with "none".
        match unsafe { ffi::lua_type(self.state, index) } {
            ffi::LUA_TNONE => Kind::None,
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Kind::LightUserdata,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            ffi::LUA_TUSERDATA => Kind::Userdata,
            ffi::LUA_TTHREAD => Kind::Thread,
            _ => Kind::Foreign,
        }
    }

    /// The name of the type at `index` as error messages give it.
    pub(crate) fn kind_name(&self, index: c_int) -> &'static str {
        match self.kind(index) {
            Kind::None => "no value",
            Kind::Nil => "nil",
            Kind::Boolean => "boolean",
            Kind::LightUserdata | Kind::Userdata => "userdata",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Table => "table",
            Kind::Function => "function",
            Kind::Thread => "thread",
            Kind::Foreign => "value",
        }
    }

    /// Whether the value at `index` is neither nil nor false nor none.
    pub(crate) fn truthy(&self, index: c_int) -> bool {
        assert!(index > 0, "indices count from the bottom of the frame");
        // SAFETY: as in `kind`.
        unsafe { ffi::lua_toboolean(self.state, index) != 0 }
    }

    /// The number at `index`, or the number that a string there spells.
    #[inline]
    pub(crate) fn number(&self, index: c_int) -> Option<f64> {
        assert!(index > 0, "indices count from the bottom of the frame");
        let mut is_number = 0;
        // SAFETY: as in `kind`; `is_number` is a valid place.
        let number = unsafe { ffi::lua_tonumberx(self.state, index, &mut is_number) };
        (is_number != 0).then_some(number)
    }

    /// The bytes of the string at `index`; numbers are not converted.
    #[inline]
    pub(crate) fn bytes(&self, index: c_int) -> Option<&[u8]> {
        if self.kind(index) != Kind::String {
            return None;
        }
        let mut length = 0;
        // SAFETY: there is a string at `index`. It lives while it is on the stack, and whatever
        // takes values off the stack wants the frame for itself.
        unsafe {
            let start = ffi::lua_tolstring(self.state, index, &mut length);
            Some(std::slice::from_raw_parts(start.cast::<u8>(), length))
        }
    }

    /// The bytes of the argument at `index`, a string or a number (which becomes its text).
    #[inline]
    pub(crate) fn arg_bytes(&self, index: c_int) -> Option<&'f [u8]> {
        assert!(index <= self.floor, "only arguments stay in place while the function runs");
        if !matches!(self.kind(index), Kind::String | Kind::Number) {
            return None;
        }
        let mut length = 0;
        // SAFETY: the value is or becomes a string; arguments keep their place until the frame ends.
        unsafe {
            let start = ffi::lua_tolstring(self.state, index, &mut length);
            Some(std::slice::from_raw_parts(start.cast::<u8>(), length))
        }
    }

    /// Whether `cjson.null` lies at `index`.
    pub(crate) fn is_null(&self, index: c_int) -> bool {
        // SAFETY: the type was checked.
        self.kind(index) == Kind::LightUserdata && unsafe { ffi::lua_tolightuserdata(self.state, index) }.is_null()
    }

    #[inline]
    fn expect_table(&self, index: c_int) {
        assert!(self.kind(index) == Kind::Table, "the caller has checked that this is a table");
    }

    /// Makes sure that one more value can be pushed.
    #[inline]
    fn room(&mut self) {
        // SAFETY: the state is valid; a stack beyond its limit raises.
        unsafe { ffi::lua_rawcheckstack(self.state, 2) };
    }

    /// Pushes nil.
    pub(crate) fn push_nil(&mut self) {
        self.room();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnil(self.state) };
    }

    /// Pushes a boolean.
    pub(crate) fn push_boolean(&mut self, value: bool) {
        self.room();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushboolean(self.state, c_int::from(value)) };
    }

    /// Pushes a number.
    #[inline]
    pub(crate) fn push_number(&mut self, value: f64) {
        self.room();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnumber(self.state, value) };
    }

    /// Pushes a string.
    #[inline]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.room();
        // SAFETY: there is room, and Luau copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.state, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
    }

    /// Pushes `cjson.null`.
    pub(crate) fn push_null(&mut self) {
        self.room();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushlightuserdata(self.state, std::ptr::null_mut()) };
    }

    /// Pushes the value at `index` once more.
    pub(crate) fn push_copy(&mut self, index: c_int) {
        assert!(0 < index && index <= self.top(), "there is a value to copy");
        self.room();
        // SAFETY: there is room and a value.
        unsafe { ffi::lua_pushvalue(self.state, index) };
    }

    /// Pushes the table of globals.
    pub(crate) fn push_globals(&mut self) {
        self.room();
        // SAFETY: there is room, and the pseudo-index is always valid.
        unsafe { ffi::lua_pushvalue(self.state, ffi::LUA_GLOBALSINDEX) };
    }

    /// Pushes an empty table with places for `array` elements and `fields` keys.
    #[inline]
    pub(crate) fn push_table(&mut self, array: usize, fields: usize) {
        const MOST: usize = 1 << 20;
        self.room();
        // SAFETY: there is room; the sizes are hints, kept small enough for a C int.
        unsafe { ffi::lua_createtable(self.state, array.min(MOST) as c_int, fields.min(MOST) as c_int) };
    }

    /// Pushes `function` under the name that error messages give it.
    pub(crate) fn push_function<F>(&mut self, name: &'static CStr, function: F)
    where
        F: Fn(&mut Frame<'_>) -> Results + Copy + 'static,
    {
        self.push_closure(name, function, 0);
    }

    /// Pops `upvalues` values and pushes `function` with them.
    pub(crate) fn push_closure<F>(&mut self, name: &'static CStr, _function: F, upvalues: c_int)
    where
        F: Fn(&mut Frame<'_>) -> Results + Copy + 'static,
    {
        assert!(self.top() - self.floor >= upvalues, "the upvalues lie above the arguments");
        self.room();
        // SAFETY: there is room and there are enough values; the name is static.
        unsafe { ffi::lua_pushcclosurek(self.state, enter::<F>, name.as_ptr(), upvalues, None) };
    }

    /// Pushes a block of memory that holds `value`, and that Lua collects.
    pub(crate) fn push_block<T: Copy + 'static>(&mut self, value: T) {
        const { assert!(align_of::<T>() <= 8, "Luau aligns blocks to 8 bytes") };
        self.room();
        // SAFETY: there is room; the block is as large as `T` and aligned well enough for it.
        unsafe { ffi::lua_newuserdata(self.state, size_of::<T>()).cast::<T>().write(value) };
    }

    /// The block that is the first upvalue of the running function.
    ///
    /// # Safety
    /// The function was pushed with a block of exactly this `T` as its first upvalue.
    pub(crate) unsafe fn upvalue_block<T: Copy + 'static>(&mut self) -> &mut T {
        // SAFETY: the caller's promise; the closure keeps the block alive, and the borrow of the
        // frame keeps everybody else from it.
        unsafe {
            let block = ffi::lua_touserdata(self.state, ffi::lua_upvalueindex(1)).cast::<T>();
            assert!(!block.is_null(), "the first upvalue is a block");
            &mut *block
        }
    }

    /// Takes `count` values off the top.
    #[inline]
    pub(crate) fn pop(&mut self, count: c_int) {
        let top = self.top();
        assert!(count >= 0 && top - count >= self.floor, "arguments stay in place");
        // SAFETY: the new top lies within the frame.
        unsafe { ffi::lua_settop(self.state, top - count) };
    }

    /// Lowers or raises the top to `top`, with nil in new places.
    pub(crate) fn set_top(&mut self, top: c_int) {
        assert!(top >= self.floor, "arguments stay in place");
        while self.top() < top {
            self.push_nil();
        }
        // SAFETY: the new top lies within the frame.
        unsafe { ffi::lua_settop(self.state, top) };
    }

    /// Moves the value on top into the place of `index`, which must lie above the arguments.
    pub(crate) fn replace(&mut self, index: c_int) {
        assert!(index > self.floor && index <= self.top(), "arguments stay in place");
        // SAFETY: both places are within the frame.
        unsafe { ffi::lua_replace(self.state, index) };
    }

    /// Pushes what the table at `table` holds at `position`, past metamethods.
    #[inline]
    pub(crate) fn raw_get_index(&mut self, table: c_int, position: c_int) -> Kind {
        self.expect_table(table);
        self.room();
        // SAFETY: there is a table and room.
        unsafe { ffi::lua_rawgeti_(self.state, table, position) };
        self.kind(self.top())
    }

    /// Pushes the field `name` of the table at `table`, past metamethods.
    pub(crate) fn raw_get_field(&mut self, table: c_int, name: &CStr) -> Kind {
        self.expect_table(table);
        self.room();
        // SAFETY: there is a table and room.
        unsafe { ffi::lua_rawgetfield(self.state, table, name.as_ptr()) };
        self.kind(self.top())
    }

    /// Pops a value, and before it a key, and stores them in the table at `table`.
    #[inline]
    pub(crate) fn raw_set(&mut self, table: c_int) {
        self.expect_table(table);
        assert!(self.top() - self.floor >= 2, "the key and the value lie above the arguments");
        // SAFETY: there are a table and two values.
        unsafe { ffi::lua_rawset(self.state, table) };
    }

    /// Pops a value and stores it at `position` of the table at `table`.
    #[inline]
    pub(crate) fn raw_set_index(&mut self, table: c_int, position: c_int) {
        self.expect_table(table);
        assert!(self.top() > self.floor, "the value lies above the arguments");
        // SAFETY: there are a table and a value.
        unsafe { ffi::lua_rawseti_(self.state, table, position) };
    }

    /// Pops a value and stores it as the field `name` of the table at `table`.
    pub(crate) fn raw_set_field(&mut self, table: c_int, name: &CStr) {
        self.expect_table(table);
        assert!(self.top() > self.floor, "the value lies above the arguments");
        // SAFETY: there are a table and a value.
        unsafe { ffi::lua_rawsetfield(self.state, table, name.as_ptr()) };
    }

    /// Pops a table and makes it the metatable of the table at `table`.
    pub(crate) fn set_metatable(&mut self, table: c_int) {
        self.expect_table(table);
        self.expect_table(self.top());
        assert!(self.top() > self.floor, "the metatable lies above the arguments");
        // SAFETY: both are tables.
        unsafe { ffi::lua_setmetatable(self.state, table) };
    }

    /// Pushes the metatable of the value at `index`; pushes nothing and says false if it has none.
    pub(crate) fn push_metatable(&mut self, index: c_int) -> bool {
        assert!(0 < index && index <= self.top(), "there is a value");
        self.room();
        // SAFETY: there is a value and room.
        unsafe { ffi::lua_getmetatable(self.state, index) != 0 }
    }

    /// Whether the values at both indices are one and the same.
    pub(crate) fn same(&self, left: c_int, right: c_int) -> bool {
        assert!(left > 0 && right > 0, "indices count from the bottom of the frame");
        // SAFETY: a positive index beyond the top makes it false.
        unsafe { ffi::lua_rawequal(self.state, left, right) != 0 }
    }

    /// Forbids or allows changes of the table at `index`.
    pub(crate) fn set_readonly(&mut self, index: c_int, readonly: bool) {
        self.expect_table(index);
        // SAFETY: there is a table.
        unsafe { ffi::lua_setreadonly(self.state, index, c_int::from(readonly)) };
    }

    /// Tells Luau that the globals at `index` never change, so that it may resolve them when it loads code.
    pub(crate) fn set_safe_env(&mut self, index: c_int) {
        self.expect_table(index);
        // SAFETY: there is a table.
        unsafe { ffi::lua_setsafeenv(self.state, index, 1) };
    }

    /// Steps through the table at `table`: pushes the key and the value behind `cursor` and returns
    /// the cursor of the next step. Start with 0; at the end nothing is pushed.
    #[inline]
    pub(crate) fn step(&mut self, table: c_int, cursor: c_int) -> Option<c_int> {
        self.expect_table(table);
        self.room();
        // SAFETY: there is a table, and a cursor beyond its size ends the walk.
        let next = unsafe { ffi::lua_rawiter(self.state, table, cursor) };
        (next >= 0).then_some(next)
    }

    /// Calls the function that lies below `arguments` values; they are replaced by `results` values.
    pub(crate) fn call(&mut self, arguments: c_int, results: c_int) {
        assert!(self.top() - self.floor > arguments, "the function and its arguments lie above our own");
        self.room();
        // SAFETY: there are a function and its arguments; an error passes through.
        unsafe { ffi::lua_call(self.state, arguments, results) };
    }

    /// Lets one of Luau's libraries put itself into the globals.
    pub(crate) fn open(&mut self, library: Library) {
        self.room();
        let function = match library {
            Library::Base => ffi::luaopen_base,
            Library::Coroutine => ffi::luaopen_coroutine,
            Library::Table => ffi::luaopen_table,
            Library::String => ffi::luaopen_string,
            Library::Math => ffi::luaopen_math,
        };
        // SAFETY: there is room; these functions are made to be called so, and take no argument.
        unsafe {
            ffi::lua_pushcclosurek(self.state, function, std::ptr::null(), 0, None);
            ffi::lua_call(self.state, 0, 0);
        }
    }

    /// Gives the running script its `KEYS` and `ARGV`. The two tables stay the same from call to call,
    /// because scripts are compiled with them; whatever a script has put into them is gone.
    pub(crate) fn set_call_globals(&mut self, keys: &[&[u8]], argv: &[&[u8]]) {
        for (name, strings) in [(c"KEYS", keys), (c"ARGV", argv)] {
            self.push_globals();
            let globals = self.top();
            self.raw_get_field(globals, name);
            let table = self.top();
            self.expect_table(table);
            self.set_readonly(table, false);
            self.push_nil();
            self.room();
            // SAFETY: there is a table, nothing above it, and room for one string at a time.
            unsafe {
                ffi::lua_setmetatable(self.state, table);
                ffi::lua_cleartable(self.state, table);
                for (string, position) in strings.iter().zip(1..) {
                    ffi::lua_pushlstring_(self.state, string.as_ptr().cast::<c_char>(), string.len());
                    ffi::lua_rawseti_(self.state, table, position);
                }
            }
            self.pop(2);
        }
    }

    /// Pushes the function that `bytecode` holds; on failure pushes the message instead.
    ///
    /// # Safety
    /// `bytecode` comes from Luau's own compiler: the VM trusts it blindly.
    pub(super) unsafe fn load(&mut self, chunk_name: &CStr, bytecode: &[u8]) -> bool {
        self.room();
        // SAFETY: there is room; the caller vouches for the bytecode.
        unsafe {
            ffi::luau_load(self.state, chunk_name.as_ptr(), bytecode.as_ptr().cast(), bytecode.len(), 0) == ffi::LUA_OK
        }
    }

    /// Pops a value and keeps it where only [`Frame::push_kept`] finds it.
    pub(crate) fn keep(&mut self) -> Kept {
        assert!(self.top() > self.floor, "the value lies above the arguments");
        // SAFETY: there is a value on top.
        let reference = unsafe { ffi::lua_ref(self.state, -1) };
        self.pop(1);
        Kept(reference)
    }

    /// Pushes a kept value.
    #[inline]
    pub(crate) fn push_kept(&mut self, kept: &Kept) {
        self.room();
        // SAFETY: there is room, and the registry is always a table.
        unsafe { ffi::lua_rawgeti_(self.state, ffi::LUA_REGISTRYINDEX, kept.0) };
    }

    /// Runs or tunes the garbage collector; `what` is one of `LUA_GC*`.
    pub(crate) fn collect(&mut self, what: c_int, data: c_int) -> c_int {
        // SAFETY: every `what` is answered, unknown ones with -1.
        unsafe { ffi::lua_gc(self.state, what, data) }
    }

    /// Pushes `text` as the error to raise.
    pub(crate) fn raise(&mut self, text: &[u8]) -> Raised {
        self.push_bytes(text);
        Raised
    }

    /// Pushes `text` behind the position of the script's line that called this function.
    pub(crate) fn raise_here(&mut self, text: &[u8]) -> Raised {
        let mut message = self.position(1);
        message.extend_from_slice(text);
        self.raise(&message)
    }

    /// Complains about argument `index` in the words of Lua 5.1.
    pub(crate) fn argument_error(&mut self, index: c_int, complaint: &str) -> Raised {
        let name = self.running_name();
        let text = format!("bad argument #{index} to '{}' ({complaint})", name.as_deref().unwrap_or("?"));
        self.raise_here(text.as_bytes())
    }

    /// Complains that argument `index` is no `wanted`.
    pub(crate) fn type_error(&mut self, index: c_int, wanted: &str) -> Raised {
        let complaint = format!("{wanted} expected, got {}", self.kind_name(index));
        self.argument_error(index, &complaint)
    }

    /// The argument at `index` as a string.
    pub(crate) fn check_bytes(&mut self, index: c_int) -> Result<&'f [u8], Raised> {
        if index <= self.floor
            && let Some(bytes) = self.arg_bytes(index)
        {
            return Ok(bytes);
        }
        Err(self.type_error(index, "string"))
    }

    /// The argument at `index` as a number.
    pub(crate) fn check_number(&mut self, index: c_int) -> Result<f64, Raised> {
        match self.number(index) {
            Some(number) => Ok(number),
            None => Err(self.type_error(index, "number")),
        }
    }

    /// `source:line: ` of the function at `level` (0 is the running one), or nothing for native code.
    fn position(&mut self, level: c_int) -> Vec<u8> {
        match self.location(level) {
            Some(at) => [&at.short_source[..], format!(":{}: ", at.line).as_bytes()].concat(),
            None => Vec::new(),
        }
    }

    /// Where the function at `level` stands; `None` for native code and beyond the last level.
    pub(crate) fn location(&mut self, level: c_int) -> Option<Location> {
        let mut record = std::mem::MaybeUninit::<ffi::lua_Debug>::zeroed();
        // SAFETY: the record is large enough and the options are known ones; on success Luau has
        // filled in the fields that "sl" asks for, with strings that end in a zero byte.
        unsafe {
            if ffi::lua_getinfo(self.state, level, c"sl".as_ptr(), record.as_mut_ptr()) == 0 {
                return None;
            }
            let record = record.assume_init();
            (record.currentline > 0).then(|| Location {
                source: CStr::from_ptr(record.source).to_bytes().to_vec(),
                short_source: CStr::from_ptr(record.short_src).to_bytes().to_vec(),
                line: record.currentline,
            })
        }
    }

    /// Whether there is a function at `level`.
    pub(crate) fn has_level(&mut self, level: c_int) -> bool {
        // SAFETY: the state is valid.
        level < unsafe { ffi::lua_stackdepth(self.state) }
    }

    fn running_name(&mut self) -> Option<String> {
        let mut record = std::mem::MaybeUninit::<ffi::lua_Debug>::zeroed();
        // SAFETY: as in `location`, with the option "n", whose name may be null.
        unsafe {
            if ffi::lua_getinfo(self.state, 0, c"n".as_ptr(), record.as_mut_ptr()) == 0 {
                return None;
            }
            let name = record.assume_init().name;
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    }
}

/// Luau's libraries that a sandbox begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Library {
    Base,
    Coroutine,
    Table,
    String,
    Math,
}

/// A line of a chunk.
pub(crate) struct Location {
    /// The chunk's name as it was given, with its leading `@` or `=`.
    pub(crate) source: Vec<u8>,
    /// The chunk's name as messages show it.
    pub(crate) short_source: Vec<u8>,
    /// The line, from 1.
    pub(crate) line: c_int,
}

/// A value that is kept in Lua's registry.
#[derive(Debug)]
pub(crate) struct Kept(c_int);
