//! Users beside those of a real Redis: told in the same words, denied the same, and let in by each other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use quorate_client::{Client, Reply};
use quorate_interop::deployment::Make::{Ours, Redis};
use quorate_interop::deployment::{Deployment, NAME, Process};
use quorate_interop::{PATIENCE, Server, await_that};

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Reply::Int(number) => number.to_string(),
        Reply::Null => "(nil)".to_owned(),
        Reply::Array(items) | Reply::Set(items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

/// Sends a line of words. Those between parentheses, and what `_` stands for a space in, are one.
fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
    text(&client.call(&words).unwrap())
}

fn logged_in(server: &Server, user: &str, password: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(text(&client.call(&["AUTH", user, password]).unwrap()), "OK");
    client
}

/// A line of ACL LIST, or a value of GETUSER, with the rules about commands in no order: up to 7.0 they are made from what
/// is allowed, in the order of a hash table.
fn unordered(told: &str) -> String {
    let is_about_command = |word: &&str| (word.starts_with('+') || word.starts_with('-')) && !word.ends_with("@all");
    let (about, rest): (BTreeSet<&str>, Vec<&str>) = {
        let words: Vec<&str> = told.split([' ', ',', '[', ']']).filter(|word| !word.is_empty()).collect();
        (
            words.iter().copied().filter(is_about_command).collect(),
            words.into_iter().filter(|w| !is_about_command(w)).collect(),
        )
    };
    format!("{} {}", rest.join(" "), about.into_iter().collect::<Vec<_>>().join(" "))
}

/// Rules that Redis 7.0 tells as they were given, but for the order of commands.
const RULES: &[&str] = &[
    "",
    "on",
    "on nopass",
    "on >secret >other >secret",
    "on >secret nopass",
    "nopass >secret",
    "nopass resetpass",
    ">a >b <a",
    "sanitize-payload",
    "skip-sanitize-payload",
    "skip-sanitize-payload reset",
    "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 !2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "allkeys allchannels allcommands",
    "~* &* +@all",
    "ON NOPASS ALLKEYS +GET -SET +CONFIG|GET",
    "~a* ~b %R~c %W~d %RW~e",
    "%R~a %R~a ~a %W~b %R~b %RW",
    "%R~* %W~*",
    "%r~a %wr~b %Rw~*",
    "~ &",
    "&a &b:* &a",
    "allchannels resetchannels &a",
    "allkeys resetkeys ~a",
    "+get +set +get",
    "+get -get",
    "+@all -get",
    "+@all -get +get",
    "+@all -@all",
    "-@all -get",
    "+@all +get",
    "+@all +client|id",
    "+config -config|set",
    "+config|get +config|set",
    "+config|get +config",
    "+config|get -config",
    "+@all -config",
    "+@all -config|set",
    "+select|0 +select|1 +select|0",
    "+SELECT|Abc +select|abc",
    "+select|0 +select",
    "+select +select|0",
    "+select|0 -select",
    "+debug|digest +debug|object",
    "+@read",
    "+@all -@dangerous",
    "+@all -@string +incr",
    "-@all +@hash -hset",
    "(~x_+get) (%R~y_&z_+@all_-set) allkeys",
    "() (_) (_~a_+get_)",
    "(~a +get) on",
    "(~a) clearselectors",
    "(~a) reset",
];

#[test]
fn users_are_told_as_redis_tells_them() {
    let Some(theirs) = Server::start_redis(&[], None) else { return };
    let ours = Server::start(&[]);
    let (mut ours, mut theirs) = (ours.connect(), theirs.connect());
    for rules in RULES {
        for client in [&mut ours, &mut theirs] {
            assert_eq!(call(client, "ACL SETUSER u reset"), "OK");
            assert_eq!(call(client, "ACL DELUSER u"), "1");
            assert_eq!(call(client, format!("ACL SETUSER u {rules}").trim_end()), "OK", "{rules}");
        }
        for question in ["ACL GETUSER u", "ACL LIST", "ACL USERS"] {
            let [our, their] = [&mut ours, &mut theirs].map(|client| unordered(&call(client, question)));
            assert_eq!(our, their, "{question} after {rules}");
        }
    }
}

