//! Objects that users name and that desktops or machines may read only when a label says so.

use std::collections::BTreeSet;

use kube::{Api, Client, ResourceExt};
use novasphere_runtime::{
    apply::{ApiReason, WriteError},
    namespaced::Namespaced,
};

/// Those of the objects called `names` that are there and have `label` with the value `true`. Only their metadata is read.
///
/// # Errors
///
/// When the apiserver did not answer. That an object may not be read is no error: it is not shared then.
pub(crate) async fn labelled<K: Namespaced>(
    client: &Client,
    namespace: &str,
    names: BTreeSet<String>,
    label: &str,
) -> Result<BTreeSet<String>, WriteError> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut shared = BTreeSet::new();
    for name in names {
        match api.get_metadata_opt(&name).await.map_err(WriteError::from) {
            Ok(Some(object)) if object.labels().get(label).is_some_and(|value| value == "true") => {
                shared.insert(name);
            }
            Ok(_) => {}
            Err(error) if error.is(ApiReason::Forbidden) || error.is(ApiReason::Invalid) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(shared)
}
