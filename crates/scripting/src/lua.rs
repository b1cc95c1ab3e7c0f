//! The Lua state and everything about it that is unsafe: memory, protected calls, interrupts.
//!
//! It knows how to run a native function under protection and to keep a script in bounds; what
//! scripts find in their world is the business of the sandbox, what they are run for the engine's.

mod frame;

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use mlua::ffi;

pub(crate) use frame::{Frame, Kept, Kind, Library, Raised, Results};
pub(crate) use mlua::ffi::{LUA_GCCOLLECT, LUA_GCCOUNT, LUA_GCCOUNTB, LUA_GCSTEP};

use crate::session::Session;

#[cfg(panic = "abort")]
compile_error!(
    "Luau raises errors as C++ exceptions, which run through Rust frames: with panic = \"abort\" the first \
     script error would abort the process. Build with panic = \"unwind\"."
);

/// A Lua state with its memory and its session.
pub(crate) struct Vm {
    state: NonNull<ffi::lua_State>,
    /// Owned; shared with the native functions, which find it through the state.
    session: NonNull<Session>,
    /// Owned; shared with the allocator.
    memory: NonNull<Memory>,
}

// SAFETY: a Luau state is not tied to a thread, and `&mut` keeps it to one thread at a time. The
// pointers inside the session are set only while a protected call runs.
unsafe impl Send for Vm {}

/// Why a protected call failed, as the script's caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The error with its code in front.
    pub(crate) text: Vec<u8>,
    /// The chunk that it happened in, and the line.
    pub(crate) at: Option<(Vec<u8>, i32)>,
    /// The command that failed has counted the error already.
    pub(crate) counted: bool,
}

/// Where [`Vm::new`] leaves the error handler and the native function that runs tasks.
const HANDLER: c_int = 1;
const RUNNER: c_int = 2;

/// What a protected call runs.
pub(crate) type Task<'t> = dyn FnMut(&mut Frame<'_>) -> Result<(), Raised> + 't;

impl Vm {
    /// An empty state: no libraries, no globals, no limit on memory.
    pub(crate) fn new(session: Session) -> Vm {
        let memory = NonNull::from(Box::leak(Box::new(Memory { used: 0, limit: usize::MAX })));
        let session = NonNull::from(Box::leak(Box::new(session)));
        // SAFETY: the allocator's record and the session outlive the state (see `drop`); with no
        // limit on memory yet, nothing here can raise.
        let state = unsafe {
            let state = NonNull::new(ffi::lua_newstate(allocate, memory.as_ptr().cast()))
                .expect("there is memory for an empty Lua state");
            let raw = state.as_ptr();
            (*ffi::lua_callbacks(raw)).userdata = session.as_ptr().cast::<c_void>();
            (*ffi::lua_callbacks(raw)).interrupt = Some(interrupt);
            ffi::lua_pushcclosurek(raw, handle_error, c"handler".as_ptr(), 0, None);
            ffi::lua_pushcclosurek(raw, run_task, c"runner".as_ptr(), 0, None);
            state
        };
        Vm { state, session, memory }
    }

    /// What native functions of this state share.
    pub(crate) fn session(&mut self) -> &mut Session {
        // SAFETY: `&mut self` means that nothing runs, so no native function holds the session.
        unsafe { self.session.as_mut() }
    }

    /// The bytes that live and dead values take, without what the allocator holds in reserve.
    pub(crate) fn memory(&self) -> usize {
        let state = self.state.as_ptr();
        // SAFETY: asking for the count changes nothing.
        let (kilobytes, rest) = unsafe { (ffi::lua_gc(state, LUA_GCCOUNT, 0), ffi::lua_gc(state, LUA_GCCOUNTB, 0)) };
        kilobytes as usize * 1024 + rest as usize
    }

    /// Runs `task`; whatever it raises is handed back as a failure.
    pub(crate) fn protect(&mut self, task: &mut Task<'_>) -> Result<(), Failure> {
        let session = self.session();
        assert!(!session.running, "a panic went through a script: its Lua state can't be trusted any more");
        // SAFETY: only the lifetime changes; the task is called before this function returns.
        session.task = Some(unsafe { std::mem::transmute::<NonNull<Task<'_>>, NonNull<Task<'static>>>(task.into()) });
        session.failure = None;
        session.running = true;
        let state = self.state.as_ptr();
        // SAFETY: the handler and the runner lie where `new` put them, and there is room for one more.
        let status = unsafe {
            ffi::lua_pushvalue(state, RUNNER);
            let status = ffi::lua_pcall(state, 0, 0, HANDLER);
            ffi::lua_settop(state, RUNNER);
            status
        };
        let session = self.session();
        session.running = false;
        session.task = None;
        match status {
            ffi::LUA_OK => Ok(()),
            status => Err(session.failure.take().unwrap_or_else(|| Failure::of_status(status))),
        }
    }

