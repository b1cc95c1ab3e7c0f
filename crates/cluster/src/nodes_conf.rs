//! nodes.conf: what a node must remember of the cluster, a line for each node that it knows and one for the epochs.
//!
//! ```text
//! <id> <ip>:<port>@<bus port>[,<host name>[,<key>=<value>...]] <flags> <primary or -> <ping> <pong> <epoch> <link> <slots...>
//! vars currentEpoch <n> lastVoteEpoch <n> [granted|claimed <migration>:<node>:<epoch>:<slots>]...
//! ```
//!
//! CLUSTER NODES answers with the same lines, without the keys and the epochs. The file is written as a whole and
//! takes the place of the old one in one step, so that one without its last line was damaged: a vote that was forgotten
//! could be given twice, and a guess is worth nothing here. Files of Redis 7.0 to 8 and Valkey are read, and they read ours:
//! of variables that they don't know they only say so.
//!
//! This knows the text only. Who writes it to disk, and when, is decided elsewhere.

use std::fmt::Write as _;

use crate::{Epoch, NodeFlags, NodeId, SLOTS, ShardId, Slots, TransferId, text};

/// What a node remembers of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodesConf {
    /// The nodes; one of them is [`NodeFlags::MYSELF`].
    pub nodes: Vec<SavedNode>,
    /// The greatest epoch seen.
    pub current_epoch: Epoch,
    /// The epoch of the last vote given.
    pub last_vote_epoch: Epoch,
    /// What was granted to others, who may have claimed it since.
    pub granted: Vec<SavedGrant>,
    /// What was granted to us, and claimed, before whoever granted it has shown that it knows.
    pub claimed: Vec<SavedGrant>,
}

/// Slots that change hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedGrant {
    /// The migration.
    pub id: TransferId,
    /// Who else takes part in it.
    pub other: NodeId,
    /// The epoch of the claim.
    pub epoch: Epoch,
    /// The slots.
    pub slots: Slots,
}

/// A line of nodes.conf or of CLUSTER NODES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedNode {
    /// Its name.
    pub id: NodeId,
    /// Its address, if it is known.
    pub ip: Option<String>,
    /// Where its clients connect to.
    pub port: u16,
    /// The port for TLS if `port` is not, and the other way round; 0 if there is none.
    pub second_port: u16,
    /// Where its bus listens.
    pub bus_port: u16,
    /// The name of its host; may be empty.
    pub hostname: String,
    /// The name that its operator has given it; may be empty.
    pub human_name: String,
    /// Its shard, if that is known.
    pub shard: Option<ShardId>,
    /// What it is.
    pub flags: NodeFlags,
    /// Whom it follows.
    pub primary: Option<NodeId>,
    /// When it was sent the ping that it has not answered yet, Unix milliseconds; 0 if it owes no answer.
    pub ping_sent: i64,
    /// When it last answered, Unix milliseconds; 0 for never.
    pub pong_received: i64,
    /// The epoch of its slots.
    pub config_epoch: Epoch,
    /// Whether there is a link to it.
    pub is_linked: bool,
    /// Its slots.
    pub slots: Slots,
    /// Slots that are moving away, and where to; for the node itself only.
    pub migrating: Vec<(u16, NodeId)>,
    /// Slots that are coming, and where from; for the node itself only.
    pub importing: Vec<(u16, NodeId)>,
}

/// Why a file is no nodes.conf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfError {
    /// The last line has no end, or the line with the epochs is missing.
    #[error("the file ends too early: it was cut off, or not written by a node")]
    CutOff,
    /// A line that can't be understood.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// None of the nodes is myself, or two are.
    #[error("one node must be marked as myself, and there are {0}")]
    Myself(usize),
}

