//! `quorate dashboard` as people use it: in a browser, while nodes die, slots move, and strangers try to get in.
//!
//! The pictures are kept in `target/dashboard`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use quorate_client::Reply;
use quorate_interop::browser::{Browser, http};
use quorate_interop::deployment::{Deployment, Make, NAME};
use quorate_interop::shards::{self, ask};
use quorate_interop::{Server, await_that, binary, free_port};
use serde_json::{Value, json};

const TOKEN: &str = "a token for tests";

struct Dashboard {
    child: Child,
    port: u16,
}

impl Dashboard {
    fn watch(addresses: &[SocketAddr], options: &[&str]) -> Dashboard {
        let port = free_port();
        let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let mut command = Command::new(binary());
        command.args(["dashboard", "--watch", &list.join(","), "--listen", &format!("127.0.0.1:{port}")]);
        // A busy machine answers late, which is no fault of who is asked.
        command
            .args(["--timeout", "8000"])
            .args(options)
            .env("QUORATE_DASHBOARD_TOKEN", TOKEN)
            .env_remove("REDISCLI_AUTH");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let dashboard = Dashboard { child, port };
        await_that("the dashboard answers", || dashboard.state().is_some());
        dashboard
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn get(&self, path: &str, host: &str) -> (u16, String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, head, body) = http(self.port, &request).unwrap();
        (status, head, String::from_utf8(body).unwrap())
    }

