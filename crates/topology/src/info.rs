//! The text of INFO: lines of `name:value` in sections.

use quorate_resp::Reply;

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Info {
    text: String,
}

impl Info {
    /// Reads a reply; what is no text has no fields.
    pub fn read(reply: &Reply) -> Info {
        match reply {
            Reply::Bulk(text) | Reply::Verbatim(_, text) => Info::of(&String::from_utf8_lossy(text)),
            _ => Info::default(),
        }
    }

    /// Takes a text as INFO has it.
    pub fn of(text: &str) -> Info {
        Info { text: text.to_owned() }
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.lines().filter_map(|line| line.trim_end().split_once(':'))
    }

    /// The fields with the section that each is in.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let mut section = "";
        self.text.lines().filter_map(move |line| {
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("# ") {
                section = name;
                return None;
            }
            line.split_once(':').map(|(name, value)| (section, name, value))
        })
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// A field that is a number; 0 if it isn't there, or isn't one.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse::<i64>().ok()).map_or(0, |number| number.max(0).unsigned_abs())
    }

    /// A field that is 1 for yes.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    /// Fields named by a prefix and a number (`slave0`, `master12`, `db3`): the number and the value.
    pub fn numbered<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (u32, &'a str)> {
        self.fields().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?.parse().ok()?, value)))
    }
}

/// A part of a value such as `ip=127.0.0.1,port=1,lag=0`. Values that hold a comma end there.
pub(crate) fn part<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_number_and_section() {
        let info = Info::of(
            "# Server\r\nredis_version:7.0.15\r\n\r\n# Replication\r\nrole:master\r\nslave0:ip=h,port=7,lag=1\r\n\
             slave_x:1\r\nmaster_repl_offset:-1\r\n",
        );
        assert_eq!(info.get("redis_version"), Some("7.0.15"));
        assert_eq!(info.number("master_repl_offset"), 0);
        let slaves: Vec<_> = info.numbered("slave").collect();
        assert_eq!(slaves, [(0, "ip=h,port=7,lag=1")]);
        assert_eq!(
            (part(slaves[0].1, "port"), part(slaves[0].1, "lag"), part(slaves[0].1, "p")),
            (Some("7"), Some("1"), None)
        );
        assert!(info.sections().any(|field| field == ("Replication", "role", "master")));
    }
}
