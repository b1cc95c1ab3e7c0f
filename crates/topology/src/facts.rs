//! What one node says of itself, read from its answers.

use std::collections::BTreeMap;

use quorate_resp::Reply;

use crate::address::Address;
use crate::cluster::Cluster;
use crate::info::{Info, part};
use crate::question::Question;
use crate::sentinel::Watched;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// Ours.
    Quorate,
    /// Redis, or what says that it is.
    Redis,
    /// Valkey.
    Valkey,
}

/// What it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It holds data.
    Server,
    /// It holds data as a node of a cluster.
    ClusterNode,
    /// It watches.
    Sentinel,
}

/// A replica as its primary sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Where it says that it listens.
    pub address: Address,
    /// `online`, or what it waits for.
    pub state: String,
    /// What it has acknowledged, in bytes of the stream.
    pub offset: u64,
    /// Seconds since it was heard.
    pub lag: u64,
}

/// Its place in a replication tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another.
    Replica {
        /// Whom.
        of: Address,
        /// Whether it is connected and in the stream.
        is_linked: bool,
        /// Whether a full synchronization is under way.
        is_syncing: bool,
        /// For how many seconds it has not been linked.
        down_for: u64,
    },
    /// It holds no data.
    Sentinel,
}

/// Figures that change all the time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Commands a second.
    pub ops: u64,
    /// Commands since the start.
    pub commands: u64,
    /// Bytes a second that came in.
    pub input: u64,
    /// Bytes a second that went out.
    pub output: u64,
    /// Connections.
    pub clients: u64,
    /// Clients that wait in a blocking command.
    pub blocked: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes; 0 is no limit.
    pub max_memory: u64,
    /// In all databases.
    pub keys: u64,
    /// Since the start.
    pub hits: u64,
    /// Since the start.
    pub misses: u64,
    /// Since the start.
    pub evicted: u64,
}

/// What one node says.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Of the process; another one after each start.
    pub run_id: String,
    /// Whose program it is.
    pub make: Make,
    /// Of that program.
    pub version: String,
    /// What it is there for.
    pub part: Part,
    /// Its place.
    pub role: Role,
    /// Seconds since it started.
    pub uptime: u64,
    /// The history that its data belongs to.
    pub history: String,
    /// The history that this one continues, since a promotion.
    pub continues: String,
    /// Where its data stands in that history, in bytes.
    pub offset: u64,
    /// Those that follow it.
    pub replicas: Vec<Attached>,
    /// Its figures.
    pub load: Load,
    /// What it says is wrong with itself, in words.
    pub complaints: Vec<String>,
    /// Clients that listen on it for Sentinels, most of them Sentinels.
    pub listeners: u64,
    /// What it watches, if it is a Sentinel.
    pub watched: Vec<Watched>,
    /// The cluster as it sees it.
    pub cluster: Option<Cluster>,
}

/// The answers of one round.
pub(crate) type Answers = BTreeMap<Question, Reply>;

/// Enough for any deployment; more would be somebody's joke.
const LONGEST_LIST: usize = 1000;

impl Facts {
    /// Reads the answers of one round; nothing if INFO says no role, so that this is no server that we know.
    pub(crate) fn read(answers: &Answers) -> Option<Facts> {
        let info = Info::read(answers.get(&Question::Info)?);
        let part = part_of(&info)?;
        let role = match part {
            Part::Sentinel => Role::Sentinel,
            Part::Server | Part::ClusterNode => role(&info)?,
        };
        let follows = matches!(role, Role::Replica { .. });
        Some(Facts {
            run_id: info.get("run_id").unwrap_or_default().to_owned(),
            make: make(&info),
            version: version(&info).to_owned(),
            part,
            uptime: info.number("uptime_in_seconds"),
            history: info.get("master_replid").unwrap_or_default().to_owned(),
            continues: info.get("master_replid2").unwrap_or_default().to_owned(),
            offset: info.number(if follows { "slave_repl_offset" } else { "master_repl_offset" }),
            replicas: info.numbered("slave").filter_map(|(_, value)| attached(value)).take(LONGEST_LIST).collect(),
            load: load(&info),
            complaints: complaints(&info),
            listeners: listeners(answers),
            watched: if part == Part::Sentinel { watched(answers) } else { Vec::new() },
            cluster: (part == Part::ClusterNode).then(|| {
                let get = |question| answers.get(&question).unwrap_or(&Reply::Null);
                Cluster::read(get(Question::ClusterNodes), get(Question::ClusterInfo))
            }),
            role,
        })
    }

