//! Which route has which entry point or host name.
//!
//! A plain TCP port carries one route: of two, Traefik takes any, and another one after the next change of anything. So nothing here is
//! random, and nothing is kept but what objects say: a route keeps what it has; what is free goes to the oldest object that asks for it.
//! What an object has is said by the live object of the route, else by its status.

mod assignment;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::assignment::{Assignment, Candidate};
use super::{
    claim::{Claim, Claimant, ObjectClaims, Want},
    gateway::{EntryPoint, RouteGateway, RouteGateways},
    host::overlap,
    plan::static_problem,
    problem::RouteProblem,
};

/// A route of an object: the object's UID, and the route's name.
pub type RouteKey = (String, String);

/// An entry point that a live object of a route uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveEntryPoint {
    /// The gateway's name.
    pub gateway: String,
    /// The entry point's name.
    pub entry_point: String,
    /// The namespace of the object. A UID that somebody wrote into another namespace is another owner.
    pub namespace: String,
    /// The route that uses it.
    pub route: RouteKey,
}

/// What a route got of its gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGrant<'a> {
    /// The gateway.
    pub gateway: &'a RouteGateway,
    /// Its port for this route.
    pub entry_point: &'a EntryPoint,
}

/// What a change may have freed: whose answer can be another one now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Released {
    /// What objects asked for until now.
    claims: Vec<Claim>,
    /// Gateways of which a live object is another one now, or gone.
    gateways: BTreeSet<String>,
}

impl Released {
    /// A live object of a route of this gateway is another one now, or gone.
    #[must_use]
    pub fn of_live(gateway: &str) -> Self {
        Self {
            claims: Vec::new(),
            gateways: BTreeSet::from([gateway.to_owned()]),
        }
    }

    /// What an object asked for that asks for something else now.
    fn of_claims(object: &ObjectClaims) -> Self {
        Self {
            claims: object.claims.clone(),
            gateways: BTreeSet::new(),
        }
    }

    /// Takes in what another change has freed.
    pub fn extend(&mut self, other: Self) {
        self.claims.extend(other.claims);
        self.gateways.extend(other.gateways);
    }

    /// The gateways whose entry points may be given out in another way now.
    fn pools(&self, gateways: &RouteGateways) -> BTreeSet<String> {
        let of_claim = |claim: &Claim| {
            let asks = matches!(Want::of(&claim.rule), Some(Want::EntryPoint(_)));
            let found = gateways.find(claim.rule.gateway.as_deref()).filter(|_| asks);
            found.map(|found| found.name.clone())
        };
        let held = self.claims.iter().filter_map(|claim| claim.held.as_ref());
        let held = held.filter(|held| held.host.is_none()).map(|held| held.gateway.clone());
        let asked = self.claims.iter().filter_map(of_claim);
        self.gateways.iter().cloned().chain(held).chain(asked).collect()
    }

    /// Whether a route may get its host name now.
    fn concerns_host(&self, claim: &Claim) -> bool {
        let host = |claim: &Claim| Want::of(&claim.rule).and_then(|want| want.host().map(str::to_owned));
        let Some(asked) = host(claim) else { return false };
        let asked = (asked != "*").then_some(asked);
        let mut freed = self.claims.iter().filter_map(host);
        freed.any(|freed| freed == "*" || overlap(asked.as_deref(), Some(&freed)))
    }
}

/// The routes of an object that wait for what others have, and what was said of each.
pub type WaitingRoutes = BTreeMap<String, RouteProblem>;

/// What all objects ask for, and what was given out and may not be in the cluster yet.
#[derive(Clone, Debug, Default)]
pub struct RoutePool {
    /// By kind, namespace and name.
    objects: BTreeMap<String, ObjectClaims>,
    /// Entry points that routes were given by this process, before their objects could be seen.
    given: BTreeMap<RouteKey, (String, String)>,
    /// The same for host names: gateway and host.
    given_hosts: BTreeMap<RouteKey, (String, String)>,
}

