//! Whether the controller is ready: its caches are filled, and it may read what it watches.

use std::{sync::Arc, time::Duration};

use novasphere_runtime::{
    health::GateHandle,
    watch::{DeniedWatch, DeniedWatches},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::caches::Caches;

/// How often it is looked at. A probe looks every few seconds.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the log says which caches are not filled.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Opens and closes the gate, for ever.
pub(crate) async fn follow(gate: GateHandle, caches: Arc<Caches>, denied: DeniedWatches) {
    let mut timer = interval(CHECK_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match obstacle(&caches, &denied.current()) {
            None => gate.ready(),
            Some(obstacle) => gate.not_ready(obstacle),
        }
    }
}

/// Returns when all caches are filled; says now and then which are not.
pub(crate) async fn filled(caches: &Caches) {
    let mut timer = interval(LOG_INTERVAL);
    timer.tick().await;
    loop {
        tokio::select! {
            () = caches.filled() => return,
            _ = timer.tick() => tracing::info!(kinds = caches.unfilled().join(", "), "waiting for the first list of these kinds"),
        }
    }
}

/// Why the controller is not ready: what is wrong, where, and what to do.
fn obstacle(caches: &Caches, denied: &[DeniedWatch]) -> Option<String> {
    if !denied.is_empty() {
        let denied: Vec<_> = denied.iter().map(ToString::to_string).collect();
        return Some(denied.join("; "));
    }
    let unfilled = caches.unfilled();
    (!unfilled.is_empty()).then(|| format!("waiting for the first list of {}", unfilled.join(", ")))
}

#[cfg(test)]
mod tests {
    use novasphere_runtime::watch::WatchEvent;

    use super::*;

    fn denied() -> DeniedWatch {
        DeniedWatch {
            kind: "Pod".to_owned(),
            resource: "pods".to_owned(),
            verb: "list",
            message: "pods is forbidden".to_owned(),
        }
    }

    #[test]
    fn the_caches_that_are_not_filled_are_named() {
        let caches = Caches::new();
        caches.pods.observe(&WatchEvent::InitDone);
        let obstacle = obstacle(&caches, &[]).unwrap();
        assert!(
            obstacle.contains("VirtualMachineInstance") && !obstacle.contains("Pod"),
            "{obstacle}"
        );
    }

    #[test]
    fn a_watch_that_is_denied_says_what_to_do_also_after_it_was_ready() {
        let caches = Caches::new();
        let text = obstacle(&caches, &[denied()]).unwrap();
        assert!(text.starts_with("may not list Pod: pods is forbidden."), "{text}");
        assert!(
            text.contains("Give this account the verbs list and watch on pods"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn it_is_ready_when_every_cache_is_filled() {
        let caches = Caches::new();
        let wait = filled(&caches);
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        caches.vm_accesses.observe(&WatchEvent::InitDone);
        caches.virtual_machines.observe(&WatchEvent::InitDone);
        caches.virtual_machine_instances.observe(&WatchEvent::InitDone);
        caches.console_sessions.observe(&WatchEvent::InitDone);
        caches.gateway_leases.observe(&WatchEvent::InitDone);
        caches.services.observe(&WatchEvent::InitDone);
        caches.nodes.observe(&WatchEvent::InitDone);
        caches.vnc_workspaces.observe(&WatchEvent::InitDone);
        caches.pods.observe(&WatchEvent::InitDone);
        caches.claims.observe(&WatchEvent::InitDone);
        caches.network_policies.observe(&WatchEvent::InitDone);
        caches.volume_snapshots.observe(&WatchEvent::InitDone);
        assert_eq!(caches.unfilled(), ["StorageClass"]);
        assert!(futures::poll!(&mut wait).is_pending());
        caches.storage_classes.observe(&WatchEvent::InitDone);
        wait.await;
        assert_eq!(obstacle(&caches, &[]), None);
    }
}
