//! Random commands from many connections over all network threads; the history of each group of keys must be
//! linearizable.
//!
//! A group is a few keys whose slots differ, so that commands, transactions and scripts on two of them need two locks.
//! Groups do not touch each other, so each is checked alone. QUORATE_SEED repeats the choice of the commands, though not
//! the moments at which the threads take their turns.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_client::{Client, Reply};
use quorate_interop::{Model, Record, Server, linearize};
use quorate_stdx::Rng;

const CONNECTIONS: u64 = 8;
const ROUNDS: usize = 600;
const GROUPS: u64 = 4;

/// A key by its place in its group.
type Key = usize;
const TEXTS: [Key; 2] = [0, 1];
const LISTS: [Key; 2] = [2, 3];

#[derive(Clone, Debug)]
enum Command {
    Get(Key),
    Set(Key, u64),
    Incr(Key),
    Append(Key, u64),
    Del(Key),
    Exchange(Key, u64),
    /// MSET of both texts.
    SetBoth(u64),
    /// MGET of both texts.
    GetBoth,
    Push(Key, u64),
    Pop(Key),
    Length(Key),
    /// LMOVE from one list to the other.
    Move(Key, Key),
    /// BLPOP with a time limit.
    Await(Key),
    /// A script that moves a text to the other key and says what was there.
    Swap,
}

#[derive(Clone, Debug)]
enum Operation {
    One(Command, Reply),
    /// MULTI, these, EXEC.
    Transaction(Vec<Command>, Reply),
    /// WATCH and GET, then SET in a transaction: what was read, what was to be set, and the answer of EXEC.
    Checked {
        key: Key,
        read: Reply,
        new: u64,
        reply: Reply,
    },
}

const SWAP: &str = "local a, b = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) \
    redis.call('SET', KEYS[1], b or 'none') redis.call('SET', KEYS[2], a or 'none') return {a, b}";

fn name(group: u64, key: Key) -> String {
    format!("group{group}:key{key}")
}

impl Command {
    fn random(rng: &mut Rng) -> Command {
        let text = TEXTS[rng.below(2) as usize];
        let list = LISTS[rng.below(2) as usize];
        let value = rng.below(1_000);
        match rng.below(16) {
            0 | 1 => Command::Get(text),
            2 => Command::Set(text, value),
            3 | 4 => Command::Incr(text),
            5 => Command::Append(text, value % 10),
            6 => Command::Del([text, list][rng.below(2) as usize]),
            7 => Command::Exchange(text, value),
            8 => Command::SetBoth(value),
            9 => Command::GetBoth,
            10 => Command::Push(list, value),
            11 => Command::Pop(list),
            12 => Command::Length(list),
            13 => Command::Move(list, LISTS[0] + LISTS[1] - list),
            14 => Command::Await(list),
            _ => Command::Swap,
        }
    }

    fn words(&self, group: u64) -> Vec<String> {
        let key = |key: &Key| name(group, *key);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        match self {
            Command::Get(of) => words(&["GET", &key(of)]),
            Command::Set(of, value) => words(&["SET", &key(of), &value.to_string()]),
            Command::Incr(of) => words(&["INCR", &key(of)]),
            Command::Append(of, value) => words(&["APPEND", &key(of), &value.to_string()]),
            Command::Del(of) => words(&["DEL", &key(of)]),
            Command::Exchange(of, value) => words(&["GETSET", &key(of), &value.to_string()]),
            Command::SetBoth(value) => {
                words(&["MSET", &key(&TEXTS[0]), &value.to_string(), &key(&TEXTS[1]), &value.to_string()])
            }
            Command::GetBoth => words(&["MGET", &key(&TEXTS[0]), &key(&TEXTS[1])]),
            Command::Push(of, value) => words(&["RPUSH", &key(of), &value.to_string()]),
            Command::Pop(of) => words(&["LPOP", &key(of)]),
            Command::Length(of) => words(&["LLEN", &key(of)]),
            Command::Move(from, to) => words(&["LMOVE", &key(from), &key(to), "LEFT", "RIGHT"]),
            Command::Await(of) => words(&["BLPOP", &key(of), "0.005"]),
            Command::Swap => words(&["EVAL", SWAP, "2", &key(&TEXTS[0]), &key(&TEXTS[1])]),
        }
    }
}

