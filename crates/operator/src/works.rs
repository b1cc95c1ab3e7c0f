//! What `quorate cluster` does to slots, for programs that show, ask and count themselves.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};

use crate::change::{describe, shares};
use crate::node::Credentials;
use crate::picture::Picture;
use crate::plan::{self, Move, Share};
use crate::{moving, whole};

/// A cluster that is worked on. Whatever is asked of it waits for the nodes.
pub struct Works {
    picture: Picture,
    credentials: Credentials,
}

/// Slots that go from one node to another.
#[derive(Debug, Clone)]
pub struct Step {
    /// For people.
    pub text: String,
    /// How many they are.
    pub slots: usize,
    movement: Move,
}

impl Works {
    /// Gets to know a cluster from any of its nodes.
    ///
    /// # Errors
    /// That node can't be asked, or is none of a cluster.
    pub fn reach(entry: SocketAddr, user: Option<String>, password: Option<String>) -> Result<Works> {
        let credentials = Credentials { password, user, ..Credentials::default() };
        Ok(Works { picture: Picture::settled(entry, &credentials)?, credentials })
    }

    /// What has to move until every primary has its share; those without slots get theirs, too.
    ///
    /// # Errors
    /// Something is wrong with the cluster that has to be put right first.
    pub fn even(&self) -> Result<Vec<Step>> {
        whole(&self.picture)?;
        Ok(self.steps(plan::rebalance(&shares(&self.picture, &[], true)?, 0.0)))
    }

    /// What has to move until a node has no slots.
    ///
    /// # Errors
    /// It is none of the cluster, or nobody else could take them.
    pub fn away(&self, from: SocketAddr) -> Result<Vec<Step>> {
        let member = self.picture.members.iter().find(|member| member.address == from);
        let member = member.with_context(|| format!("{from} is no node of the cluster"))?;
        let leaving = Share { id: member.id(), slots: member.told.slots.clone(), weight: 0.0 };
        let others: Vec<Share> =
            shares(&self.picture, &[], false)?.into_iter().filter(|share| share.id != leaving.id).collect();
        if others.is_empty() {
            bail!("nobody else could take its slots");
        }
        Ok(self.steps(plan::drain(&leaving, &others)))
    }

    fn steps(&self, moves: Vec<Move>) -> Vec<Step> {
        let step =
            |movement: Move| Step { text: describe(&self.picture, &movement), slots: movement.slots.len(), movement };
        moves.into_iter().map(step).collect()
    }

    /// Carries a step out; `heard` is told how many of its slots are done, and what more there is to say.
    ///
    /// # Errors
    /// A node refuses, or is gone. What was moved by then stays moved, and the rest can be gone on with by a new plan.
    pub fn carry_out(&mut self, step: &Step, heard: &mut dyn FnMut(usize, &str)) -> Result<()> {
        moving::run(&mut self.picture, &step.movement, &self.credentials, heard)
    }
}
