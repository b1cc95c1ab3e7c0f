//! Addresses, ports, sockets, and the threads that serve them.

use std::time::Duration;

use crate::config::{Config, from_seconds, seconds, unless_zero};
use crate::quantity::{INT, decimal, octal};
use crate::spec::{Apply, Flags, Form, Lines, Refusal, Spec, kept, number, special, switch, text};
use crate::text::{Text, shown};

/// Addresses, ports and sockets.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// `bind`: names or addresses to listen on, at most 16; none at all means none. A `-` in front: no error if the
    /// address is not there. `*` is every IPv4 address, `::*` every IPv6 one.
    pub bind: Vec<Text>,
    /// `bind-source-addr`: the address that outgoing connections come from.
    pub source_address: Option<Text>,
    /// `protected-mode`: without a password, only local clients are served.
    pub protected_mode: bool,
    /// `port`; 0 listens on none.
    pub port: u16,
    /// `tcp-backlog`: connections that the kernel holds until they are accepted.
    pub tcp_backlog: u32,
    /// `unixsocket`: the path of the local socket, if there is one.
    pub unix_socket: Option<Text>,
    /// `unixsocketperm`: the mode of its file; 0 leaves it to the umask.
    pub unix_socket_mode: u32,
    /// `unixsocketgroup`: the group that its file is given, if any.
    pub unix_socket_group: Option<Text>,
    /// `timeout`: how long a client may be idle, if there is a limit.
    pub timeout: Option<Duration>,
    /// `tcp-keepalive`: the time between probes of silent connections, if they are probed.
    pub keepalive: Option<Duration>,
    /// `socket-mark-id`: the mark on packets of our sockets (SO_MARK); 0 for none.
    pub mark: u32,
    /// `network-threads`: how many threads serve clients; 0 for as many as CPUs that the process may use.
    pub threads: usize,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            bind: vec!["*".into(), "-::*".into()],
            source_address: None,
            protected_mode: true,
            port: 6379,
            tcp_backlog: 511,
            unix_socket: None,
            unix_socket_mode: 0,
            unix_socket_group: None,
            timeout: None,
            keepalive: Some(Duration::from_secs(300)),
            mark: 0,
            threads: 0,
        }
    }
}

const ADDRESSES_MAX: usize = 16;

const NO_MPTCP: &str = "connections are plain TCP";
const NO_RDMA: &str = "there is no RDMA here; clients are served over TCP and local sockets";
const ACCEPTS_ALL: &str = "each network thread accepts what is waiting and serves its clients in turn";

pub(super) static TABLE: &[Spec] = &[
    special("bind", get_bind, set_bind, Lines::Words).is(Flags::MANY).applies(Apply::Listen),
    text(
        "bind-source-addr",
        |c| shown(&c.network.source_address),
        |c, text| c.network.source_address = Text::unless_empty(text),
    ),
    switch("protected-mode", |c| c.network.protected_mode, |c, on| c.network.protected_mode = on),
    number("port", decimal(0, 65535), |c| c.network.port.into(), |c, n| c.network.port = n as u16)
        .applies(Apply::Listen),
    number("tcp-backlog", decimal(0, INT), |c| c.network.tcp_backlog.into(), |c, n| c.network.tcp_backlog = n as u32)
        .is(Flags::IMMUTABLE),
    text("unixsocket", |c| shown(&c.network.unix_socket), |c, text| c.network.unix_socket = Text::unless_empty(text))
        .is(Flags::IMMUTABLE),
    number(
        "unixsocketperm",
        octal(0, 0o777),
        |c| c.network.unix_socket_mode.into(),
        |c, n| c.network.unix_socket_mode = n as u32,
    )
    .is(Flags::IMMUTABLE),
    text(
        "unixsocketgroup",
        |c| shown(&c.network.unix_socket_group),
        |c, text| c.network.unix_socket_group = Text::unless_empty(text),
    )
    .is(Flags::IMMUTABLE)
    .later(),
    number(
        "timeout",
        decimal(0, INT),
        |c| c.network.timeout.map_or(0, seconds),
        |c, n| c.network.timeout = unless_zero(from_seconds(n)),
    ),
    number(
        "tcp-keepalive",
        decimal(0, INT),
        |c| c.network.keepalive.map_or(0, seconds),
        |c, n| c.network.keepalive = unless_zero(from_seconds(n)),
    ),
    number("socket-mark-id", decimal(0, u32::MAX as i128), |c| c.network.mark.into(), |c, n| c.network.mark = n as u32)
        .is(Flags::IMMUTABLE),
    number("network-threads", decimal(0, 1024), |c| c.network.threads as i128, |c, n| c.network.threads = n as usize)
        .is(Flags::IMMUTABLE.and(Flags::HIDDEN))
        .ours(),
    kept("io-threads", Form::Number(decimal(1, 128)), "1", "network-threads says how many threads serve clients")
        .is(Flags::IMMUTABLE.and(Flags::DEBUG)),
    kept("io-threads-do-reads", Form::Switch, "no", "every network thread reads, runs commands and writes")
        .is(Flags::IMMUTABLE.and(Flags::DEBUG)),
    kept("io-threads-always-active", Form::Switch, "no", "there is no main thread that hands work to others")
        .is(Flags::HIDDEN)
        .later(),
    kept(
        "events-per-io-thread",
        Form::Number(decimal(0, INT)),
        "2",
        "there is no main thread that hands work to others",
    )
    .is(Flags::HIDDEN)
    .later(),
    kept(
        "prefetch-batch-max-size",
        Form::Number(decimal(0, 128)),
        "16",
        "commands of a batch are looked ahead as it suits",
    )
    .later(),
    kept("max-new-connections-per-cycle", Form::Number(decimal(1, 1000)), "10", ACCEPTS_ALL).later(),
    kept("max-new-tls-connections-per-cycle", Form::Number(decimal(1, 1000)), "1", ACCEPTS_ALL).later(),
    kept("min-io-threads-avoid-copy-reply", Form::Number(decimal(0, INT)), "7", COPIES).is(Flags::HIDDEN).later(),
    kept("min-string-size-avoid-copy-reply", Form::Number(decimal(0, INT)), "16384", COPIES).is(Flags::HIDDEN).later(),
    kept("min-string-size-avoid-copy-reply-threaded", Form::Number(decimal(0, INT)), "65536", COPIES)
        .is(Flags::HIDDEN)
        .later(),
    kept("mptcp", Form::Switch, "no", NO_MPTCP).is(Flags::IMMUTABLE).later(),
    kept("rdma-bind", Form::Text, "", NO_RDMA).later(),
    kept("rdma-port", Form::Number(decimal(0, 65535)), "0", NO_RDMA).later(),
    kept("rdma-rx-size", Form::Number(decimal(65536, 16_777_216)), "1048576", NO_RDMA).is(Flags::IMMUTABLE).later(),
    kept("rdma-completion-vector", Form::Number(decimal(-1, 1024)), "-1", NO_RDMA).is(Flags::IMMUTABLE).later(),
];

const COPIES: &str = "from which size on a reply is not copied is no setting";

fn get_bind(config: &Config) -> Vec<u8> {
    let addresses: Vec<&[u8]> = config.network.bind.iter().map(Text::as_bytes).collect();
    addresses.join(&b' ')
}

fn set_bind(config: &mut Config, arguments: &[&[u8]], _: crate::spec::How) -> Result<(), Refusal> {
    if arguments.len() > ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    let is_empty = arguments == [b""];
    config.network.bind = if is_empty { Vec::new() } else { arguments.iter().map(|&name| name.into()).collect() };
    Ok(())
}
