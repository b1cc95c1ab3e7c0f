//! A blocking client: requests go out, replies come in, and nothing waits forever.
//!
//! It serves MIGRATE, the demonstration and the tests. It knows RESP, TCP and TLS, and nothing of what commands mean: it neither
//! reconnects nor retries, because whoever tells whether a write was lost must know what was sent how often.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub use quorate_resp::Reply;
use quorate_resp::{encode_request, parse_reply};
use quorate_tls::{Connection, Outgoing};

/// One connection.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    /// What was received; what lies before `at` has been handed out.
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
}

impl Client {
    /// Connects. `limit` holds for this and for every wait for bytes later; a wait that exceeds it is an error of kind
    /// `WouldBlock` or `TimedOut`, after which the connection is of no more use.
    pub fn connect(address: SocketAddr, limit: Duration) -> io::Result<Client> {
        Client::connect_over(address, None, limit)
    }

    /// The same, and encrypted if there is a context for it.
    pub fn connect_over(address: SocketAddr, context: Option<&Outgoing>, limit: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        let connection = Connection::over(stream, context, limit)?;
        Ok(Client { connection, input: Vec::new(), at: 0, output: Vec::new() })
    }

    /// Bounds every wait from now on by `limit`.
    pub fn set_limit(&mut self, limit: Duration) -> io::Result<()> {
        self.connection.set_patience(limit)
    }

    /// Puts a request behind those that [`Client::flush`] sends.
    pub fn push(&mut self, arguments: &[impl AsRef<[u8]>]) {
        encode_request(&mut self.output, arguments);
    }

    /// Sends what was pushed.
    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.connection.write_all(&self.output);
        self.output.clear();
        sent
    }

    /// The next reply, or out-of-band message.
    pub fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let parsed = parse_reply(&self.input[self.at..]);
            if let Some((reply, length)) = parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                self.at += length;
                return Ok(reply);
            }
            self.input.drain(..self.at);
            self.at = 0;
            let mut chunk = [0; 16 * 1024];
            match self.connection.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.input.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Sends a request and waits for its reply.
    pub fn call(&mut self, arguments: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.push(arguments);
        self.flush()?;
        self.receive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers its one client with these pieces, each after one read, and closes.
    fn answering(pieces: &'static [&'static [u8]]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for piece in pieces {
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                stream.write_all(piece).unwrap();
            }
        });
        address
    }

    #[test]
    fn replies_come_in_order_however_they_are_cut() {
        let mut client =
            Client::connect(answering(&[b"+OK\r\n:7\r\n$3\r\na", b"bc\r\n"]), Duration::from_secs(10)).unwrap();
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap(), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.receive().unwrap(), Reply::Int(7));
        assert_eq!(client.call(&["GET", "k"]).unwrap(), Reply::Bulk(b"abc".to_vec()));
        assert_eq!(client.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn silence_and_nonsense_are_errors() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(silent.local_addr().unwrap(), Duration::from_millis(20)).unwrap();
        let kind = client.call(&["PING"]).unwrap_err().kind();
        assert!([io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&kind), "{kind}");
        let mut client = Client::connect(answering(&[b"what?"]), Duration::from_secs(10)).unwrap();
        assert_eq!(client.call(&["PING"]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