impl NodesConf {
    /// Reads a file; `None` if it is empty, which is what a node finds that has just made it.
    ///
    /// # Errors
    /// It is damaged.
    pub fn parse(file: &[u8]) -> Result<Option<NodesConf>, ConfError> {
        if file.is_empty() {
            return Ok(None);
        }
        let lines = file.strip_suffix(b"\n").ok_or(ConfError::CutOff)?;
        let mut nodes: Vec<SavedNode> = Vec::new();
        let mut remembered = None;
        for (line, index) in lines.split(|&byte| byte == b'\n').zip(1..) {
            let at = |what| ConfError::Line { line: index, what };
            let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
            match words.first() {
                None => continue,
                Some(&b"vars") => remembered = Some(vars(&words[1..]).map_err(at)?),
                Some(_) => {
                    let node = SavedNode::parse(&words).map_err(at)?;
                    if nodes.iter().any(|other| other.id == node.id) {
                        return Err(at("this node has a line already"));
                    }
                    nodes.push(node);
                }
            }
        }
        let conf = NodesConf { nodes, ..remembered.ok_or(ConfError::CutOff)? };
        match conf.nodes.iter().filter(|node| node.flags.any(NodeFlags::MYSELF)).count() {
            1 => Ok(Some(conf)),
            count => Err(ConfError::Myself(count)),
        }
    }

    /// The file.
    ///
    /// Where nodes speak TLS among themselves (`encrypted`), the other port is the plain one.
    pub fn to_text(&self, encrypted: bool) -> String {
        let mut file = String::new();
        let second = if encrypted { "tcp-port" } else { "tls-port" };
        for node in &self.nodes {
            node.write(Some(second), &mut file);
            file.push('\n');
        }
        // Writing to a string can't fail.
        let _ = write!(file, "vars currentEpoch {} lastVoteEpoch {}", self.current_epoch, self.last_vote_epoch);
        let granted = self.granted.iter().map(|grant| ("granted", grant));
        for (name, grant) in granted.chain(self.claimed.iter().map(|grant| ("claimed", grant))) {
            let SavedGrant { id, other, epoch, slots } = grant;
            let _ = write!(file, " {name} {id}:{other}:{epoch}:{}", slots.to_words(","));
        }
        file.push('\n');
        file
    }
}

/// The last line, all but its first word.
fn vars(words: &[&[u8]]) -> Result<NodesConf, &'static str> {
    let (mut current, mut vote, mut granted, mut claimed) = (None, None, Vec::new(), Vec::new());
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err("a variable has no value") };
        let epoch = || number::<u64>(value).map(Epoch).ok_or("an epoch is no number");
        match *name {
            b"currentEpoch" => current = Some(epoch()?),
            b"lastVoteEpoch" => vote = Some(epoch()?),
            b"granted" => granted.push(SavedGrant::parse(value)?),
            b"claimed" => claimed.push(SavedGrant::parse(value)?),
            _ => {} // A later version may remember more.
        }
    }
    let (current_epoch, last_vote_epoch) = current.zip(vote).ok_or("an epoch is missing")?;
    Ok(NodesConf { nodes: Vec::new(), current_epoch, last_vote_epoch, granted, claimed })
}

impl SavedGrant {
    /// `migration:node:epoch:slots`
    fn parse(word: &[u8]) -> Result<SavedGrant, &'static str> {
        let parts: Vec<&[u8]> = word.split(|&byte| byte == b':').collect();
        let [id, other, epoch, ranges] = parts[..] else { return Err("a grant has four parts") };
        let name = |digits| NodeId::parse(digits).ok_or("a grant's name is none");
        let epoch = Epoch(number(epoch).ok_or("an epoch is no number")?);
        let mut slots = Slots::none();
        for range in ranges.split(|&byte| byte == b',') {
            let (first, last) = slot_range(range)?;
            slots = slots.and(&Slots::of_range(first, last));
        }
        Ok(SavedGrant { id: name(id)?, other: name(other)?, epoch, slots })
    }
}

/// `5` or `0-100`
fn slot_range(word: &[u8]) -> Result<(u16, u16), &'static str> {
    match word.iter().position(|&byte| byte == b'-') {
        Some(dash) => Ok((slot(&word[..dash])?, slot(&word[dash + 1..])?)),
        None => slot(word).map(|slot| (slot, slot)),
    }
}

