//! What one process may conclude about a lease, without any IO.
//!
//! The reasoning is client-go's (`tools/leaderelection/leaderelection.go`): remote clocks are never compared. A standby notes
//! by its own clock when it *saw* the lease change, and takes over when that is `leaseDurationSeconds` ago. One thing is
//! stricter: the leader's own claim counts from the moment *before* its request was sent and ends `renew_deadline` later
//! whether or not an answer came. Every standby saw that renewal later than it was sent, and waits for longer than
//! `renew_deadline`, so two processes never both believe that they lead. The resource version makes each claim conditional on the
//! record that was judged.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};

use super::{Timings, clock::BootInstant};

/// What a contender should do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseDecision {
    /// Nobody holds it, or the holder's time has run out: claim it.
    Acquire,
    /// It is ours: claim it for longer.
    Renew,
    /// Another process holds it until this instant, unless it renews.
    WaitUntil(BootInstant),
}

/// Judges a lease record that looked as it does now since `observed_at` (by our clock), at `now`, for `identity`.
#[must_use]
pub fn evaluate(spec: Option<&LeaseSpec>, observed_at: BootInstant, now: BootInstant, identity: &str) -> LeaseDecision {
    let Some(spec) = spec else {
        return LeaseDecision::Acquire;
    };
    match spec.holder_identity.as_deref() {
        None | Some("") => LeaseDecision::Acquire,
        Some(holder) if holder == identity => LeaseDecision::Renew,
        Some(_) => {
            // A record without a duration was not written by an election; a negative one is nonsense. Neither may block for ever.
            let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
            let expires = observed_at.after(std::time::Duration::from_secs(seconds));
            if now >= expires {
                LeaseDecision::Acquire
            } else {
                LeaseDecision::WaitUntil(expires)
            }
        }
    }
}

/// The knowledge of one process.
#[derive(Debug)]
pub(crate) struct Contender {
    identity: String,
    timings: Timings,
    observed: Option<Observation>,
    valid_until: Option<BootInstant>,
}

#[derive(Debug)]
struct Observation {
    lease: Option<Lease>,
    /// When the record was first seen as it is.
    since: BootInstant,
    /// Whether it came from the server after our last try to write, so that its resource version may be good.
    fresh: bool,
}

impl Contender {
    pub(crate) fn new(identity: &str, timings: Timings) -> Self {
        Self {
            identity: identity.to_owned(),
            timings,
            observed: None,
            valid_until: None,
        }
    }

    /// Until when we may write. May lie in the past.
    pub(crate) fn valid_until(&self) -> Option<BootInstant> {
        self.valid_until
    }

    /// The holder that was seen last.
    pub(crate) fn holder(&self) -> Option<&str> {
        let spec = self.observed.as_ref()?.lease.as_ref()?.spec.as_ref()?;
        spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Whether the lease must be read before anything can be decided: unless we hold it and know its resource version. A
    /// leader that wakes up after its time looks first, since somebody else has probably taken over.
    pub(crate) fn must_read(&self, now: BootInstant) -> bool {
        let knows = self.observed.as_ref().is_some_and(|observation| observation.fresh)
            && self.holder() == Some(&self.identity);
        !knows || self.valid_until.is_none_or(|until| now >= until)
    }

    /// Takes in an answer to a read that was received at `now`. An unchanged record keeps the moment it was first seen.
    pub(crate) fn observe(&mut self, lease: Option<Lease>, now: BootInstant) {
        let since = match &self.observed {
            Some(old) if spec_of(old.lease.as_ref()) == spec_of(lease.as_ref()) => old.since,
            _ => now,
        };
        self.observed = Some(Observation {
            lease,
            since,
            fresh: true,
        });
        if self.holder() != Some(&self.identity) {
            self.valid_until = None;
        }
    }

    pub(crate) fn decide(&self, now: BootInstant) -> LeaseDecision {
        // Without an observation `now` counts as the moment of the first one.
        let (spec, since) = self
            .observed
            .as_ref()
            .map_or((None, now), |o| (spec_of(o.lease.as_ref()), o.since));
        evaluate(spec, since, now, &self.identity)
    }

    /// The lease to write in order to hold it: a new one without a resource version, or the observed one changed.
    pub(crate) fn claim(&mut self, wall: Timestamp) -> Lease {
        let mut lease = self.take_observed();
        let mut spec = lease.spec.take().unwrap_or_default();
        // A standby sees a renewal by the record's change, so the time must move even where the wall clock does not.
        let renewed = match &spec.renew_time {
            Some(MicroTime(last)) if wall <= *last => last.checked_add(SignedDuration::from_micros(1)).unwrap_or(wall),
            _ => wall,
        };
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
            spec.acquire_time = Some(MicroTime(renewed));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.timings.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(renewed));
        lease.spec = Some(spec);
        lease
    }

