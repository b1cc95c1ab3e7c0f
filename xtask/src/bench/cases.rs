//! The commands that are measured, as data: what a request looks like, what its reply looks like, and what a server
//! must hold before.
//!
//! Requests of one case are equally long. So a batch of them is encoded once, and only the digits that differ (the
//! key's number, a member's number, a score) are overwritten before each send; the load generator never allocates and
//! hardly computes.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use super::options::Append;

/// The clients of every case.
pub(super) const CLIENTS: usize = 50;
/// Bytes of a stored value; keys have 16.
pub(super) const VALUE_LEN: usize = 64;
/// Digits that can differ from request to request, at the end of a key, a member or a score.
const DIGITS: usize = 8;
/// How many elements a key holds before an ordinary case begins.
const ELEMENTS: u8 = 4;

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) request: &'static [Part],
    pub(super) reply: Reply,
    /// Requests that each connection keeps on their way.
    pub(super) pipeline: usize,
    /// Sent once for each key before; empty if an empty server is what the case wants.
    pub(super) fill: &'static [Part],
    pub(super) fill_reply: Reply,
    pub(super) supply: Supply,
    /// A case may want a key space smaller than the run's.
    most_keys: u64,
    /// Clients come over TLS. The floor has none of it.
    pub(super) encrypted: bool,
    /// Directives of the servers beyond those of the run.
    pub(super) directives: &'static [&'static str],
}

/// How long a filled server serves a case before the case has changed what it measures.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Supply {
    /// The requests leave the data as it is, in size.
    Steady,
    /// Each round starts with an empty server that is filled again, and each key is visited at most so many times.
    Laps(u64),
    /// Each round starts with an empty server that is filled again, because the requests make the data grow.
    Grows,
}

/// A piece of a request: one argument of it.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Word(&'static str),
    /// 16 bytes; every key is visited once per lap, in a scattered order.
    Key,
    /// 64 bytes, always the same.
    Value,
    /// One particular element, 16 bytes, as fills use it.
    Element(u8),
    /// One of the elements that the fill stored.
    AnyElement,
    /// An element that no request has used before.
    NewElement,
    /// A whole number of eight digits.
    Score,
}
use Part::{AnyElement, Element, Key, NewElement, Score, Value, Word};

/// The shape of a good reply.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Reply {
    Ok,
    /// Any integer; the value is a typical one, for the floor to send.
    Integer(u64),
    /// A bulk string of so many bytes.
    Bulk(usize),
    /// A bulk string, of typically so many bytes.
    AnyBulk(usize),
    /// An array of whatever depth; typically of so many elements of 16 bytes.
    Array(usize),
}

/// One element stays in each key, since a server that pops faster would otherwise delete more keys in its round.
const POPS: Supply = Supply::Laps(ELEMENTS as u64 - 1);
const ADDED_ALL: Reply = Reply::Integer(ELEMENTS as u64);
const FILL_STRINGS: &[Part] = &[Word("SET"), Key, Value];
const FILL_LISTS: &[Part] = &[Word("RPUSH"), Key, Value, Value, Value, Value];
const FILL_SETS: &[Part] = &[Word("SADD"), Key, Element(0), Element(1), Element(2), Element(3)];
const FILL_HASHES: &[Part] =
    &[Word("HSET"), Key, Element(0), Value, Element(1), Value, Element(2), Value, Element(3), Value];
const FILL_SORTED_SETS: &[Part] =
    &[Word("ZADD"), Key, Score, Element(0), Score, Element(1), Score, Element(2), Score, Element(3)];

/// Streams of some entries, with a group that has read none of them.
const FILL_STREAMS: &[Part] = &[
    Word("EVAL"),
    Word(
        "for id = 1, 4 do redis.call('XADD', KEYS[1], id, 'field', ARGV[1]) end \
         return redis.call('XGROUP', 'CREATE', KEYS[1], 'group', 0)",
    ),
    Word("1"),
    Key,
    Value,
];

const BLANK: Case = Case {
    name: "",
    request: &[],
    reply: Reply::Ok,
    pipeline: 16,
    fill: FILL_STRINGS,
    fill_reply: Reply::Ok,
    supply: Supply::Steady,
    most_keys: u64::MAX,
    encrypted: false,
    directives: &[],
};

const GET: Case = Case { request: &[Word("GET"), Key], reply: Reply::Bulk(VALUE_LEN), ..BLANK };
const SET: Case = Case { request: &[Word("SET"), Key, Value], ..BLANK };