/// A group of keys as one object.
struct Group {
    number: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    texts: BTreeMap<Key, Vec<u8>>,
    /// No list is empty.
    lists: BTreeMap<Key, Vec<u64>>,
}

fn bulk(text: impl ToString) -> Reply {
    Reply::Bulk(text.to_string().into_bytes())
}

fn or_null(text: Option<&Vec<u8>>) -> Reply {
    text.map_or(Reply::Null, |text| Reply::Bulk(text.clone()))
}

impl State {
    fn pop(&mut self, list: Key) -> Option<u64> {
        let items = self.lists.get_mut(&list)?;
        let first = items.remove(0);
        if items.is_empty() {
            self.lists.remove(&list);
        }
        Some(first)
    }

    fn incr(&mut self, key: Key) -> Reply {
        let old = self.texts.get(&key).map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
        let canonical =
            self.texts.get(&key).is_none_or(|text| old.is_some_and(|old| old.to_string().as_bytes() == text));
        match old.filter(|_| canonical).and_then(|old| old.checked_add(1)) {
            Some(new) => {
                self.texts.insert(key, new.to_string().into_bytes());
                Reply::Int(new)
            }
            None => Reply::Error(b"ERR value is not an integer or out of range".to_vec()),
        }
    }

    /// Does what the server should do.
    fn perform(&mut self, command: &Command, group: u64) -> Reply {
        let ok = || Reply::Simple(b"OK".to_vec());
        let int = |number: usize| Reply::Int(number as i64);
        match command {
            Command::Get(key) => or_null(self.texts.get(key)),
            Command::Set(key, value) => {
                self.texts.insert(*key, value.to_string().into_bytes());
                ok()
            }
            Command::Incr(key) => self.incr(*key),
            Command::Append(key, value) => {
                let text = self.texts.entry(*key).or_default();
                text.extend_from_slice(value.to_string().as_bytes());
                int(text.len())
            }
            Command::Del(key) => int(usize::from(self.texts.remove(key).is_some() || self.lists.remove(key).is_some())),
            Command::Exchange(key, value) => or_null(self.texts.insert(*key, value.to_string().into_bytes()).as_ref()),
            Command::SetBoth(value) => {
                self.texts.extend(TEXTS.map(|key| (key, value.to_string().into_bytes())));
                ok()
            }
            Command::GetBoth => Reply::Array(TEXTS.map(|key| or_null(self.texts.get(&key))).to_vec()),
            Command::Push(key, value) => {
                let items = self.lists.entry(*key).or_default();
                items.push(*value);
                int(items.len())
            }
            Command::Pop(key) => self.pop(*key).map_or(Reply::Null, bulk),
            Command::Length(key) => int(self.lists.get(key).map_or(0, Vec::len)),
            Command::Move(from, to) => match self.pop(*from) {
                Some(item) => {
                    self.lists.entry(*to).or_default().push(item);
                    bulk(item)
                }
                None => Reply::Null,
            },
            Command::Await(key) => match self.pop(*key) {
                Some(item) => Reply::Array(vec![bulk(name(group, *key)), bulk(item)]),
                None => Reply::Null,
            },
            Command::Swap => {
                let [a, b] = TEXTS.map(|key| self.texts.get(&key).cloned());
                let none = || b"none".to_vec();
                self.texts.insert(TEXTS[0], b.clone().unwrap_or_else(none));
                self.texts.insert(TEXTS[1], a.clone().unwrap_or_else(none));
                // A missing text is false, which as part of an answer is nil.
                Reply::Array([a, b].iter().map(|text| or_null(text.as_ref())).collect())
            }
        }
    }
}

impl Model for Group {
    type State = State;
    type Operation = Operation;

    fn start(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, operation: &Operation) -> Option<State> {
        let mut after = state.clone();
        match operation {
            Operation::One(command, reply) => (after.perform(command, self.number) == *reply).then_some(after),
            Operation::Transaction(commands, reply) => {
                let replies = commands.iter().map(|command| after.perform(command, self.number)).collect();
                (*reply == Reply::Array(replies)).then_some(after)
            }
            // It may be refused at any time: what it watches may have been written meanwhile, even with the same value.
            Operation::Checked { reply: Reply::Null, .. } => Some(after),
            Operation::Checked { key, read, new, .. } => {
                let holds = or_null(state.texts.get(key)) == *read;
                after.texts.insert(*key, new.to_string().into_bytes());
                holds.then_some(after)
            }
        }
    }
}