#[test]
fn wrong_rules_are_refused_in_redis_words() {
    let Some(theirs) = Server::start_redis(&[], None) else { return };
    let ours = Server::start(&[]);
    let (mut ours, mut theirs) = (ours.connect(), theirs.connect());
    for request in [
        "ACL SETUSER u +nosuch",
        "ACL SETUSER u on +@nosuch",
        "ACL SETUSER u +",
        "ACL SETUSER u -",
        "ACL SETUSER u foo",
        "ACL SETUSER u -select|0",
        "ACL SETUSER u +select|",
        "ACL SETUSER u +|x",
        "ACL SETUSER u +get|a|b",
        "ACL SETUSER u +config|nosuch",
        "ACL SETUSER u +config|get|x",
        "ACL SETUSER u <a",
        "ACL SETUSER u #zz",
        "ACL SETUSER u !zz",
        "ACL SETUSER u !2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        "ACL SETUSER u %~a",
        "ACL SETUSER u %",
        "ACL SETUSER u ~a_b",
        "ACL SETUSER u &a_b",
        "ACL SETUSER u ~* ~a",
        "ACL SETUSER u &* &a",
        "ACL SETUSER u (",
        "ACL SETUSER u )",
        "ACL SETUSER u (on)",
        "ACL SETUSER u (~a b",
        "ACL SETUSER u (~a +get) x)",
        "ACL SETUSER u ((~a))",
        "ACL SETUSER u (~a)x",
        "ACL SETUSER u (&*_&a)",
        "ACL SETUSER a_a on",
        "ACL GETUSER u",
        "ACL DELUSER default",
        "ACL DELUSER nobody",
        "ACL DRYRUN nobody get a",
        "ACL DRYRUN default nosuch a",
        "ACL DRYRUN default config nosuch",
        "ACL DRYRUN default get",
        "ACL DRYRUN default get a",
        "ACL LOAD",
        "ACL SAVE",
        "ACL LOG x",
        "ACL LOG 5 5",
        "ACL CAT nosuch",
        "ACL CAT a b",
        "ACL GENPASS 0",
        "ACL GENPASS 5 5",
        "ACL GENPASS x",
        "ACL WHOAMI",
        "ACL WHOAMI x",
        "ACL NOSUCH",
        "ACL",
        "AUTH nobody x",
        "AUTH x",
        "AUTH a b c",
        "HELLO 2 AUTH nobody x",
        "CLIENT KILL USER nobody",
    ] {
        let [our, their] = [&mut ours, &mut theirs].map(|client| call(client, request));
        assert_eq!(our, their, "{request}");
    }
}

#[test]
fn categories_have_the_commands_that_they_have_in_redis() {
    let Some(theirs) = Server::start_redis(&[], None) else { return };
    let ours = Server::start(&[]);
    let (mut ours, mut theirs) = (ours.connect(), theirs.connect());
    let list = |client: &mut Client, words: &[&str]| -> Vec<String> {
        match client.call(words).unwrap() {
            Reply::Array(items) => items.iter().map(text).collect(),
            other => panic!("a list was expected, not {other:?}"),
        }
    };
    let categories = list(&mut theirs, &["ACL", "CAT"]);
    assert_eq!(list(&mut ours, &["ACL", "CAT"]), categories);
    let all = |client: &mut Client| -> BTreeMap<String, BTreeSet<String>> {
        let of = |category: &String| (category.clone(), list(client, &["ACL", "CAT", category]).into_iter().collect());
        categories.iter().map(of).collect()
    };
    let (our, their) = (all(&mut ours), all(&mut theirs));
    let known =
        |told: &BTreeMap<String, BTreeSet<String>>| -> BTreeSet<String> { told.values().flatten().cloned().collect() };
    let both: BTreeSet<String> = known(&our).intersection(&known(&their)).cloned().collect();
    // `commands.rs` says why.
    let is_other =
        |name: &String| ["wait", "replconf", "pubsub|help"].contains(&name.as_str()) || name.starts_with("cluster");
    for category in &categories {
        let shared = |told: &BTreeMap<String, BTreeSet<String>>| -> BTreeSet<String> {
            told[category].intersection(&both).filter(|name| !is_other(name)).cloned().collect()
        };
        assert_eq!(shared(&our), shared(&their), "@{category}");
    }
}