    fn post(&self, path: &str, body: &Value, headers: &str) -> (u16, Value) {
        let body = body.to_string();
        let own = format!("Host: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n", self.port, body.len());
        let (status, _, answer) =
            http(self.port, &format!("POST {path} HTTP/1.1\r\n{own}{headers}\r\n{body}")).unwrap();
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    fn state(&self) -> Option<Value> {
        let request = "GET /api/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        serde_json::from_slice(&http(self.port, request).ok()?.2).ok()
    }

    /// Waits until the problems hold this text.
    fn await_problem(&self, text: &str) {
        await_that(text, || self.state().is_some_and(|state| state["problems"].to_string().contains(text)));
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn picture(name: &str) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/dashboard");
    std::fs::create_dir_all(&place).unwrap();
    place.join(name)
}

/// What axe-core finds that is serious.
fn barriers(browser: &Browser) -> Option<Vec<String>> {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/node/node_modules/axe-core/axe.min.js");
    let Ok(axe) = std::fs::read_to_string(file) else {
        println!("SKIPPED axe-core: not installed (cargo xtask peers)");
        return None;
    };
    browser.run(&axe);
    let found = browser.run(
        "return axe.run(document).then(found => found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
            .map(one => `${one.id}: ${one.nodes.map(node => node.html).slice(0, 3).join(' ')}`))",
    );
    Some(found.as_array().unwrap().iter().map(Value::to_string).collect())
}

/// Fills in the token where it is asked for, looks at the plan, and confirms it; how many steps it had.
fn confirm(browser: &Browser) -> u64 {
    browser.await_that("return document.querySelector('#token') || document.querySelector('#confirm')");
    if browser.run("return document.querySelector('#token') !== null") == true {
        let fill = format!(
            "const field = document.querySelector('#token'); field.value = '{TOKEN}'; field.form.requestSubmit()"
        );
        browser.run(&fill);
    }
    browser.await_that("return document.querySelector('#confirm')");
    let steps = browser.run("return document.querySelectorAll('.steps.plan li').length").as_u64().unwrap();
    browser.run("document.querySelector('#confirm').click()");
    browser.await_that("return !document.querySelector('#dialog').open");
    steps
}

fn follow_a_cluster(make: Make) {
    let Some(browser) = Browser::start(1440, 1100) else { return };
    let Some(mut nodes) = shards::form(make, ["0 5400", "5401 10922", "10923 16383"]) else { return };
    let mut owners: Vec<_> = nodes[..3].iter().map(Server::connect).collect();
    for number in 0..300 {
        let key = format!("key:{number}");
        let set = |owner: &mut quorate_client::Client| owner.call(&["SET", &key, "v"]).unwrap();
        let is_set = |reply| reply == Reply::Simple(b"OK".to_vec());
        assert_eq!(owners.iter_mut().map(set).filter(|reply| is_set(reply.clone())).count(), 1);
    }
    let dashboard = Dashboard::watch(&[nodes[0].address()], &["--actions"]);
    browser.open(&dashboard.url());
    browser.await_that("return document.querySelectorAll('#table tbody tr').length === 6");
    browser.await_that("return document.querySelector('#verdict').textContent === 'healthy'");
    browser.await_that("return document.querySelectorAll('.graph .node').length === 6");
    // What looks after them asks them something each second.
    browser.await_that("return !document.querySelector('#throughput-now').textContent.startsWith('0 ')");
    browser.keep(&picture(&format!("{make:?}-cluster.png")));
    if let Some(found) = barriers(&browser) {
        assert!(found.is_empty(), "{found:#?}");
    }

    // A kill is seen at once, and the failover can be explained.
    drop(nodes.remove(1));
    let seen = browser.await_that("return document.querySelector('#verdict').textContent !== 'healthy'");
    println!("a kill is on the page after {} ms", seen.as_millis());
    browser.await_that("return document.querySelector('.explain')");
    browser.run("document.querySelector('.explain').click()");
    browser.await_that("return document.querySelectorAll('.steps li').length >= 2");
    browser.await_that("return document.querySelector('#dialog').textContent.includes('took over from')");
    browser.keep(&picture(&format!("{make:?}-story.png")));
    browser.run("document.querySelector('#dialog').close()");

    // The dead node is removed, and the others get even shares.
    browser.run("document.querySelector('#table tbody tr.down').click()");
    let remove = "[...document.querySelectorAll('#drawer button')].find(one => one.textContent === 'Remove…')";
    browser.await_that(&format!("return {remove}"));
    browser.run(&format!("{remove}.click()"));
    assert!(confirm(&browser) >= 1);
    let done = |count: usize| format!("return document.querySelectorAll('.job[data-state=done]').length === {count}");
    browser.await_that(&done(1));
    browser.run("document.querySelector('#actions').click()");
    browser.await_that("return document.querySelector('[data-wish=rebalance]')");
    browser.run("document.querySelector('[data-wish=rebalance]').click()");
    assert_eq!(confirm(&browser), 1);
    browser.await_that("return document.querySelectorAll('.job progress').length === 2");
    browser.keep(&picture(&format!("{make:?}-rebalance.png")));
    browser.await_that(&done(2));
    await_that("everybody has a share", || {
        let state = dashboard.state().unwrap();
        let nodes = state["nodes"].as_array().unwrap();
        let live = nodes.iter().filter(|node| node["state"] == "up");
        let mut slots: Vec<u64> = live.filter_map(|node| node["cluster"]["slots"].as_u64()).collect();
        slots.sort_unstable();
        slots.ends_with(&[5461, 5461, 5462])
    });
    let primaries = nodes.iter().filter(|node| ask(node, "INFO replication").contains("role:master"));
    let count = |node: &Server| match node.connect().call(&["DBSIZE"]).unwrap() {
        Reply::Int(keys) => keys,
        other => panic!("{other:?}"),
    };
    let keys: i64 = primaries.map(count).sum();
    assert_eq!(keys, 300);
    browser.run("document.querySelector('#drawer button')?.click()");
    browser.be_phone();
    browser.await_that("return document.documentElement.scrollWidth <= innerWidth");
    browser.keep(&picture(&format!("{make:?}-phone.png")));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_real_cluster_is_followed_through_a_kill_and_a_rebalance() {
    follow_a_cluster(Make::Redis);
}

#[test]
fn our_cluster_is_followed_through_a_kill_and_a_rebalance() {
    follow_a_cluster(Make::Ours);
}

#[test]
fn strangers_can_neither_read_nor_act() {
    let server = Server::start(&[]);
    let dashboard = Dashboard::watch(&[server.address()], &["--actions", "--name", "board.example"]);
    let own = format!("127.0.0.1:{}", dashboard.port);
    // A name that somebody else lets point here is not answered to.
    for (host, status) in
        [(own.as_str(), 200), ("board.example", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403)]
    {
        for path in ["/", "/api/state", "/api/history", "/api/stream"] {
            // A stream has no end.
            if status != 200 || path != "/api/stream" {
                assert_eq!(dashboard.get(path, host).0, status, "{host}{path}");
            }
        }
    }
    let (_, head, page) = dashboard.get("/", &own);
    for said in
        ["script-src 'self'", "default-src 'none'", "frame-ancestors 'none'", "nosniff", "no-store", "same-origin"]
    {
        assert!(head.contains(said), "{said}: {head}");
    }
    assert!(!page.contains("http:") && !page.contains("https:"), "the page needs nobody else");
    let wish = json!({ "wish": "rebalance" });
    let kind = "Content-Type: application/json\r\n";
    let origin = format!("Origin: http://{own}\r\n");
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (headers, status) in [
        (format!("{kind}{origin}{token}"), 409),
        (format!("{kind}{origin}"), 401),
        (format!("{kind}{origin}Authorization: Bearer wrong\r\n"), 401),
        (format!("{kind}{token}"), 403),
        (format!("{kind}{token}Origin: http://evil.example\r\n"), 403),
        (format!("{kind}{origin}{token}Sec-Fetch-Site: cross-site\r\n"), 403),
        (format!("Content-Type: text/plain\r\n{origin}{token}"), 403),
    ] {
        let (got, answer) = dashboard.post("/api/plan", &wish, &headers);
        assert_eq!((got, answer["error"].is_string()), (status, true), "{headers}: {answer}");
    }
    // A plan that was never shown is not performed, and what is too long is not read.
    let all = format!("{kind}{origin}{token}");
    assert_eq!(dashboard.post("/api/perform", &json!({ "plan": 1 }), &all).0, 409);
    assert_eq!(dashboard.post("/api/plan", &json!({ "wish": "x".repeat(10_000) }), &all).0, 409);
    // Without --actions nobody acts.
    let dashboard = Dashboard::watch(&[server.address()], &[]);
    let origin = format!("Origin: http://127.0.0.1:{}\r\n", dashboard.port);
    assert_eq!(dashboard.post("/api/plan", &wish, &format!("{kind}{origin}{token}")).0, 403);
}

/// The requests of a connection, each as its words.
fn requests(stream: &TcpStream) -> impl Iterator<Item = Vec<String>> + use<> {
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stream.try_clone().unwrap()));
    std::iter::from_fn(move || {
        let count: usize = lines.next()?.ok()?.strip_prefix('*')?.parse().ok()?;
        (0..count).map(|_| lines.next().and_then(|_| lines.next()?.ok())).collect()
    })
}

