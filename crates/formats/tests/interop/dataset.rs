//! A dataset with every type, every encoding and every note that Redis 7.0 can save about a key.

use super::server::Server;

/// A function library, as FUNCTION LOAD takes it.
const LIBRARY: &str = "#!lua name=mylib\nredis.register_function('hello', function() return 'hi' end)";

/// Fills an empty server.
pub(crate) fn fill(server: &mut Server) {
    server.ask(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]);
    strings(server);
    lists(server);
    sets(server);
    sorted_sets(server);
    hashes(server);
    streams(server);
    server.run("PEXPIREAT string:raw 4102444800123");
    server.run("PEXPIREAT hash:listpack 4102444800456");
    server.run("SELECT 9");
    server.run("SET other-database yes");
    server.run("SELECT 0");
}

fn strings(server: &mut Server) {
    for (name, text) in [
        ("int8", "-7"),
        ("int16", "-30000"),
        ("int32", "2000000000"),
        ("int64", "-9223372036854775808"),
        ("not-int", "007"),
        ("embstr", "short"),
    ] {
        server.run(&format!("SET string:{name} {text}"));
    }
    server.ask(&[b"SET", b"string:empty", b""]);
    server.ask(&[b"SET", b"string:raw", &noise(1, 3000)]);
    server.ask(&[b"SET", b"string:compressible", &b"again and again, ".repeat(2000)]);
    server.ask(&[b"SET", b"", b"the empty key"]);
    server.ask(&[b"SET", &b"a long and repetitive key ".repeat(20), b"x"]);
    server.ask(&[b"SET", b"string:large", &noise(2, 1_000_000)]);
}

fn lists(server: &mut Server) {
    server.run("RPUSH list:small a 1 -1 300 100000 10000000000 b");
    for n in 0..3000 {
        server.run(&format!("RPUSH list:long {n} element-{n}"));
    }
    server.run("DEBUG quicklist-packed-threshold 200b");
    server.ask(&[b"RPUSH", b"list:plain", b"small", &noise(3, 500), b"small", &b"y".repeat(5000)]);
    server.run("DEBUG quicklist-packed-threshold 0");
    server.run("CONFIG SET list-compress-depth 1");
    for n in 0..3000 {
        server.run(&format!("RPUSH list:compressed the-same-words-again-{n}"));
    }
    server.run("CONFIG SET list-compress-depth 0");
}

fn sets(server: &mut Server) {
    server.run("SADD set:intset16 1 2 3 -5");
    server.run("SADD set:intset32 1 70000");
    server.run("SADD set:intset64 1 9223372036854775807 -9223372036854775808");
    server.run("SADD set:small a b 17");
    for n in 0..1000 {
        server.run(&format!("SADD set:table member-{n} {n}"));
    }
}

fn sorted_sets(server: &mut Server) {
    server.run("ZADD zset:listpack 1 one 2.5 two -inf low +inf high 3.14159265358979 pi -0 zero 1e300 huge 17 17");
    for n in 0..1000 {
        server.run(&format!("ZADD zset:skiplist {}.{n} member-{n}", n * 7 % 13));
    }
    server.run("ZADD zset:skiplist -inf low inf high 0.1 tenth");
}

fn hashes(server: &mut Server) {
    server.run("HSET hash:listpack field value 12 34 large 12345678901234567890");
    for n in 0..1000 {
        server.run(&format!("HSET hash:table field-{n} {n} {n} value-{n}"));
    }
    server.ask(&[b"HSET", b"hash:long-value", b"field", &noise(4, 100)]);
}

fn streams(server: &mut Server) {
    server.run("XADD stream:small 1-1 a 1 b 2");
    server.run("XGROUP CREATE stream:empty group $ MKSTREAM");
    for n in 1..1000 {
        server.run(&format!("XADD stream:long {n}-{n} field {n} other value-{n}"));
        if n % 7 == 0 {
            server.run(&format!("XADD stream:long {n}-{} different {n}", n + 1));
        }
    }
    server.run("XDEL stream:long 5-5 6-6 7-8");
    server.run("XGROUP CREATE stream:long first 0");
    server.run("XGROUP CREATE stream:long second 500-0");
    server.run("XGROUP CREATECONSUMER stream:long first idle-consumer");
    server.run("XREADGROUP GROUP first alice COUNT 20 STREAMS stream:long >");
    server.run("XREADGROUP GROUP first bob COUNT 5 STREAMS stream:long >");
    server.run("XREADGROUP GROUP second alice COUNT 3 STREAMS stream:long >");
    server.run("XACK stream:long first 1-1 2-2");
    server.run("XCLAIM stream:long first carol 0 3-3");
}

/// Bytes without any pattern, the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = quorate_stdx::Rng::new(seed);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}
