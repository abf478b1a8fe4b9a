//! Which gateways live. Each renews a Lease; what a dead one has left in sessions is cleaned up.
//!
//! A gateway is dead when its Lease has gone. A Lease that is no longer renewed is deleted first, at the version that was
//! seen last: the delete succeeds only if there was no renewal that a slow watch has not shown. While the API server cannot
//! be reached, no time passes, because gateways cannot renew either.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, runtime::watcher};
use novasphere_runtime::{
    apply::{Applier, WriteError},
    watch::WatchEvent,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::MissedTickBehavior;

use crate::{
    caches::{Caches, holder},
    watches::Watches,
};

/// A gateway makes its Lease before its first connection, and the watch may show the connection first. A Lease that names no
/// duration of its own is believed for as long, too.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long an ended gateway is remembered; a session that names it can come back from a slow watch for so long.
const MEMORY: Duration = Duration::from_hours(1);

/// How often Leases are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What is known of gateways, by this process' own clock.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By the Lease's UID.
    leases: HashMap<String, Renewal>,
    /// Gateways without a Lease, and since when they may be taken for dead.
    missing: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Renewal {
    version: Option<String>,
    seen: Instant,
}

/// The gateways of one session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Those that are dead.
    pub(super) dead: HashSet<String>,
    /// When to ask again about those of which it is not known yet.
    pub(super) next: Option<Timestamp>,
}

impl Gateways {
    /// Takes in what the watch of Leases says.
    pub(crate) fn observe(&self, event: &watcher::Result<WatchEvent<Lease>>, now: Instant) {
        let mut known = self.lock();
        match event {
            Ok(WatchEvent::Apply(lease) | WatchEvent::InitApply(lease)) => known.renewed(lease, now),
            Ok(WatchEvent::Delete(lease)) => known.ended(lease, now),
            // The cache has forgotten it; nothing tells which gateway held it.
            Ok(WatchEvent::Undecodable(_)) => {}
            // After a gap, everybody has all the time to be heard of.
            Ok(WatchEvent::Init | WatchEvent::InitDone) | Err(_) => {
                for renewal in known.leases.values_mut() {
                    renewal.seen = now;
                }
            }
        }
    }

