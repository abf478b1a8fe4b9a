//! One leader among replicas, by a `coordination.k8s.io/v1` Lease.
//!
//! [`LeaseElection`] sends the requests, `contender` decides, [`WriteGate`] refuses writes. A leader stops writing when its lease has
//! expired by its own clock: it need not hear of it, and it cannot be late because it was stopped or cut off.
//!
//! The crates for it do not fence: kube-leader-election says so itself ("without fencing"), kube-lease-manager 0.13 checks no clock
//! at the moment of a write, and kube has none of its own yet (kube-rs/kube#485).

mod clock;
mod contender;
mod election;
mod gate;

use std::{error::Error as StdError, sync::Arc, time::Duration};

use tokio::sync::watch;

pub(crate) use self::gate::GatedBody;
#[cfg(test)]
pub(crate) use self::gate::mark;
pub use self::{
    clock::BootInstant,
    contender::{LeaseDecision, evaluate},
    election::{LeaseElection, LeaseError},
    gate::{GatedService, WriteGate, is_write},
};

/// How long a lease lasts and when it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a standby waits after the last renewal that it saw. Whole seconds, at least 2. Default 15 s.
    pub duration: Duration,
    /// How long after the *start* of its last good renewal the leader goes on writing. Default 13 s. It must be less than
    /// `duration`; the difference is the time that a write which was just sent has to land.
    pub renew_deadline: Duration,
    /// Pause between good renewals. Default 5 s. Less than half of `renew_deadline`, so that a renewal can fail once.
    pub renew_interval: Duration,
    /// Pause after a failed try, and between the looks of a standby. Default 1 s, shortened at random by up to a fifth.
    /// A standby takes over at most `duration + retry_interval` (and the time of two requests) after a leader was stopped.
    pub retry_interval: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self::for_duration(Duration::from_secs(15))
    }
}

impl Timings {
    /// Timings in the proportions of the defaults: writes end 2 s (or a fifth of a short lease) before the lease does, renewals come
    /// every third of it, and a standby looks every second (or every tenth of a short lease).
    #[must_use]
    pub fn for_duration(duration: Duration) -> Self {
        let reserve = Duration::from_secs(2).min(duration / 5);
        Self {
            duration,
            renew_deadline: duration.saturating_sub(reserve),
            renew_interval: duration / 3,
            retry_interval: Duration::from_secs(1).min(duration / 10),
        }
    }
}

/// A write was refused, or given up, because this process does not lead (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process is not the leader (any more)")]
pub struct NotLeader;

/// Whether [`NotLeader`] is the cause of an error of the client.
#[must_use]
pub fn is_not_leader(error: &kube::Error) -> bool {
    find_not_leader(error)
}

pub(crate) fn find_not_leader(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<NotLeader>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What this process knows of its leadership. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    valid_until: watch::Sender<Option<BootInstant>>,
    writes_under_way: watch::Sender<usize>,
}

impl Leadership {
    /// Leadership that never ends, for a process of which only one runs.
    #[must_use]
    pub fn always() -> Self {
        let leadership = Self::none();
        leadership.set(Some(BootInstant::NEVER));
        leadership
    }

    pub(crate) fn none() -> Self {
        Self {
            shared: Arc::new(Shared {
                valid_until: watch::Sender::new(None),
                writes_under_way: watch::Sender::new(0),
            }),
        }
    }

    pub(crate) fn set(&self, valid_until: Option<BootInstant>) {
        self.shared
            .valid_until
            .send_if_modified(|current| std::mem::replace(current, valid_until) != valid_until);
    }

    /// Whether this process leads now: by the clock, not by the last answer.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current_at(BootInstant::now())
    }

    /// Whether this process leads at `now`.
    #[must_use]
    pub fn is_current_at(&self, now: BootInstant) -> bool {
        self.shared.valid_until.borrow().is_some_and(|until| now < until)
    }

    /// Returns when this process leads; at once if it does.
    pub async fn wait_for_leadership(&self) {
        let mut changes = self.shared.valid_until.subscribe();
        while !self.is_current() {
            if changes.changed().await.is_err() {
                // The sender lives in `self`.
                return std::future::pending().await;
            }
        }
    }

    /// Returns when this process does not lead: at once if it does not, and at the latest when its time runs out.
    pub async fn lost(&self) {
        let mut changes = self.shared.valid_until.subscribe();
        loop {
            let Some(until) = *changes.borrow_and_update() else {
                return;
            };
            let left = until.since(BootInstant::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Permission for one write, counted until it is dropped.
    fn permit(&self) -> Option<Permit> {
        // Counted before the check: who ends leadership and then waits for `idle` misses no write that saw it as current.
        self.shared.writes_under_way.send_modify(|count| *count += 1);
        let permit = Permit {
            shared: Arc::clone(&self.shared),
        };
        self.is_current().then_some(permit)
    }

    /// Returns when no permitted write is under way.
    async fn idle(&self) {
        let mut count = self.shared.writes_under_way.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

struct Permit {
    shared: Arc<Shared>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared
            .writes_under_way
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leadership_ends_by_the_clock_without_being_told() {
        let leadership = Leadership::none();
        let until = BootInstant::now().after(Duration::from_millis(20));
        leadership.set(Some(until));
        leadership.wait_for_leadership().await;
        leadership.lost().await;
        assert!(!leadership.is_current());
        assert!(leadership.is_current_at(BootInstant::at(Duration::ZERO)) && !leadership.is_current_at(until));
    }

    #[tokio::test]
    async fn a_renewal_keeps_those_who_wait_for_the_loss_waiting() {
        let leadership = Leadership::none();
        leadership.set(Some(BootInstant::now().after(Duration::from_millis(10))));
        let lost = tokio::spawn({
            let leadership = leadership.clone();
            async move { leadership.lost().await }
        });
        leadership.set(Some(BootInstant::NEVER));
        assert!(
            tokio::time::timeout(Duration::from_millis(50), async { leadership.lost().await })
                .await
                .is_err()
        );
        leadership.set(None);
        lost.await.unwrap();
    }

    #[test]
    fn the_cause_is_found_behind_other_errors() {
        let error = kube::Error::Service(Box::new(kube::Error::Service(Box::new(NotLeader))));
        assert!(is_not_leader(&error));
        assert!(!is_not_leader(&kube::Error::TlsRequired));
    }
}
