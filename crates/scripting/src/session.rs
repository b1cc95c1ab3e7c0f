//! What the native functions of one Lua state share: the host of the running script, the script's
//! settings, and buffers that are used again and again.

use std::ptr::NonNull;

use quorate_resp::Protocol;

use crate::host::{Host, Stop};
use crate::library::Registered;
use crate::lua::{Failure, Task};
use crate::random::Rand48;

/// How many loops, calls and returns pass between two questions to the host.
const PATIENCE: u32 = 4096;

/// The state behind a Lua state.
pub(crate) struct Session {
    /// The task of the protected call that is about to run.
    pub(crate) task: Option<NonNull<Task<'static>>>,
    /// A protected call runs. Stays set if a panic went through it.
    pub(crate) running: bool,
    /// What the error handler noted.
    pub(crate) failure: Option<Failure>,
    /// Who serves the running script; `None` outside of scripts.
    host: Option<NonNull<dyn Host>>,
    /// The protocol version of the replies that the script gets from its commands.
    pub(crate) protocol: Protocol,
    /// Why the script has to end. Once set, nothing that the script catches lets it go on.
    pub(crate) stopped: Option<Stop>,
    patience: u32,
    /// A buffer for commands' replies.
    pub(crate) reply: Vec<u8>,
    /// The generator behind `math.random`.
    pub(crate) random: Rand48,
    /// How large a source may be, in bytes.
    pub(crate) source_limit: usize,
    /// What the library that is being loaded has registered so far; `None` unless one is.
    pub(crate) registering: Option<Vec<Registered>>,
}

impl Session {
    /// The session of a fresh state, whose random numbers begin at `seed`.
    pub(crate) fn new(seed: u32, source_limit: usize) -> Session {
        Session {
            task: None,
            running: false,
            failure: None,
            host: None,
            protocol: Protocol::Resp2,
            stopped: None,
            patience: PATIENCE,
            reply: Vec::new(),
            random: Rand48::new(seed),
            source_limit,
            registering: None,
        }
    }

    /// Begins a script's call, which `host` serves until [`Session::end`].
    pub(crate) fn begin(&mut self, host: &mut dyn Host) {
        // SAFETY: only the lifetime changes; the engine calls `end` before the borrow of the host
        // is over, and until then nobody but this session uses the host.
        let host = unsafe { std::mem::transmute::<NonNull<dyn Host + '_>, NonNull<dyn Host + 'static>>(host.into()) };
        self.host = Some(host);
        self.protocol = Protocol::Resp2;
        self.stopped = None;
        self.patience = PATIENCE;
    }

    /// Ends a script's call.
    pub(crate) fn end(&mut self) {
        self.host = None;
    }

    /// The host of the running script.
    pub(crate) fn host(&mut self) -> Option<&mut dyn Host> {
        // SAFETY: between `begin` and `end` the host is borrowed for this session alone, and the
        // borrow that is lent from here ends before another begins.
        self.host.map(|mut host| unsafe { host.as_mut() })
    }

    /// Counts one safepoint; from time to time asks the host whether the script may go on.
    #[inline]
    pub(crate) fn tick(&mut self) -> bool {
        self.patience -= 1;
        self.patience == 0 && self.ask()
    }

    /// Asks the host whether the script may go on. Once it may not, every safepoint says so.
    pub(crate) fn ask(&mut self) -> bool {
        if self.stopped.is_none() {
            self.stopped = self.host().and_then(|host| host.should_stop());
        }
        self.patience = if self.stopped.is_some() { 1 } else { PATIENCE };
        self.stopped.is_some()
    }
}