#[test]
fn what_is_denied_is_denied_wherever_it_is_asked() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    call(&mut admin, "ACL SETUSER u on >p ~a* %R~r* &c +get +set +eval +multi +exec +publish +subscribe +mget +ping");
    let mut client = logged_in(&server, "u", "p");
    for (request, expected) in [
        ("DEL a", "-NOPERM User u has no permissions to run the 'del' command"),
        ("CONFIG GET port", "-NOPERM User u has no permissions to run the 'config|get' command"),
        ("SET a 1", "OK"),
        ("SET r 1", "-NOPERM No permissions to access a key"),
        ("GET r", "(nil)"),
        ("MGET a b", "-NOPERM No permissions to access a key"),
        ("PUBLISH c x", "0"),
        ("PUBLISH d x", "-NOPERM No permissions to access a channel"),
        ("SUBSCRIBE c d", "-NOPERM No permissions to access a channel"),
    ] {
        assert_eq!(call(&mut client, request), expected, "{request}");
    }
    let script = |client: &mut Client, script: &str| text(&client.call(&["EVAL", script, "0"]).unwrap());
    let denied = script(&mut client, "return redis.call('DEL', 'a')");
    assert!(
        denied.starts_with("-ERR ACL failure in script: User u has no permissions to run the 'del' command"),
        "{denied}"
    );
    let denied = script(&mut client, "return redis.call('GET', 'x')");
    assert!(denied.starts_with("-ERR ACL failure in script: No permissions to access a key"), "{denied}");
    assert_eq!(
        script(&mut client, "return {redis.acl_check_cmd('GET','a'), redis.acl_check_cmd('GET','x')}"),
        "[1, (nil)]"
    );
    assert_eq!(call(&mut client, "MULTI"), "OK");
    assert_eq!(call(&mut client, "SET a 2"), "QUEUED");
    call(&mut admin, "ACL SETUSER u -set");
    let told = call(&mut client, "EXEC");
    assert!(
        told.contains("no longer allowed for the following reason: no permission to execute the command"),
        "{told}"
    );
    assert_eq!(call(&mut admin, "GET a"), "1");
    let log = call(&mut admin, "ACL LOG 1");
    assert!(log.contains("reason, command, context, multi, object, set, username, u"), "{log}");
    let stats = call(&mut admin, "INFO stats");
    assert!(stats.contains("acl_access_denied_cmd:4") && stats.contains("acl_access_denied_key:3"), "{stats}");
}

#[test]
fn whoever_waits_or_listens_loses_it_with_the_right_to() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    call(&mut admin, "ACL SETUSER u on nopass ~* &c +@all");
    let blocked = |admin: &mut Client| {
        await_that("the client waits", || call(admin, "INFO clients").contains("blocked_clients:1"));
    };
    let mut waiter = logged_in(&server, "u", "x");
    waiter.push(&["BLPOP", "l", "0"]);
    waiter.flush().unwrap();
    blocked(&mut admin);
    call(&mut admin, "ACL SETUSER u -blpop");
    assert_eq!(call(&mut admin, "RPUSH l 1"), "1");
    assert_eq!(text(&waiter.receive().unwrap()), "-NOPERM User u has no permissions to run the 'blpop' command");
    assert_eq!(call(&mut admin, "LLEN l"), "1");
    let log = call(&mut admin, "ACL LOG 1");
    assert!(log.contains("reason, command, context, toplevel, object, blpop, username, u"), "{log}");
    assert!(log.contains("cmd=blpop user=u"), "{log}");
    // Whoever listens to what it may not hear any more is closed.
    let mut listener = logged_in(&server, "u", "x");
    assert_eq!(call(&mut listener, "SUBSCRIBE c"), "[subscribe, c, 1]");
    call(&mut admin, "ACL SETUSER u &d");
    call(&mut admin, "PUBLISH c still");
    assert_eq!(text(&listener.receive().unwrap()), "[message, c, still]");
    call(&mut admin, "ACL SETUSER u resetchannels");
    assert!(listener.receive().is_err(), "it still listens");
    // And so is everybody whose user is gone.
    call(&mut admin, "ACL SETUSER u +blpop resetchannels");
    let mut waiter = logged_in(&server, "u", "x");
    waiter.push(&["BLPOP", "none", "0"]);
    waiter.flush().unwrap();
    blocked(&mut admin);
    assert_eq!(call(&mut admin, "ACL DELUSER u"), "1");
    assert!(waiter.receive().is_err(), "it still waits");
    assert!(!call(&mut admin, "CLIENT LIST").contains("user=u"));
}

