//! Which gateways are alive. Each renews a Lease; connections of a dead one are removed from its sessions.
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

/// A gateway creates its Lease before its first connection, and the watch may show the connection first. A Lease without a
/// duration of its own is valid for the same time.
const LEASE_GRACE: Duration = Duration::from_secs(15);

/// How long a dead gateway is remembered: that long a slow watch may still show a session that names it.
const DEAD_GATEWAY_TTL: Duration = Duration::from_hours(1);

/// How often Leases are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// When each gateway was last heard of, by this process' own clock.
#[derive(Debug, Default)]
pub(crate) struct GatewayLiveness {
    known: Mutex<LeaseRecords>,
}

#[derive(Debug, Default)]
struct LeaseRecords {
    /// By the Lease's UID.
    leases: HashMap<String, SeenRenewal>,
    /// Gateways without a Lease, and since when they count as dead.
    missing: HashMap<String, Instant>,
}

#[derive(Debug)]
struct SeenRenewal {
    version: Option<String>,
    seen: Instant,
}

/// The gateways of one session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Liveness {
    /// Those that are dead.
    pub(super) dead: HashSet<String>,
    /// When to assess again those that may be dead or not have created their Lease yet.
    pub(super) next: Option<Timestamp>,
}

impl GatewayLiveness {
    /// Takes in what the watch of Leases says.
    pub(crate) fn observe(&self, event: &watcher::Result<WatchEvent<Lease>>, now: Instant) {
        let mut known = self.lock();
        match event {
            Ok(WatchEvent::Apply(lease) | WatchEvent::InitApply(lease)) => known.renewed(lease, now),
            Ok(WatchEvent::Delete(lease)) => known.ended(lease, now),
            // The cache has dropped it, and which gateway held it is not known.
            Ok(WatchEvent::Undecodable(_)) => {}
            // After a gap in the watch, each has its whole duration again.
            Ok(WatchEvent::Init | WatchEvent::InitDone) | Err(_) => {
                for renewal in known.leases.values_mut() {
                    renewal.seen = now;
                }
            }
        }
    }

    /// Which of these gateways are dead.
    pub(super) fn assess<'a>(&self, gateways: impl Iterator<Item = &'a str>, caches: &Caches) -> Liveness {
        let now = Instant::now();
        let mut known = self.lock();
        known
            .missing
            .retain(|_, dead_at| now.saturating_duration_since(*dead_at) < DEAD_GATEWAY_TTL);
        let mut liveness = Liveness::default();
        let mut longest = None;
        for gateway in gateways.filter(|gateway| !caches.has_lease(gateway)) {
            let dead_at = *known.missing.entry(gateway.to_owned()).or_insert(now + LEASE_GRACE);
            if dead_at <= now {
                liveness.dead.insert(gateway.to_owned());
            } else {
                longest = longest.max(Some(dead_at - now));
            }
        }
        liveness.next = longest.and_then(|longest| Timestamp::now().checked_add(longest).ok());
        liveness
    }

    /// The Leases that have expired.
    fn expired(&self, leases: &[Arc<Lease>], now: Instant) -> Vec<Arc<Lease>> {
        let known = self.lock();
        let is_expired = |lease: &Lease| {
            let renewal = known.leases.get(&lease.uid().unwrap_or_default());
            renewal.is_some_and(|renewal| now.saturating_duration_since(renewal.seen) > duration(lease))
        };
        leases.iter().filter(|lease| is_expired(lease)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, LeaseRecords> {
        self.known.lock()
    }
}

impl LeaseRecords {
    fn renewed(&mut self, lease: &Lease, now: Instant) {
        if let Some(gateway) = holder(lease) {
            self.missing.remove(gateway);
        }
        let version = lease.resource_version();
        let renewal = self
            .leases
            .entry(lease.uid().unwrap_or_default())
            .or_insert(SeenRenewal {
                version: None,
                seen: now,
            });
        if renewal.version != version {
            *renewal = SeenRenewal { version, seen: now };
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
        .map_or(LEASE_GRACE, Duration::from_secs)
}

/// Deletes Leases that have expired, and enqueues the sessions of their gateways.
pub(crate) async fn reap_expired_leases(watches: Arc<Watches>, applier: Applier) {
    let mut timer = tokio::time::interval(CHECK_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let leases = watches.caches.gateway_leases.store().state();
        for lease in watches.gateways.expired(&leases, Instant::now()) {
            match applier.delete_unchanged(lease.as_ref()).await {
                Ok(_) => {
                    tracing::info!(
                        gateway = holder(&lease),
                        "a gateway no longer renews its lease and counts as dead"
                    );
                    watches.caches.gateway_leases.deleted(&lease);
                    watches.gateways.lock().ended(&lease, Instant::now());
                    watches.gateway_ended(holder(&lease).unwrap_or_default());
                }
                Err(WriteError::NotLeader(_)) => {}
                // It was renewed after all, or has gone, or the apiserver does not answer: its duration begins again.
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
        gateways: GatewayLiveness,
        caches: Arc<Caches>,
        start: Instant,
    }

    impl Cluster {
        fn new() -> Self {
            Self {
                gateways: GatewayLiveness::default(),
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
                .assess([gateway].into_iter(), &self.caches)
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
        let liveness = cluster.gateways.assess(["b"].into_iter(), &cluster.caches);
        assert!(liveness.next.is_some());
        // It comes back under its name.
        cluster.say(1, WatchEvent::Apply(lease("a", "2")));
        assert!(!cluster.dead("a"));
    }
}
