//! The log that people and scripts read, in Redis' line form:
//! `pid:role dd Mon yyyy hh:mm:ss.mmm level message`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::ZonedDateTime;
use parking_lot::RwLock;

/// How much a line matters; what is below `loglevel` is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// `.`
    Debug = 0,
    /// `-`
    Verbose = 1,
    /// `*`
    Notice = 2,
    /// `#`
    Warning = 3,
    /// Nothing is written.
    Nothing = 4,
}

impl From<quorate_config::LogLevel> for Level {
    fn from(level: quorate_config::LogLevel) -> Level {
        match level {
            quorate_config::LogLevel::Debug => Level::Debug,
            quorate_config::LogLevel::Verbose => Level::Verbose,
            quorate_config::LogLevel::Notice => Level::Notice,
            quorate_config::LogLevel::Warning => Level::Warning,
            quorate_config::LogLevel::Nothing => Level::Nothing,
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(b'M');
/// Empty for standard output. The file is opened for each line, so that a rotated one is followed.
static FILE: RwLock<String> = RwLock::new(String::new());

/// Sets `loglevel`.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// The least level that is written.
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        0 => Level::Debug,
        1 => Level::Verbose,
        2 => Level::Notice,
        3 => Level::Warning,
        _ => Level::Nothing,
    }
}

/// Sets `logfile`; empty is standard output.
///
/// # Errors
/// The file can't be written to.
pub fn set_file(path: &str) -> std::io::Result<()> {
    if !path.is_empty() {
        OpenOptions::new().append(true).create(true).open(path)?;
    }
    path.clone_into(&mut FILE.write());
    Ok(())
}

/// Sends lines to the system's log too, as `syslog-enabled` says.
pub fn set_syslog(ident: &str, facility: quorate_config::SyslogFacility) {
    let facility = match facility {
        quorate_config::SyslogFacility::User => 1,
        quorate_config::SyslogFacility::Local(number) => 16 + u32::from(number),
    };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    // Set once, at the start; without the system's log the lines are in ours.
    let _ = SYSLOG.set(Syslog { socket, ident: ident.to_owned(), facility });
}

struct Syslog {
    socket: UnixDatagram,
    ident: String,
    /// As RFC 5424 numbers it.
    facility: u32,
}

static SYSLOG: OnceLock<Syslog> = OnceLock::new();

impl Syslog {
    fn send(&self, level: Level, message: &str) {
        let severity = match level {
            Level::Debug => 7,
            Level::Verbose => 6,
            Level::Notice => 5,
            Level::Warning | Level::Nothing => 4,
        };
        let priority = self.facility * 8 + severity;
        let line = format!("<{priority}>{}[{}]: {message}", self.ident, std::process::id());
        // There is no better place to complain.
        let _ = self.socket.send_to(line.as_bytes(), "/dev/log");
    }
}

/// Sets the letter behind the pid: `M` primary, `S` replica, `X` Sentinel, `C` at the start.
pub fn set_role(letter: u8) {
    ROLE.store(letter, Ordering::Relaxed);
}

/// Writes a line, if its level is to be written. A line that can't be written is lost: there is no
/// better place to complain.
pub fn write(level: Level, message: &str) {
    if (level as u8) < LEVEL.load(Ordering::Relaxed) {
        return;
    }
    if let Some(syslog) = SYSLOG.get() {
        syslog.send(level, message);
    }
    let sign = match level {
        Level::Debug => '.',
        Level::Verbose => '-',
        Level::Notice => '*',
        Level::Warning | Level::Nothing => '#',
    };
    let role = char::from(ROLE.load(Ordering::Relaxed));
    let time = ZonedDateTime::now().strftime("%d %b %Y %H:%M:%S%.3f").to_string();
    raw(&format!("{}:{role} {time} {sign} {message}\n", std::process::id()));
}

/// Writes text as it is.
pub fn raw(text: &str) {
    let path = FILE.read();
    // One write call a line: lines of several threads don't mix.
    let _ = if path.is_empty() {
        std::io::stdout().lock().write_all(text.as_bytes())
    } else {
        OpenOptions::new().append(true).create(true).open(&*path).and_then(|mut file| file.write_all(text.as_bytes()))
    };
}

/// A line of interest to those who search for a fault.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// A line of detail.
pub fn verbose(message: &str) {
    write(Level::Verbose, message);
}

/// An ordinary line.
pub fn notice(message: &str) {
    write(Level::Notice, message);
}

/// A line that somebody should act on.
pub fn warning(message: &str) {
    write(Level::Warning, message);
}