    /// Sets how many bytes the state may hold.
    pub(crate) fn set_memory_limit(&mut self, limit: usize) {
        // SAFETY: `&mut self` means that nothing runs.
        unsafe { self.memory.as_mut() }.limit = limit;
    }

    /// Collects all garbage.
    pub(crate) fn collect(&mut self) {
        // SAFETY: a full collection neither runs code nor raises.
        unsafe { ffi::lua_gc(self.state.as_ptr(), ffi::LUA_GCCOLLECT, 0) };
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: the state is valid and used no more; session and memory were leaked from boxes
        // and nobody points to them once the state is closed.
        unsafe {
            ffi::lua_close(self.state.as_ptr());
            drop(Box::from_raw(self.session.as_ptr()));
            drop(Box::from_raw(self.memory.as_ptr()));
        }
    }
}

impl Failure {
    /// What is known if not even the error handler could run.
    fn of_status(status: c_int) -> Failure {
        let text: &[u8] = match status {
            ffi::LUA_ERRMEM => b"ERR not enough memory",
            _ => b"ERR error in error handling",
        };
        Failure { text: text.to_vec(), at: None, counted: false }
    }

    /// The failure that the error value at index 1 describes. Calls nothing that could raise again.
    fn of_value(frame: &mut Frame<'_>) -> Failure {
        let mut level = 1;
        let mut location = frame.location(level);
        while location.is_none() && frame.has_level(level) {
            level += 1;
            location = frame.location(level);
        }
        let at = location.map(|at| (at.source, at.line));
        if let Some(stop) = frame.session().stopped {
            return Failure { text: stop.text().to_vec(), at, counted: false };
        }
        let mut text = b"ERR ".to_vec();
        let mut counted = false;
        match frame.kind(1) {
            Kind::Table => {
                if frame.raw_get_field(1, c"err") == Kind::String {
                    text = frame.bytes(frame.top()).unwrap_or_default().to_vec();
                } else {
                    text.extend_from_slice(b"(error object is a table value)");
                }
                frame.raw_get_field(1, c"ignore_error_stats_update");
                counted = frame.truthy(frame.top());
            }
            Kind::String => text.extend_from_slice(&crate::dialect::to_lua51(frame.bytes(1).unwrap_or_default())),
            Kind::Number => {
                text.extend_from_slice(crate::number::text_g(frame.number(1).unwrap_or_default(), 14).as_bytes());
            }
            Kind::Boolean => text.extend_from_slice(if frame.truthy(1) { b"true" } else { b"false" }),
            Kind::Nil | Kind::None => text.extend_from_slice(b"nil"),
            _ => text.extend_from_slice(format!("(error object is a {} value)", frame.kind_name(1)).as_bytes()),
        }
        Failure { text, at, counted }
    }
}

/// The error handler of every protected call: notes the failure while the stack still shows where it happened.
unsafe extern "C-unwind" fn handle_error(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Luau calls with a valid state; the frame ends with this function.
    let mut frame = unsafe { Frame::of(state) };
    let failure = Failure::of_value(&mut frame);
    frame.session().failure = Some(failure);
    frame.push_nil();
    1
}

/// Runs the session's task.
unsafe extern "C-unwind" fn run_task(state: *mut ffi::lua_State) -> c_int {
    let outcome = {
        // SAFETY: Luau calls with a valid state; the frame ends with this function.
        let mut frame = unsafe { Frame::of(state) };
        let task = frame.session().task.take().expect("a protected call has a task");
        // SAFETY: `protect` holds the task exclusively and waits for this call.
        unsafe { (*task.as_ptr())(&mut frame) }
    };
    match outcome {
        Ok(()) => 0,
        // SAFETY: the error value lies on top, and no Rust value is alive here.
        Err(Raised) => unsafe { ffi::lua_error(state) },
    }
}

/// Luau calls this at every loop, call and return, and inside pattern matching.
unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, gc_state: c_int) {
    if gc_state >= 0 {
        return;
    }
    // SAFETY: the session outlives the state, and no native function of ours runs at a safepoint,
    // so nobody else holds the session.
    let must_stop = unsafe { (*(*ffi::lua_callbacks(state)).userdata.cast::<Session>()).tick() };
    if must_stop {
        // SAFETY: the state is valid, and no Rust value is alive here.
        unsafe {
            ffi::lua_rawcheckstack(state, 1);
            ffi::lua_pushnil(state);
            ffi::lua_error(state)
        }
    }
}

/// How much a state holds and may hold, in bytes.
struct Memory {
    used: usize,
    limit: usize,
}