#[test]
fn users_outlive_a_restart_in_either_file() {
    let lines = "user u on >p ~a:* (%R~b_+get) +set\nuser default on nopass ~* &* +@all -flushall".replace('_', " ");
    let mut server = Process::server(Ours, &lines);
    let flush = ["FLUSHALL"];
    let denied = "-NOPERM User default has no permissions to run the 'flushall' command";
    assert_eq!(text(&server.call(&flush).unwrap()), denied);
    assert_eq!(text(&server.call(&["ACL", "SETUSER", "v", "on", "~\"q", "+get"]).unwrap()), "OK");
    assert_eq!(text(&server.call(&["CONFIG", "REWRITE"]).unwrap()), "OK");
    let list = text(&server.call(&["ACL", "LIST"]).unwrap());
    server.kill();
    server.start();
    assert_eq!(text(&server.call(&["ACL", "LIST"]).unwrap()), list);
    assert_eq!(text(&server.call(&flush).unwrap()), denied);
    // The same from a file of their own, which ACL SAVE writes and ACL LOAD reads.
    let directory = server.file().parent().unwrap().to_owned();
    let (users, conf) = (directory.join("users.acl"), server.file());
    std::fs::write(&users, lines).unwrap();
    let old = std::fs::read_to_string(&conf).unwrap();
    let kept: Vec<&str> = old.lines().filter(|line| !line.starts_with("user ")).collect();
    std::fs::write(&conf, format!("{}\naclfile users.acl\n", kept.join("\n"))).unwrap();
    server.kill();
    server.start();
    assert_eq!(text(&server.call(&flush).unwrap()), denied);
    let mut client = Client::connect(server.address(), PATIENCE).unwrap();
    assert_eq!(call(&mut client, "AUTH u p"), "OK");
    assert_eq!(text(&server.call(&["ACL", "SETUSER", "u", "+ping"]).unwrap()), "OK");
    assert_eq!(call(&mut client, "PING"), "PONG");
    assert_eq!(text(&server.call(&["ACL", "SAVE"]).unwrap()), "OK");
    assert!(std::fs::read_to_string(&users).unwrap().contains(" +set +ping"));
    assert_eq!(text(&server.call(&["CONFIG", "REWRITE"]).unwrap()), "OK");
    assert!(!std::fs::read_to_string(&conf).unwrap().contains("user "));
    assert_eq!(text(&server.call(&["ACL", "LOAD"]).unwrap()), "OK");
    assert!(client.receive().is_err(), "whoever had logged in stays");
    std::fs::write(&users, "user u +nosuch\nuser u on").unwrap();
    let told = text(&server.call(&["ACL", "LOAD"]).unwrap());
    assert!(told.starts_with("-ERR users.acl:1: Error in applying operation '+nosuch': Unknown command"), "{told}");
    assert!(text(&server.call(&["ACL", "LIST"]).unwrap()).contains("user u on"));
}

/// What a replica's user needs.
const REPLICA_USER: &str = "user rep on >sync resetchannels -@all +psync +replconf +ping";

