//! A connection to one node: requests go out together, replies come back in their order, and nothing waits forever.

use std::io::ErrorKind;
use std::time::Duration;

use quorate_resp::{Reply, encode_request, parse_reply};
use quorate_topology::{Address, Fault};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::options::Manners;
use crate::wire::Wire;

/// No answer that is looked for is longer; a server that sends more is not listened to.
const LONGEST: usize = 16 << 20;

pub(crate) struct Link {
    wire: Wire,
    /// What was received; what lies before `at` has been handed out.
    input: Vec<u8>,
    at: usize,
    limit: Duration,
}

impl Link {
    /// Connects, and is let in if a password is known. A server that wants none takes any.
    pub(crate) async fn connect(address: &Address, manners: &Manners) -> Result<Link, Fault> {
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = timeout(manners.limit, connecting).await.map_err(|_| Fault::Silent)?.map_err(|e| fault(&e))?;
        // Without it answers come later, and that is all.
        let _ = stream.set_nodelay(true);
        let shaking_hands = Wire::over(stream, manners.tls.as_ref());
        let wire = timeout(manners.limit, shaking_hands).await.map_err(|_| Fault::Silent)?.map_err(|e| fault(&e))?;
        let mut link = Link { wire, input: Vec::new(), at: 0, limit: manners.limit };
        let mut refusal = None;
        for password in &manners.passwords {
            let words = [Some("AUTH"), manners.user.as_deref(), Some(password)];
            let words: Vec<&str> = words.into_iter().flatten().collect();
            let replies = link.ask(&[words]).await?;
            match replies.first() {
                Some(Reply::Error(said)) if said.starts_with(b"WRONGPASS") => {
                    refusal = Some(String::from_utf8_lossy(said).into_owned());
                }
                // Let in, or no password is wanted; what is refused all the same says so itself.
                _ => return Ok(link),
            }
        }
        refusal.map_or(Ok(link), |said| Err(Fault::Denied(said)))
    }

    /// Asks, and waits for all answers.
    pub(crate) async fn ask(&mut self, requests: &[Vec<impl AsRef<[u8]>>]) -> Result<Vec<Reply>, Fault> {
        let mut output = Vec::new();
        for words in requests {
            encode_request(&mut output, words);
        }
        let limit = self.limit;
        let exchange = async {
            self.wire.write_all(&output).await.map_err(|error| fault(&error))?;
            let mut replies = Vec::with_capacity(requests.len());
            for _ in requests {
                replies.push(self.receive().await?);
            }
            Ok(replies)
        };
        timeout(limit, exchange).await.map_err(|_| Fault::Silent)?
    }

    /// The next reply or message, however long it takes.
    pub(crate) async fn receive(&mut self) -> Result<Reply, Fault> {
        loop {
            let parsed = parse_reply(&self.input[self.at..]);
            if let Some((reply, length)) = parsed.map_err(|_| self.foreign())? {
                self.at += length;
                return Ok(reply);
            }
            self.input.drain(..self.at);
            self.at = 0;
            if self.input.len() > LONGEST {
                return Err(Fault::Foreign("its answer has no end".to_owned()));
            }
            self.read().await?;
        }
    }

    /// Waits until the connection breaks. Safe to be given up at any moment.
    pub(crate) async fn broken(&mut self) -> Fault {
        loop {
            if let Err(fault) = self.read().await {
                return fault;
            }
            if self.input.len() > LONGEST {
                return Fault::Foreign("it talks without being asked".to_owned());
            }
        }
    }

    async fn read(&mut self) -> Result<(), Fault> {
        match self.wire.read(&mut self.input).await {
            Ok(0) => Err(Fault::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(fault(&error)),
        }
    }

    fn foreign(&self) -> Fault {
        let rest = &self.input[self.at..];
        if rest.starts_with(b"HTTP/") {
            return Fault::Foreign("it speaks HTTP".to_owned());
        }
        match rest.first() {
            Some(0x15 | 0x16) => Fault::Foreign("it speaks TLS".to_owned()),
            _ => Fault::Foreign("it does not speak RESP".to_owned()),
        }
    }
}

fn fault(error: &std::io::Error) -> Fault {
    match error.kind() {
        ErrorKind::ConnectionRefused => Fault::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Fault::Closed,
        ErrorKind::TimedOut => Fault::Silent,
        ErrorKind::UnexpectedEof => Fault::Closed,
        ErrorKind::InvalidData => Fault::Foreign(format!("TLS with it fails: {error}")),
        // What the resolver says has no kind of its own.
        _ if error.raw_os_error().is_none() => Fault::Unresolved,
        _ => Fault::Other(error.to_string()),
    }
}
