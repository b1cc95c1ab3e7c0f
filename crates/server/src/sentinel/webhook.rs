//! Events as HTTP: each is posted as JSON to the addresses that the configuration names.
//!
//! One thread posts them one after the other. What fails is tried again, three times in all; the queue is bounded, so that
//! an address that hangs holds up nothing else. What is dropped is logged. A server of `https` has to be who it is called,
//! by the word of somebody whom the system trusts or `tls-ca-cert-file` names.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use quorate_config::Tls;
use quorate_sentinel::{Event, Level};
use quorate_tls::{Blocking, Connection, Web};

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
pub(super) struct Webhooks {
    queue: Option<Sender<Post>>,
    tls: Tls,
}

impl Webhooks {
    pub(super) fn new(tls: Tls) -> Webhooks {
        Webhooks { queue: None, tls }
    }

    /// Has an event posted.
    pub(super) fn post(&mut self, url: &str, event: &Event, id: &str, unix_ms: i64) {
        let post = Post { url: url.to_owned(), body: json(event, id, unix_ms), event: event.to_string() };
        let queue = match &self.queue {
            Some(queue) => queue,
            None => match start(self.tls.clone()) {
                Ok(queue) => self.queue.insert(queue),
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

fn start(tls: Tls) -> io::Result<Sender<Post>> {
    let (sender, receiver) = bounded::<Post>(QUEUE_MAX);
    std::thread::Builder::new().name("webhooks".to_owned()).spawn(move || {
        for post in receiver {
            if let Err(error) = deliver(&post, &tls) {
                dropped(&post, &error.to_string());
            }
        }
    })?;
    Ok(sender)
}

fn deliver(post: &Post, tls: &Tls) -> io::Result<()> {
    let mut tries = 1;
    loop {
        match send(&post.url, &post.body, tls) {
            Ok(()) => return Ok(()),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => std::thread::sleep(RETRY * tries),
        }
        tries += 1;
    }
}

/// Sends one request, and reads whether it was taken.
fn send(url: &str, body: &str, tls: &Tls) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let (is_encrypted, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err(bad("not http")),
    };
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let port = if is_encrypted { 443 } else { 80 };
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let address = with_port.to_socket_addrs()?.next().ok_or_else(|| bad("no such host"))?;
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    let mut stream = if is_encrypted {
        let name = with_port.rsplit_once(':').map_or(host, |(name, _)| name);
        // Read anew each time: what is trusted may have changed.
        let begun = Web::load(tls).and_then(|web| web.connect(name)).map_err(io::Error::other)?;
        Connection::Encrypted(Box::new(Blocking::over(begun, socket, Some(PATIENCE))?))
    } else {
        Connection::over(socket, None, PATIENCE)?
    };
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
    match stream.take(4096).read_to_end(&mut answer) {
        // Behind the status it may end as it likes.
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
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
        let mut hooks = Webhooks::new(Tls::default());
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

    #[test]
    fn a_server_of_https_is_posted_to_if_it_is_who_it_is_called() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| place.path().join(name).display().to_string();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(file("crt"), made.cert.pem()).unwrap();
        std::fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
        let text = |name: &str| Some(quorate_config::Text::from(&*file(name)));
        let trusting = Tls { authorities: text("crt"), ..Tls::default() };
        let own = Tls {
            certificate: text("crt"),
            key: text("key"),
            client_authentication: quorate_config::ClientAuthentication::No,
            ..Tls::default()
        };
        let contexts = quorate_tls::Contexts::load(&own).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/hook", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let take = || {
                let (socket, _) = listener.accept().unwrap();
                let mut stream = Blocking::over(contexts.accept().unwrap(), socket, Some(PATIENCE * 10))?;
                let mut request = [0; 2048];
                let count = stream.read(&mut request)?;
                stream.write_all(b"HTTP/1.1 204 Yes\r\n\r\n")?;
                io::Result::Ok(String::from_utf8_lossy(&request[..count]).into_owned())
            };
            [take(), take()]
        });
        send(&url, "{}", &trusting).unwrap();
        assert!(send(&url, "{}", &Tls::default()).is_err(), "nobody vouches for it");
        let [first, second] = server.join().unwrap();
        assert!(first.unwrap().ends_with("\r\n\r\n{}"));
        assert!(second.is_err(), "nothing was said to it");
    }
}