/// Luau's allocator: the program's own, counted.
unsafe extern "C" fn allocate(memory: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    const ALIGNMENT: usize = 16;
    // SAFETY: `memory` is the box that belongs to the state, which one thread uses at a time.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    let layout = |size| Layout::from_size_align(size, ALIGNMENT).ok();
    let kept = if block.is_null() { 0 } else { old };
    if new == 0 {
        if let (false, Some(layout)) = (block.is_null(), layout(old)) {
            memory.used -= old;
            // SAFETY: the block was allocated here with this layout.
            unsafe { dealloc(block.cast(), layout) };
        }
        return ptr::null_mut();
    }
    let Some(new_layout) = layout(new) else { return ptr::null_mut() };
    if new > kept && memory.used - kept > memory.limit.saturating_sub(new) {
        return ptr::null_mut();
    }
    let made = match (block.is_null(), layout(old)) {
        // SAFETY: the size is not zero.
        (true, _) => unsafe { alloc(new_layout) },
        // SAFETY: the block was allocated here with this layout, the new size is not zero.
        (false, Some(old_layout)) => unsafe { realloc(block.cast(), old_layout, new) },
        (false, None) => ptr::null_mut(),
    };
    if !made.is_null() {
        memory.used = memory.used - kept + new;
    }
    made.cast()
}

/// Whether a function remembers its lines, which puts it into error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    Kept,
    Dropped,
}

/// A name in the null-terminated lists that Luau's compiler wants.
#[repr(transparent)]
struct Name(*const c_char);

// SAFETY: the names are static and never written to.
unsafe impl Sync for Name {}

/// The built-ins that Redis does not have, and which the compiler would otherwise call past the sandbox.
#[rustfmt::skip]
static DISABLED_BUILTINS: &[Name] = &[
    Name(c"typeof".as_ptr()), Name(c"rawlen".as_ptr()), Name(c"table.unpack".as_ptr()),
    Name(c"math.clamp".as_ptr()), Name(c"math.sign".as_ptr()), Name(c"math.round".as_ptr()),
    Name(c"math.lerp".as_ptr()), Name(c"math.isnan".as_ptr()), Name(c"math.isinf".as_ptr()),
    Name(c"math.isfinite".as_ptr()), Name(c"bit32.arshift".as_ptr()), Name(c"bit32.band".as_ptr()),
    Name(c"bit32.bnot".as_ptr()), Name(c"bit32.bor".as_ptr()), Name(c"bit32.bxor".as_ptr()),
    Name(c"bit32.btest".as_ptr()), Name(c"bit32.extract".as_ptr()), Name(c"bit32.lrotate".as_ptr()),
    Name(c"bit32.lshift".as_ptr()), Name(c"bit32.replace".as_ptr()), Name(c"bit32.rrotate".as_ptr()),
    Name(c"bit32.rshift".as_ptr()), Name(c"bit32.countlz".as_ptr()), Name(c"bit32.countrz".as_ptr()),
    Name(c"bit32.byteswap".as_ptr()), Name(c"buffer.readi8".as_ptr()), Name(c"buffer.readu8".as_ptr()),
    Name(c"buffer.writei8".as_ptr()), Name(c"buffer.writeu8".as_ptr()), Name(c"buffer.readi16".as_ptr()),
    Name(c"buffer.readu16".as_ptr()), Name(c"buffer.writei16".as_ptr()), Name(c"buffer.writeu16".as_ptr()),
    Name(c"buffer.readi32".as_ptr()), Name(c"buffer.readu32".as_ptr()), Name(c"buffer.writei32".as_ptr()),
    Name(c"buffer.writeu32".as_ptr()), Name(c"buffer.readf32".as_ptr()), Name(c"buffer.writef32".as_ptr()),
    Name(c"buffer.readf64".as_ptr()), Name(c"buffer.writef64".as_ptr()), Name(c"buffer.readinteger".as_ptr()),
    Name(c"buffer.writeinteger".as_ptr()), Name(c"vector.create".as_ptr()), Name(c"vector.magnitude".as_ptr()),
    Name(c"vector.normalize".as_ptr()), Name(c"vector.cross".as_ptr()), Name(c"vector.dot".as_ptr()),
    Name(c"vector.floor".as_ptr()), Name(c"vector.ceil".as_ptr()), Name(c"vector.abs".as_ptr()),
    Name(c"vector.sign".as_ptr()), Name(c"vector.clamp".as_ptr()), Name(c"vector.min".as_ptr()),
    Name(c"vector.max".as_ptr()), Name(c"vector.lerp".as_ptr()), Name(ptr::null()),
];

/// Compiles `source` and pushes the function that it is, or the complaint about it, and says which.
pub(crate) fn load(frame: &mut Frame<'_>, chunk_name: &CStr, source: &[u8], lines: Lines) -> bool {
    let mut options = ffi::lua_CompileOptions::default();
    options.debugLevel = c_int::from(lines == Lines::Kept);
    options.disabledBuiltins = DISABLED_BUILTINS.as_ptr().cast();
    // SAFETY: the lists end in null. What comes out is the compiler's own bytecode (or its
    // complaint, in the same wrapping), which is all that the frame's `load` asks for.
    unsafe {
        let bytecode = ffi::luau_compile(source, options);
        frame.load(chunk_name, &bytecode)
    }
}

/// Seconds since some point in the past.
pub(crate) fn seconds() -> f64 {
    // SAFETY: it takes and touches nothing.
    unsafe { ffi::lua_clock() }
}
