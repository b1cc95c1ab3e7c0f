//! Events as HTTP: each is posted as JSON to the addresses that the configuration names.
//!
//! One thread posts them one after the other. What fails is tried again, three times in all; the queue is bounded, so that
//! an address that hangs holds up nothing else. What is dropped is logged. There is no TLS yet: `https` is refused where
//! it is configured.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use quorate_sentinel::{Event, Level};

use crate::log;

/// So many events may wait.
const QUEUE_MAX: usize = 256;
const TRIES: u32 = 3;
/// How long connecting, sending and answering may take, each.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a post that failed waits before the next try; twice as long before the one after.
const RETRY: Duration = Duration::from_millis(500);

struct Post {
    url: String,
    body: String,
    /// What it tells, for the log.
    event: String,
}

/// The queue; its thread is started when it is first needed.
#[derive(Default)]
pub(super) struct Webhooks(Option<Sender<Post>>);

impl Webhooks {
    /// Has an event posted.
    pub(super) fn post(&mut self, url: &str, event: &Event, id: &str, unix_ms: i64) {
        let post = Post { url: url.to_owned(), body: json(event, id, unix_ms), event: event.to_string() };
        let queue = match &self.0 {
            Some(queue) => queue,
            None => match start() {
                Ok(queue) => self.0.insert(queue),
                Err(error) => return dropped(&post, &error.to_string()),
            },
        };
        match queue.try_send(post) {
            Ok(()) => {}
            Err(TrySendError::Full(post)) => dropped(&post, "too many wait"),
            Err(TrySendError::Disconnected(post)) => dropped(&post, "the thread has ended"),
        }
    }
}

fn dropped(post: &Post, why: &str) {
    log::warning(&format!("Webhook {} misses '{}': {why}", post.url, post.event));
}

fn start() -> io::Result<Sender<Post>> {
    let (sender, receiver) = bounded::<Post>(QUEUE_MAX);
    std::thread::Builder::new().name("webhooks".to_owned()).spawn(move || {
        for post in receiver {
            if let Err(error) = deliver(&post) {
                dropped(&post, &error.to_string());
            }
        }
    })?;
    Ok(sender)
}

fn deliver(post: &Post) -> io::Result<()> {
    let mut tries = 1;
    loop {
        match send(&post.url, &post.body) {
            Ok(()) => return Ok(()),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => std::thread::sleep(RETRY * tries),
        }
        tries += 1;
    }
}

/// Sends one request, and reads whether it was taken.
fn send(url: &str, body: &str) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("not http"))?;
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = with_port.to_socket_addrs()?.next().ok_or_else(|| bad("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    stream.write_all(
        format!(
            "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    let mut answer = Vec::new();
    // The status line is all that matters, however long the rest is.
    stream.take(4096).read_to_end(&mut answer)?;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).map(str::to_owned).unwrap_or_default();
    if status.starts_with('2') { Ok(()) } else { Err(bad(&format!("it answers '{status}'"))) }
}

fn json(event: &Event, id: &str, unix_ms: i64) -> String {
    let level = match event.level {
        Level::Debug => "debug",
        Level::Verbose => "verbose",
        Level::Notice => "notice",
        Level::Warning => "warning",
    };
    format!(
        "{{\"event\":{},\"text\":{},\"primary\":{},\"level\":\"{level}\",\"sentinel\":\"{id}\",\"unix_ms\":{unix_ms}}}",
        quoted(event.name),
        quoted(&event.text),
        event.primary.as_deref().map_or_else(|| "null".to_owned(), quoted)
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn event(text: &str) -> Event {
        Event { level: Level::Warning, name: "+sdown", text: text.to_owned(), primary: Some("m".to_owned()) }
    }

    #[test]
    fn an_event_is_json_whatever_it_holds() {
        assert_eq!(
            json(&event("a \"b\"\n\\"), "id", 5),
            "{\"event\":\"+sdown\",\"text\":\"a \\\"b\\\"\\u000a\\\\\",\"primary\":\"m\",\"level\":\"warning\",\
             \"sentinel\":\"id\",\"unix_ms\":5}"
        );
    }

    #[test]
    fn what_fails_once_is_posted_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let mut hooks = Webhooks::default();
        hooks.post(&url, &event("x"), "id", 5);
        let answer = |status: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 2048];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        };
        let first = answer("500 No");
        assert!(first.starts_with("POST /hook HTTP/1.1\r\n") && first.ends_with("\"unix_ms\":5}"), "{first}");
        assert_eq!(answer("204 Yes"), first);
    }
}
