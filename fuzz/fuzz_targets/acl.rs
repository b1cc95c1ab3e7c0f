//! Rules of users: any text is a file of users or an error; what is told of users makes users of the same rights.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_acl::{Catalog, Channel, CommandId, Key, Listed, Need, Request, Terms, User, file_text, parse_file};

const CATEGORIES: &[&str] = &["read", "write", "admin"];

fn catalog() -> Catalog {
    let listed = |name: &str, container, categories: &[&'static str]| Listed {
        name: name.to_owned(),
        container,
        categories: categories.to_vec(),
    };
    let list = [
        listed("get", None, &["read"]),
        listed("set", None, &["write"]),
        listed("config", None, &["admin"]),
        listed("config|get", Some(2), &["admin", "read"]),
        listed("config|set", Some(2), &["admin", "write"]),
    ];
    Catalog::new(CATEGORIES, list)
}

/// What a user may do, of a few things.
fn rights(user: &User, catalog: &Catalog) -> Vec<bool> {
    let mut rights = vec![user.lets_in(b"x"), user.may_listen(b"ab", false), user.may_listen(b"a*", true)];
    for command in 0..catalog.len() {
        for name in [b"a".as_slice(), b"ab"] {
            for (read, write) in [(true, false), (false, true), (false, false)] {
                let keys = [Key { index: 1, name, need: Need { read, write } }];
                let channels = [Channel { index: 1, name, is_pattern: false }];
                let request = Request {
                    command: CommandId(command),
                    is_free: false,
                    first_argument: Some(name),
                    keys: &keys,
                    channels: &channels,
                };
                rights.push(user.check(&request).is_ok());
            }
        }
    }
    rights
}

fuzz_target!(|text: &[u8]| {
    let catalog = catalog();
    let terms = Terms { catalog: &catalog, all_channels: false };
    let Ok(users) = parse_file(text, "f", terms) else { return };
    let told = file_text(&users);
    let again = parse_file(&told, "f", terms).expect("what is told can be read");
    assert_eq!(users.len(), again.len());
    for (one, other) in users.iter().zip(again.iter()) {
        assert_eq!(one.name(), other.name());
        assert_eq!(rights(one, &catalog), rights(other, &catalog));
    }
});