/// One operation of random kind, as a client does it.
fn operate(client: &mut Client, group: u64, rng: &mut Rng) -> std::io::Result<Operation> {
    match rng.below(10) {
        0 | 1 => {
            let commands: Vec<Command> = (0..2 + rng.below(2)).map(|_| Command::random(rng)).collect();
            client.push(&["MULTI"]);
            for command in &commands {
                client.push(&command.words(group));
            }
            client.push(&["EXEC"]);
            client.flush()?;
            for _ in 0..=commands.len() {
                let reply = client.receive()?;
                assert!(matches!(reply, Reply::Simple(_)), "OK and QUEUED come before EXEC: {reply:?}");
            }
            Ok(Operation::Transaction(commands, client.receive()?))
        }
        2 => {
            let (key, new) = (TEXTS[rng.below(2) as usize], rng.below(1_000));
            let key_name = name(group, key);
            client.call(&["WATCH", &key_name])?;
            let read = client.call(&["GET", &key_name])?;
            client.call(&["MULTI"])?;
            client.call(&["SET", &key_name, &new.to_string()])?;
            Ok(Operation::Checked { key, read, new, reply: client.call(&["EXEC"])? })
        }
        _ => {
            let command = Command::random(rng);
            let reply = client.call(&command.words(group))?;
            Ok(Operation::One(command, reply))
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("QUORATE_SEED").ok().map(|text| text.parse().expect("QUORATE_SEED is a number"));
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    given.unwrap_or_else(now)
}

/// Lets every connection do its rounds; the history of each group.
fn record(server: &Server, seed: u64) -> Vec<Vec<Record<Operation>>> {
    let clock = AtomicU64::new(0);
    let histories: Vec<Mutex<Vec<Record<Operation>>>> = (0..GROUPS).map(|_| Mutex::default()).collect();
    let connection = |number: u64| {
        let mut rng = Rng::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut client = server.connect();
        for _ in 0..ROUNDS {
            let group = rng.below(GROUPS);
            let called = clock.fetch_add(1, Ordering::SeqCst);
            let operation = operate(&mut client, group, &mut rng).unwrap();
            let returned = clock.fetch_add(1, Ordering::SeqCst);
            histories[group as usize].lock().unwrap().push(Record { called, returned, operation });
        }
    };
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let connection = &connection;
            scope.spawn(move || connection(number));
        }
    });
    histories.into_iter().map(|history| history.into_inner().unwrap()).collect()
}

#[test]
fn what_many_connections_see_could_have_happened_one_after_the_other() {
    let server = Server::start(&["--network-threads", "4"]);
    let seed = seed();
    println!("QUORATE_SEED={seed}");
    for (number, history) in (0..).zip(record(&server, seed)) {
        assert!(history.len() > 100, "enough has happened to group {number}");
        if let Err(longest) = linearize(&Group { number }, &history) {
            explain(number, &history, &longest);
            panic!("the history of group {number} is not linearizable (QUORATE_SEED={seed})");
        }
    }
}

/// Prints what is known about where the search got stuck.
fn explain(number: u64, history: &[Record<Operation>], longest: &[usize]) {
    let model = Group { number };
    let state = longest.iter().try_fold(model.start(), |state, &index| model.step(&state, &history[index].operation));
    println!("{} of {} operations fit; then the state is {state:?}", longest.len(), history.len());
    println!("the last that fit:");
    for &index in &longest[longest.len().saturating_sub(5)..] {
        let Record { called, returned, operation } = &history[index];
        println!("  {called}..{returned} {operation:?}");
    }
    let mut rest: Vec<usize> = (0..history.len()).filter(|index| !longest.contains(index)).collect();
    rest.sort_by_key(|&index| history[index].returned);
    println!("what could come next:");
    for &index in rest.iter().take(8) {
        let Record { called, returned, operation } = &history[index];
        println!("  {called}..{returned} {operation:?}");
    }
}
