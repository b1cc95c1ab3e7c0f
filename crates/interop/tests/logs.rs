//! `log-format json` of a server and of a Sentinel: each line is one object, whatever is logged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use quorate_client::Reply;
use quorate_interop::await_that;
use quorate_interop::deployment::{Make, Process};
use serde_json::Value;

/// The messages of a log in which every line is an object with what each has.
fn messages(process: &Process) -> Vec<String> {
    // The last line may be on its way.
    let log = process.log();
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let message = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let names: Vec<&String> = object.as_object().unwrap().keys().collect();
        assert_eq!(names, ["level", "message", "pid", "role", "time"], "{line}");
        object["message"].as_str().unwrap().to_owned()
    };
    whole.lines().map(message).collect()
}

#[test]
fn every_line_is_an_object_whatever_is_logged() {
    let server = Process::server(Make::Ours, "log-format json\nenable-debug-command yes");
    let hostile = "\"}\n{\"level\":\"owned\"}\r\n\u{1b}[2J\u{2028}\\";
    assert_eq!(server.call(&["DEBUG", "LOG", hostile]), Some(Reply::Simple(b"OK".to_vec())));
    await_that("it is logged", || messages(&server).iter().any(|message| message.contains(hostile)));
    assert!(messages(&server).iter().any(|message| message == "Ready to accept connections tcp"));
    let watch = format!("log-format json\nsentinel monitor m 127.0.0.1 {} 1", server.port());
    let sentinel = Process::sentinel(Make::Ours, &watch);
    await_that("a Sentinel logs what it begins", || {
        messages(&sentinel).iter().any(|message| message.starts_with("+monitor master m"))
    });
    // It can be changed while a server runs.
    assert_eq!(server.call(&["CONFIG", "SET", "log-format", "legacy"]), Some(Reply::Simple(b"OK".to_vec())));
    assert_eq!(server.call(&["DEBUG", "LOG", "as ever"]), Some(Reply::Simple(b"OK".to_vec())));
    await_that("the usual form is back", || {
        server.log().lines().any(|line| line.ends_with("as ever") && !line.starts_with('{'))
    });
}
