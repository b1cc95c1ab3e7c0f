//! The log that people and scripts read, in Redis' line form:
//! `pid:role dd Mon yyyy hh:mm:ss.mmm level message`. With `log-format` it is Valkey's `logfmt`, or a JSON object a line, in which no
//! message, whatever it quotes, can end the line or the object.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::ZonedDateTime;
use parking_lot::RwLock;
use quorate_config::{LogFormat, LogTime};

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

/// `LogFormat` and `LogTime`.
static FORM: AtomicU8 = AtomicU8::new(0);
const LOGFMT: u8 = 1;
const JSON: u8 = 2;
const ISO_8601: u8 = 4;
const MILLISECONDS: u8 = 8;

/// Sets `log-format` and `log-timestamp-format`.
pub fn set_form(format: LogFormat, time: LogTime) {
    let format = match format {
        LogFormat::Legacy => 0,
        LogFormat::Logfmt => LOGFMT,
        LogFormat::Json => JSON,
    };
    let time = match time {
        LogTime::Legacy => 0,
        LogTime::Iso8601 => ISO_8601,
        LogTime::Milliseconds => MILLISECONDS,
    };
    FORM.store(format | time, Ordering::Relaxed);
}

/// Whether lines are made for programs rather than for people.
pub fn is_for_programs() -> bool {
    FORM.load(Ordering::Relaxed) & (LOGFMT | JSON) != 0
}

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
    let role = ROLE.load(Ordering::Relaxed);
    raw(&line(FORM.load(Ordering::Relaxed), &ZonedDateTime::now(), role, level, message));
}

/// A line with its end.
fn line(form: u8, now: &ZonedDateTime, role: u8, level: Level, message: &str) -> String {
    let pid = std::process::id();
    let time = if form & MILLISECONDS != 0 {
        now.timestamp().as_millisecond().to_string()
    } else if form & (ISO_8601 | JSON) != 0 {
        now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    } else {
        now.strftime("%d %b %Y %H:%M:%S%.3f").to_string()
    };
    let (sign, word) = match level {
        Level::Debug => ('.', "debug"),
        Level::Verbose => ('-', "info"),
        Level::Notice => ('*', "notice"),
        Level::Warning | Level::Nothing => ('#', "warning"),
    };
    let part = match role {
        b'X' => "sentinel",
        b'S' => "replica",
        b'C' => "start",
        _ => "primary",
    };
    if form & JSON != 0 {
        let time = if form & MILLISECONDS != 0 { time } else { format!("\"{time}\"") };
        let message = serde_json::Value::from(message);
        return format!(
            "{{\"time\":{time},\"level\":\"{word}\",\"pid\":{pid},\"role\":\"{part}\",\"message\":{message}}}\n"
        );
    }
    if form & LOGFMT != 0 {
        let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let message = message.replace('"', "'");
        return format!("pid={pid} role={part} timestamp=\"{time}\" level={word} message=\"{message}\"\n");
    }
    format!("{pid}:{} {time} {sign} {message}\n", char::from(role))
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 5] =
        ["", "plain", "a\"b\\c", "ends\n{\"level\":\"owned\"}\r\n", "\u{0}\u{1b}[2J\u{7f}\u{2028}\u{fffd}"];

    fn now() -> ZonedDateTime {
        jiff::Timestamp::from_millisecond(1_700_000_000_123).unwrap().to_zoned_datetime(jiff::tz::TimeZone::UTC)
    }

    #[test]
    fn each_line_of_json_is_one_object_whatever_the_message_holds() {
        for message in HOSTILE {
            for (time, expected) in
                [(0, "2023-11-14T22:13:20.123+00:00".into()), (MILLISECONDS, serde_json::json!(1_700_000_000_123_u64))]
            {
                let text = line(JSON | time, &now(), b'S', Level::Warning, message);
                assert_eq!((text.matches('\n').count(), text.ends_with('\n')), (1, true), "{text:?}");
                let object: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(object["message"], message);
                assert_eq!(object["time"], expected);
                assert_eq!((&object["level"], &object["role"]), (&"warning".into(), &"replica".into()));
                assert_eq!(object["pid"], std::process::id());
            }
        }
    }

    #[test]
    fn each_line_of_logfmt_is_one_line_and_its_message_ends_where_the_line_does() {
        for message in HOSTILE {
            let text = line(LOGFMT | ISO_8601, &now(), b'M', Level::Notice, message);
            let (head, said) = text.split_once(" message=\"").unwrap();
            assert!(
                head.ends_with("role=primary timestamp=\"2023-11-14T22:13:20.123+00:00\" level=notice"),
                "{text:?}"
            );
            assert_eq!(said.find(['"', '\n']), Some(said.len() - 2), "{text:?}");
        }
    }

    #[test]
    fn the_usual_line_is_that_of_redis() {
        let text = line(0, &now(), b'M', Level::Notice, "Ready");
        assert_eq!(text, format!("{}:M 14 Nov 2023 22:13:20.123 * Ready\n", std::process::id()));
    }
}
