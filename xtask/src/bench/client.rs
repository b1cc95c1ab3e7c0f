//! A blocking RESP2 connection for everything that is not measured: waiting for a server, INFO, FLUSHALL, REPLICAOF.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
        stream.set_nodelay(true)?;
        // Long enough for a FLUSHALL of everything, short enough to notice a hung server.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Sends a command; its reply as text, an empty one for nil. An error reply is an error.
    pub(super) fn call(&mut self, words: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.reply().with_context(|| words.join(" "))
    }

    /// One field of `INFO section`; empty if the server does not have it.
    pub(super) fn info(&mut self, section: &str, field: &str) -> Result<String> {
        let text = self.call(&["INFO", section])?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.unwrap_or_default().trim().to_owned())
    }

    fn reply(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("-", error)) => bail!("{error}"),
            Some(("$", "-1")) => Ok(String::new()),
            Some(("$", len)) => {
                let mut body = vec![0; len.parse::<usize>().with_context(|| line.to_owned())? + 2];
                self.stream.read_exact(&mut body)?;
                body.truncate(body.len() - 2);
                Ok(String::from_utf8_lossy(&body).into_owned())
            }
            _ => bail!("{line:?} is no reply that was asked for"),
        }
    }
}
