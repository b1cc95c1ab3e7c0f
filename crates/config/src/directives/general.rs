//! The process: its log, its files, what an operator may do to it.

use crate::choice::Choice;
use crate::config::Config;
use crate::quantity::{INT, decimal};
use crate::spec::{
    Apply, Flags, Form, Lines, Refusal, Spec, checked_text, choice, kept, number, special, switch, text,
};
use crate::text::{Text, shown};

/// The process, its logs and its files.
#[derive(Debug, Clone, PartialEq)]
pub struct General {
    /// `daemonize`: go to the background.
    pub daemonize: bool,
    /// `supervised`: who waits for a word that we are ready.
    pub supervised: Supervised,
    /// `pidfile`; a daemon without one writes `/var/run/redis.pid`.
    pub pid_file: Option<Text>,
    /// `loglevel`: the least important messages that are logged.
    pub log_level: LogLevel,
    /// `logfile`; empty is standard output.
    pub log_file: Text,
    /// `log-format`: the form of its lines.
    pub log_format: LogFormat,
    /// `log-timestamp-format`: how they tell the time.
    pub log_time: LogTime,
    /// `syslog-enabled`.
    pub syslog: bool,
    /// `syslog-ident`: our name in the system's log.
    pub syslog_ident: Text,
    /// `syslog-facility`.
    pub syslog_facility: SyslogFacility,
    /// `crash-log-enabled`: report what happened before dying of a fault.
    pub crash_log: bool,
    /// `databases`: how many can be selected.
    pub databases: u32,
    /// `always-show-logo`, also when the log is no terminal.
    pub always_show_logo: bool,
    /// `set-proc-title`.
    pub set_process_title: bool,
    /// `proc-title-template`: what process lists show, with `{title}`, `{listen-addr}`, `{server-mode}`, `{port}`,
    /// `{tls-port}`, `{unixsocket}` and `{config-file}`.
    pub process_title: Text,
    /// `dir`: the working directory. Unset until the server says where it runs or a file names one.
    pub directory: Option<Text>,
    /// `hz`: how often a second the timers look after expired keys, idle clients and the like: 1 to 500.
    pub timer_frequency: u32,
    /// `enable-protected-configs`: who may CONFIG SET directives that name files.
    pub protected_configs: Permission,
    /// `enable-debug-command`: who may DEBUG.
    pub debug_command: Permission,
    /// `enable-module-command`: who may MODULE.
    pub module_command: Permission,
    /// `availability-zone`: shown by INFO, for clients that prefer a near replica.
    pub availability_zone: Text,
}

impl Default for General {
    fn default() -> General {
        General {
            daemonize: false,
            supervised: Supervised::No,
            pid_file: None,
            log_level: LogLevel::Notice,
            log_file: "".into(),
            log_format: LogFormat::Legacy,
            log_time: LogTime::Legacy,
            syslog: false,
            syslog_ident: "redis".into(),
            syslog_facility: SyslogFacility::Local(0),
            crash_log: true,
            databases: 16,
            always_show_logo: false,
            set_process_title: true,
            process_title: "{title} {listen-addr} {server-mode}".into(),
            directory: None,
            timer_frequency: 10,
            protected_configs: Permission::No,
            debug_command: Permission::No,
            module_command: Permission::No,
            availability_zone: "".into(),
        }
    }
}

/// Who waits for a word that we are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervised {
    /// upstart: the process stops itself when it is ready.
    Upstart,
    /// systemd: a message to the socket that `NOTIFY_SOCKET` names.
    Systemd,
    /// Whoever left its variable in the environment.
    Auto,
    /// Nobody.
    No,
}

impl Choice for Supervised {
    const WORDS: &'static [(&'static str, Supervised)] = &[
        ("upstart", Supervised::Upstart),
        ("systemd", Supervised::Systemd),
        ("auto", Supervised::Auto),
        ("no", Supervised::No),
    ];
}

/// How important a message is. The order is that of importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For those who develop.
    Debug,
    /// Rarely of use, and not too much of it.
    Verbose,
    /// What one wants to know in production.
    Notice,
    /// What needs attention.
    Warning,
    /// No message has this level: nothing is logged.
    Nothing,
}

impl Choice for LogLevel {
    const WORDS: &'static [(&'static str, LogLevel)] = &[
        ("debug", LogLevel::Debug),
        ("verbose", LogLevel::Verbose),
        ("notice", LogLevel::Notice),
        ("warning", LogLevel::Warning),
        ("nothing", LogLevel::Nothing),
    ];
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Redis': `pid:role time sign message`.
    Legacy,
    /// Valkey's: `name=value` for each part.
    Logfmt,
    /// Ours: a JSON object.
    Json,
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, LogFormat)] =
        &[("legacy", LogFormat::Legacy), ("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)];
}

/// How a line of the log tells the time. JSON has ISO 8601 or milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTime {
    /// `01 Jan 2026 12:00:00.000`, in local time.
    Legacy,
    /// `2026-01-01T12:00:00.000+01:00`
    Iso8601,
    /// Since 1970.
    Milliseconds,
}