    /// Everything that is to be asked, as far as the answers so far tell.
    pub(crate) fn wanted(answers: &Answers) -> Vec<Question> {
        let mut wanted = vec![Question::Info];
        let Some(info) = answers.get(&Question::Info).map(Info::read) else { return wanted };
        match part_of(&info) {
            None => {}
            Some(Part::Server) => wanted.push(Question::Listeners),
            Some(Part::ClusterNode) => wanted.extend([Question::ClusterNodes, Question::ClusterInfo]),
            Some(Part::Sentinel) => {
                wanted.push(Question::SentinelMasters);
                let masters = answers.get(&Question::SentinelMasters).map(Watched::list).unwrap_or_default();
                let is_ours = make(&info) == Make::Quorate;
                for watched in masters.into_iter().take(LONGEST_LIST) {
                    let name = watched.name;
                    wanted.extend([
                        Question::SentinelReplicas(name.clone()),
                        Question::SentinelSentinels(name.clone()),
                        Question::SentinelQuorum(name.clone()),
                    ]);
                    wanted.extend(is_ours.then_some(Question::SentinelExplain(name)));
                }
            }
        }
        wanted
    }

    /// Asks by a function until nothing is left to ask; what it answered last, and INFO with it. Nothing if it gives up.
    pub fn ask(mut ask: impl FnMut(&[Question]) -> Option<Vec<Reply>>) -> Option<(Info, Facts)> {
        let mut answers = Answers::new();
        loop {
            let mut missing = Facts::wanted(&answers);
            missing.retain(|question| !answers.contains_key(question));
            if missing.is_empty() {
                return Some((Info::read(answers.get(&Question::Info)?), Facts::read(&answers)?));
            }
            let replies = ask(&missing)?;
            if replies.len() != missing.len() {
                return None;
            }
            answers.extend(missing.into_iter().zip(replies));
        }
    }

    /// Everybody whom it names.
    pub fn named(&self) -> Vec<&Address> {
        let mut named: Vec<&Address> = self.replicas.iter().map(|replica| &replica.address).collect();
        if let Role::Replica { of, .. } = &self.role {
            named.push(of);
        }
        for watched in &self.watched {
            named.push(&watched.primary);
            named.extend(watched.replicas.iter().chain(&watched.sentinels).map(|peer| &peer.address));
        }
        let members = self.cluster.iter().flat_map(|cluster| &cluster.members);
        named.extend(members.filter(|member| !member.has("handshake")).filter_map(|member| member.address.as_ref()));
        named
    }

    /// Whether it takes writes.
    pub fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Whom it follows.
    pub fn primary(&self) -> Option<&Address> {
        match &self.role {
            Role::Replica { of, .. } => Some(of),
            Role::Primary | Role::Sentinel => None,
        }
    }
}

fn part_of(info: &Info) -> Option<Part> {
    match info.get("redis_mode").or(info.get("server_mode")) {
        Some("sentinel") => Some(Part::Sentinel),
        Some("cluster") => Some(Part::ClusterNode),
        Some(_) => Some(Part::Server),
        None => info.get("role").map(|_| Part::Server),
    }
}

fn make(info: &Info) -> Make {
    if info.get("quorate_version").is_some() {
        Make::Quorate
    } else if info.get("valkey_version").is_some() || info.get("server_name") == Some("valkey") {
        Make::Valkey
    } else {
        Make::Redis
    }
}

fn version(info: &Info) -> &str {
    let version = info.get("quorate_version").or(info.get("valkey_version")).or(info.get("redis_version"));
    version.unwrap_or("?")
}

fn role(info: &Info) -> Option<Role> {
    match info.get("role")? {
        "master" | "primary" => Some(Role::Primary),
        "slave" | "replica" => Some(Role::Replica {
            of: Address::of(info.get("master_host")?, info.get("master_port")?)?,
            is_linked: info.get("master_link_status") == Some("up"),
            is_syncing: info.flag("master_sync_in_progress"),
            down_for: info.number("master_link_down_since_seconds"),
        }),
        _ => None,
    }
}

/// `ip=127.0.0.1,port=6380,state=online,offset=42,lag=0`
fn attached(value: &str) -> Option<Attached> {
    let number = |name| part(value, name).and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(Attached {
        address: Address::of(part(value, "ip")?, part(value, "port")?)?,
        state: part(value, "state").unwrap_or_default().to_owned(),
        offset: number("offset"),
        lag: number("lag"),
    })
}

