//! A server as a child process, on a free port, in a directory of its own.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quorate_client::{Client, Reply};

/// How long any command of the demonstration may take; WAIT gets less than this.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Node {
    child: Option<Child>,
    binary: PathBuf,
    arguments: Vec<String>,
    port: u16,
    log: PathBuf,
    /// For what the demonstration asks; opened when it is needed.
    client: Option<Client>,
}

impl Node {
    /// Starts a server whose files go below `place`.
    pub(crate) fn start(binary: &Path, place: &Path) -> Result<Node> {
        Node::start_with(binary, place, &["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"])
    }

    /// The same with these options.
    pub(crate) fn start_with(binary: &Path, place: &Path, options: &[&str]) -> Result<Node> {
        // Whoever takes the port in between makes the start fail with a message that says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let directory = place.join(port.to_string());
        fs::create_dir_all(&directory)?;
        let words = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""].map(str::to_owned);
        let more = options.iter().map(|&word| word.to_owned()).chain(["--dir".to_owned()]);
        let arguments = words.into_iter().chain(more).chain([directory.display().to_string()]).collect();
        Node::launch(binary, port, directory.join("log"), arguments)
    }

    /// Starts a server that can be a node of a cluster.
    pub(crate) fn start_in_cluster(binary: &Path, place: &Path) -> Result<Node> {
        // Both ports are held until both are known, so that they differ.
        let bus = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = bus.local_addr()?.port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &port, "--repl-diskless-sync-delay", "0"];
        Node::start_with(binary, place, &options)
    }

    /// Starts a server or a Sentinel that keeps its configuration in a file and finds it there when it is started again.
    pub(crate) fn start_with_file(binary: &Path, place: &Path, lines: &str, is_sentinel: bool) -> Result<Node> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let directory = place.join(port.to_string());
        fs::create_dir_all(&directory)?;
        let file = directory.join("conf");
        fs::write(&file, format!("port {port}\nbind 127.0.0.1\ndir {}\n{lines}\n", directory.display()))?;
        let sentinel = is_sentinel.then(|| "--sentinel".to_owned());
        let arguments = [file.display().to_string()].into_iter().chain(sentinel).collect();
        Node::launch(binary, port, directory.join("log"), arguments)
    }

    fn launch(binary: &Path, port: u16, log: PathBuf, arguments: Vec<String>) -> Result<Node> {
        let mut node = Node { child: None, binary: binary.to_owned(), arguments, port, log, client: None };
        node.start_again()?;
        Ok(node)
    }

    /// Starts it, or starts it again after it was killed.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        let out = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        let name = self.binary.file_name().unwrap_or_default().to_string_lossy();
        if !["redis-server", "valkey-server"].iter().any(|other| name.starts_with(other)) {
            command.arg("server");
        }
        command.args(&self.arguments);
        // Ctrl-C is for the demonstration, which ends its servers itself.
        command.process_group(0).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        self.child = Some(command.spawn().with_context(|| format!("start {}", self.binary.display()))?);
        Ok(())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it accepts commands yet; an error if it has ended instead.
    pub(crate) fn is_ready(&mut self) -> Result<bool> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            self.child = None;
            bail!("the server on port {} ended ({status}):\n{}", self.port, self.last_words());
        }
        Ok(matches!(self.call(&["PING"]), Ok(Reply::Simple(text)) if text == b"PONG"))
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// A reply that is no error. A connection that broke is opened anew the next time.
    pub(crate) fn call(&mut self, arguments: &[&str]) -> Result<Reply> {
        let shown = arguments[..arguments.len().min(4)].join(" ");
        let context = || format!("{shown} on port {}", self.port);
        // A failover sends clients away, so that they ask where to go: whoever finds that out asks again.
        let answered = self.client.take().and_then(|mut client| Some((client.call(arguments).ok()?, client)));
        let (reply, client) = match answered {
            Some(answered) => answered,
            None => {
                let mut client = Client::connect(self.address(), PATIENCE).with_context(context)?;
                (client.call(arguments).with_context(context)?, client)
            }
        };
        if let Reply::Error(text) = &reply {
            bail!("{}: {}", context(), String::from_utf8_lossy(text));
        }
        self.client = Some(client);
        Ok(reply)
    }

    /// A reply that has to be `+OK`.
    pub(crate) fn order(&mut self, arguments: &[&str]) -> Result<()> {
        let reply = self.call(arguments)?;
        ensure!(matches!(&reply, Reply::Simple(text) if text.starts_with(b"OK")), "{}: {reply:?}", arguments.join(" "));
        Ok(())
    }

    /// SIGKILL, as a machine that loses its power would: nothing is flushed, nobody is told.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.client = None;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends its process a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("the server on port {} is dead", self.port))?;
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal)?;
        Ok(())
    }

    /// Lets the server outlive this value.
    pub(crate) fn leave(&mut self) {
        self.child = None;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}
