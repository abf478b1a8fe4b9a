//! Who gets which entry point of one gateway: keeping, giving out, and the limit of a namespace.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{LiveEntryPoint, RouteKey};
use crate::routes::{claim::Claimant, gateway::RouteGateway};

/// A route that asks for an entry point.
pub(super) struct Candidate<'a> {
    pub(super) key: RouteKey,
    pub(super) claimant: &'a Claimant,
    pub(super) wish: Option<&'a str>,
    pub(super) held: Option<&'a str>,
}

/// All entry points of one gateway, and who has them.
pub(super) struct Assignment<'a> {
    /// The names of all.
    names: BTreeSet<&'a str>,
    /// By the entry point's name.
    holders: BTreeMap<&'a str, &'a Candidate<'a>>,
    /// The other way round.
    held: BTreeMap<&'a RouteKey, &'a str>,
    /// The entry points that live objects use, of routes that do not have them: they are about to be deleted. With the namespaces and UIDs
    /// of their owners.
    leaving: BTreeMap<&'a str, BTreeSet<(&'a str, &'a str)>>,
    /// How many of them the routes of each namespace have.
    counts: BTreeMap<&'a str, usize>,
    /// How many a namespace is given.
    pub(super) limit: Option<u16>,
}

impl<'a> Assignment<'a> {
    pub(super) fn new(
        gateway: &'a RouteGateway,
        candidates: &'a [Candidate<'a>],
        live: &[&'a LiveEntryPoint],
        given: &'a BTreeMap<RouteKey, (String, String)>,
    ) -> Self {
        let mut assignment = Self {
            names: gateway
                .entry_points
                .iter()
                .map(|entry_point| entry_point.name.as_str())
                .collect(),
            holders: BTreeMap::new(),
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            counts: BTreeMap::new(),
            limit: gateway.entry_points_per_namespace,
        };
        let in_use: BTreeMap<(&str, &RouteKey), &'a str> = live
            .iter()
            .map(|live| ((live.namespace.as_str(), &live.route), live.entry_point.as_str()))
            .collect();
        for candidate in candidates {
            let given = given.get(&candidate.key).filter(|(held, _)| *held == gateway.name);
            let given = given.map(|(_, entry_point)| entry_point.as_str());
            let used = in_use.get(&(candidate.claimant.namespace.as_str(), &candidate.key));
            if let Some(name) = given.or_else(|| used.copied()) {
                assignment.keep(candidate, name);
            }
        }
        for live in live {
            let holder = assignment.holders.get(live.entry_point.as_str());
            if holder.is_none_or(|holder| holder.key != live.route || holder.claimant.namespace != live.namespace) {
                let users = assignment.leaving.entry(&live.entry_point).or_default();
                users.insert((&live.namespace, &live.route.0));
            }
        }
        for candidate in candidates {
            if let Some(name) = candidate.held.filter(|name| assignment.is_free(name, candidate)) {
                assignment.keep(candidate, name);
            }
        }
        assignment.give_out(gateway, candidates);
        assignment
    }

    /// A route keeps what it has, unless it asks for another one, there is no such one, or an older route has it as well.
    fn keep(&mut self, candidate: &'a Candidate<'a>, name: &'a str) {
        let fits = self.names.contains(name) && candidate.wish.is_none_or(|wish| wish == name);
        if fits && !self.holders.contains_key(name) && !self.held.contains_key(&candidate.key) {
            self.holders.insert(name, candidate);
            self.held.insert(&candidate.key, name);
            *self.counts.entry(&candidate.claimant.namespace).or_default() += 1;
        }
    }

    /// Whether a namespace gets no more. It keeps what it has, also above a limit that came later.
    pub(super) fn is_at_limit(&self, namespace: &str) -> bool {
        let count = self.counts.get(namespace).copied().unwrap_or_default();
        self.limit.is_some_and(|limit| count >= usize::from(limit))
    }

    /// Gives what is free to those who have nothing, the oldest first. One that takes any leaves what others wish for.
    fn give_out(&mut self, gateway: &'a RouteGateway, candidates: &'a [Candidate<'a>]) {
        let has_nothing = |candidate: &&Candidate<'_>| {
            !self.held.contains_key(&candidate.key) && !self.is_at_limit(&candidate.claimant.namespace)
        };
        let waiting: Vec<_> = candidates.iter().filter(has_nothing).collect();
        let wished: BTreeSet<_> = waiting.iter().filter_map(|candidate| candidate.wish).collect();
        let names = gateway.entry_points.iter().map(|entry_point| entry_point.name.as_str());
        let is_open = |name: &&str| {
            !self.holders.contains_key(*name) && !self.leaving.contains_key(*name) && !wished.contains(*name)
        };
        let mut open: VecDeque<_> = names.clone().filter(is_open).collect();
        for candidate in waiting {
            if self.is_at_limit(&candidate.claimant.namespace) {
                continue;
            }
            let chosen = match candidate.wish {
                Some(wish) => Some(wish).filter(|wish| self.is_free(wish, candidate)),
                None => open
                    .pop_front()
                    .or_else(|| names.clone().find(|name| self.is_free(name, candidate))),
            };
            if let Some(name) = chosen {
                self.keep(candidate, name);
            }
        }
    }

    /// Whether nobody has an entry point and no object of another owner uses it. What an owner gives up it deletes before it makes
    /// anything.
    fn is_free(&self, name: &str, candidate: &Candidate<'_>) -> bool {
        let leaving = self.leaving.get(name);
        let own = (candidate.claimant.namespace.as_str(), candidate.key.0.as_str());
        !self.holders.contains_key(name) && leaving.is_none_or(|users| users.iter().all(|user| *user == own))
    }

    /// The entry point of a route.
    pub(super) fn of(&self, key: &RouteKey) -> Option<&'a str> {
        self.held.get(key).copied()
    }

    /// Who has an entry point.
    pub(super) fn holder(&self, name: &str) -> String {
        match self.holders.get(name) {
            Some(holder) => holder.claimant.to_string(),
            None => "a route that is being removed".to_owned(),
        }
    }
}
