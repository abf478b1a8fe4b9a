//! What is said of a Pod that takes long to start.

use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, api::ListParams};

/// How many warnings about one Pod are looked at.
const EVENTS_LIMIT: u32 = 64;

/// The warnings about the Pod with this UID, at most [`EVENTS_LIMIT`]. They only explain, so what cannot be read is left out.
pub(crate) async fn warnings(client: &Client, namespace: &str, pod_uid: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let of_pod = ListParams::default()
        .fields(&format!("involvedObject.uid={pod_uid},type=Warning"))
        .limit(EVENTS_LIMIT);
    match events.list(&of_pod).await {
        Ok(found) => found.items,
        Err(error) => {
            tracing::debug!(%error, "cannot read the events of a Pod");
            Vec::new()
        }
    }
}
