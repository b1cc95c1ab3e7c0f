//! What a script needs from the server that runs it.

use quorate_resp::Protocol;

/// Serves one call of a script. The engine knows neither keys nor sockets; all that it can't decide
/// itself, it asks here. The engine is busy while it asks: a host must not call back into it.
pub trait Host {
    /// Runs the command `argv` (at least one word) and appends its one reply to `reply`, errors
    /// included, in the version that [`Host::set_protocol`] said last (RESP2 at first). All checks of
    /// a command in a script are the host's: whether it exists, its arity, flags, keys and rights.
    fn call(&mut self, argv: &[&[u8]], reply: &mut Vec<u8>);

    /// `redis.setresp`: the version of the replies from here on.
    fn set_protocol(&mut self, protocol: Protocol);

    /// `redis.log`: a line for the server's log.
    fn log(&mut self, level: LogLevel, message: &[u8]);

    /// `redis.set_repl`: where the effects of the following commands go.
    fn set_replication(&mut self, replicate: Replicate);

    /// `redis.acl_check_cmd`: whether the script's user may run `argv`; `None` if there is no such command.
    fn may_run(&mut self, argv: &[&[u8]]) -> Option<bool>;

    /// Asked before each command and every few thousand steps of a script: whether it has to end. Once
    /// the answer is a reason, the script ends with it, whatever it catches. This is also the place
    /// where a host notices that a script takes long, and serves those who wait.
    fn should_stop(&mut self) -> Option<Stop>;
}

/// The importance of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`
    Debug,
    /// `redis.LOG_VERBOSE`
    Verbose,
    /// `redis.LOG_NOTICE`
    Notice,
    /// `redis.LOG_WARNING`
    Warning,
}

/// Where a script's effects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicate {
    /// Into the append-only file.
    pub aof: bool,
    /// To the replicas.
    pub replicas: bool,
}

/// Why a script has to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A client sent SCRIPT KILL.
    ScriptKill,
    /// A client sent FUNCTION KILL.
    FunctionKill,
    /// The server goes down.
    Shutdown,
    /// A library takes too long to be loaded.
    LoadTimeout,
    /// The host runs it again, and wants no answer of this run.
    Again,
}

impl Stop {
    /// The error that the script's caller gets.
    pub(crate) fn text(self) -> &'static [u8] {
        match self {
            Stop::ScriptKill => b"ERR Script killed by user with SCRIPT KILL...",
            Stop::FunctionKill => b"ERR Script killed by user with FUNCTION KILL.",
            Stop::LoadTimeout => b"ERR FUNCTION LOAD timeout",
            Stop::Again => b"ERR Script is run again.",
            Stop::Shutdown => b"ERR Script stopped because the server shuts down.",
        }
    }
}
