//! What nodes think of each other, as bits of the bus and as words of nodes.conf and CLUSTER NODES.

/// A set of flags of a node, as packets carry it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeFlags(pub u16);

impl NodeFlags {
    /// It leads.
    pub const PRIMARY: NodeFlags = NodeFlags(1);
    /// It follows.
    pub const REPLICA: NodeFlags = NodeFlags(1 << 1);
    /// Whoever says so can't reach it.
    pub const SUSPECTED: NodeFlags = NodeFlags(1 << 2);
    /// A majority can't reach it.
    pub const FAILED: NodeFlags = NodeFlags(1 << 3);
    /// It is the one that says so.
    pub const MYSELF: NodeFlags = NodeFlags(1 << 4);
    /// It has been met, but is not known by its name yet.
    pub const HANDSHAKE: NodeFlags = NodeFlags(1 << 5);
    /// Its address is not known.
    pub const NO_ADDRESS: NodeFlags = NodeFlags(1 << 6);
    /// It is to be greeted with MEET.
    pub const MEET: NodeFlags = NodeFlags(1 << 7);
    /// A primary that takes replicas of others if it has none left.
    pub const MIGRATE_TO: NodeFlags = NodeFlags(1 << 8);
    /// A replica that never stands for election.
    pub const NO_FAILOVER: NodeFlags = NodeFlags(1 << 9);
    /// It understands extensions.
    pub const EXTENSIONS: NodeFlags = NodeFlags(1 << 10);
    /// It understands messages of Pub/Sub with a light header.
    pub const LIGHT_PUBLISH: NodeFlags = NodeFlags(1 << 11);
    /// It understands messages of modules with a light header.
    pub const LIGHT_MODULE: NodeFlags = NodeFlags(1 << 12);

    /// Whether any of `other` is in it.
    pub fn any(self, other: NodeFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    pub const fn and(self, other: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 | other.0)
    }

    /// `self`, and `other` if `on`.
    pub fn and_if(self, on: bool, other: NodeFlags) -> NodeFlags {
        if on { self.and(other) } else { self }
    }

    /// The words of CLUSTER NODES and nodes.conf, in the order of Redis.
    pub fn words(self) -> String {
        let words: Vec<&str> = WORDS.iter().filter(|(flag, _)| self.any(*flag)).map(|(_, word)| *word).collect();
        if words.is_empty() { "noflags".into() } else { words.join(",") }
    }

    /// The flags that a list of words names; `None` if one of them is unheard of.
    pub fn parse(list: &[u8]) -> Option<NodeFlags> {
        list.split(|&byte| byte == b',').try_fold(NodeFlags::default(), |flags, word| {
            if word == b"noflags" {
                return Some(flags);
            }
            let known = WORDS.iter().find(|(_, known)| known.as_bytes() == word);
            known.map(|(flag, _)| flags.and(*flag))
        })
    }
}

/// "slave" and "master" because scripts read them.
const WORDS: &[(NodeFlags, &str)] = &[
    (NodeFlags::MYSELF, "myself"),
    (NodeFlags::PRIMARY, "master"),
    (NodeFlags::REPLICA, "slave"),
    (NodeFlags::SUSPECTED, "fail?"),
    (NodeFlags::FAILED, "fail"),
    (NodeFlags::HANDSHAKE, "handshake"),
    (NodeFlags::NO_ADDRESS, "noaddr"),
    (NodeFlags::NO_FAILOVER, "nofailover"),
];

impl std::fmt::Debug for NodeFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bits_are_the_same_flags() {
        let flags = NodeFlags::MYSELF.and(NodeFlags::REPLICA).and(NodeFlags::NO_FAILOVER);
        assert_eq!(flags.words(), "myself,slave,nofailover");
        assert_eq!(NodeFlags::parse(b"myself,slave,nofailover"), Some(flags));
        assert_eq!(NodeFlags::parse(b"noflags"), Some(NodeFlags::default()));
        assert_eq!(NodeFlags::parse(b"master,king"), None);
        assert_eq!(NodeFlags::EXTENSIONS.words(), "noflags");
    }
}