impl RoutePool {
    /// Takes in what the object of this key asks for now. Returns what it gave up that others may wait for; an object that is new gives
    /// nothing up.
    pub fn set(&mut self, key: &str, claims: Option<ObjectClaims>) -> Option<Released> {
        let before = self.objects.get(key);
        let wants = |claims: &ObjectClaims| -> Vec<_> {
            let routes = claims.claims.iter();
            routes.map(|claim| (claim.route.clone(), claim.rule.clone())).collect()
        };
        let is_changed = before.map(wants) != claims.as_ref().map(wants)
            || before.map(|before| &before.claimant.uid) != claims.as_ref().map(|claims| &claims.claimant.uid);
        let before = match claims {
            Some(claims) => self.objects.insert(key.to_owned(), claims),
            None => self.objects.remove(key),
        };
        let released = Released::of_claims(&before.filter(|_| is_changed)?);
        self.drop_given();
        Some(released)
    }

    /// Whether the object of this key asks for something.
    #[must_use]
    pub fn knows(&self, key: &str) -> bool {
        self.objects.contains_key(key)
    }

    /// The keys of all objects that ask for something.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// What was given to routes that are gone, or that ask for something else now, is free: a route that asks for it again later has no claim
    /// to what somebody else got meanwhile.
    fn drop_given(&mut self) {
        if self.given.is_empty() && self.given_hosts.is_empty() {
            return;
        }
        let wanted: BTreeMap<RouteKey, &Claim> = self
            .objects
            .values()
            .flat_map(|object| {
                object
                    .claims
                    .iter()
                    .map(|claim| (key_of(&object.claimant, claim), claim))
            })
            .collect();
        self.given.retain(|route, (gateway, entry_point)| {
            let claim = wanted.get(route);
            claim.is_some_and(|claim| asks_for(claim, gateway, entry_point, None))
        });
        self.given_hosts.retain(|route, (gateway, host)| {
            let claim = wanted.get(route);
            claim.is_some_and(|claim| asks_for(claim, gateway, "", Some(host.as_str())))
        });
    }

    /// The objects that were given an entry point or have it by their status.
    pub fn holders(&self, gateway: &str, entry_point: &str) -> impl Iterator<Item = &str> {
        let has = move |object: &ObjectClaims, claim: &Claim| {
            let given = self.given.get(&key_of(&object.claimant, claim));
            let held = claim.held.as_ref().filter(|held| held.host.is_none());
            given.is_some_and(|(at, name)| at == gateway && name == entry_point)
                || held.is_some_and(|held| held.gateway == gateway && held.entry_point == entry_point)
        };
        let objects = self.objects.iter();
        objects
            .filter(move |(_, object)| object.claims.iter().any(|claim| has(object, claim)))
            .map(|(key, _)| key.as_str())
    }