#[test]
fn replicas_follow_as_a_user_that_may_do_no_more() {
    for (primary, replica) in [(Ours, Redis), (Redis, Ours), (Ours, Ours)] {
        if !quorate_interop::is_redis_installed() {
            println!("SKIPPED redis-server: not installed (cargo xtask peers)");
            return;
        }
        let leader = Process::server(primary, &format!("repl-diskless-sync-delay 0\n{REPLICA_USER}"));
        assert_eq!(text(&leader.call(&["SET", "k", "v"]).unwrap()), "OK");
        let lines = format!("replicaof 127.0.0.1 {}\nmasteruser rep\nmasterauth sync", leader.port());
        let follower = Process::server(replica, &lines);
        await_that("the replica has the data", || {
            follower.call(&["GET", "k"]).is_some_and(|reply| text(&reply) == "v")
        });
        // Nothing that the user may not do stands in the stream's way.
        assert_eq!(text(&leader.call(&["SET", "k", "w"]).unwrap()), "OK");
        await_that("the replica follows", || follower.call(&["GET", "k"]).is_some_and(|reply| text(&reply) == "w"));
    }
}

#[test]
fn keys_are_handed_over_as_a_user() {
    let Some(theirs) = Server::start_redis(&[], None) else { return };
    let ours = Server::start(&[]);
    for (here, there) in [(&ours, &theirs), (&theirs, &ours)] {
        let (mut from, mut to) = (here.connect(), there.connect());
        call(&mut to, "ACL SETUSER mover on >p ~moved* +restore +select +ping");
        // What comes behind an AUTH that fails is that of the default user.
        call(&mut to, "ACL SETUSER default -restore");
        let migrate = |client: &mut Client, key: &str, password: &str| {
            let port = there.port().to_string();
            let words = ["MIGRATE", "127.0.0.1", &port, key, "0", "30000", "AUTH2", "mover", password];
            text(&client.call(&words).unwrap())
        };
        for key in ["moved", "other"] {
            assert_eq!(text(&from.call(&["SET", key, "v"]).unwrap()), "OK");
        }
        let wrong = migrate(&mut from, "moved", "wrong");
        assert!(wrong.contains("WRONGPASS"), "{wrong}");
        let denied = migrate(&mut from, "other", "p");
        assert!(denied.contains("NOPERM"), "{denied}");
        assert_eq!(migrate(&mut from, "moved", "p"), "OK");
        assert_eq!(call(&mut to, "GET moved"), "v");
        assert_eq!(call(&mut from, "EXISTS moved other"), "1");
        call(&mut to, "ACL SETUSER default +@all");
        call(&mut to, "FLUSHALL");
        call(&mut from, "FLUSHALL");
    }
}

/// What Redis' documentation gives to the user of a Sentinel.
const SENTINEL_USER: &str = "user sent on >watch allchannels +multi +slaveof +ping +exec +subscribe +config|rewrite +role \
                             +publish +info +client|setname +client|kill +script|kill";
const QUICK: &str = "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 10000";

#[test]
fn sentinels_watch_and_fail_over_as_a_user_that_may_do_no_more() {
    for (servers, sentinels) in [(Ours, Ours), (Ours, Redis), (Redis, Ours)] {
        let server_lines = format!("masteruser rep\nmasterauth sync\n{REPLICA_USER}\n{SENTINEL_USER}");
        let lines = format!("sentinel auth-user mymaster sent\nsentinel auth-pass mymaster watch\n{QUICK}");
        let deployment = Deployment::start_with(&[servers; 2], &server_lines, &[sentinels], &lines);
        let Some(mut deployment) = deployment else { return };
        let old = deployment.servers[0].port();
        deployment.servers[0].kill();
        let next = deployment.await_successor(old);
        let list = text(&deployment.servers[next].call(&["CLIENT", "LIST"]).unwrap());
        assert!(list.contains("user=sent"), "{list}");
    }
}

#[test]
fn a_sentinel_that_may_a_little_more_confirms_tenures_and_hands_over() {
    let server_lines =
        format!("masteruser rep\nmasterauth sync\n{REPLICA_USER} +info\n{SENTINEL_USER} +tenure|confirm +failover");
    let lines = "sentinel auth-user mymaster sent\nsentinel auth-pass mymaster watch";
    let Some(deployment) = Deployment::start_with(&[Ours; 2], &server_lines, &[Ours], lines) else { return };
    let denied =
        || deployment.servers.iter().map(|server| text(&server.call(&["ACL", "LOG"]).unwrap())).collect::<String>();
    assert_eq!(denied(), "[][]");
    let old = deployment.servers[0].port();
    let order = || deployment.sentinels[0].call(&["SENTINEL", "FAILOVER", NAME, "COORDINATED"]);
    await_that("the handover is taken up", || order() == Some(Reply::Simple(b"OK".to_vec())));
    deployment.await_successor(old);
    assert_eq!(denied(), "[][]");
}