    /// Takes in that a claim which was sent at `sent` was accepted.
    pub(crate) fn claimed(&mut self, lease: Lease, sent: BootInstant, now: BootInstant) {
        self.observed = Some(Observation {
            lease: Some(lease),
            since: now,
            fresh: true,
        });
        self.valid_until = Some(sent.after(self.timings.renew_deadline));
    }

    /// Takes in that a write failed or that nobody knows whether it did. What was valid stays valid for as long as it was.
    pub(crate) fn write_failed(&mut self) {
        if let Some(observation) = &mut self.observed {
            observation.fresh = false;
        }
    }

    /// Ends our leadership here and now.
    pub(crate) fn step_down(&mut self) {
        self.valid_until = None;
    }

    /// The lease to write in order to give it back, when the last one seen is ours.
    pub(crate) fn resignation(&mut self) -> Option<Lease> {
        if self.holder() != Some(&self.identity) {
            return None;
        }
        let mut lease = self.take_observed();
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            // As client-go does, for contenders that look at the duration before the holder.
            spec.lease_duration_seconds = Some(1);
        }
        Some(lease)
    }

    fn take_observed(&mut self) -> Lease {
        self.observed
            .as_ref()
            .and_then(|observation| observation.lease.clone())
            .unwrap_or_default()
    }
}