    /// Those of `waiting` to whose routes something else would be said since this was released: most of them, that they get it. Who has
    /// which entry point of a gateway is found out once for all of them.
    #[must_use]
    pub fn concerned<'a>(
        &self,
        waiting: &'a BTreeMap<String, WaitingRoutes>,
        released: &Released,
        gateways: &RouteGateways,
        live: &[LiveEntryPoint],
    ) -> Vec<&'a str> {
        let pools = released.pools(gateways);
        let candidates: BTreeMap<&str, Vec<Candidate<'_>>> = gateways
            .all()
            .iter()
            .filter(|gateway| pools.contains(&gateway.name))
            .map(|gateway| (gateway.name.as_str(), self.candidates(gateway, gateways)))
            .collect();
        let assignments = self.assignments(&candidates, gateways, live);
        let is_another = |object: &ObjectClaims, claim: &Claim, said: &RouteProblem| {
            let is_pool = matches!(Want::of(&claim.rule), Some(Want::EntryPoint(_)));
            let gateway = gateways.find(claim.rule.gateway.as_deref());
            let is_in_question = if is_pool {
                gateway.is_some_and(|gateway| pools.contains(&gateway.name))
            } else {
                released.concerns_host(claim)
            };
            is_in_question
                && self
                    .grant(&object.claimant, claim, gateways, &assignments)
                    .err()
                    .as_ref()
                    != Some(said)
        };
        let is_concerned = |key: &str, routes: &WaitingRoutes| {
            self.objects.get(key).is_some_and(|object| {
                let mut claims = object.claims.iter();
                claims.any(|claim| {
                    routes
                        .get(&claim.route)
                        .is_some_and(|said| is_another(object, claim, said))
                })
            })
        };
        let concerned = waiting.iter().filter(|(key, routes)| is_concerned(key, routes));
        concerned.map(|(key, _)| key.as_str()).collect()
    }

    /// What every route of an object gets, by the route's name. An entry point or a host name that it gets is its own from now on. Of the
    /// gateways `unlisted` it is not known what live objects use, so nothing of them is given out, and what was given stays.
    pub fn grants<'a>(
        &mut self,
        key: &str,
        gateways: &'a RouteGateways,
        live: &[LiveEntryPoint],
        unlisted: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<RouteGrant<'a>, RouteProblem>> {
        let Some(object) = self.objects.get(key).cloned() else {
            return BTreeMap::new();
        };
        let mut granted = self.granted(&object, gateways, live);
        for (claim, granted) in object.claims.iter().zip(&mut granted) {
            let gateway = gateways.find(claim.rule.gateway.as_deref());
            if let Some(gateway) = gateway.filter(|gateway| unlisted.contains(&gateway.name)) {
                *granted = Err(RouteProblem::NotListed {
                    gateway: gateway.name.clone(),
                });
                continue;
            }
            let route = key_of(&object.claimant, claim);
            self.given.remove(&route);
            self.given_hosts.remove(&route);
            if let (Ok(grant), Some(want)) = (granted, Want::of(&claim.rule)) {
                let gateway = grant.gateway.name.clone();
                match want.host() {
                    None => self.given.insert(route, (gateway, grant.entry_point.name.clone())),
                    Some(host) => self.given_hosts.insert(route, (gateway, host.to_owned())),
                };
            }
        }
        let names = object.claims.iter().map(|claim| claim.route.clone());
        names.zip(granted).collect()
    }

    /// The same, in the order of the claims. Who has which entry point of a gateway is found out once for all of them.
    fn granted<'a>(
        &self,
        object: &ObjectClaims,
        gateways: &'a RouteGateways,
        live: &[LiveEntryPoint],
    ) -> Vec<Result<RouteGrant<'a>, RouteProblem>> {
        let asks = |claim: &&Claim| matches!(Want::of(&claim.rule), Some(Want::EntryPoint(_)));
        let asked = object.claims.iter().filter(asks);
        let asked: BTreeMap<&str, &RouteGateway> = asked
            .filter_map(|claim| gateways.find(claim.rule.gateway.as_deref()))
            .map(|gateway| (gateway.name.as_str(), gateway))
            .collect();
        let candidates: BTreeMap<&str, Vec<Candidate<'_>>> = asked
            .iter()
            .map(|(name, gateway)| (*name, self.candidates(gateway, gateways)))
            .collect();
        let assignments = self.assignments(&candidates, gateways, live);
        let claims = object.claims.iter();
        claims
            .map(|claim| self.grant(&object.claimant, claim, gateways, &assignments))
            .collect()
    }

    /// Who has which entry point, by the gateway's name.
    fn assignments<'a>(
        &'a self,
        candidates: &'a BTreeMap<&str, Vec<Candidate<'a>>>,
        gateways: &'a RouteGateways,
        live: &'a [LiveEntryPoint],
    ) -> BTreeMap<&'a str, Assignment<'a>> {
        let assignment = |gateway: &'a RouteGateway| {
            let name = gateway.name.as_str();
            let candidates = candidates.get(name)?;
            let live: Vec<_> = live.iter().filter(|live| live.gateway == name).collect();
            Some((name, Assignment::new(gateway, candidates, &live, &self.given)))
        };
        gateways.all().iter().filter_map(assignment).collect()
    }

    fn grant<'a>(
        &self,
        claimant: &Claimant,
        claim: &Claim,
        gateways: &'a RouteGateways,
        assignments: &BTreeMap<&str, Assignment<'_>>,
    ) -> Result<RouteGrant<'a>, RouteProblem> {
        let gateway = gateway_of(claim, gateways)?;
        if let Some(problem) = static_problem(gateway, &claim.rule, &claimant.namespace) {
            return Err(problem);
        }
        // Without one there is a static problem.
        let shared = |entry_point: Option<&'a EntryPoint>| {
            let grant = entry_point.map(|entry_point| RouteGrant { gateway, entry_point });
            grant.ok_or(RouteProblem::NoGateway)
        };
        match Want::of(&claim.rule) {
            None => Err(RouteProblem::Invalid("give exactly one of tcp, tls and http")),
            Some(Want::EntryPoint(asked)) => {
                let assignment = assignments.get(gateway.name.as_str());
                let assignment = assignment.ok_or(RouteProblem::NoGateway)?;
                assigned(gateway, assignment, claimant, &key_of(claimant, claim), asked)
            }
            Some(Want::TlsHost(host)) => match self.host_holder(claimant, claim, gateways, gateway) {
                Some(holder) => Err(host_in_use(gateway, Some(host), holder)),
                None => shared(gateway.tls.as_ref()),
            },
            Some(Want::HttpPath(host, _)) => match self.host_holder(claimant, claim, gateways, gateway) {
                Some(holder) => Err(host_in_use(gateway, host, holder)),
                None => shared(gateway.https.as_ref().or(gateway.http.as_ref())),
            },
        }
    }

    /// All routes that ask for an entry point of this gateway and may have one, the oldest first.
    fn candidates(&self, gateway: &RouteGateway, gateways: &RouteGateways) -> Vec<Candidate<'_>> {
        let mut candidates: Vec<_> = self
            .objects
            .values()
            .flat_map(|object| object.claims.iter().map(|claim| (&object.claimant, claim)))
            .filter_map(|(claimant, claim)| {
                let Want::EntryPoint(wish) = Want::of(&claim.rule)? else {
                    return None;
                };
                let is_here =
                    gateways.find(claim.rule.gateway.as_deref()).map(|found| &found.name) == Some(&gateway.name);
                let may = is_here && static_problem(gateway, &claim.rule, &claimant.namespace).is_none();
                let held = claim.held.as_ref().filter(|held| held.gateway == gateway.name);
                may.then(|| Candidate {
                    key: key_of(claimant, claim),
                    claimant,
                    wish,
                    held: held.map(|held| held.entry_point.as_str()),
                })
            })
            .collect();
        candidates.sort_by(|one, other| (one.claimant.created, &one.key).cmp(&(other.claimant.created, &other.key)));
        candidates
    }

    /// Who has the host that a route asks for. A host belongs to one namespace; in it, every path leads to one target.
    fn host_holder(
        &self,
        claimant: &Claimant,
        claim: &Claim,
        gateways: &RouteGateways,
        gateway: &RouteGateway,
    ) -> Option<&Claimant> {
        let own = self.rank(claimant, claim, gateway);
        self.objects
            .values()
            .flat_map(|object| object.claims.iter().map(|claim| (&object.claimant, claim)))
            // The cheapest question first: there may be thousands.
            .filter(|(other, their)| exclude_each_other((claimant, claim), (other, their)))
            .filter(|(other, their)| (&other.uid, &their.route) != (&claimant.uid, &claim.route))
            .filter(|(_, their)| {
                gateways.find(their.rule.gateway.as_deref()).map(|found| &found.name) == Some(&gateway.name)
            })
            .filter(|(other, their)| static_problem(gateway, &their.rule, &other.namespace).is_none())
            .filter(|(other, their)| self.rank(other, their, gateway) < own)
            .map(|(other, _)| other)
            .next()
    }

    /// Who comes first: those who have the host already, then the oldest. Who had another host before has no claim to this one.
    fn rank<'a>(
        &self,
        claimant: &'a Claimant,
        claim: &'a Claim,
        gateway: &RouteGateway,
    ) -> (bool, Timestamp, &'a str, &'a str) {
        let host = Want::of(&claim.rule).and_then(|want| want.host());
        let given = self.given_hosts.get(&key_of(claimant, claim));
        let was_given = given.is_some_and(|(at, given)| *at == gateway.name && Some(given.as_str()) == host);
        let held = claim.held.as_ref();
        let holds = held.is_some_and(|held| held.gateway == gateway.name && held.host.as_deref() == host);
        let has = host.is_some() && (was_given || holds);
        (!has, claimant.created, &claimant.uid, &claim.route)
    }
}

