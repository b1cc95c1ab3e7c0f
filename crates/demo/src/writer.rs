//! The client whose writes must not be lost: it sends numbered values, in order, and knows how many were acknowledged.
//!
//! A number counts as acknowledged when its `+OK` has been read. What was sent when a connection broke is in doubt, so it is
//! sent again, to whoever is the primary then; the same value under the same key does no harm twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};

/// Requests on their way at a time.
const DEPTH: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a refused or broken attempt waits before the next.
const RETRY: Duration = Duration::from_millis(5);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Numbers from 1 up to this are acknowledged.
    acknowledged: AtomicU64,
    target: Mutex<SocketAddr>,
    stop: AtomicBool,
    gap: Mutex<Gap>,
}

/// The time without acknowledgements around a failure.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    last_before: Option<Instant>,
    /// Since an attempt failed; none while writes go through.
    is_open: bool,
    length: Duration,
}

pub(crate) fn key(number: u64) -> String {
    format!("demo:{number}")
}

impl Writer {
    pub(crate) fn start(target: SocketAddr) -> Writer {
        let shared = Arc::new(Shared {
            acknowledged: AtomicU64::new(0),
            target: Mutex::new(target),
            stop: AtomicBool::new(false),
            gap: Mutex::new(Gap::default()),
        });
        let writing = Arc::clone(&shared);
        let thread = std::thread::spawn(move || writing.run());
        Writer { shared, thread: Some(thread) }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Acquire)
    }

    /// Sends what follows to another server.
    pub(crate) fn turn_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// How long the latest failure kept writes from being acknowledged; none if it still does.
    pub(crate) fn outage(&self) -> Option<Duration> {
        let gap = *self.shared.gap.lock().unwrap_or_else(PoisonError::into_inner);
        (!gap.is_open).then_some(gap.length)
    }

    /// Ends the stream; how many writes were acknowledged.
    pub(crate) fn stop(&mut self) -> u64 {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // What it had acknowledged before a panic counts all the same.
            let _ = thread.join();
        }
        self.acknowledged()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
            if self.write_to(target).is_err() {
                self.gap.lock().unwrap_or_else(PoisonError::into_inner).is_open = true;
                std::thread::sleep(RETRY);
            }
        }
    }

    /// Writes until the connection breaks, a write is refused, or the end is asked for.
    fn write_to(&self, target: SocketAddr) -> std::io::Result<()> {
        let mut client = Client::connect(target, PATIENCE)?;
        while !self.stop.load(Ordering::Acquire) {
            let first = self.acknowledged.load(Ordering::Acquire) + 1;
            for number in first..first + DEPTH {
                client.push(&["SET", &key(number), &number.to_string()]);
            }
            client.flush()?;
            for number in first..first + DEPTH {
                match client.receive()? {
                    Reply::Simple(text) if text == b"OK" => self.note(number),
                    other => return Err(std::io::Error::other(format!("SET answers {other:?}"))),
                }
            }
        }
        Ok(())
    }

    fn note(&self, number: u64) {
        let now = Instant::now();
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut gap.is_open) {
            gap.length = gap.last_before.map_or(Duration::ZERO, |before| now.duration_since(before));
        }
        gap.last_before = Some(now);
        self.acknowledged.store(number, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Acknowledges this many writes of one connection and closes it.
    fn acknowledge(listener: &TcpListener, count: usize) {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all("+OK\r\n".repeat(count).as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Closing with unread bytes would take the acknowledgements back.
        while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    }

    #[test]
    fn only_what_was_acknowledged_counts_and_the_rest_is_sent_again() {
        let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let mut writer = Writer::start(first.local_addr().unwrap());
        acknowledge(&first, 5);
        writer.turn_to(second.local_addr().unwrap());
        drop(first);
        let (mut stream, _) = second.accept().unwrap();
        let mut request = [0; 64];
        let read = stream.read(&mut request).unwrap();
        assert!(String::from_utf8_lossy(&request[..read]).contains("demo:6\r\n"), "the sixth is the first in doubt");
        assert_eq!(writer.acknowledged(), 5);
        assert_eq!(writer.outage(), None);
        drop((stream, second));
        assert_eq!(writer.stop(), 5);
    }
}
