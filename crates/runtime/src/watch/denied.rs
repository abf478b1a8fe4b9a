//! Watches that the apiserver denies: they are no fault that trying again mends, and nothing else shows them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{core::Status, runtime::watcher};
use parking_lot::Mutex;

use crate::metrics::Metrics;

/// How often the log says so.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// How long a denial counts. It is repeated at least every 30 s (kube's default back-off); a watch that is permitted meanwhile and has
/// nothing to show says nothing.
const DENIAL_TTL: Duration = Duration::from_secs(90);

/// A watch that this process may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedWatch {
    /// Its kind.
    pub kind: String,
    /// The resource in the words of RBAC, such as `pods`.
    pub resource: String,
    /// `list` or `watch`.
    pub verb: &'static str,
    /// What the apiserver said: who may not do it, and where.
    pub message: String,
}

impl fmt::Display for DeniedWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            resource,
            verb,
            message,
        } = self;
        write!(
            f,
            "may not {verb} {kind}: {message}. Give this account the verbs list and watch on {resource}, or set watchNamespace to a \
             namespace where it has them"
        )
    }
}

/// The watches that are denied now. Clones share them.
#[derive(Clone, Debug)]
pub struct DeniedWatches {
    shared: Arc<Mutex<Shared>>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Shared {
    /// By kind, with the time of the last denial.
    denied: BTreeMap<String, (DeniedWatch, Instant)>,
    logged_at: Option<Instant>,
}

impl DeniedWatches {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            shared: Arc::default(),
            metrics,
        }
    }

    /// Those that are denied now.
    #[must_use]
    pub fn current(&self) -> Vec<DeniedWatch> {
        self.current_at(Instant::now())
    }

    fn current_at(&self, now: Instant) -> Vec<DeniedWatch> {
        let mut shared = self.shared.lock();
        shared.denied.retain(|kind, (_, at)| {
            let is_denied = now.saturating_duration_since(*at) < DENIAL_TTL;
            if !is_denied {
                self.metrics.watch_forbidden(kind, false);
            }
            is_denied
        });
        shared.denied.values().map(|(denied, _)| denied.clone()).collect()
    }

    /// Notes that a watch has shown something.
    pub(super) fn succeeded(&self, kind: &str) {
        if self.shared.lock().denied.remove(kind).is_some() {
            self.metrics.watch_forbidden(kind, false);
            tracing::info!(kind, "the watch is permitted now");
        }
    }

    /// Notes an error of a watch. Returns whether it was a denial; then it is logged here, with all others, once a minute.
    pub(super) fn failed(&self, kind: &str, resource: &str, error: &watcher::Error) -> bool {
        self.failed_at(kind, resource, error, Instant::now())
    }

    fn failed_at(&self, kind: &str, resource: &str, error: &watcher::Error, now: Instant) -> bool {
        let Some((verb, message)) = denial(error) else {
            return false;
        };
        let denied = DeniedWatch {
            kind: kind.to_owned(),
            resource: resource.to_owned(),
            verb,
            message: message.to_owned(),
        };
        self.metrics.watch_forbidden(kind, true);
        self.shared.lock().denied.insert(kind.to_owned(), (denied, now));
        if self.is_time_to_log(now) {
            let denied: Vec<_> = self.current_at(now).iter().map(ToString::to_string).collect();
            tracing::error!(
                "this process is not permitted to read what it watches: {}",
                denied.join("; ")
            );
        }
        true
    }

    fn is_time_to_log(&self, now: Instant) -> bool {
        let mut shared = self.shared.lock();
        let is_due = shared
            .logged_at
            .is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        if is_due {
            shared.logged_at = Some(now);
        }
        is_due
    }
}

/// The verb that was denied, and the apiserver's sentence.
#[must_use]
pub fn denial(error: &watcher::Error) -> Option<(&'static str, &str)> {
    let (verb, status) = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => ("list", status),
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => ("watch", status),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => return None,
    };
    is_denied(status).then_some((verb, &status.message))
}

fn is_denied(status: &Status) -> bool {
    matches!(status.code, 401 | 403)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(code: u16, message: &str) -> watcher::Error {
        let status: Status = serde_json::from_value(json!({"code": code, "message": message})).unwrap();
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    fn denied() -> DeniedWatches {
        DeniedWatches::new(Metrics::default())
    }

    #[test]
    fn a_denial_says_which_kind_which_verb_and_what_to_do() {
        let watches = denied();
        let message =
            "pods is forbidden: User \"system:serviceaccount:a:b\" cannot list resource \"pods\" at the cluster scope";
        assert!(watches.failed("Pod", "pods", &error(403, message)));
        let [denied] = watches.current().try_into().unwrap();
        let text = denied.to_string();
        for part in ["may not list Pod", message, "list and watch on pods", "watchNamespace"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(watches.metrics.watch_forbidden_value("Pod"), 1);
    }

    #[test]
    fn what_trying_again_mends_is_no_denial() {
        let watches = denied();
        assert!(!watches.failed("Pod", "pods", &error(503, "starting")));
        assert!(!watches.failed("Pod", "pods", &watcher::Error::NoResourceVersion));
        assert!(watches.current().is_empty());
    }

    #[test]
    fn it_is_over_with_the_first_object_or_when_it_is_not_repeated() {
        let watches = denied();
        let now = Instant::now();
        watches.failed_at("Pod", "pods", &error(403, "no"), now);
        watches.failed_at("Node", "nodes", &error(403, "no"), now + Duration::from_mins(1));
        watches.succeeded("Service");
        assert_eq!(watches.current_at(now).len(), 2);
        let later: Vec<_> = watches
            .current_at(now + DENIAL_TTL)
            .into_iter()
            .map(|denied| denied.kind)
            .collect();
        assert_eq!(later, ["Node"]);
        watches.succeeded("Node");
        assert!(watches.current_at(now + DENIAL_TTL).is_empty());
        assert_eq!(watches.metrics.watch_forbidden_value("Pod"), 0);
        assert_eq!(watches.metrics.watch_forbidden_value("Node"), 0);
    }

    #[test]
    fn the_log_has_one_line_a_minute_however_many_are_denied() {
        let watches = denied();
        let now = Instant::now();
        let times = (0..240).filter(|second| watches.is_time_to_log(now + Duration::from_secs(*second)));
        assert_eq!(times.collect::<Vec<_>>(), [0, 60, 120, 180]);
    }
}