fn slot(digits: &[u8]) -> Result<u16, &'static str> {
    number::<u16>(digits).filter(|&slot| slot < SLOTS).ok_or(NO_SLOT)
}

const NO_SLOT: &str = "a slot is none";

/// A decimal number without a sign.
fn number<N: std::str::FromStr>(word: &[u8]) -> Option<N> {
    let is_plain = word.first().is_some_and(u8::is_ascii_digit);
    std::str::from_utf8(word).ok().filter(|_| is_plain)?.parse().ok()
}

impl SavedNode {
    /// A node of which nothing is known but its name.
    pub fn new(id: NodeId) -> SavedNode {
        SavedNode {
            id,
            ip: None,
            port: 0,
            second_port: 0,
            bus_port: 0,
            hostname: String::new(),
            human_name: String::new(),
            shard: None,
            flags: NodeFlags::default(),
            primary: None,
            ping_sent: 0,
            pong_received: 0,
            config_epoch: Epoch(0),
            is_linked: false,
            slots: Slots::none(),
            migrating: Vec::new(),
            importing: Vec::new(),
        }
    }

    /// Reads a line of CLUSTER NODES.
    ///
    /// # Errors
    /// It is none; the text says why.
    pub fn parse_line(line: &[u8]) -> Result<SavedNode, &'static str> {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        SavedNode::parse(&words)
    }

    fn parse(words: &[&[u8]]) -> Result<SavedNode, &'static str> {
        let [id, address, flags, primary, ping, pong, epoch, link, slots @ ..] = words else {
            return Err("a node has at least eight fields");
        };
        let mut node = SavedNode::new(NodeId::parse(id).ok_or("the first field is no node's name")?);
        node.parse_address(address)?;
        node.flags = NodeFlags::parse(flags).ok_or("a flag is unheard of")?;
        node.primary = match *primary {
            b"-" => None,
            name => Some(NodeId::parse(name).ok_or("the primary is no node's name")?),
        };
        node.ping_sent = number(ping).ok_or("the time of a ping is no number")?;
        node.pong_received = number(pong).ok_or("the time of a pong is no number")?;
        node.config_epoch = Epoch(number(epoch).ok_or("an epoch is no number")?);
        node.is_linked = match *link {
            b"connected" => true,
            b"disconnected" => false,
            _ => return Err("the state of the link is unheard of"),
        };
        for slot in slots {
            node.parse_slots(slot)?;
        }
        Ok(node)
    }

    /// `ip:port@bus port[,host name[,key=value...]]`
    fn parse_address(&mut self, field: &[u8]) -> Result<(), &'static str> {
        const WHAT: &str = "the second field is no address";
        let mut parts = field.split(|&byte| byte == b',');
        let place = parts.next().unwrap_or_default();
        let colon = place.iter().rposition(|&byte| byte == b':').ok_or(WHAT)?;
        let (ip, ports) = (&place[..colon], &place[colon + 1..]);
        let mut ports = ports.split(|&byte| byte == b'@');
        self.port = ports.next().and_then(number).ok_or(WHAT)?;
        // Before Redis 4 the port of the bus was not written, because it could only be this.
        self.bus_port = match ports.next() {
            Some(port) => number(port).ok_or(WHAT)?,
            None => self.port.wrapping_add(10000),
        };
        if ports.next().is_some() {
            return Err(WHAT);
        }
        self.ip = if ip.is_empty() { None } else { Some(text::address(ip).ok_or(WHAT)?) };
        self.hostname = text::host_name(parts.next().unwrap_or_default()).ok_or("a host's name is none")?;
        for pair in parts {
            let equals = pair.iter().position(|&byte| byte == b'=').ok_or("an auxiliary field has no value")?;
            let (key, value) = (&pair[..equals], &pair[equals + 1..]);
            match key {
                b"shard-id" => self.shard = Some(ShardId::parse(value).ok_or("a shard's name is none")?),
                b"nodename" => self.human_name = text::node_name(value).ok_or("a node's name is none")?,
                b"tls-port" | b"tcp-port" => self.second_port = number(value).ok_or("a port is none")?,
                _ => {} // A later version may remember more.
            }
        }
        Ok(())
    }

    /// `5`, `0-100`, `[5->-node]` or `[5-<-node]`
    fn parse_slots(&mut self, word: &[u8]) -> Result<(), &'static str> {
        if let Some(moving) = word.strip_prefix(b"[") {
            let moving = moving.strip_suffix(b"]").ok_or(NO_SLOT)?;
            let dash = moving.iter().position(|&byte| byte == b'-').ok_or(NO_SLOT)?;
            let (digits, rest) = moving.split_at(dash);
            let node = rest.get(3..).and_then(NodeId::parse).ok_or(NO_SLOT)?;
            match &rest[..3] {
                b"->-" => self.migrating.push((slot(digits)?, node)),
                b"-<-" => self.importing.push((slot(digits)?, node)),
                _ => return Err(NO_SLOT),
            }
            return Ok(());
        }
        let (first, last) = slot_range(word)?;
        self.slots = self.slots.and(&Slots::of_range(first, last));
        Ok(())
    }

    /// The line of CLUSTER NODES, without its end, for a client that speaks TLS where nodes don't, or the other way round
    /// (`otherwise`).
    pub fn to_line_for(&self, otherwise: bool) -> String {
        if !otherwise || self.second_port == 0 {
            return self.to_line();
        }
        SavedNode { port: self.second_port, second_port: self.port, ..self.clone() }.to_line()
    }

    /// The line of CLUSTER NODES, without its end.
    pub fn to_line(&self) -> String {
        let mut line = String::new();
        self.write(None, &mut line);
        line
    }

    /// For a file if the name of the second port is given.
    fn write(&self, second: Option<&str>, to: &mut String) {
        let Self { id, port, bus_port, .. } = self;
        // Writing to a string can't fail.
        let _ = write!(to, "{id} {}:{port}@{bus_port}", self.ip.as_deref().unwrap_or_default());
        if let Some(second) = second {
            let _ = write!(to, ",{}", self.hostname);
            if !self.human_name.is_empty() {
                let _ = write!(to, ",nodename={}", self.human_name);
            }
            let _ = write!(to, ",{second}={}", self.second_port);
            if let Some(shard) = self.shard {
                let _ = write!(to, ",shard-id={shard}");
            }
        } else if !self.hostname.is_empty() {
            let _ = write!(to, ",{}", self.hostname);
        }
        let _ = write!(to, " {} ", self.flags.words());
        match self.primary {
            Some(primary) => _ = write!(to, "{primary}"),
            None => to.push('-'),
        }
        let link = if self.is_linked { "connected" } else { "disconnected" };
        let _ = write!(to, " {} {} {} {link}", self.ping_sent, self.pong_received, self.config_epoch);
        if !self.slots.is_empty() {
            let _ = write!(to, " {}", self.slots.to_words(" "));
        }
        for (slot, node) in &self.migrating {
            let _ = write!(to, " [{slot}->-{node}]");
        }
        for (slot, node) in &self.importing {
            let _ = write!(to, " [{slot}-<-{node}]");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "07c37dfeb235213a872192d90877d0cd55635b91";
    const B: &str = "e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca";

    fn file() -> String {
        format!(
            "{A} 127.0.0.1:30004@31004,host4,nodename=four,tls-port=0,shard-id={B} slave {B} 0 1426238317239 4 connected\n\
             {B} ::1:30001@31001,,tls-port=0,shard-id={B} myself,master - 0 0 12 connected 0-5 7 9-16383 [93-<-{A}] [77->-{A}]\n\
             vars currentEpoch 12 lastVoteEpoch 3\n"
        )
    }

    #[test]
    fn a_file_is_read_as_it_is_meant() {
        let conf = NodesConf::parse(file().as_bytes()).unwrap().unwrap();
        assert_eq!((conf.current_epoch, conf.last_vote_epoch), (Epoch(12), Epoch(3)));
        let [replica, myself] = &conf.nodes[..] else { panic!("two nodes") };
        assert_eq!((replica.ip.as_deref(), replica.port, replica.bus_port), (Some("127.0.0.1"), 30004, 31004));
        assert_eq!((&*replica.hostname, &*replica.human_name), ("host4", "four"));
        assert_eq!(replica.primary, Some(myself.id));
        assert_eq!(myself.ip.as_deref(), Some("::1"));
        assert_eq!(myself.slots.len(), 16384 - 2);
        assert_eq!((&myself.importing[..], &myself.migrating[..]), (&[(93, replica.id)][..], &[(77, replica.id)][..]));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let conf = NodesConf::parse(file().as_bytes()).unwrap().unwrap();
        assert_eq!(NodesConf::parse(conf.to_text(false).as_bytes()), Ok(Some(conf)));
    }

    #[test]
    fn what_was_granted_is_remembered() {
        let mut conf = NodesConf::parse(file().as_bytes()).unwrap().unwrap();
        let grant = |epoch| {
            let slots = [0, 1, 2, 7, 16383].into_iter().collect();
            SavedGrant { id: conf.nodes[0].id, other: conf.nodes[1].id, epoch: Epoch(epoch), slots }
        };
        (conf.granted, conf.claimed) = (vec![grant(13)], vec![grant(14)]);
        let text = conf.to_text(false);
        let (granted, claimed) = (format!("{A}:{B}:13:0-2,7,16383"), format!("{A}:{B}:14:0-2,7,16383"));
        assert!(text.ends_with(&format!(" lastVoteEpoch 3 granted {granted} claimed {claimed}\n")));
        assert_eq!(NodesConf::parse(text.as_bytes()), Ok(Some(conf)));
        for (from, to) in [(":13:", ":x:"), (":13:", ":"), (",16383 ", ",16384 "), ("0-2,", ","), (":14:", ":14:1:")] {
            assert!(NodesConf::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} as {to}");
        }
    }

    #[test]
    fn a_line_for_clients_has_no_auxiliary_fields() {
        let conf = NodesConf::parse(file().as_bytes()).unwrap().unwrap();
        let line = format!("{A} 127.0.0.1:30004@31004,host4 slave {B} 0 1426238317239 4 connected");
        assert_eq!(conf.nodes[0].to_line(), line);
        assert!(
            conf.nodes[1].to_line().starts_with(&format!("{B} ::1:30001@31001 myself,master - 0 0 12 connected 0-5 7"))
        );
    }

    #[test]
    fn files_of_older_versions_are_read() {
        let file = format!("{B} :0@0 myself,master - 0 0 0 connected\nvars currentEpoch 0 lastVoteEpoch 0\n");
        let conf = NodesConf::parse(file.as_bytes()).unwrap().unwrap();
        assert_eq!((conf.nodes[0].ip.as_deref(), conf.nodes[0].port), (None, 0));
        assert_eq!(NodesConf::parse(b""), Ok(None));
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_refused() {
        let file = file();
        for end in 1..file.len() {
            assert!(NodesConf::parse(&file.as_bytes()[..end]).is_err(), "{}", &file[..end]);
        }
    }

    #[test]
    fn a_damaged_line_is_refused_with_its_number() {
        let whole = file();
        let changes = [
            ("31004,host4", "31004@1,host4"),
            ("slave", "serf"),
            ("0-5", "0-16384"),
            ("0-5", "x"),
            (" 12 connected", " -12 connected"),
            ("[93-<-", "[93<<-"),
            (",nodename=four", ",nodename"),
            ("host4", "host_4"),
            ("currentEpoch 12", "currentEpoch"),
        ];
        for (from, to) in changes {
            let damaged = whole.replacen(from, to, 1);
            assert!(matches!(NodesConf::parse(damaged.as_bytes()), Err(ConfError::Line { .. })), "{from} as {to}");
        }
        assert_eq!(NodesConf::parse(whole.replace("myself,", "").as_bytes()), Err(ConfError::Myself(0)));
        assert_eq!(NodesConf::parse(whole.replace("slave", "myself,slave").as_bytes()), Err(ConfError::Myself(2)));
    }
}