/// A plain SET at pipeline 16, which other measurements use as their write load.
pub(super) static SET_P16: Case = Case { name: "set-p16", ..SET };

/// Every throughput case, in the order of the report.
pub(super) static CASES: &[Case] = &[
    Case { name: "get", pipeline: 1, ..GET },
    Case { name: "set", pipeline: 1, ..SET },
    Case { name: "get-p16", ..GET },
    Case { name: "set-p16", ..SET },
    Case { name: "get-tls", pipeline: 1, encrypted: true, ..GET },
    Case { name: "get-tls-p16", encrypted: true, ..GET },
    Case { name: "set-tls-p16", encrypted: true, ..SET },
    // So few keys stay in the caches: what is left is the code's own cost, without the memory's.
    Case { name: "get-hot-p16", most_keys: 1000, ..GET },
    Case { name: "set-hot-p16", most_keys: 1000, ..SET },
    Case {
        name: "incr-p16",
        request: &[Word("INCR"), Key],
        reply: Reply::Integer(100_001),
        fill: &[Word("INCRBY"), Key, Word("100000")],
        fill_reply: Reply::Integer(100_000),
        ..BLANK
    },
    Case {
        name: "lpush-p16",
        request: &[Word("LPUSH"), Key, Value],
        reply: Reply::Integer(5),
        fill: FILL_LISTS,
        fill_reply: ADDED_ALL,
        supply: Supply::Grows,
        ..BLANK
    },
    Case {
        name: "rpop-p16",
        request: &[Word("RPOP"), Key],
        reply: Reply::Bulk(VALUE_LEN),
        fill: FILL_LISTS,
        fill_reply: ADDED_ALL,
        supply: POPS,
        ..BLANK
    },
    Case {
        name: "sadd-p16",
        request: &[Word("SADD"), Key, NewElement],
        reply: Reply::Integer(1),
        fill: FILL_SETS,
        fill_reply: ADDED_ALL,
        supply: Supply::Grows,
        ..BLANK
    },
    Case {
        name: "spop-p16",
        request: &[Word("SPOP"), Key],
        reply: Reply::Bulk(16),
        fill: FILL_SETS,
        fill_reply: ADDED_ALL,
        supply: POPS,
        ..BLANK
    },
    Case {
        name: "hset-p16",
        request: &[Word("HSET"), Key, AnyElement, Value],
        reply: Reply::Integer(0),
        fill: FILL_HASHES,
        fill_reply: ADDED_ALL,
        ..BLANK
    },
    Case {
        name: "zadd-p16",
        request: &[Word("ZADD"), Key, Score, AnyElement],
        reply: Reply::Integer(0),
        fill: FILL_SORTED_SETS,
        fill_reply: ADDED_ALL,
        ..BLANK
    },
    Case {
        name: "zrange-p16",
        request: &[Word("ZRANGE"), Key, Word("0"), Word("-1")],
        reply: Reply::Array(ELEMENTS as usize),
        fill: FILL_SORTED_SETS,
        fill_reply: ADDED_ALL,
        ..BLANK
    },
    Case {
        name: "xadd-p16",
        request: &[Word("XADD"), Key, Word("*"), Word("field"), Value],
        reply: Reply::AnyBulk(15),
        fill: FILL_STREAMS,
        supply: Supply::Grows,
        ..BLANK
    },
    Case {
        name: "xreadgroup-p16",
        request: &[
            Word("XREADGROUP"),
            Word("GROUP"),
            Word("group"),
            Word("consumer"),
            Word("COUNT"),
            Word("1"),
            Word("STREAMS"),
            Key,
            Word(">"),
        ],
        reply: Reply::Array(ELEMENTS as usize),
        fill: FILL_STREAMS,
        supply: POPS,
        ..BLANK
    },
    Case {
        name: "eval-get-p16",
        request: &[Word("EVAL"), Word("return redis.call('GET', KEYS[1])"), Word("1"), Key],
        reply: Reply::Bulk(VALUE_LEN),
        ..BLANK
    },
    Case {
        name: "eval-set-p16",
        request: &[Word("EVAL"), Word("return redis.call('SET', KEYS[1], ARGV[1])"), Word("1"), Key, Value],
        ..BLANK
    },
    Case { name: "set-everysec-p16", directives: Append::Everysec.arguments(), ..SET },
    Case { name: "set-always-p16", directives: Append::Always.arguments(), ..SET },
    Case { name: "set-always", pipeline: 1, directives: Append::Always.arguments(), ..SET },
];

