//! What a Sentinel's clients may ask: SENTINEL, and what client libraries need around it.

mod acl;
mod client;
mod connection;
mod describe;
mod info;
mod pubsub;
mod sentinel;
mod sentinel_set;
mod sentinel_show;

use quorate_acl::Listed;
use quorate_commands::{Arity, Spec, categories};

pub(super) use self::sentinel_set::is_executable;
use super::clients::Client;
use super::shell::Shell;
use crate::data::table::table;

/// A request and what it may look at.
struct Cx<'a> {
    shell: &'a mut Shell,
    /// Who asks.
    id: u64,
    words: &'a [Vec<u8>],
}

/// An error with its code in front.
type Outcome = Result<(), String>;

impl Cx<'_> {
    fn client(&mut self) -> &mut Client {
        self.shell.clients.get_mut(self.id).expect("a client that asks is there")
    }

    fn word(&self, index: usize) -> &[u8] {
        self.words.get(index).map_or(b"", Vec::as_slice)
    }

    fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(self.word(index)).into_owned()
    }

    fn is(&self, index: usize, word: &str) -> bool {
        self.word(index).eq_ignore_ascii_case(word.as_bytes())
    }

    fn int<T: std::str::FromStr>(&self, index: usize) -> Result<T, String> {
        let text = std::str::from_utf8(self.word(index)).ok();
        text.and_then(|text| text.parse().ok()).ok_or_else(|| "ERR value is not an integer or out of range".to_owned())
    }

    fn bulk(&mut self, text: impl AsRef<[u8]>) -> Outcome {
        self.client().reply().bulk(text.as_ref());
        Ok(())
    }

    fn ok(&mut self) -> Outcome {
        self.client().reply().ok();
        Ok(())
    }

    fn lines(&mut self, lines: &[String]) -> Outcome {
        let client = self.client();
        let mut reply = client.reply();
        reply.array(lines.len());
        lines.iter().for_each(|line| reply.bulk(line.as_bytes()));
        Ok(())
    }
}

/// A command: its name, the number of its words, whether it may come before AUTH, and what it does.
struct Command {
    name: &'static str,
    arity: Arity,
    is_first: bool,
    run: fn(&mut Cx<'_>) -> Outcome,
}

const fn command(name: &'static str, arity: Arity, run: fn(&mut Cx<'_>) -> Outcome) -> Command {
    Command { name, arity, is_first: false, run }
}

const fn first(name: &'static str, arity: Arity, run: fn(&mut Cx<'_>) -> Outcome) -> Command {
    Command { name, arity, is_first: true, run }
}

static COMMANDS: [Command; 18] = [
    command("acl", Arity::AtLeast(2), acl::acl),
    first("auth", Arity::AtLeast(2), connection::auth),
    command("client", Arity::AtLeast(2), client::client),
    command("command", Arity::AtLeast(1), describe::command),
    command("debug", Arity::AtLeast(2), connection::debug),
    first("hello", Arity::AtLeast(1), connection::hello),
    command("info", Arity::AtLeast(1), info::info),
    command("ping", Arity::AtLeast(1), connection::ping),
    command("psubscribe", Arity::AtLeast(2), pubsub::psubscribe),
    command("publish", Arity::Exactly(3), pubsub::publish),
    command("punsubscribe", Arity::AtLeast(1), pubsub::punsubscribe),
    first("quit", Arity::AtLeast(1), connection::quit),
    first("reset", Arity::Exactly(1), connection::reset),
    command("role", Arity::Exactly(1), info::role),
    command("sentinel", Arity::AtLeast(2), sentinel::sentinel),
    command("shutdown", Arity::AtLeast(1), connection::shutdown),
    command("subscribe", Arity::AtLeast(2), pubsub::subscribe),
    command("unsubscribe", Arity::AtLeast(1), pubsub::unsubscribe),
];

/// What a subscriber that speaks RESP2 may ask.
const OF_SUBSCRIBERS: [&str; 7] = ["psubscribe", "subscribe", "unsubscribe", "punsubscribe", "quit", "ping", "reset"];

/// Runs one request and writes its reply, unless the machine answers it.
pub(super) fn run(shell: &mut Shell, id: u64, words: &[Vec<u8>]) {
    shell.context.commands += 1;
    let mut cx = Cx { shell, id, words };
    if let Err(error) = answer(&mut cx) {
        cx.client().reply().error(error.as_bytes());
    }
}

fn answer(cx: &mut Cx<'_>) -> Outcome {
    let Some(command) = find(cx.word(0)) else { return Err(unknown(cx)) };
    if !command.arity.accepts(cx.words.len()) {
        return Err(wrong_number(command.name));
    }
    let needs_auth = cx.shell.context.doors.need_auth();
    let client = cx.client();
    command.name.clone_into(&mut client.command);
    if needs_auth && !client.is_authenticated && !command.is_first {
        return Err("NOAUTH Authentication required.".to_owned());
    }
    if let Some(error) = acl::denied(cx, command) {
        return Err(error);
    }
    let client = cx.client();
    let listens = client.subscriptions() > 0 && client.protocol == quorate_resp::Protocol::Resp2;
    if listens && !OF_SUBSCRIBERS.contains(&command.name) {
        return Err(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            command.name
        ));
    }
    (command.run)(cx)
}

/// The command of that name, in any case.
fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The commands and subcommands as rules of users name them.
pub(super) fn listed_for_rules() -> Vec<Listed> {
    let mut list: Vec<Listed> = Vec::new();
    for command in &COMMANDS {
        let container = list.len();
        let own = table().find(command.name.as_bytes());
        let of = |spec: Option<&Spec>| spec.map_or_else(|| vec!["admin", "slow", "dangerous"], categories);
        let categories = of(own.map(|own| own.spec));
        list.push(Listed { name: command.name.to_owned(), container: None, categories });
        let mut add = |sub: &str, spec: Option<&Spec>| {
            let name = format!("{}|{sub}", command.name);
            list.push(Listed { name, container: Some(container), categories: of(spec) });
        };
        match own {
            Some(own) => own.subcommands.iter().for_each(|sub| add(sub.spec.name, Some(sub.spec))),
            None => sentinel::all_subcommands().for_each(|sub| add(sub, None)),
        }
    }
    list
}

fn unknown(cx: &Cx<'_>) -> String {
    const SHOWN_MAX: usize = 128;
    let name: String = cx.text(0).chars().take(SHOWN_MAX).collect();
    let mut arguments = String::new();
    for index in 1..cx.words.len() {
        if arguments.len() >= SHOWN_MAX {
            break;
        }
        let left = SHOWN_MAX - arguments.len();
        arguments.extend(format!("'{}' ", cx.text(index).chars().take(left).collect::<String>()).chars());
    }
    format!("ERR unknown command '{name}', with args beginning with: {arguments}")
}

fn wrong_number(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

fn unknown_subcommand(cx: &Cx<'_>) -> String {
    let subcommand: String = cx.text(1).chars().take(128).collect();
    format!("ERR unknown subcommand '{subcommand}'. Try {} HELP.", cx.text(0).to_uppercase())
}
