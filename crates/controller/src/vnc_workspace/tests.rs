//! Whole reconciles against an apiserver in memory: which requests are sent, and in which order.

#![allow(
    clippy::needless_pass_by_value,
    reason = "json!({..}) reads better than &json!({..}) in a table"
)]

mod apiserver;
mod backup;
mod credentials;
mod deletion;
mod expiry;
mod home;
mod node_ports;
mod pod;
mod snapshot;

use serde_json::{Value, json};

use self::apiserver::{Cluster, POD, Refusal, WORKSPACE};
use super::*;

const HOME: &str = "persistentvolumeclaims/alice-home";

/// What the making of a workspace that nothing is refused to sends.
const MADE: [&str; 8] = [
    "GET secrets/alice-credentials",
    "APPLY secrets/alice-credentials",
    "APPLY persistentvolumeclaims/alice-home",
    "APPLY networkpolicies/alice",
    "APPLY services/alice",
    "APPLY pods/alice",
    "APPLY vncworkspaces/alice/status",
    "POST events",
];

/// What is sent for a workspace that is as its spec wants it: one read.
const SETTLED: [&str; 1] = ["GET secrets/alice-credentials"];

fn without_events(calls: Vec<String>) -> Vec<String> {
    calls.into_iter().filter(|call| !call.ends_with(" events")).collect()
}

/// A workspace whose desktop runs and to which nothing is left to do.
async fn running(spec: Value) -> Cluster {
    let cluster = Cluster::new(spec);
    cluster.reconciled().await;
    cluster.runs();
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls().last().map(String::as_str),
        Some("APPLY vncworkspaces/alice/status")
    );
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
    cluster
}

#[tokio::test]
async fn a_workspace_is_made_in_order_and_costs_nothing_then() {
    let cluster = Cluster::new(json!({}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        without_events(MADE.map(str::to_owned).to_vec())
    );
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
}

#[tokio::test]
async fn the_finalizer_is_there_before_anything_that_it_guards() {
    let cluster = Cluster::new(json!({"storage": {"reclaim": "Snapshot"}}));
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls()[..3],
        [
            "APPLY vncworkspaces/alice",
            "GET secrets/alice-credentials",
            "APPLY secrets/alice-credentials"
        ]
    );
    let home = cluster.get(HOME).unwrap();
    assert_eq!(
        home["metadata"].get("ownerReferences"),
        None,
        "it does not go with its workspace"
    );
    cluster.change(json!({"storage": {"reclaim": "Delete"}}));
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert_eq!(calls[0], "JSON vncworkspaces/alice");
    assert!(calls.contains(&format!("APPLY {HOME}")), "{calls:?}");
    assert_eq!(
        cluster.get(HOME).unwrap()["metadata"]["ownerReferences"][0]["uid"],
        "alice-1"
    );
}

#[tokio::test]
async fn nothing_is_made_while_the_finalizer_is_refused() {
    let cluster = Cluster::new(json!({"storage": {"reclaim": "Snapshot"}}));
    cluster.refuse(Refusal::new("APPLY vncworkspaces/alice", 403, "not allowed"));
    let failed = cluster.reconcile().await.unwrap_err();
    assert!(matches!(failed, ReconcileError::Object(_)), "{failed}");
    assert_eq!(cluster.calls(), ["APPLY vncworkspaces/alice"]);
}

const ASLEEP: &str = "Hibernated";