    /// Which of these gateways are dead.
    pub(super) fn judge<'a>(&self, gateways: impl Iterator<Item = &'a str>, caches: &Caches) -> Judgement {
        let now = Instant::now();
        let mut known = self.lock();
        known
            .missing
            .retain(|_, dead_at| now.saturating_duration_since(*dead_at) < MEMORY);
        let mut judgement = Judgement::default();
        let mut longest = None;
        for gateway in gateways.filter(|gateway| !caches.has_lease(gateway)) {
            let dead_at = *known.missing.entry(gateway.to_owned()).or_insert(now + PATIENCE);
            if dead_at <= now {
                judgement.dead.insert(gateway.to_owned());
            } else {
                longest = longest.max(Some(dead_at - now));
            }
        }
        judgement.next = longest.and_then(|longest| Timestamp::now().checked_add(longest).ok());
        judgement
    }

    /// The Leases whose time is over.
    fn expired(&self, leases: &[Arc<Lease>], now: Instant) -> Vec<Arc<Lease>> {
        let known = self.lock();
        let is_expired = |lease: &Lease| {
            let renewal = known.leases.get(&lease.uid().unwrap_or_default());
            renewal.is_some_and(|renewal| now.saturating_duration_since(renewal.seen) > duration(lease))
        };
        leases.iter().filter(|lease| is_expired(lease)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Known {
    fn renewed(&mut self, lease: &Lease, now: Instant) {
        if let Some(gateway) = holder(lease) {
            self.missing.remove(gateway);
        }
        let version = lease.resource_version();
        let renewal = self.leases.entry(lease.uid().unwrap_or_default()).or_insert(Renewal {
            version: None,
            seen: now,
        });
        if renewal.version != version {
            *renewal = Renewal { version, seen: now };
        }
    }

    fn ended(&mut self, lease: &Lease, now: Instant) {
        self.leases.remove(&lease.uid().unwrap_or_default());
        if let Some(gateway) = holder(lease) {
            self.missing.insert(gateway.to_owned(), now);
        }
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds
        .filter(|seconds| *seconds > 0)
        .map_or(PATIENCE, Duration::from_secs)
}

/// Deletes Leases whose time is over, and enqueues the sessions of their gateways.
pub(crate) async fn watch_over(watches: Arc<Watches>, applier: Applier) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let leases = watches.caches.gateway_leases.store().state();
        for lease in watches.gateways.expired(&leases, Instant::now()) {
            match applier.delete_unchanged(lease.as_ref()).await {
                Ok(_) => {
                    tracing::info!(
                        gateway = holder(&lease),
                        "a gateway no longer renews its lease and is taken for dead"
                    );
                    watches.caches.gateway_leases.deleted(&lease);
                    watches.gateways.lock().ended(&lease, Instant::now());
                    watches.gateway_ended(holder(&lease).unwrap_or_default());
                }
                Err(WriteError::NotLeader(_)) => {}
                // It was renewed after all, or has gone, or nobody can tell: the watch goes on, and so does the time.
                Err(error) => {
                    tracing::debug!(lease = lease.name_any(), %error, "cannot delete an expired lease");
                    watches
                        .gateways
                        .lock()
                        .leases
                        .entry(lease.uid().unwrap_or_default())
                        .and_modify(|renewal| {
                            renewal.seen = Instant::now();
                        });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(gateway: &str, version: &str) -> Lease {
        serde_json::from_value(json!({
            "metadata": {"name": format!("novasphere-gateway-{gateway}"), "namespace": "ns", "uid": gateway, "resourceVersion": version},
            "spec": {"holderIdentity": gateway, "leaseDurationSeconds": 15},
        }))
        .unwrap()
    }

    struct Cluster {
        gateways: Gateways,
        caches: Arc<Caches>,
        start: Instant,
    }

    impl Cluster {
        fn new() -> Self {
            Self {
                gateways: Gateways::default(),
                caches: Caches::new(),
                start: Instant::now(),
            }
        }

        fn say(&self, second: u64, event: WatchEvent<Lease>) {
            self.caches.gateway_leases.observe(&event);
            self.gateways
                .observe(&Ok(event), self.start + Duration::from_secs(second));
        }

        fn expired(&self, second: u64) -> usize {
            let leases = self.caches.gateway_leases.store().state();
            self.gateways
                .expired(&leases, self.start + Duration::from_secs(second))
                .len()
        }

        fn dead(&self, gateway: &str) -> bool {
            self.gateways
                .judge([gateway].into_iter(), &self.caches)
                .dead
                .contains(gateway)
        }
    }

    #[test]
    fn a_lease_that_is_renewed_does_not_expire() {
        let cluster = Cluster::new();
        cluster.say(0, WatchEvent::Apply(lease("a", "1")));
        cluster.say(10, WatchEvent::Apply(lease("a", "2")));
        assert_eq!(cluster.expired(20), 0);
        assert_eq!(cluster.expired(26), 1);
        // The same version again is no renewal.
        cluster.say(30, WatchEvent::Apply(lease("a", "2")));
        assert_eq!(cluster.expired(31), 1);
        assert!(!cluster.dead("a"), "it lives as long as it has a lease");
    }

    #[test]
    fn no_time_passes_while_the_watch_is_cut() {
        let cluster = Cluster::new();
        cluster.say(0, WatchEvent::Apply(lease("a", "1")));
        let cut = Err(watcher::Error::NoResourceVersion);
        cluster.gateways.observe(&cut, cluster.start + Duration::from_secs(14));
        cluster.say(60, WatchEvent::Init);
        cluster.say(60, WatchEvent::InitApply(lease("a", "1")));
        cluster.say(60, WatchEvent::InitDone);
        assert_eq!(cluster.expired(74), 0);
        assert_eq!(cluster.expired(76), 1);
    }

    #[test]
    fn a_gateway_whose_lease_went_is_dead_at_once_and_an_unknown_one_is_waited_for() {
        let cluster = Cluster::new();
        cluster.say(0, WatchEvent::Apply(lease("a", "1")));
        cluster.say(0, WatchEvent::Delete(lease("a", "1")));
        assert!(cluster.dead("a"));
        assert!(!cluster.dead("b"));
        let judgement = cluster.gateways.judge(["b"].into_iter(), &cluster.caches);
        assert!(judgement.next.is_some());
        // It comes back under its name.
        cluster.say(1, WatchEvent::Apply(lease("a", "2")));
        assert!(!cluster.dead("a"));
    }
}