/// Whether a route still asks for what it was given: this host, or this entry point where there is no host. Which gateway a route means that
/// names none, only the configuration says.
fn asks_for(claim: &Claim, gateway: &str, entry_point: &str, host: Option<&str>) -> bool {
    let is_here = claim.rule.gateway.as_deref().is_none_or(|asked| asked == gateway);
    is_here
        && Want::of(&claim.rule).is_some_and(|want| match want {
            Want::EntryPoint(wish) => host.is_none() && wish.is_none_or(|wish| wish == entry_point),
            Want::TlsHost(_) | Want::HttpPath(..) => host.is_some() && want.host() == host,
        })
}

/// Whether only one of two routes can have its host.
fn exclude_each_other(one: (&Claimant, &Claim), other: (&Claimant, &Claim)) -> bool {
    let ((claimant, claim), (other, their)) = (one, other);
    let is_same_namespace = claimant.namespace == other.namespace;
    match (Want::of(&claim.rule), Want::of(&their.rule)) {
        (Some(Want::TlsHost(host)), Some(Want::TlsHost(theirs))) => {
            host == theirs || (!is_same_namespace && overlap(Some(host), Some(theirs)))
        }
        (Some(Want::HttpPath(host, path)), Some(Want::HttpPath(theirs, their_path))) => {
            (host == theirs && is_same_path(path, their_path)) || (!is_same_namespace && overlap(host, theirs))
        }
        _ => false,
    }
}