impl Choice for LogTime {
    const WORDS: &'static [(&'static str, LogTime)] =
        &[("legacy", LogTime::Legacy), ("iso8601", LogTime::Iso8601), ("milliseconds", LogTime::Milliseconds)];
}

/// The facility under which the system's log files our messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogFacility {
    /// LOG_USER.
    User,
    /// LOG_LOCAL0 to LOG_LOCAL7.
    Local(u8),
}

impl Choice for SyslogFacility {
    const WORDS: &'static [(&'static str, SyslogFacility)] = &[
        ("user", SyslogFacility::User),
        ("local0", SyslogFacility::Local(0)),
        ("local1", SyslogFacility::Local(1)),
        ("local2", SyslogFacility::Local(2)),
        ("local3", SyslogFacility::Local(3)),
        ("local4", SyslogFacility::Local(4)),
        ("local5", SyslogFacility::Local(5)),
        ("local6", SyslogFacility::Local(6)),
        ("local7", SyslogFacility::Local(7)),
    ];
}

/// Who may do something dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Clients of this machine.
    Local,
}

impl Permission {
    /// Whether a client may, given whether it is of this machine.
    pub fn allows(self, is_local: bool) -> bool {
        self == Permission::Yes || self == Permission::Local && is_local
    }
}

impl Choice for Permission {
    const WORDS: &'static [(&'static str, Permission)] =
        &[("no", Permission::No), ("yes", Permission::Yes), ("local", Permission::Local)];
}

const NO_TITLE: &str = "process lists show the command line as it was given";
const PLACED: &str = "the kernel places the threads; taskset or a cpuset around the process is obeyed";

pub(super) static TABLE: &[Spec] = &[
    switch("daemonize", |c| c.general.daemonize, |c, on| c.general.daemonize = on).is(Flags::IMMUTABLE),
    choice(
        "supervised",
        Supervised::words,
        |c| c.general.supervised.as_word(),
        |c, word| c.general.supervised = Choice::named(word),
    )
    .is(Flags::IMMUTABLE),
    text("pidfile", |c| shown(&c.general.pid_file), |c, text| c.general.pid_file = Text::unless_empty(text))
        .is(Flags::IMMUTABLE),
    choice(
        "loglevel",
        LogLevel::words,
        |c| c.general.log_level.as_word(),
        |c, word| c.general.log_level = Choice::named(word),
    )
    .applies(Apply::Log),
    text("logfile", |c| c.general.log_file.as_bytes(), |c, text| c.general.log_file = text.into()).is(Flags::IMMUTABLE),
    choice(
        "log-format",
        LogFormat::words,
        |c| c.general.log_format.as_word(),
        |c, word| c.general.log_format = Choice::named(word),
    )
    .applies(Apply::Log)
    .later(),
    choice(
        "log-timestamp-format",
        LogTime::words,
        |c| c.general.log_time.as_word(),
        |c, word| c.general.log_time = Choice::named(word),
    )
    .applies(Apply::Log)
    .later(),
    switch("syslog-enabled", |c| c.general.syslog, |c, on| c.general.syslog = on).is(Flags::IMMUTABLE),
    text("syslog-ident", |c| c.general.syslog_ident.as_bytes(), |c, text| c.general.syslog_ident = text.into())
        .is(Flags::IMMUTABLE),
    choice(
        "syslog-facility",
        SyslogFacility::words,
        |c| c.general.syslog_facility.as_word(),
        |c, word| c.general.syslog_facility = Choice::named(word),
    )
    .is(Flags::IMMUTABLE),
    kept("hide-user-data-from-log", Form::Switch, "no", "no line of the log has keys or values in it").later(),
    switch("crash-log-enabled", |c| c.general.crash_log, |c, on| c.general.crash_log = on)
        .applies(Apply::CrashLog)
        .not_yet("a crash leaves what the system makes of it, and no report of ours yet"),
    kept("crash-memcheck-enabled", Form::Switch, "yes", "a crash is reported without a test of the memory"),
    number("databases", decimal(1, INT), |c| c.general.databases.into(), |c, n| c.general.databases = n as u32)
        .is(Flags::IMMUTABLE),
    switch("always-show-logo", |c| c.general.always_show_logo, |c, on| c.general.always_show_logo = on)
        .is(Flags::IMMUTABLE),
    switch("set-proc-title", |c| c.general.set_process_title, |c, on| c.general.set_process_title = on)
        .is(Flags::IMMUTABLE)
        .not_yet(NO_TITLE),
    checked_text(
        "proc-title-template",
        check_title,
        |c| c.general.process_title.as_bytes(),
        |c, text| c.general.process_title = text.into(),
    )
    .applies(Apply::ProcessTitle)
    .not_yet(NO_TITLE),
    kept("locale-collate", Form::Text, "", "SORT ALPHA and Lua compare bytes, whatever the locale"),
    special("dir", |c| shown(&c.general.directory).to_vec(), set_directory, Lines::As(directory_lines))
        .is(Flags::PROTECTED.and(Flags::NOT_WHILE_LOADING))
        .applies(Apply::Directory),
    number(
        "hz",
        decimal(0, INT),
        |c| c.general.timer_frequency.into(),
        |c, n| {
            c.general.timer_frequency = n.clamp(1, 500) as u32;
        },
    )
    .applies(Apply::Timers),
    kept("dynamic-hz", Form::Switch, "yes", "timers do not slow down with many clients"),
    choice(
        "enable-protected-configs",
        Permission::words,
        |c| c.general.protected_configs.as_word(),
        |c, word| c.general.protected_configs = Choice::named(word),
    )
    .is(Flags::IMMUTABLE),
    choice(
        "enable-debug-command",
        Permission::words,
        |c| c.general.debug_command.as_word(),
        |c, word| c.general.debug_command = Choice::named(word),
    )
    .is(Flags::IMMUTABLE),
    choice(
        "enable-module-command",
        Permission::words,
        |c| c.general.module_command.as_word(),
        |c, word| c.general.module_command = Choice::named(word),
    )
    .is(Flags::IMMUTABLE),
    text(
        "availability-zone",
        |c| c.general.availability_zone.as_bytes(),
        |c, text| c.general.availability_zone = text.into(),
    )
    .later(),
    kept("ignore-warnings", Form::Text, "", "what the checks at start find is logged and never fatal"),
    kept("disable-thp", Form::Switch, "yes", "without a fork, huge pages cost nothing"),
    kept("server_cpulist", Form::Text, "", PLACED).is(Flags::IMMUTABLE).also_abroad(&["server-cpulist"]),
    kept("bio_cpulist", Form::Text, "", PLACED).is(Flags::IMMUTABLE).also_abroad(&["bio-cpulist"]),
    kept("aof_rewrite_cpulist", Form::Text, "", PLACED).is(Flags::IMMUTABLE).also_abroad(&["aof-rewrite-cpulist"]),
    kept("bgsave_cpulist", Form::Text, "", PLACED).is(Flags::IMMUTABLE).also_abroad(&["bgsave-cpulist"]),
    kept("extended-redis-compatibility", Form::Switch, "no", "replies always have the names that Redis gives").later(),
];

