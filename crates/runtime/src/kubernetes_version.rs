//! Whether the cluster is new enough, by what kube-apiserver says of its version: in the log, and in `/readyz`.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;

use crate::health::GateHandle;

/// The oldest Kubernetes that novasphere is made for, major and minor: `kubeVersion` of the chart.
pub const MINIMUM_VERSION: (u32, u32) = (1, 33);

/// A cluster is upgraded under running Pods.
const CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// Until the next question when there was no answer.
const RETRY_INTERVAL: Duration = Duration::from_mins(1);

/// Opens the gate at once, and says in it when the cluster is too old. Never returns.
pub async fn follow(client: Client, gate: GateHandle) {
    gate.ready();
    let mut told = String::new();
    loop {
        let pause = match client.apiserver_version().await {
            Ok(info) => {
                let fault = fault(&info);
                if told != info.git_version {
                    if let Some(fault) = &fault {
                        tracing::warn!("{fault}");
                    } else {
                        tracing::info!(version = info.git_version, "kube-apiserver's version");
                    }
                }
                match fault {
                    Some(fault) => gate.ready_despite(fault),
                    None => gate.ready(),
                }
                told = info.git_version;
                CHECK_INTERVAL
            }
            Err(error) => {
                tracing::debug!("cannot ask kube-apiserver for its version: {error}");
                RETRY_INTERVAL
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What is wrong with a cluster of this version, and what to do; nothing when it is new enough, or says a version that nobody can read.
#[must_use]
pub fn fault(info: &Info) -> Option<String> {
    let version = (number(&info.major)?, number(&info.minor)?);
    let (major, minor) = MINIMUM_VERSION;
    (version < MINIMUM_VERSION).then(|| {
        let found = info.git_version.trim_start_matches('v');
        format!("kube-apiserver is {found}; novasphere needs {major}.{minor} or newer: upgrade the cluster")
    })
}

/// Clouds write `33+`.
fn number(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use tower_test::mock;

    use super::*;
    use crate::health::{Health, ReadinessGate};

    fn info(major: &str, minor: &str, version: &str) -> Info {
        Info {
            major: major.to_owned(),
            minor: minor.to_owned(),
            git_version: version.to_owned(),
            ..Info::default()
        }
    }

    #[test]
    fn only_a_cluster_below_the_minimum_is_at_fault() {
        for (major, minor) in [
            ("1", "33"),
            ("1", "33+"),
            ("1", "37"),
            ("2", "0"),
            ("", ""),
            ("1", "new"),
        ] {
            assert_eq!(fault(&info(major, minor, "v1.2.3")), None, "{major}.{minor}");
        }
        assert_eq!(
            fault(&info("1", "32+", "v1.32.4-cloud.7")).as_deref(),
            Some("kube-apiserver is 1.32.4-cloud.7; novasphere needs 1.33 or newer: upgrade the cluster")
        );
    }

    #[test]
    fn the_minimum_is_that_of_the_chart() {
        let chart = include_str!("../../../charts/novasphere/Chart.yaml");
        let (major, minor) = MINIMUM_VERSION;
        let line = format!("kubeVersion: \">={major}.{minor}.0-0\"");
        assert!(chart.lines().any(|found| found == line), "{line}");
    }

    #[tokio::test]
    async fn an_old_cluster_is_told_and_keeps_nothing_from_being_ready() {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let health = Health::default();
        let gate = health.gate(ReadinessGate::KubernetesVersion);
        let following = tokio::spawn(follow(Client::new(service, "default"), gate));
        let (request, respond) = calls.next_request().await.unwrap();
        assert_eq!(request.uri().path(), "/version");
        assert!(health.is_ready(), "before the answer");
        let answer = br#"{"major": "1", "minor": "31", "gitVersion": "v1.31.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": ""}"#;
        respond.send_response(Response::new(Body::from(answer.to_vec())));
        let told = async {
            while !health.readiness().text.contains("kube-apiserver is 1.31.0") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
        assert!(health.is_ready());
        following.abort();
    }
}