fn load(info: &Info) -> Load {
    let kilobytes = |name: &str| {
        let value: f64 = info.get(name).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        // A float becomes the nearest integer that there is; what is no number becomes 0.
        (value * 1024.0) as u64
    };
    let keys = info.numbered("db").filter_map(|(_, value)| part(value, "keys")?.parse::<u64>().ok());
    Load {
        ops: info.number("instantaneous_ops_per_sec"),
        commands: info.number("total_commands_processed"),
        input: kilobytes("instantaneous_input_kbps"),
        output: kilobytes("instantaneous_output_kbps"),
        clients: info.number("connected_clients"),
        blocked: info.number("blocked_clients"),
        memory: info.number("used_memory"),
        max_memory: info.number("maxmemory"),
        keys: keys.fold(0, u64::saturating_add),
        hits: info.number("keyspace_hits"),
        misses: info.number("keyspace_misses"),
        evicted: info.number("evicted_keys"),
    }
}

fn complaints(info: &Info) -> Vec<String> {
    let mut complaints = Vec::new();
    if info.flag("loading") {
        complaints.push("is loading its dataset".to_owned());
    }
    for (field, what) in [
        ("rdb_last_bgsave_status", "its last snapshot failed"),
        ("aof_last_bgrewrite_status", "the last rewrite of its append-only file failed"),
        ("aof_last_write_status", "it can't write its append-only file"),
    ] {
        if info.get(field) == Some("err") {
            complaints.push(what.to_owned());
        }
    }
    complaints
}

fn listeners(answers: &Answers) -> u64 {
    let Some(Reply::Array(items)) = answers.get(&Question::Listeners) else { return 0 };
    match items.get(1) {
        Some(Reply::Int(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

fn watched(answers: &Answers) -> Vec<Watched> {
    let mut all = answers.get(&Question::SentinelMasters).map(Watched::list).unwrap_or_default();
    all.truncate(LONGEST_LIST);
    for watched in &mut all {
        let name = watched.name.clone();
        let get = |question| answers.get(&question).unwrap_or(&Reply::Null);
        watched.add_replicas(get(Question::SentinelReplicas(name.clone())));
        watched.add_sentinels(get(Question::SentinelSentinels(name.clone())));
        watched.add_quorum(get(Question::SentinelQuorum(name.clone())));
        watched.add_explanation(get(Question::SentinelExplain(name)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(info: &str) -> Answers {
        Answers::from([(Question::Info, Reply::Bulk(info.into()))])
    }

    #[test]
    fn a_primary_and_a_replica_are_told_apart() {
        let primary = "redis_mode:standalone\r\nredis_version:7.0.15\r\nrun_id:r\r\nrole:master\r\nmaster_repl_offset:42\r\n\
            slave0:ip=h,port=7,state=online,offset=40,lag=1\r\ndb0:keys=3,expires=0\r\ndb2:keys=4,expires=0\r\n\
            rdb_last_bgsave_status:err\r\n";
        let facts = Facts::read(&answered(primary)).unwrap();
        assert_eq!((facts.make, facts.part, facts.offset, facts.load.keys), (Make::Redis, Part::Server, 42, 7));
        assert_eq!((facts.replicas[0].offset, facts.complaints.len()), (40, 1));
        let replica = "redis_mode:standalone\r\nquorate_version:1\r\nrole:slave\r\nmaster_host:h\r\nmaster_port:7\r\n\
            master_link_status:up\r\nslave_repl_offset:40\r\nmaster_repl_offset:41\r\n";
        let facts = Facts::read(&answered(replica)).unwrap();
        assert_eq!((facts.make, facts.offset, facts.primary()), (Make::Quorate, 40, Address::parse("h:7").as_ref()));
    }

    #[test]
    fn what_has_no_role_is_no_server() {
        assert_eq!(Facts::read(&answered("<html>: hello")), None);
        assert_eq!(Facts::read(&answered("role:king\r\n")), None);
        assert_eq!(Facts::read(&Answers::new()), None);
    }

    #[test]
    fn each_part_is_asked_what_it_knows() {
        let count = |info: &str| Facts::wanted(&answered(info)).len();
        assert_eq!(Facts::wanted(&Answers::new()), [Question::Info]);
        assert_eq!(
            [count("role:master\r\n"), count("redis_mode:cluster\r\n"), count("redis_mode:sentinel\r\n")],
            [2, 3, 2]
        );
        let mut answers = answered("redis_mode:sentinel\r\nquorate_version:1\r\n");
        let bulk = |text: &str| Reply::Bulk(text.into());
        let master = ["name", "m", "ip", "h", "port", "1"].map(bulk).to_vec();
        answers.insert(Question::SentinelMasters, Reply::Array(vec![Reply::Array(master)]));
        assert_eq!(Facts::wanted(&answers).len(), 6);
    }
}
