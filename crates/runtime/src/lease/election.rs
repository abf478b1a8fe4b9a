//! The conversation with the apiserver about one lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use rand::RngExt;

use super::{
    Leadership, Timings,
    clock::BootInstant,
    contender::{Contender, LeaseDecision},
};
use crate::{metrics::Metrics, shutdown::Shutdown};

/// Field manager of the Lease.
const FIELD_MANAGER: &str = "novasphere/leader-election";

/// Why an election cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The timings contradict each other.
    #[error("lease timings are not usable: {0}")]
    Timings(String),
}

/// Takes part in the election of one leader.
pub struct LeaseElection {
    api: Api<Lease>,
    name: String,
    identity: String,
    timings: Timings,
    leadership: Leadership,
    metrics: Metrics,
}

impl LeaseElection {
    /// `identity` names this process for people (the Pod's name); a random part is added, since a process that came back must not
    /// take the claim of the one before it for its own. `client` must *not* be gated by this leadership. RBAC: `get`,
    /// `create` and `update` on leases in `namespace`.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Timings`].
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timings: Timings,
        metrics: Metrics,
    ) -> Result<Self, LeaseError> {
        check(timings)?;
        Ok(Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: format!("{identity}_{:08x}", rand::rng().random::<u32>()),
            timings,
            leadership: Leadership::none(),
            metrics,
        })
    }

    /// The handle to give to the client's gate and to the controllers.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Takes part until `shutdown`. Then it ends leadership here, waits for writes under way, and gives the lease back so that
    /// a standby goes on within [`Timings::retry_interval`]. A leader that loses the lease stands again.
    ///
    /// Should be stopped after the controllers, so that they can end what they do.
    pub async fn run(self, shutdown: Shutdown) {
        let mut contender = Contender::new(&self.identity, self.timings);
        let mut led = false;
        loop {
            let pause = tokio::select! {
                pause = self.step(&mut contender) => pause,
                () = shutdown.wait() => break,
            };
            self.leadership.set(contender.valid_until());
            led = self.report(led, &contender);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.wait() => break,
            }
        }
        self.resign(&mut contender).await;
        self.metrics.leading(false);
    }

    /// One look at the lease, and a claim if there is something to claim. Returns how long to wait.
    async fn step(&self, contender: &mut Contender) -> Duration {
        if contender.must_read(BootInstant::now())
            && let Err(error) = self.read(contender).await
        {
            tracing::warn!(lease = self.name, "cannot read the leader lease, trying again: {error}");
            return self.retry();
        }
        match contender.decide(BootInstant::now()) {
            // Awake at the moment of expiry, not at the look after it.
            LeaseDecision::WaitUntil(expires) => self.retry().min(expires.since(BootInstant::now())),
            LeaseDecision::Acquire | LeaseDecision::Renew => match self.claim(contender).await {
                Ok(()) => self.timings.renew_interval,
                Err(error) => {
                    contender.write_failed();
                    tracing::warn!(
                        lease = self.name,
                        "cannot claim the leader lease, trying again: {error}"
                    );
                    self.retry()
                }
            },
        }
    }

    async fn read(&self, contender: &mut Contender) -> Result<(), RequestError> {
        let lease = self.bounded(self.api.get_opt(&self.name)).await?;
        contender.observe(lease, BootInstant::now());
        Ok(())
    }

    async fn claim(&self, contender: &mut Contender) -> Result<(), RequestError> {
        let lease = contender.claim(Timestamp::now());
        // Before the request, see the module `contender`.
        let sent = BootInstant::now();
        let written = self.write(lease).await?;
        contender.claimed(written, sent, BootInstant::now());
        Ok(())
    }

    async fn write(&self, mut lease: Lease) -> Result<Lease, RequestError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if lease.metadata.resource_version.is_some() {
            self.bounded(self.api.replace(&self.name, &params, &lease)).await
        } else {
            lease.metadata.name = Some(self.name.clone());
            self.bounded(self.api.create(&params, &lease)).await
        };
        let outcome = written.as_ref().map_or_else(RequestError::reason, |_| "Succeeded");
        self.metrics.written("Lease", "renew", outcome);
        written
    }

    async fn resign(&self, contender: &mut Contender) {
        contender.step_down();
        self.leadership.set(None);
        // A write that began before must not land after a standby took over.
        if tokio::time::timeout(self.timings.renew_deadline, self.leadership.idle())
            .await
            .is_err()
        {
            tracing::warn!(
                lease = self.name,
                "writes are still under way: the leader lease is left to expire"
            );
            return;
        }
        // The last claim may have been cut short, so what the server has decides.
        if let Err(error) = self.read(contender).await {
            tracing::warn!(
                lease = self.name,
                "cannot give the leader lease back, it will expire: {error}"
            );
            return;
        }
        if let Some(lease) = contender.resignation() {
            match self.write(lease).await {
                Ok(_) => tracing::info!(lease = self.name, "gave the leader lease back"),
                Err(error) => tracing::warn!(
                    lease = self.name,
                    "cannot give the leader lease back, it will expire: {error}"
                ),
            }
        }
    }

    /// Bounds a request so that a renewal can fail once and still be in time.
    async fn bounded<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, RequestError> {
        let spare = self.timings.renew_deadline.saturating_sub(self.timings.renew_interval) / 2;
        match tokio::time::timeout(spare, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RequestError::Timeout(spare)),
        }
    }

    fn retry(&self) -> Duration {
        self.timings.retry_interval.mul_f64(rand::rng().random_range(0.8..=1.0))
    }

    fn report(&self, led: bool, contender: &Contender) -> bool {
        let leads = self.leadership.is_current();
        self.metrics.leading(leads);
        if leads != led {
            let holder = contender.holder().unwrap_or("nobody");
            if leads {
                tracing::info!(lease = self.name, identity = self.identity, "leading");
            } else {
                tracing::warn!(
                    lease = self.name,
                    identity = self.identity,
                    holder,
                    "not leading any more"
                );
            }
        }
        leads
    }
}

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl RequestError {
    /// The words that the metric has for other writes. Those of `apply` know of leadership, which must not depend on them.
    fn reason(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "Timeout",
            Self::Api(kube::Error::Api(status)) => match status.code {
                401 | 403 => "Forbidden",
                409 => "Conflict",
                _ => "ApiServerUnavailable",
            },
            Self::Api(_) => "ApiServerUnavailable",
        }
    }
}