/// A node that answers with what `answer` makes of the words; on connections without end.
fn pretend(listener: TcpListener, answer: impl Fn(&[String]) -> String + Send + Sync + 'static) {
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), std::sync::Arc::clone(&answer));
            std::thread::spawn(move || {
                for words in requests(&stream) {
                    let text = answer(&words);
                    // Whoever asked may be gone.
                    let _ = write!(stream, "${}\r\n{text}\r\n", text.len());
                }
            });
        }
    });
}

#[test]
fn two_hundred_nodes_are_drawn_fast_enough() {
    let Some(browser) = Browser::start(1440, 1100) else { return };
    let listeners: Vec<TcpListener> = (0..200).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    for (own, listener) in listeners.into_iter().enumerate() {
        let ports = ports.clone();
        pretend(listener, move |words| match words[0].as_str() {
            "INFO" => {
                let role = if own % 2 == 0 {
                    let (replica, offset) = (ports[own + 1], 1_000_000);
                    format!(
                        "role:master\r\nmaster_repl_offset:{offset}\r\nslave0:ip=127.0.0.1,port={replica},state=online,offset={},lag=0\r\n",
                        offset - own
                    )
                } else {
                    format!(
                        "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:{}\r\nmaster_link_status:up\r\n",
                        ports[own - 1]
                    )
                };
                format!(
                    "redis_version:7.0.15\r\nredis_mode:cluster\r\nrun_id:{own}\r\n{role}instantaneous_ops_per_sec:{}\r\n",
                    1000 + own
                )
            }
            _ if words[1] == "INFO" => {
                "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:7\r\n".to_owned()
            }
            _ => {
                let line = |(index, port): (usize, &u16)| {
                    let myself = if index == own { "myself," } else { "" };
                    let shard = index / 2;
                    if index % 2 == 1 {
                        return format!(
                            "{index:040} 127.0.0.1:{port}@1 {myself}slave {:040} 0 0 {shard} connected\n",
                            index - 1
                        );
                    }
                    let (first, last) = (shard * 16384 / 100, (shard + 1) * 16384 / 100 - 1);
                    format!("{index:040} 127.0.0.1:{port}@1 {myself}master - 0 0 {shard} connected {first}-{last}\n")
                };
                ports.iter().enumerate().map(line).collect()
            }
        });
    }
    let dashboard = Dashboard::watch(&[SocketAddr::from(([127, 0, 0, 1], ports[0]))], &[]);
    browser.open(&dashboard.url());
    browser.await_that("return document.querySelectorAll('.graph .node').length === 200");
    browser.await_that("return document.querySelectorAll('#table tbody tr').length === 200");
    browser.await_that("return document.querySelector('#verdict').textContent === 'healthy'");
    // The best of some seconds: what else runs on the machine is no fault of the page.
    let rate = "return new Promise(done => { let frames = 0; const start = performance.now();
        const step = () => { frames += 1; const spent = performance.now() - start;
            spent < 2000 ? requestAnimationFrame(step) : done(Math.round(1000 * frames / spent)) };
        requestAnimationFrame(step) })";
    let mut best = 0;
    await_that("30 frames a second", || {
        best = best.max(browser.run(rate).as_u64().unwrap());
        best >= 30
    });
    println!("200 nodes are drawn {best} times a second");
    browser.keep(&picture("two-hundred.png"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn hostile_names_are_text() {
    let Some(browser) = Browser::start(1200, 900) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    const EVIL: &str = "<img/src=x/onerror=window.owned=1>";
    pretend(listener, |words| match words[0].as_str() {
        "INFO" => format!(
            "redis_version:{EVIL}\r\nredis_mode:cluster\r\nrun_id:1\r\nrole:master\r\nmaster_replid:{EVIL}\r\n\
             slave0:ip={EVIL},port=1,state={EVIL},offset=1,lag=0\r\n"
        ),
        _ if words[1] == "INFO" => "cluster_state:ok\r\n".to_owned(),
        _ => format!(
            "{EVIL} 127.0.0.1:1@1,{EVIL} myself,master,{EVIL} - 0 0 1 connected 0-16383 [5->-{EVIL}]\n\
             {EVIL}2 {EVIL}:1@1 slave,{EVIL} {EVIL} 0 0 1 connected\n"
        ),
    });
    let dashboard = Dashboard::watch(&[address], &[]);
    browser.open(&dashboard.url());
    browser.await_that("return document.querySelectorAll('#table tbody tr').length >= 2");
    browser.await_that("return document.body.textContent.includes('<img/src=x')");
    for row in 0..2 {
        browser.run(&format!("document.querySelectorAll('#table tbody tr')[{row}].click()"));
        browser.await_that("return !document.querySelector('#drawer').hidden");
    }
    assert_eq!(browser.run("return document.querySelectorAll('img').length + (window.owned ? 1 : 0)"), 0);
    browser.keep(&picture("hostile.png"));
}

#[test]
fn what_can_t_be_watched_is_said_and_tried_again() {
    // Nothing is there, and then something is.
    let port = free_port();
    let dashboard = Dashboard::watch(&[SocketAddr::from(([127, 0, 0, 1], port))], &[]);
    dashboard.await_problem("connection refused");
    assert_eq!(dashboard.state().unwrap()["verdict"], "unreachable");
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Whoever asked may be gone.
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    dashboard.await_problem("it speaks HTTP");
    // A password is asked for; then it is not.
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.call(&["CONFIG", "SET", "requirepass", "secret"]).unwrap(), Reply::Simple(b"OK".to_vec()));
    let dashboard = Dashboard::watch(&[server.address()], &[]);
    dashboard.await_problem("not let in: NOAUTH");
    assert_eq!(client.call(&["AUTH", "secret"]).unwrap(), Reply::Simple(b"OK".to_vec()));
    assert_eq!(client.call(&["CONFIG", "SET", "requirepass", ""]).unwrap(), Reply::Simple(b"OK".to_vec()));
    await_that("it is healthy", || dashboard.state().is_some_and(|state| state["verdict"] == "healthy"));
}

/// Lets the page's interface even the shares out; the cluster afterwards. `how` the plan says that slots move.
fn even_out(make: Make, how: &str) -> Option<Vec<Server>> {
    let nodes = shards::form(make, ["0 5400", "5401 10922", "10923 16383"])?;
    let dashboard = Dashboard::watch(&[nodes[0].address()], &["--actions"]);
    await_that("it is healthy", || {
        let state = dashboard.state().unwrap();
        state["verdict"] == "healthy" && state["nodes"].as_array().unwrap().len() == 6
    });
    let headers = format!(
        "Content-Type: application/json\r\nOrigin: http://127.0.0.1:{}\r\nAuthorization: Bearer {TOKEN}\r\n",
        dashboard.port
    );
    let (status, plan) = dashboard.post("/api/plan", &json!({ "wish": "rebalance" }), &headers);
    let expected = format!("Moving 60 slots from {} to {} {how}", nodes[1].address(), nodes[0].address());
    assert_eq!((status, &plan["steps"]), (200, &json!([expected])), "{plan}");
    let (status, job) = dashboard.post("/api/perform", &json!({ "plan": plan["plan"] }), &headers);
    assert_eq!((status, &job["job"]), (200, &plan["plan"]), "{job}");
    await_that("it is done", || dashboard.state().unwrap()["jobs"][0]["state"] == "done");
    await_that("all know it, and nothing is left to do", || {
        let (_, answer) = dashboard.post("/api/plan", &json!({ "wish": "rebalance" }), &headers);
        answer["error"] == "every primary has its share already"
    });
    Some(nodes)
}

#[test]
fn slots_move_as_a_whole_where_both_nodes_can_do_that() {
    let Some(nodes) = even_out(Make::Ours, "as a whole") else { return };
    let migrations = nodes[1].connect().call(&["CLUSTER", "GETSLOTMIGRATIONS"]).unwrap();
    assert!(matches!(&migrations, Reply::Array(all) if all.len() == 1), "{migrations:?}");
}

#[test]
fn slots_of_real_nodes_move_key_by_key() {
    even_out(Make::Redis, "key by key");
}

#[test]
fn a_deployment_that_vanishes_and_returns_is_followed() {
    let Some(mut all) = Deployment::start(&[Make::Ours; 2], &[Make::Ours; 2], "") else { return };
    let dashboard = Dashboard::watch(&[all.servers[0].address()], &[]);
    let is = |verdict: &str| dashboard.state().is_some_and(|state| state["verdict"] == verdict);
    await_that("it is healthy", || is("healthy"));
    await_that("Sentinels are found", || dashboard.state().is_some_and(|state| state["groups"][0]["name"] == NAME));
    all.servers.iter_mut().chain(&mut all.sentinels).for_each(quorate_interop::deployment::Process::kill);
    await_that("nobody answers", || is("unreachable"));
    all.servers.iter_mut().chain(&mut all.sentinels).for_each(quorate_interop::deployment::Process::start);
    await_that("it is healthy again", || is("healthy"));
}
