//! A live redis-server for a test: started in a directory of its own, spoken to over a Unix socket,
//! ended when the test is over.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A running server and a connection to it.
pub(crate) struct Server {
    process: Child,
    /// Kept open: a server that logs into a closed pipe dies.
    _log: BufReader<ChildStdout>,
    connection: BufReader<UnixStream>,
    directory: TempDir,
}

/// What a server answers (RESP2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(String),
    Error(String),
    Int(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

/// The oracle's programs, or `None` with a loud word that `test` is skipped.
pub(crate) fn installed(test: &str) -> Option<()> {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("SKIPPED {test}: redis-server is not installed");
        eprintln!("SKIPPED {test}: redis-server is not installed");
    }
    found.then_some(())
}

impl Server {
    /// Starts an empty server.
    pub(crate) fn start() -> Server {
        Server::start_with(None)
    }

    /// Starts a server that loads `rdb`.
    pub(crate) fn load(rdb: &[u8]) -> Server {
        Server::start_with(Some(rdb))
    }

    fn start_with(rdb: Option<&[u8]>) -> Server {
        let directory = tempfile::tempdir().unwrap();
        if let Some(rdb) = rdb {
            std::fs::write(directory.path().join("dump.rdb"), rdb).unwrap();
        }
        let socket = directory.path().join("socket");
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--enable-debug-command", "yes", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("ready to accept connections") && !said.contains("Ready to accept connections") {
            assert!(log.read_line(&mut said).unwrap() > 0, "redis-server did not start:\n{said}");
        }
        let connection = BufReader::new(UnixStream::connect(&socket).unwrap());
        Server { process, _log: log, connection, directory }
    }

    /// Sends a command and returns the answer, which may be an error.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Reply {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.connection.get_mut().write_all(&request).unwrap();
        self.reply()
    }

    /// Runs a command given as one line of words, which must succeed.
    pub(crate) fn run(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match self.ask(&words) {
            Reply::Error(error) => panic!("{line}: {error}"),
            reply => reply,
        }
    }

    /// As [`Server::run`], for commands that answer with a string.
    pub(crate) fn bytes(&mut self, line: &str) -> Vec<u8> {
        match self.run(line) {
            Reply::Bulk(Some(bytes)) => bytes,
            Reply::Status(text) => text.into_bytes(),
            reply => panic!("{line}: {reply:?} is no string"),
        }
    }

    /// Saves the dataset and returns the file.
    pub(crate) fn save(&mut self) -> Vec<u8> {
        self.run("SAVE");
        std::fs::read(self.path("dump.rdb")).unwrap()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        let (kind, text) = line.trim_end().split_at(1);
        match kind {
            "+" => Reply::Status(text.to_owned()),
            "-" => Reply::Error(text.to_owned()),
            ":" => Reply::Int(text.parse().unwrap()),
            "$" => Reply::Bulk(text.parse().ok().map(|len: usize| {
                let mut bytes = vec![0; len + 2];
                self.connection.read_exact(&mut bytes).unwrap();
                bytes.truncate(len);
                bytes
            })),
            "*" => Reply::Array((0..text.parse().unwrap_or(0)).map(|_| self.reply()).collect()),
            _ => panic!("no reply: {line}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What redis-check-rdb says about a file; `Err` if it finds fault.
pub(crate) fn check_rdb(rdb: &[u8]) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let file: &Path = &directory.path().join("checked.rdb");
    std::fs::write(file, rdb).unwrap();
    let output = Command::new("redis-check-rdb").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && said.contains("RDB looks OK!") { Ok(said) } else { Err(said) }
}