fn check(timings: Timings) -> Result<(), LeaseError> {
    let wrong = |message: String| Err(LeaseError::Timings(message));
    let Timings {
        duration,
        renew_deadline,
        renew_interval,
        retry_interval,
    } = timings;
    if duration.subsec_nanos() != 0 || duration < Duration::from_secs(2) {
        return wrong(format!("the duration {duration:?} must be whole seconds, at least 2"));
    }
    if renew_deadline >= duration {
        return wrong(format!(
            "the renew deadline {renew_deadline:?} must be shorter than the duration {duration:?}"
        ));
    }
    if renew_interval.is_zero() || renew_interval.saturating_mul(2) > renew_deadline {
        return wrong(format!(
            "renewing every {renew_interval:?} must fit twice into the renew deadline {renew_deadline:?}"
        ));
    }
    if retry_interval.is_zero() || retry_interval > renew_interval {
        return wrong(format!(
            "the retry pause {retry_interval:?} must not be longer than the renewal pause {renew_interval:?}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower_test::mock;

    use super::*;

    #[tokio::test]
    async fn a_claim_is_counted_and_has_a_field_manager() {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let (client, metrics) = (Client::new(service, "ns"), Metrics::default());
        let timings = Timings::default();
        let election = LeaseElection::new(client, "ns", "leader", "pod-1", timings, metrics.clone()).unwrap();
        let answers = async {
            let (_, respond) = calls.next_request().await.unwrap();
            let missing =
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
            let missing = Body::from(serde_json::to_vec(&missing).unwrap());
            respond.send_response(Response::builder().status(404).body(missing).unwrap());
            let (request, respond) = calls.next_request().await.unwrap();
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            respond.send_response(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap());
            parts.uri.query().unwrap_or_default().to_owned()
        };
        let mut contender = Contender::new(&election.identity, timings);
        let (pause, query) = tokio::join!(election.step(&mut contender), answers);
        assert_eq!(pause, timings.renew_interval);
        assert!(query.contains("fieldManager=novasphere%2Fleader-election"), "{query}");
        assert_eq!(metrics.writes("Lease", "renew", "Succeeded"), 1);
    }

    #[test]
    fn timings_that_contradict_each_other_are_refused() {
        let good = Timings::default();
        check(good).unwrap();
        assert_eq!(good.renew_deadline, Duration::from_secs(13));
        for short in 2..60 {
            check(Timings::for_duration(Duration::from_secs(short))).unwrap();
        }
        let seconds = Duration::from_secs;
        for (bad, word) in [
            (
                Timings {
                    duration: Duration::from_millis(15_500),
                    ..good
                },
                "whole seconds",
            ),
            (
                Timings {
                    renew_deadline: seconds(15),
                    ..good
                },
                "renew deadline",
            ),
            (
                Timings {
                    renew_interval: seconds(7),
                    ..good
                },
                "twice",
            ),
            (
                Timings {
                    retry_interval: seconds(6),
                    ..good
                },
                "retry",
            ),
            (
                Timings {
                    retry_interval: Duration::ZERO,
                    ..good
                },
                "retry",
            ),
        ] {
            let message = check(bad).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