fn check_title(template: &[u8]) -> Result<(), Refusal> {
    if is_title_template(template) {
        return Ok(());
    }
    Err("template format is invalid or contains unknown variables".into())
}

/// Whether every `{` begins a known variable. The empty title is none.
fn is_title_template(template: &[u8]) -> bool {
    const VARIABLES: &[&[u8]] =
        &[b"title", b"listen-addr", b"server-mode", b"port", b"tls-port", b"unixsocket", b"config-file"];
    let is_known = |behind_brace: &[u8]| {
        let end = behind_brace.iter().position(|&byte| byte == b'}');
        end.is_some_and(|end| VARIABLES.contains(&&behind_brace[..end]))
    };
    !template.is_empty() && template.split(|&byte| byte == b'{').skip(1).all(is_known)
}

fn set_directory(config: &mut Config, arguments: &[&[u8]], _: crate::spec::How) -> Result<(), Refusal> {
    let &[path] = arguments else { return Err("wrong number of arguments".into()) };
    if path.is_empty() {
        return Err("No such file or directory".into());
    }
    config.general.directory = Some(path.into());
    Ok(())
}

fn directory_lines(config: &Config) -> Vec<Vec<Vec<u8>>> {
    config.general.directory.iter().map(|path| vec![path.as_bytes().to_vec()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_has_known_variables_only() {
        for good in ["{title} {port} {config-file}{tls-port}", "x}", "redis", "{unixsocket}}"] {
            assert!(is_title_template(good.as_bytes()), "{good}");
        }
        for bad in ["", "{title", "{foo}", "{title}{", "{{title}"] {
            assert!(!is_title_template(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_local_permission_needs_a_local_client() {
        assert!(Permission::Yes.allows(false) && Permission::Local.allows(true));
        assert!(!Permission::Local.allows(false) && !Permission::No.allows(true));
    }

    #[test]
    fn only_what_is_important_enough_is_logged() {
        assert!(LogLevel::Debug < LogLevel::Verbose && LogLevel::Warning < LogLevel::Nothing);
    }
}
