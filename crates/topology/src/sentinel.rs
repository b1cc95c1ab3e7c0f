//! What a Sentinel thinks: SENTINEL MASTERS, SLAVES, SENTINELS and CKQUORUM.

use quorate_resp::Reply;

use crate::address::Address;
use crate::pairs::{Pairs, text};

/// A replica or another Sentinel, as a Sentinel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedPeer {
    /// Where it is.
    pub address: Address,
    /// `slave` or `sentinel`, and what is wrong: `s_down`, `o_down`, `disconnected`.
    pub flags: Vec<String>,
}

/// A primary that a Sentinel watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The name that clients ask for.
    pub name: String,
    /// Where clients are sent.
    pub primary: Address,
    /// `master`, and what is wrong: `s_down`, `o_down`, `failover_in_progress`.
    pub flags: Vec<String>,
    /// How many Sentinels must see it down.
    pub quorum: u64,
    /// Which failover made it primary.
    pub epoch: u64,
    /// Its replicas.
    pub replicas: Vec<WatchedPeer>,
    /// The other Sentinels.
    pub sentinels: Vec<WatchedPeer>,
    /// Why a failover could not be authorized, if so.
    pub refusal: Option<String>,
    /// How the last failover came about; only our Sentinels tell.
    pub explanation: Vec<String>,
}

impl WatchedPeer {
    /// Whether the Sentinel thinks that it is gone.
    pub fn is_down(&self) -> bool {
        self.flags.iter().any(|flag| flag == "s_down" || flag == "o_down")
    }
}

impl Watched {
    /// Whether it has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }

    /// What SENTINEL MASTERS says; the rest is to come.
    pub(crate) fn list(masters: &Reply) -> Vec<Watched> {
        Pairs::list(masters).iter().filter_map(Watched::read).collect()
    }

    fn read(pairs: &Pairs) -> Option<Watched> {
        Some(Watched {
            name: pairs.get("name")?.to_owned(),
            primary: Address::of(pairs.get("ip")?, pairs.get("port")?)?,
            flags: pairs.words("flags"),
            quorum: pairs.number("quorum"),
            epoch: pairs.number("config-epoch"),
            replicas: Vec::new(),
            sentinels: Vec::new(),
            refusal: None,
            explanation: Vec::new(),
        })
    }

    pub(crate) fn add_replicas(&mut self, reply: &Reply) {
        self.replicas = peers(reply);
    }

    pub(crate) fn add_sentinels(&mut self, reply: &Reply) {
        self.sentinels = peers(reply);
    }

    pub(crate) fn add_quorum(&mut self, reply: &Reply) {
        let Reply::Error(_) = reply else { return };
        self.refusal = text(reply).filter(|text| text.starts_with("NOQUORUM") || text.starts_with("NOGOODSLAVE"));
    }

    pub(crate) fn add_explanation(&mut self, reply: &Reply) {
        if let Reply::Array(lines) = reply {
            self.explanation = lines.iter().filter_map(text).collect();
        }
    }
}

fn peers(reply: &Reply) -> Vec<WatchedPeer> {
    let peer = |pairs: &Pairs| {
        let address = Address::of(pairs.get("ip")?, pairs.get("port")?)?;
        Some(WatchedPeer { address, flags: pairs.words("flags") })
    };
    Pairs::list(reply).iter().filter_map(peer).collect()
}

/// Who introduces itself in `ip,port,runid,epoch,name,primary ip,primary port,primary epoch`.
pub(crate) fn introduced(payload: &str) -> Option<Address> {
    let mut words = payload.split(',');
    Address::of(words.next()?, words.next()?)
}