#[test]
fn sentinels_of_either_make_talk_to_each_other_as_a_user() {
    // Whoever does not say who it is may look, but tell nothing.
    let lines = format!(
        "user default on nopass resetchannels -@all +sentinel +ping +client|list -sentinel|is-master-down-by-addr\n\
         user peer on >p allchannels +@all\nsentinel sentinel-user peer\nsentinel sentinel-pass p\n{QUICK}"
    );
    let Some(mut deployment) = Deployment::start(&[Ours; 2], &[Ours, Redis, Ours], &lines) else { return };
    for sentinel in &deployment.sentinels {
        let list = text(&sentinel.call(&["CLIENT", "LIST"]).unwrap());
        assert_eq!(list.matches("user=peer").count(), 2, "{list}");
    }
    let old = deployment.servers[0].port();
    deployment.servers[0].kill();
    deployment.await_successor(old);
}

#[test]
fn a_sentinel_has_users_too() {
    let lines = "sentinel monitor mymaster 127.0.0.1 1 1\nuser ops on >p +sentinel|masters +ping &+odown";
    let mut sentinel = Process::sentinel(Ours, lines);
    let mut client = Client::connect(sentinel.address(), PATIENCE).unwrap();
    for (request, expected) in [
        ("AUTH ops wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH ops p", "OK"),
        ("PING", "PONG"),
        ("SENTINEL MYID", "-NOPERM User ops has no permissions to run the 'sentinel|myid' command"),
        ("ACL WHOAMI", "-NOPERM User ops has no permissions to run the 'acl|whoami' command"),
        ("AUTH default x", "OK"),
        ("ACL WHOAMI", "default"),
        ("ACL SETUSER ops +subscribe +acl|whoami", "OK"),
        ("ACL DRYRUN ops SUBSCRIBE +odown", "OK"),
        ("ACL DRYRUN ops SUBSCRIBE +sdown", "User ops has no permissions to access the '+sdown' channel"),
        ("ACL GETUSER nobody", "(nil)"),
        ("AUTH ops p", "OK"),
        ("ACL WHOAMI", "ops"),
        ("SUBSCRIBE +odown", "[subscribe, +odown, 1]"),
    ] {
        assert_eq!(call(&mut client, request), expected, "{request}");
    }
    let log = text(&sentinel.call(&["ACL", "LOG"]).unwrap());
    assert!(log.contains("object, sentinel|myid, username, ops"), "{log}");
    // The file has them when it is written, and so has the Sentinel when it comes back.
    assert_eq!(text(&sentinel.call(&["SENTINEL", "FLUSHCONFIG"]).unwrap()), "OK");
    let list = text(&sentinel.call(&["ACL", "LIST"]).unwrap());
    assert!(list.contains("user ops on #") && list.contains("+acl|whoami"), "{list}");
    sentinel.kill();
    sentinel.start();
    assert_eq!(text(&sentinel.call(&["ACL", "LIST"]).unwrap()), list);
    assert_eq!(text(&sentinel.call(&["ACL", "DELUSER", "ops"]).unwrap()), "1");
}

#[test]
fn redis_cli_logs_in_as_a_user() {
    let server = Server::start(&[]);
    call(&mut server.connect(), "ACL SETUSER u on >p ~a +get +acl|whoami");
    let cli = |arguments: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["-p", &server.port().to_string(), "--user", "u", "--pass", "p", "--no-auth-warning"])
            .args(arguments)
            .output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    let Ok(who) = cli(&["ACL", "WHOAMI"]) else {
        println!("SKIPPED redis-cli: not installed (cargo xtask peers)");
        return;
    };
    assert_eq!(who, "u");
    assert_eq!(cli(&["SET", "a", "1"]).unwrap(), "NOPERM User u has no permissions to run the 'set' command");
}