/// The case of that name, or an error that lists the names.
pub(super) fn find(name: &str) -> Result<&'static Case> {
    CASES.iter().find(|case| case.name == name).with_context(|| {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        format!("there is no case {name:?}; there are {}", names.join(", "))
    })
}

impl Case {
    /// A batch of this case's requests over so many keys.
    pub(super) fn batch(&self, keys: u64) -> Batch {
        Batch::new(self.request, self.pipeline, Walk::scattered(self.keys(keys)))
    }

    /// The size of its key space in a run over so many keys.
    pub(super) fn keys(&self, keys: u64) -> u64 {
        keys.min(self.most_keys)
    }

    /// How many requests a server that holds so many keys can serve before it must be filled again.
    pub(super) fn requests(&self, keys: u64) -> u64 {
        match self.supply {
            Supply::Laps(laps) => laps * self.keys(keys),
            Supply::Steady | Supply::Grows => u64::MAX,
        }
    }
}

impl Reply {
    /// The bytes of such a reply.
    pub(super) fn canned(self) -> Vec<u8> {
        match self {
            Reply::Ok => b"+OK\r\n".to_vec(),
            Reply::Integer(value) => format!(":{value}\r\n").into_bytes(),
            Reply::Bulk(len) | Reply::AnyBulk(len) => format!("${len}\r\n{}\r\n", "x".repeat(len)).into_bytes(),
            Reply::Array(elements) => {
                format!("*{elements}\r\n{}", format!("$16\r\n{}\r\n", "x".repeat(16)).repeat(elements)).into_bytes()
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Ok => write!(f, "ok"),
            Reply::Integer(value) => write!(f, "integer:{value}"),
            Reply::Bulk(len) => write!(f, "bulk:{len}"),
            Reply::AnyBulk(len) => write!(f, "any-bulk:{len}"),
            Reply::Array(elements) => write!(f, "array:{elements}"),
        }
    }
}

impl FromStr for Reply {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Reply> {
        Ok(match text.split_once(':') {
            None if text == "ok" => Reply::Ok,
            Some(("integer", value)) => Reply::Integer(value.parse()?),
            Some(("bulk", len)) => Reply::Bulk(len.parse()?),
            Some(("any-bulk", len)) => Reply::AnyBulk(len.parse()?),
            Some(("array", elements)) => Reply::Array(elements.parse()?),
            _ => bail!("{text:?} is not a reply"),
        })
    }
}

/// A batch of encoded requests, refreshed in place before each send.
pub(super) struct Batch {
    bytes: Vec<u8>,
    request_len: usize,
    /// Where the digits stand that differ, counted from the start of a request.
    variables: Vec<(usize, Variable)>,
    keys: Walk,
    /// How many new elements were made up.
    fresh: u64,
}

#[derive(Clone, Copy)]
enum Variable {
    Key,
    AnyElement,
    NewElement,
    Score,
}

impl Batch {
    /// `pipeline` requests over a key space of `keys`, which are visited in scattered order, or, as a fill should, in
    /// ascending order: memory laid out in the order in which it is visited would flatter every server.
    pub(super) fn new(request: &[Part], pipeline: usize, keys: Walk) -> Batch {
        let (one, variables) = encode(request);
        Batch { request_len: one.len(), bytes: one.repeat(pipeline), variables, keys, fresh: 0 }
    }

