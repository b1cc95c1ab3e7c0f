//! What clients may use: how many they are, how much they may send, how much they may leave unread.

use std::time::Duration;

use quorate_values::parse_u64;

use crate::config::Config;
use crate::quantity::{LONG, decimal, memory, memory_or_percent, parse_memory};
use crate::spec::{Apply, Flags, How, Lines, Refusal, Spec, number, special};

/// What a client may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Clients {
    /// `maxclients`: how many may be connected.
    pub max: u32,
    /// `maxmemory-clients`: what all of them together may hold.
    pub memory_max: ClientMemory,
    /// `client-query-buffer-limit`: bytes that one may have sent without us having run them.
    pub query_buffer_max: u64,
    /// `proto-max-bulk-len`: bytes of one argument, and of a string value.
    pub bulk_len_max: u64,
    /// `client-output-buffer-limit`: bytes that one may leave unread, by class.
    pub output_buffer: OutputBufferLimits,
    /// `tracking-table-max-keys`: keys remembered for client-side caching; 0 is no limit.
    pub tracked_keys_max: u64,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            max: 10000,
            memory_max: ClientMemory::Unlimited,
            query_buffer_max: 1 << 30,
            bulk_len_max: 512 << 20,
            output_buffer: OutputBufferLimits::default(),
            tracked_keys_max: 1_000_000,
        }
    }
}

/// A limit on what all clients together may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMemory {
    /// None.
    Unlimited,
    /// Bytes, at least one.
    Bytes(u64),
    /// Percent of `maxmemory`, from 1 to 100.
    Percent(u8),
}

impl ClientMemory {
    /// The limit in bytes, if there is one. A percentage of no limit is none.
    pub fn bytes(self, maxmemory: u64) -> Option<u64> {
        match self {
            ClientMemory::Unlimited => None,
            ClientMemory::Bytes(bytes) => Some(bytes),
            ClientMemory::Percent(_) if maxmemory == 0 => None,
            ClientMemory::Percent(percent) => Some((u128::from(maxmemory) * u128::from(percent) / 100) as u64),
        }
    }
}

/// Limits on what clients may leave unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// For clients as such.
    pub normal: OutputBufferLimit,
    /// For replicas.
    pub replica: OutputBufferLimit,
    /// For subscribers.
    pub pubsub: OutputBufferLimit,
}

/// The limits of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// Bytes above which the client is dropped at once; 0 is no limit.
    pub hard: u64,
    /// Bytes above which it is dropped after `soft_time`; 0 is no limit.
    pub soft: u64,
    /// Whole seconds.
    pub soft_time: Duration,
}

impl Default for OutputBufferLimits {
    fn default() -> OutputBufferLimits {
        let limit = |hard, soft, seconds| OutputBufferLimit { hard, soft, soft_time: Duration::from_secs(seconds) };
        OutputBufferLimits {
            normal: limit(0, 0, 0),
            replica: limit(256 << 20, 64 << 20, 60),
            pubsub: limit(32 << 20, 8 << 20, 60),
        }
    }
}

const MEGABYTE: i128 = 1 << 20;

pub(super) static TABLE: &[Spec] = &[
    number("maxclients", decimal(1, u32::MAX as i128), |c| c.clients.max.into(), |c, n| c.clients.max = n as u32)
        .applies(Apply::MaxClients),
    number("maxmemory-clients", memory_or_percent(LONG), get_client_memory, set_client_memory)
        .applies(Apply::ClientMemory),
    number(
        "client-query-buffer-limit",
        memory(MEGABYTE, LONG),
        |c| c.clients.query_buffer_max.into(),
        |c, n| {
            c.clients.query_buffer_max = n as u64;
        },
    )
    .is(Flags::DEBUG),
    number(
        "proto-max-bulk-len",
        memory(MEGABYTE, LONG),
        |c| c.clients.bulk_len_max.into(),
        |c, n| c.clients.bulk_len_max = n as u64,
    )
    .is(Flags::DEBUG),
    special("client-output-buffer-limit", get_output_buffer, set_output_buffer, Lines::As(output_buffer_lines))
        .is(Flags::MANY),
    number(
        "tracking-table-max-keys",
        decimal(0, LONG),
        |c| c.clients.tracked_keys_max.into(),
        |c, n| {
            c.clients.tracked_keys_max = n as u64;
        },
    ),
];

