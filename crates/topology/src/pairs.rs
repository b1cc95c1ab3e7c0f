//! Replies that are a list of names and values, or of such lists, as SENTINEL answers in either protocol version.

use quorate_resp::Reply;

/// Names and values in their order.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(crate) fn read(reply: &Reply) -> Pairs {
        let pairs = match reply {
            Reply::Map(pairs) => pairs.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect(),
            Reply::Array(items) => {
                let (pairs, _) = items.as_chunks::<2>();
                pairs.iter().filter_map(|[name, value]| Some((text(name)?, text(value)?))).collect()
            }
            _ => Vec::new(),
        };
        Pairs(pairs)
    }

    pub(crate) fn list(reply: &Reply) -> Vec<Pairs> {
        match reply {
            Reply::Array(items) | Reply::Set(items) => items.iter().map(Pairs::read).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// A value that is a list with commas.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        self.get(name).map(|value| value.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }
}

/// What a reply says, if it is a text or a number.
pub(crate) fn text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Verbatim(_, text) | Reply::Error(text) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
        Reply::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocol_versions_are_read() {
        let bulk = |text: &str| Reply::Bulk(text.into());
        let old =
            Reply::Array(vec![Reply::Array(vec![bulk("name"), bulk("m"), bulk("quorum"), bulk("2"), bulk("odd")])]);
        let new = Reply::Array(vec![Reply::Map(vec![(bulk("name"), bulk("m")), (bulk("quorum"), Reply::Int(2))])]);
        for reply in [old, new] {
            let list = Pairs::list(&reply);
            assert_eq!((list[0].get("name"), list[0].number("quorum"), list[0].get("odd")), (Some("m"), 2, None));
        }
        assert!(Pairs::list(&Reply::Error(b"ERR".to_vec())).is_empty());
    }
}
