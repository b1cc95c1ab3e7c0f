//! What must be true. Each function checks one property and says what is wrong.

use std::collections::BTreeMap;

use super::node::Resource;

/// A lock that was granted, with everything that the checkers compare.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    /// Grants are numbered in the order in which they became known to their holders.
    pub(crate) number: u64,
    /// When its attempt began, by true time.
    pub(crate) began: u64,
    /// When it was granted, by true time.
    pub(crate) at: u64,
    pub(crate) client: usize,
    pub(crate) resources: Vec<Resource>,
    pub(crate) fence: Option<u64>,
}

/// While one lock is valid, no other is, if clocks and memory are as assumed.
pub(crate) fn check_exclusion(new: &Granted, other: &Granted) -> Result<(), String> {
    match new.resources.iter().find(|resource| other.resources.contains(resource)) {
        Some(resource) => Err(format!(
            "clients {} and {} both hold resource {resource} (grants {} and {})",
            other.client, new.client, other.number, new.number
        )),
        None => Ok(()),
    }
}

/// A grant comes while it is still worth something.
pub(crate) fn check_in_time(new: &Granted, now: u64, valid_until: u64) -> Result<(), String> {
    match now < valid_until {
        true => Ok(()),
        false => Err(format!("client {} is granted a lock when its time is over", new.client)),
    }
}

/// The tokens given out for each resource.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<Resource, Vec<Granted>>);

impl Tokens {
    /// Whoever began after another was granted has a greater token; if locks exclude each other, in the order of grants.
    pub(crate) fn check(&mut self, new: &Granted, is_exclusive: bool) -> Result<(), String> {
        let Some(fence) = new.fence else { return Ok(()) };
        for resource in &new.resources {
            let earlier = self.0.entry(*resource).or_default();
            for other in earlier.iter() {
                let is_later = is_exclusive || new.began > other.at;
                if is_later && other.fence.is_some_and(|other| other >= fence) {
                    return Err(format!("the token {fence} of resource {resource} does not grow: {other:?}, {new:?}"));
                }
            }
            earlier.push(new.clone());
        }
        Ok(())
    }
}

/// A store that takes no write with a token older than one that it has seen.
#[derive(Debug, Default)]
pub(crate) struct Store {
    seen: BTreeMap<Resource, u64>,
    accepted: BTreeMap<Resource, Granted>,
    pub(crate) refused: u64,
}

impl Store {
    /// A write of a holder, who may be one no more. What it takes must not come from one whose lock had ended before the
    /// lock of a writer it took from before began.
    pub(crate) fn write(&mut self, by: &Granted, is_checked: bool) -> Result<(), String> {
        let Some(fence) = by.fence else { return Ok(()) };
        for resource in &by.resources {
            if self.seen.get(resource).is_some_and(|seen| *seen > fence) {
                self.refused += 1;
                continue;
            }
            if let Some(last) = self.accepted.get(resource)
                && is_checked
                && last.began > by.at
                && last.number != by.number
            {
                return Err(format!("a stale writer got through with its token: {by:?} after {last:?}"));
            }
            self.seen.insert(*resource, fence);
            self.accepted.insert(*resource, by.clone());
        }
        Ok(())
    }
}