    /// The next `requests` requests, at most as many as the pipeline is deep.
    pub(super) fn next(&mut self, requests: usize) -> &[u8] {
        let bytes = &mut self.bytes[..requests * self.request_len];
        for request in bytes.chunks_exact_mut(self.request_len) {
            for &(at, variable) in &self.variables {
                let number = match variable {
                    Variable::Key => self.keys.step(),
                    Variable::AnyElement => self.keys.noise() % u64::from(ELEMENTS),
                    Variable::NewElement => {
                        self.fresh += 1;
                        u64::from(ELEMENTS) + self.fresh
                    }
                    Variable::Score => self.keys.noise() % 100_000_000,
                };
                write_digits(&mut request[at..at + DIGITS], number);
            }
        }
        bytes
    }
}

fn encode(request: &[Part]) -> (Vec<u8>, Vec<(usize, Variable)>) {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    let mut variables = Vec::new();
    for part in request {
        let (text, variable) = match part {
            Word(word) => (word.to_string(), None),
            Key => (key_name(0), Some(Variable::Key)),
            Value => ("x".repeat(VALUE_LEN), None),
            Element(number) => (element_name(*number), None),
            AnyElement => (element_name(0), Some(Variable::AnyElement)),
            NewElement => (element_name(0), Some(Variable::NewElement)),
            Score => ("0".repeat(DIGITS), Some(Variable::Score)),
        };
        bytes.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
        variables.extend(variable.map(|variable| (bytes.len() - 2 - DIGITS, variable)));
    }
    (bytes, variables)
}

/// The key of that number, 16 bytes.
pub(super) fn key_name(number: u64) -> String {
    format!("key:{number:012}")
}

fn element_name(number: u8) -> String {
    format!("mem:{number:012}")
}

fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Visits every number below a bound once per lap, in an order that no prefetcher guesses, or in ascending order.
///
/// It is a full-period linear congruential generator over the next power of two, with its bits mixed, that skips what
/// is out of bounds. Equal laps matter to the cases that pop: every list runs dry at the same time.
pub(super) struct Walk {
    below: u64,
    mask: u64,
    state: u64,
    order: Order,
    noise: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Scattered,
    Ascending,
}

impl Walk {
    pub(super) fn scattered(below: u64) -> Walk {
        Walk::new(below, Order::Scattered)
    }

    pub(super) fn ascending(below: u64) -> Walk {
        Walk::new(below, Order::Ascending)
    }

    fn new(below: u64, order: Order) -> Walk {
        assert!((1..=100_000_000).contains(&below), "a key's number has {DIGITS} digits");
        Walk { below, mask: below.next_power_of_two() - 1, state: 0, order, noise: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next number of the lap.
    pub(super) fn step(&mut self) -> u64 {
        if self.order == Order::Ascending {
            let number = self.state;
            self.state = (number + 1) % self.below;
            return number;
        }
        loop {
            // A multiplier of 1 mod 4 and an odd increment visit every residue of a power of two.
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = self.scatter(self.state & self.mask);
            if number < self.below {
                return number;
            }
        }
    }

    /// Folds the high bits, which differ most from step to step, into the low ones; a bijection, so laps stay whole.
    fn scatter(&self, number: u64) -> u64 {
        number ^ (number >> (self.mask.count_ones() / 2).max(1))
    }

    /// A pseudo-random number that has nothing to do with the walk.
    fn noise(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_visits_every_key_once() {
        for below in [1, 2, 3, 1000, 1024, 1025] {
            let mut walk = Walk::scattered(below);
            for _lap in 0..3 {
                let mut lap: Vec<u64> = (0..below).map(|_| walk.step()).collect();
                lap.sort_unstable();
                assert!(lap.iter().copied().eq(0..below), "{below}");
            }
        }
    }

    #[test]
    fn a_scattered_lap_hardly_ever_steps_to_a_neighbour() {
        let mut walk = Walk::scattered(1_000_000);
        let steps: Vec<u64> = (0..10_000).map(|_| walk.step()).collect();
        let near = steps.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 100).count();
        assert!(near < 10, "{near} of 10000 steps are short");
    }

    #[test]
    fn requests_of_a_batch_differ_in_their_keys_only() {
        let mut batch = Batch::new(&[Word("GET"), Key], 2, Walk::ascending(3));
        assert_eq!(
            batch.next(2),
            b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"
        );
        assert_eq!(batch.next(1), b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000002\r\n");
        assert_eq!(batch.next(1), b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
        assert_eq!(key_name(7).len(), 16);
    }

    #[test]
    fn a_new_element_is_none_of_the_stored_ones() {
        let mut batch = Batch::new(&[NewElement], 1, Walk::ascending(1));
        assert_eq!(batch.next(1), b"*1\r\n$16\r\nmem:000000000005\r\n");
        assert_eq!(batch.next(1), b"*1\r\n$16\r\nmem:000000000006\r\n");
    }

    #[test]
    fn a_reply_survives_being_spelled() {
        for reply in [Reply::Ok, Reply::Integer(100_001), Reply::Bulk(64), Reply::AnyBulk(15), Reply::Array(4)] {
            assert_eq!(reply.to_string().parse::<Reply>().unwrap(), reply);
        }
    }

    #[test]
    fn case_names_are_unique() {
        for case in CASES {
            assert!(std::ptr::eq(find(case.name).unwrap(), case), "{}", case.name);
        }
    }
}
