//! The codec of the cluster bus against a real node: this test plays a node, and every packet that the real one sends is
//! decoded and must come out of the encoder bit for bit as it came.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use quorate_client::{Client, Reply};
use quorate_cluster::packet::{self, Body, Header, Heartbeat, Packet};
use quorate_cluster::{Epoch, NodeFlags, NodeId, Slots};
use quorate_interop::{PATIENCE, Server, await_that, binary, free_port};
use quorate_stdx::Rng;

/// One end of a link of the bus.
struct Link(TcpStream);

impl Link {
    fn new(stream: TcpStream) -> Link {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Link(stream)
    }

    fn send(&mut self, header: &Header, body: Body) {
        let mut bytes = Vec::new();
        Packet { header: Some(Box::new(header.clone())), body }.encode(&mut bytes);
        self.0.write_all(&bytes).unwrap();
    }

    /// The next packet, which the codec has been held against.
    fn receive(&mut self) -> Packet {
        let mut bytes = vec![0; packet::LIGHT_HEADER];
        self.0.read_exact(&mut bytes).unwrap();
        let length = packet::length(&bytes).unwrap().unwrap();
        bytes.resize(length, 0);
        self.0.read_exact(&mut bytes[packet::LIGHT_HEADER..]).unwrap();
        let packet = Packet::decode(&bytes).unwrap().unwrap();
        let mut again = Vec::new();
        packet.encode(&mut again);
        let differing = again.iter().zip(&bytes).position(|(ours, theirs)| ours != theirs);
        assert_eq!((differing, again.len()), (None, bytes.len()), "{packet:?}");
        packet
    }

    /// Answers pings until a packet of the wanted kind comes.
    fn await_packet(&mut self, header: &Header, mut is_wanted: impl FnMut(&Packet) -> bool) -> Packet {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no such packet comes");
            let packet = self.receive();
            if is_wanted(&packet) {
                return packet;
            }
            if matches!(packet.body, Body::Heartbeat { kind: Heartbeat::Ping | Heartbeat::Meet, .. }) {
                self.send(header, heartbeat(Heartbeat::Pong));
            }
        }
    }
}

fn heartbeat(kind: Heartbeat) -> Body {
    Body::Heartbeat { kind, entries: Vec::new(), extensions: Vec::new() }
}

fn is_ping(packet: &Packet) -> bool {
    matches!(packet.body, Body::Heartbeat { kind: Heartbeat::Ping | Heartbeat::Meet, .. })
}

fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match client.call(&words).unwrap() {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8(text).unwrap(),
        Reply::Int(number) => number.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

/// What a node says of itself that plays along as a replica of `primary`.
fn introduction(bus_port: u16, primary: Option<NodeId>) -> Header {
    let role = if primary.is_some() { NodeFlags::REPLICA } else { NodeFlags::PRIMARY };
    Header {
        sender: NodeId::random(&mut Rng::new(u64::from(bus_port))),
        current_epoch: Epoch(0),
        config_epoch: Epoch(0),
        offset: 0,
        slots: Slots::none(),
        primary,
        ip: Some("127.0.0.1".into()),
        port: 1,
        second_port: 0,
        bus_port,
        flags: NodeFlags::MYSELF.and(role),
        state_ok: true,
        paused: false,
        force_ack: false,
        knows_extensions: true,
    }
}

#[test]
fn a_real_node_takes_us_for_one_and_all_that_it_sends_is_encoded_alike() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let bus = quorate_interop::free_port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-announce-hostname", "real.example"];
    let Some(real) = Server::start_redis(&options, None) else { return };
    let mut client = real.connect();
    call(&mut client, "CLUSTER ADDSLOTSRANGE 0 16383");
    call(&mut client, "CLUSTER BUMPEPOCH");
    let listener = free();
    let real_id = NodeId::parse(call(&mut client, "CLUSTER MYID").as_bytes()).unwrap();

    // Step 1: we greet it, it answers, greets us in turn and knows us from then on.
    let mut us = introduction(listener.local_addr().unwrap().port(), Some(real_id));
    let mut to_it = Link::new(TcpStream::connect(("127.0.0.1", bus.parse().unwrap())).unwrap());
    to_it.send(&us, heartbeat(Heartbeat::Meet));
    let answer = to_it.receive();
    assert!(matches!(answer.body, Body::Heartbeat { kind: Heartbeat::Pong, .. }));
    assert_eq!(answer.header.as_ref().unwrap().sender, real_id);
    let mut from_it = Link::new(listener.accept().unwrap().0);
    from_it.await_packet(&us, is_ping);
    from_it.send(&us, heartbeat(Heartbeat::Pong));
    from_it.await_packet(&us, is_ping);
    from_it.send(&us, heartbeat(Heartbeat::Pong));
    let line = format!("{} 127.0.0.1:1@{} slave {real_id}", us.sender, us.bus_port);
    let nodes = call(&mut client, "CLUSTER NODES");
    assert!(nodes.contains(&line), "{nodes}\nlacks {line}");

    // Step 2: messages.
    for (command, sharded) in [("PUBLISH", false), ("SPUBLISH", true)] {
        call(&mut client, &format!("{command} news hello"));
        let is_message = |packet: &Packet| matches!(packet.body, Body::Publish(_));
        let Body::Publish(published) = from_it.await_packet(&us, is_message).body else { unreachable!() };
        assert_eq!(
            (published.sharded, &*published.channel, &*published.message),
            (sharded, &b"news"[..], &b"hello"[..])
        );
    }

    // Step 3: a manual failover, up to its vote.
    to_it.send(&us, Body::ManualStart);
    from_it.await_packet(&us, |packet| packet.header.as_ref().unwrap().paused);
    us.current_epoch = Epoch(50);
    us.slots = Slots::all();
    us.config_epoch = Epoch(1);
    us.force_ack = true;
    to_it.send(&us, Body::AuthRequest);
    from_it.await_packet(&us, |packet| packet.body == Body::AuthAck);
    us.force_ack = false;

    // Step 4: we claim its slots with an epoch that is too old, and are told better.
    us.primary = None;
    us.flags = NodeFlags::MYSELF.and(NodeFlags::PRIMARY);
    us.config_epoch = Epoch(0);
    to_it.send(&us, heartbeat(Heartbeat::Ping));
    let update = from_it.await_packet(&us, |packet| matches!(packet.body, Body::Update { .. }));
    let Body::Update { node, slots, .. } = update.body else { unreachable!() };
    assert_eq!((node, slots), (real_id, Slots::all()));
}

/// A Sentinel, which is ended with the test.
struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_no_other_node_is_not_met_and_the_log_says_so() {
    let bus = free_port();
    let bus_text = bus.to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus_text, "--cluster-node-timeout", "1000"];
    let node = Server::start(&options);
    let mut client = node.connect();
    let mut meet = |port: u16| assert_eq!(call(&mut client, &format!("CLUSTER MEET 127.0.0.1 {port} {port}")), "OK");

    meet(bus);
    await_that("it notices that it has met itself", || node.log().contains("The node that was to be met is this one"));

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    meet(server.local_addr().unwrap().port());
    let mut asked = server.accept().unwrap().0;
    asked.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
    drop(server);
    await_that("what a web server says is refused", || {
        node.log().contains("Bad message of the cluster bus from 127.0")
    });

    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let file = folder.path().join("sentinel.conf");
    std::fs::write(&file, format!("port {port}\ndir {}\n", folder.path().display())).unwrap();
    let mut command = Command::new(binary());
    let started = command.arg("sentinel").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let _sentinel = Sentinel(started.unwrap());
    await_that("the Sentinel listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let expired = || node.log().matches("Handshake with a node timed out").count();
    let before = expired();
    meet(port);
    await_that("nobody answers as a node", || expired() > before);
    await_that("it knows nobody but itself", || call(&mut node.connect(), "CLUSTER NODES").lines().count() == 1);
}