fn get_client_memory(config: &Config) -> i128 {
    match config.clients.memory_max {
        ClientMemory::Unlimited => 0,
        ClientMemory::Bytes(bytes) => bytes.into(),
        ClientMemory::Percent(percent) => -i128::from(percent),
    }
}

fn set_client_memory(config: &mut Config, value: i128) {
    config.clients.memory_max = match value {
        0 => ClientMemory::Unlimited,
        bytes @ 1.. => ClientMemory::Bytes(bytes as u64),
        percent => ClientMemory::Percent(-percent as u8),
    };
}

impl OutputBufferLimits {
    /// The classes with the names that CONFIG GET shows and those that CONFIG REWRITE writes.
    fn classes(&self) -> [(&'static str, &'static str, OutputBufferLimit); 3] {
        [("normal", "normal", self.normal), ("slave", "replica", self.replica), ("pubsub", "pubsub", self.pubsub)]
    }

    fn class_mut(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"slave" | b"replica" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

fn get_output_buffer(config: &Config) -> Vec<u8> {
    let classes = config.clients.output_buffer.classes();
    let show = |(name, _, limit): &(&str, &str, OutputBufferLimit)| {
        format!("{name} {} {} {}", limit.hard, limit.soft, limit.soft_time.as_secs())
    };
    classes.iter().map(show).collect::<Vec<_>>().join(" ").into_bytes()
}

/// Groups of class, hard limit, soft limit and seconds; classes that are not named keep theirs.
fn set_output_buffer(config: &mut Config, arguments: &[&[u8]], _: How) -> Result<(), Refusal> {
    if arguments == [b""] {
        return Ok(());
    }
    let (groups, rest) = arguments.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for [class, hard, soft, seconds] in groups {
        let Some(limit) = config.clients.output_buffer.class_mut(class) else {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        };
        let (Some(hard), Some(soft), Some(seconds)) =
            (parse_memory(hard), parse_memory(soft), parse_lenient_seconds(seconds))
        else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        *limit = OutputBufferLimit { hard, soft, soft_time: Duration::from_secs(seconds) };
    }
    Ok(())
}

/// Seconds, with a `+` and leading zeros if one likes.
fn parse_lenient_seconds(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let significant = &digits[zeros..];
    let seconds = if significant.is_empty() { Some(0) } else { parse_u64(significant) };
    seconds.filter(|&seconds| seconds <= i64::MAX as u64)
}

fn output_buffer_lines(config: &Config) -> Vec<Vec<Vec<u8>>> {
    let size = memory(0, i128::from(u64::MAX));
    let line = |(_, name, limit): &(&str, &str, OutputBufferLimit)| {
        let (hard, soft) = (size.write(limit.hard.into()), size.write(limit.soft.into()));
        [(*name).to_owned(), hard, soft, limit.soft_time.as_secs().to_string()].map(String::into_bytes).to_vec()
    };
    config.clients.output_buffer.classes().iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_of_client_memory_needs_a_limit_to_be_of() {
        assert_eq!(ClientMemory::Percent(20).bytes(1000), Some(200));
        assert_eq!(ClientMemory::Percent(20).bytes(0), None);
        assert_eq!(ClientMemory::Percent(100).bytes(u64::MAX), Some(u64::MAX));
        assert_eq!(ClientMemory::Bytes(5).bytes(0), Some(5));
        assert_eq!(ClientMemory::Unlimited.bytes(1000), None);
    }

    #[test]
    fn soft_seconds_may_have_a_plus_and_zeros_and_nothing_else() {
        for (text, seconds) in [("60", 60), ("+3", 3), ("03", 3), ("0", 0), ("000", 0)] {
            assert_eq!(parse_lenient_seconds(text.as_bytes()), Some(seconds), "{text}");
        }
        for text in ["", "+", "-1", "60s", " 1", "18446744073709551615"] {
            assert_eq!(parse_lenient_seconds(text.as_bytes()), None, "{text}");
        }
    }
}