/// Whether two paths mean the same: a `/` at the end makes no difference to a prefix.
fn is_same_path(one: &str, other: &str) -> bool {
    one.strip_suffix('/').unwrap_or(one) == other.strip_suffix('/').unwrap_or(other)
}

/// The entry point of one route, among all that ask for one of the same gateway.
fn assigned<'a>(
    gateway: &'a RouteGateway,
    assignment: &Assignment<'_>,
    claimant: &Claimant,
    route: &RouteKey,
    asked: Option<&str>,
) -> Result<RouteGrant<'a>, RouteProblem> {
    let named = |name: &str| gateway.entry_point(name);
    if let Some(entry_point) = assignment.of(route).and_then(named) {
        return Ok(RouteGrant { gateway, entry_point });
    }
    let name = gateway.name.clone();
    Err(match asked {
        Some(asked) if named(asked).is_none() => RouteProblem::UnknownEntryPoint {
            gateway: name,
            entry_point: asked.to_owned(),
            known: listed(gateway.entry_points.iter().map(|entry_point| entry_point.name.as_str())),
        },
        // It would not help to name another one, or to wait for more of them.
        _ if assignment.is_at_limit(&claimant.namespace) => RouteProblem::EntryPointLimitReached {
            gateway: name,
            limit: assignment.limit.unwrap_or_default(),
        },
        Some(asked) => RouteProblem::EntryPointInUse {
            gateway: name,
            entry_point: asked.to_owned(),
            holder: assignment.holder(asked),
        },
        None => RouteProblem::EntryPointsUsedUp {
            gateway: name,
            count: gateway.entry_points.len(),
        },
    })
}

fn host_in_use(gateway: &RouteGateway, host: Option<&str>, holder: &Claimant) -> RouteProblem {
    RouteProblem::HostInUse {
        gateway: gateway.name.clone(),
        host: host.unwrap_or("*").to_owned(),
        holder: holder.to_string(),
    }
}

fn gateway_of<'a>(claim: &Claim, gateways: &'a RouteGateways) -> Result<&'a RouteGateway, RouteProblem> {
    let asked = claim.rule.gateway.as_deref();
    if gateways.all().is_empty() {
        return Err(RouteProblem::NoGateway);
    }
    gateways.find(asked).ok_or_else(|| RouteProblem::UnknownGateway {
        asked: asked.map_or_else(|| "that is the default one: name one".to_owned(), str::to_owned),
        known: listed(gateways.all().iter().map(|gateway| gateway.name.as_str())),
    })
}

fn key_of(claimant: &Claimant, claim: &Claim) -> RouteKey {
    (claimant.uid.clone(), claim.route.clone())
}

/// How many names a message lists.
const LISTED_LIMIT: usize = 10;

pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let shown: Vec<_> = names.iter().take(LISTED_LIMIT).copied().collect();
    match (shown.is_empty(), names.len() > LISTED_LIMIT) {
        (true, _) => "none".to_owned(),
        (false, false) => shown.join(", "),
        (false, true) => format!("{} and {} more", shown.join(", "), names.len() - LISTED_LIMIT),
    }
}

#[cfg(test)]
mod tests;
