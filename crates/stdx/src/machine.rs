//! The contract of every state machine: it decides, its driver performs.

use std::fmt::Debug;

use crate::{Mono, Now};

/// A protocol as a pure machine: it knows no socket, file, clock, thread or dice.
///
/// - `handle` is total: it can't fail and it calls nothing back. Malformed bytes die in a codec
///   before they become an input. An impossible state panics: asserts stay on in release builds.
/// - After each `handle`, drain `poll_output` to `None` and perform the outputs strictly in order.
///   An output called `Persist` is a barrier: it is durable before any later one is performed.
/// - A timeout that comes early or twice changes nothing. `now.mono` never goes back; `now.unix` may.
pub trait Machine {
    /// What happened; a closed enum that can be logged and replayed.
    type Input: Debug;
    /// What is to be done; a closed enum.
    type Output: Debug;
    /// Why the machine wants to be woken.
    type Timer: Debug;

    /// Takes one input.
    fn handle(&mut self, now: Now, input: Self::Input);
    /// The next thing to perform, in order.
    fn poll_output(&mut self) -> Option<Self::Output>;
    /// The earliest instant at which `Input::Timeout` is wanted, and why; derived from the state.
    fn poll_timeout(&self) -> Option<(Mono, Self::Timer)>;
}
