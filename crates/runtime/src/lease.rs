//! One leader among replicas, by a `coordination.k8s.io/v1` Lease.

use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::watch;

use crate::{metrics::Metrics, shutdown::Shutdown};

/// How long a lease lasts and when it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a standby waits after the last renewal that it saw. Whole seconds. Default 15 s.
    pub duration: Duration,
    /// How long after the start of its last good renewal the leader goes on writing. Default 13 s; less than `duration` by what a write may need to land.
    pub renew_deadline: Duration,
    /// Pause between good renewals. Default 5 s.
    pub renew_every: Duration,
    /// Pause after a failed try, and between the looks of a standby. Default 2 s, each with up to a fifth of jitter.
    pub retry: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(13),
            renew_every: Duration::from_secs(5),
            retry: Duration::from_secs(2),
        }
    }
}

/// A write was refused because this process does not lead (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process is not the leader: the write was not sent")]
pub struct NotLeader;

/// Why an election ended in error.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The timings contradict each other.
    #[error("lease timings are not usable: {0}")]
    Timings(String),
}

/// What this process knows of its leadership. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership {
    valid_until: watch::Receiver<Option<Instant>>,
}

impl Leadership {
    /// Leadership that never ends, for a role of which only one runs (development, tests).
    #[must_use]
    pub fn always() -> Self {
        todo!()
    }

    /// Whether this process leads at `now`. By the clock, not by what it was told: see [`Timings::renew_deadline`].
    #[must_use]
    pub fn is_current(&self, now: Instant) -> bool {
        self.valid_until.borrow().is_some_and(|until| now < until)
    }

    /// Returns when this process leads.
    pub async fn wait_for_leadership(&self) {
        todo!()
    }

    /// Returns when this process does not lead, at the latest when its time runs out.
    pub async fn lost(&self) {
        todo!()
    }
}

/// Takes part in the election of one leader.
pub struct LeaseElection {
    leadership: Leadership,
}

impl LeaseElection {
    /// `identity` must be unique among the processes (the Pod's name and a random part). `client` must *not* be gated by this leadership.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Timings`].
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, timings: Timings, metrics: Metrics) -> Result<Self, LeaseError> {
        let _ = (client, namespace, name, identity, timings, metrics);
        todo!()
    }

    /// The handle to give to the client's gate and to the controllers.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Takes part until `shutdown`, then gives the lease back so that a standby goes on at once. A leader that loses the lease stands again.
    pub async fn run(self, shutdown: Shutdown) {
        let _ = shutdown;
        todo!()
    }
}