fn spec_of(lease: Option<&Lease>) -> Option<&LeaseSpec> {
    lease?.spec.as_ref()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::at(Duration::from_millis(millis))
    }

    fn held(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn decisions() {
        let expires = at(16_000);
        let cases = [
            ("no lease", None, 1_000, LeaseDecision::Acquire),
            ("no holder", Some(held(None, Some(15))), 1_000, LeaseDecision::Acquire),
            ("released", Some(held(Some(""), Some(1))), 1_000, LeaseDecision::Acquire),
            ("ours", Some(held(Some("me"), Some(15))), 1_000, LeaseDecision::Renew),
            (
                "ours, long expired",
                Some(held(Some("me"), Some(15))),
                99_000,
                LeaseDecision::Renew,
            ),
            (
                "just seen",
                Some(held(Some("you"), Some(15))),
                1_000,
                LeaseDecision::WaitUntil(expires),
            ),
            (
                "a moment before",
                Some(held(Some("you"), Some(15))),
                15_999,
                LeaseDecision::WaitUntil(expires),
            ),
            (
                "at the moment",
                Some(held(Some("you"), Some(15))),
                16_000,
                LeaseDecision::Acquire,
            ),
            (
                "no duration",
                Some(held(Some("you"), None)),
                1_000,
                LeaseDecision::Acquire,
            ),
            (
                "negative duration",
                Some(held(Some("you"), Some(-5))),
                1_000,
                LeaseDecision::Acquire,
            ),
        ];
        for (name, spec, now, expected) in cases {
            assert_eq!(evaluate(spec.as_ref(), at(1_000), at(now), "me"), expected, "{name}");
        }
    }

    #[test]
    fn a_renewal_seen_starts_the_wait_anew_and_an_unchanged_record_does_not() {
        let mut contender = Contender::new("me", Timings::default());
        let mut lease = Lease {
            spec: Some(held(Some("you"), Some(15))),
            ..Lease::default()
        };
        contender.observe(Some(lease.clone()), at(0));
        contender.observe(Some(lease.clone()), at(14_000));
        assert_eq!(contender.decide(at(14_000)), LeaseDecision::WaitUntil(at(15_000)));
        lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
        contender.observe(Some(lease), at(14_500));
        assert_eq!(contender.decide(at(15_000)), LeaseDecision::WaitUntil(at(29_500)));
    }

    #[test]
    fn a_claim_counts_from_before_it_was_sent() {
        let mut contender = Contender::new("me", Timings::default());
        contender.observe(None, at(0));
        let lease = contender.claim(Timestamp::UNIX_EPOCH);
        contender.claimed(lease, at(1_000), at(9_000));
        assert_eq!(
            contender.valid_until(),
            Some(at(1_000).after(Timings::default().renew_deadline))
        );
    }

    #[test]
    fn claims_count_transitions_and_move_the_time_even_when_the_wall_clock_stands_still() {
        let wall = Timestamp::UNIX_EPOCH;
        let mut contender = Contender::new("me", Timings::default());
        contender.observe(
            Some(Lease {
                spec: Some(held(Some("you"), Some(15))),
                ..Lease::default()
            }),
            at(0),
        );
        let first = contender.claim(wall);
        contender.claimed(first.clone(), at(20_000), at(20_001));
        let second = contender.claim(wall);
        let (first, second) = (first.spec.unwrap(), second.spec.unwrap());
        assert_eq!(first.lease_transitions, Some(0));
        assert_eq!(second.lease_transitions, Some(0));
        assert_eq!(second.acquire_time, first.acquire_time);
        assert!(second.renew_time > first.renew_time);
    }

    #[test]
    fn a_lease_that_somebody_else_took_ends_ours_at_once() {
        let mut contender = Contender::new("me", Timings::default());
        contender.observe(None, at(0));
        let lease = contender.claim(Timestamp::UNIX_EPOCH);
        contender.claimed(lease, at(0), at(1));
        contender.observe(
            Some(Lease {
                spec: Some(held(Some("you"), Some(15))),
                ..Lease::default()
            }),
            at(2),
        );
        assert_eq!(contender.valid_until(), None);
        assert!(contender.resignation().is_none());
    }

    /// What a process of the simulation does next: a loop of read, decide, write, each of which the other may run in between.
    #[derive(Debug)]
    enum Next {
        Read,
        Receive(Option<Lease>),
        Decide,
        Write {
            lease: Box<Lease>,
            sent: BootInstant,
            resign: bool,
        },
        Hear {
            answer: Option<Lease>,
            sent: BootInstant,
            resign: bool,
        },
    }

    struct Process {
        contender: Contender,
        next: Next,
    }

    /// Optimistic locking as the apiserver does it.
    #[derive(Default)]
    struct Server {
        lease: Option<Lease>,
        version: u64,
    }

    impl Server {
        fn write(&mut self, mut lease: Lease) -> Option<Lease> {
            let current = self
                .lease
                .as_ref()
                .and_then(|lease| lease.metadata.resource_version.clone());
            if current != lease.metadata.resource_version {
                return None;
            }
            self.version += 1;
            lease.metadata.resource_version = Some(self.version.to_string());
            self.lease = Some(lease.clone());
            Some(lease)
        }
    }

    #[derive(Clone, Copy, Debug)]
    struct Step {
        second: bool,
        pause_millis: u64,
        /// What goes wrong or is asked for in this step, if it can: the request is lost, the answer is lost, a graceful stop.
        event: u8,
    }

    impl Process {
        fn step(&mut self, server: &mut Server, step: Step, now: BootInstant, wall: Timestamp) {
            self.next = match std::mem::replace(&mut self.next, Next::Read) {
                Next::Read if self.contender.must_read(now) => Next::Receive(server.lease.clone()),
                Next::Read => Next::Decide,
                Next::Receive(_) if step.event == 0 => Next::Read,
                Next::Receive(lease) => {
                    self.contender.observe(lease, now);
                    Next::Decide
                }
                Next::Decide => self.decide(step, now, wall),
                Next::Write { sent, resign, .. } if step.event == 0 => Next::Hear {
                    answer: None,
                    sent,
                    resign,
                },
                Next::Write { lease, sent, resign } => {
                    let answer = server.write(*lease).filter(|_| step.event != 1);
                    Next::Hear { answer, sent, resign }
                }
                Next::Hear {
                    answer: Some(lease),
                    sent,
                    resign: false,
                } => {
                    self.contender.claimed(lease, sent, now);
                    Next::Read
                }
                Next::Hear { .. } => {
                    self.contender.write_failed();
                    Next::Read
                }
            };
        }

        fn decide(&mut self, step: Step, now: BootInstant, wall: Timestamp) -> Next {
            if step.event == 2
                && let Some(lease) = self.contender.resignation()
            {
                self.contender.step_down();
                return Next::Write {
                    lease: Box::new(lease),
                    sent: now,
                    resign: true,
                };
            }
            match self.contender.decide(now) {
                LeaseDecision::WaitUntil(_) => Next::Read,
                LeaseDecision::Acquire | LeaseDecision::Renew => Next::Write {
                    lease: Box::new(self.contender.claim(wall)),
                    sent: now,
                    resign: false,
                },
            }
        }

        fn leads(&self, now: BootInstant) -> bool {
            self.contender.valid_until().is_some_and(|until| now < until)
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Mostly short pauses, so that renewals succeed, and some that outlast a lease: a stop, a partition, a slow answer.
        let pause = prop_oneof![8 => 0_u64..600, 2 => 600_u64..6_000, 1 => 6_000_u64..40_000];
        let step = (any::<bool>(), pause, 0_u8..12).prop_map(|(second, pause_millis, event)| Step {
            second,
            pause_millis,
            event,
        });
        proptest::collection::vec(step, 1..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn two_contenders_never_both_lead(steps in steps(), skew_seconds in -100_000_i64..100_000) {
            let mut server = Server::default();
            let process = |name: &str| Process { contender: Contender::new(name, Timings::default()), next: Next::Read };
            let (mut a, mut b) = (process("a"), process("b"));
            let mut millis = 0;
            for step in steps {
                millis += step.pause_millis;
                let now = at(millis);
                let wall = Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap();
                // The wall clock of the second is wrong by a day and goes backwards, which must not matter.
                if step.second {
                    let wall = wall.checked_add(SignedDuration::from_secs(skew_seconds)).unwrap();
                    b.step(&mut server, step, now, wall);
                } else {
                    a.step(&mut server, step, now, wall);
                }
                prop_assert!(!(a.leads(now) && b.leads(now)), "both lead at {now:?}: {:?} {:?}", a.contender, b.contender);
            }
        }

        #[test]
        fn an_undisturbed_pair_has_a_leader_all_the_time(pauses in proptest::collection::vec(1_u64..900, 50..200)) {
            let mut server = Server::default();
            let process = |name: &str| Process { contender: Contender::new(name, Timings::default()), next: Next::Read };
            let (mut a, mut b) = (process("a"), process("b"));
            let mut millis = 0;
            for (index, pause) in pauses.into_iter().enumerate() {
                millis += pause;
                let now = at(millis);
                let step = Step { second: index % 2 == 1, pause_millis: pause, event: 9 };
                let wall = Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap();
                if step.second { b.step(&mut server, step, now, wall) } else { a.step(&mut server, step, now, wall) }
                prop_assert!(index < 20 || a.leads(now) || b.leads(now), "nobody leads at {now:?}");
            }
        }
    }
}
