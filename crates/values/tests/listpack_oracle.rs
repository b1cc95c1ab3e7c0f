//! Our listpacks beside those of a live Redis: after the same changes the bytes must be the same.
//!
//! A machine without `redis-server` skips this, and says so.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use quorate_stdx::Rng;
use quorate_values::Listpack;

/// A server that talks over a socket in a directory of its own, and goes when this goes.
struct Oracle {
    process: Child,
    directory: PathBuf,
    connection: BufReader<UnixStream>,
}

impl Oracle {
    fn start(name: &str) -> Option<Oracle> {
        let directory = std::env::temp_dir().join(format!("quorate-values-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let socket = directory.join("socket");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--rdbcompression", "no", "--unixsocket"])
            .arg(&socket)
            .args(["--hash-max-listpack-entries", "100000", "--hash-max-listpack-value", "1000000", "--dir"])
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut process) = process else {
            eprintln!("SKIPPED: there is no redis-server to compare with");
            return None;
        };
        let log = BufReader::new(process.stdout.take().expect("it is piped"));
        let is_ready = |line: &String| line.contains("ready to accept connections");
        log.lines().map_while(Result::ok).find(is_ready).expect("the server starts");
        let connection = BufReader::new(UnixStream::connect(&socket).expect("it is ready"));
        Some(Oracle { process, directory, connection })
    }

    /// Sends a command; the reply's bytes if it is a bulk string (none if it is null), or else its line.
    fn call(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.connection.get_mut().write_all(&request).expect("the server lives");
        let mut line = String::new();
        self.connection.read_line(&mut line).expect("the server lives");
        assert!(!line.starts_with('-'), "{line}");
        let Some(len) = line.strip_prefix('$') else { return line.trim_end().as_bytes().to_vec() };
        let Ok(len) = len.trim_end().parse::<usize>() else { return Vec::new() };
        let mut bulk = vec![0; len + 2];
        self.connection.read_exact(&mut bulk).expect("the server lives");
        bulk.truncate(bulk.len() - 2);
        bulk
    }

    /// The listpack inside a DUMP payload whose body before it is `prefix` (type byte and what follows).
    fn dumped(&mut self, key: &str, prefix: &[u8]) -> Vec<u8> {
        let payload = self.call(&[b"DUMP", key.as_bytes()]);
        let body = payload[..payload.len() - 10].strip_prefix(prefix).expect("the expected encoding");
        let skip = match body[0] >> 6 {
            0 => 1,
            1 => 2,
            _ => 5,
        };
        body[skip..].to_vec()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Strings and integers around every length at which the format changes its form.
fn element(rng: &mut Rng, longest: u64) -> Vec<u8> {
    let magnitude = rng.below(64);
    let number = (rng.next_u64() >> magnitude) as i64;
    match rng.below(8) {
        0 => number.to_string().into_bytes(),
        1 => number.wrapping_neg().to_string().into_bytes(),
        2 => [127i64, 128, 4095, 4096, -4096, -4097, 32767, 32768, -32769, 8_388_607, 8_388_608, i64::MAX, i64::MIN]
            [rng.below(13) as usize]
            .to_string()
            .into_bytes(),
        3 => format!("0{number}").into_bytes(),
        4 => vec![b'a'; [0, 1, 63, 64, 125, 126, 127, 4095, 4096, 16_377, 16_378, 16_379][rng.below(longest) as usize]],
        _ => (0..rng.below(30)).map(|_| rng.next_u64() as u8).collect(),
    }
}

#[test]
fn a_hash_changed_in_the_same_way_has_the_same_bytes() {
    let Some(mut oracle) = Oracle::start("hash") else { return };
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut ours = Listpack::new();
        let fields: Vec<Vec<u8>> = (0..20).map(|_| element(&mut rng, 12)).collect();
        let key = format!("hash:{seed}");
        for _ in 0..100 {
            let field = &fields[rng.below(20) as usize];
            let found = ours.find(ours.first(), field, 2);
            if rng.below(4) == 0 {
                oracle.call(&[b"HDEL", key.as_bytes(), field]);
                if let Some(pos) = found {
                    ours.delete_from(pos, 2);
                }
            } else {
                let value = element(&mut rng, 12);
                oracle.call(&[b"HSET", key.as_bytes(), field, &value]);
                match found.map(|pos| ours.next(pos).expect("each field has a value")) {
                    Some(pos) => ours.replace(pos, &value),
                    None => _ = ours.insert_all_before(ours.end(), [field.into(), (&value).into()]),
                }
            }
        }
        let theirs = oracle.dumped(&key, &[16]);
        assert!(ours.as_bytes() == theirs, "seed {seed}: ours {:?}", ours);
        assert_eq!(Listpack::from_bytes(theirs), Ok(ours));
    }
}

#[test]
fn a_list_changed_in_the_same_way_has_the_same_bytes() {
    let Some(mut oracle) = Oracle::start("list") else { return };
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut ours = Listpack::new();
        let key = format!("list:{seed}");
        let key = key.as_bytes();
        for _ in 0..100 {
            let text = element(&mut rng, 7);
            let count = ours.len() as u64;
            let index = if count == 0 { 0 } else { rng.below(2 * count) as i64 - count as i64 };
            match rng.below(8) {
                0 => {
                    oracle.call(&[b"RPOP", key]);
                    ours.delete_range(-1, 1);
                }
                1 if count > 0 => {
                    oracle.call(&[b"LSET", key, index.to_string().as_bytes(), &text]);
                    ours.replace(ours.at(index).expect("in range"), &text);
                }
                2 if count > 0 => {
                    let pivot = ours.get(index).expect("in range").to_vec();
                    oracle.call(&[b"LINSERT", key, b"AFTER", &pivot, &text]);
                    let first = ours.find(ours.first(), &pivot, 1).expect("it is there");
                    ours.insert_after(first, &text);
                }
                3 => {
                    oracle.call(&[b"LPUSH", key, &text]);
                    ours.push_front(&text);
                }
                _ => {
                    oracle.call(&[b"RPUSH", key, &text]);
                    ours.push_back(&text);
                }
            }
        }
        // One node, packed.
        let theirs = oracle.dumped(std::str::from_utf8(key).expect("ASCII"), &[18, 1, 2]);
        assert!(ours.as_bytes() == theirs, "seed {seed}: ours {ours:?}");
    }
}
