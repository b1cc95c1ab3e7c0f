//! What a Sentinel announces: one event is a line of the log, a message on the channel of its name and, if it matters, a
//! call of the notification script.

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the log only.
    Debug,
    /// Detail.
    Verbose,
    /// Ordinary.
    Notice,
    /// Somebody should know: the notification script is called.
    Warning,
}

/// One event, as `+sdown` with `master mymaster 127.0.0.1 6379`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// How much it matters.
    pub level: Level,
    /// Its name, which is its channel's too.
    pub name: &'static str,
    /// What it is about.
    pub text: String,
    /// The primary that it belongs to, if to one.
    pub primary: Option<String>,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.text)
    }
}
