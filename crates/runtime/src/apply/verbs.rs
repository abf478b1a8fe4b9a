//! The writes other than apply and delete, and what every write has in common: a field manager, a metric, a line in the log, and
//! an answer that the cache shows before its watch does.

use std::fmt::Debug;

use http::{Request, header};
use k8s_openapi::{
    ClusterResourceScope,
    api::{coordination::v1::Lease, core::v1::Pod},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ApiReason, Applier, WriteError};
use crate::{cache::Cache, client::TimedOut, namespaced::Namespaced};

/// What a write does, as the metric `novasphere_writes` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Apply,
    ApplyStatus,
    ReplaceStatus,
    Merge,
    Patch,
    MergeStatus,
    SetFinalizer,
    Resize,
    Create,
    Replace,
    Renew,
    Delete,
    /// The call of a subresource that changes its object, by its name.
    Subresource(&'static str),
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::ApplyStatus => "apply_status",
            Self::ReplaceStatus => "replace_status",
            Self::Merge => "merge",
            Self::Patch => "patch",
            Self::MergeStatus => "merge_status",
            Self::SetFinalizer => "set_finalizer",
            Self::Resize => "resize",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Renew => "renew",
            Self::Delete => "delete",
            Self::Subresource(name) => name,
        }
    }

    /// Status follows every change of an object, and a Lease is renewed every few seconds, so a line for each would drown the others.
    const fn is_frequent(self) -> bool {
        matches!(
            self,
            Self::ApplyStatus | Self::ReplaceStatus | Self::MergeStatus | Self::Renew
        )
    }
}

impl Applier {
    /// Replaces fields of `live` by a merge patch (RFC 7386), lists as a whole. The object may have changed since it was read.
    ///
    /// Server-side apply leaves the items of a list to everybody who wrote one, so it cannot take away what another manager added.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when another object has the name now.
    pub async fn merge<K: Namespaced>(&self, live: &K, patch: Value, cache: &Cache<K>) -> Result<K, WriteError> {
        let patch = Patch::Merge(with_precondition(patch, live, None));
        let (api, name, params) = (self.api(live)?, live.name_any(), self.patch_params());
        let answer = self.sent(Verb::Merge, live, api.patch(&name, &params, &patch));
        Ok(shown_by(cache, answer.await?))
    }

    /// The same, unless somebody has changed the object since `live` was read: for what was decided from what `live` says.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when it is another version now, or another object.
    pub async fn merge_unchanged<K: Namespaced>(
        &self,
        live: &K,
        patch: Value,
        cache: &Cache<K>,
    ) -> Result<K, WriteError> {
        let patch = Patch::Merge(with_precondition(patch, live, live.resource_version()));
        let (api, name, params) = (self.api(live)?, live.name_any(), self.patch_params());
        let answer = self.sent(Verb::Merge, live, api.patch(&name, &params, &patch));
        Ok(shown_by(cache, answer.await?))
    }

    /// Changes `live` by a JSON patch (RFC 6902), whose `test` operations make it happen only where fields are as the caller knows them: so that many
    /// may change different fields of one object at a time.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; [`ApiReason::Invalid`] when a test fails.
    pub async fn patch_tested<K: Namespaced>(
        &self,
        live: &K,
        patch: json_patch::Patch,
        cache: &Cache<K>,
    ) -> Result<K, WriteError> {
        let patch = Patch::Json::<()>(patch);
        let (api, name, params) = (self.api(live)?, live.name_any(), self.patch_params());
        let answer = self.sent(Verb::Patch, live, api.patch(&name, &params, &patch));
        Ok(shown_by(cache, answer.await?))
    }

    /// The same for an object without a namespace, which no cache holds.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when another object has the name now.
    pub async fn merge_cluster_scoped<K>(&self, live: &K, patch: Value) -> Result<K, WriteError>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let patch = Patch::Merge(with_precondition(patch, live, None));
        let (api, name, params) = (Api::<K>::all(self.client.clone()), live.name_any(), self.patch_params());
        self.sent(Verb::Merge, live, api.patch(&name, &params, &patch)).await
    }

    /// Applies a Lease of this process, whatever there is under its name: who holds it writes it every few seconds, and nobody owns it.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn renew(&self, lease: &Lease) -> Result<(), WriteError> {
        let params = PatchParams::apply(&self.field_manager).force();
        let (api, name) = (self.api(lease)?, lease.name_any());
        let patch = Patch::Apply(lease);
        let answer = self.sent(Verb::Renew, lease, api.patch(&name, &params, &patch));
        answer.await.map(drop)
    }

    /// Replaces fields of the status of `live`, such as `{"wakeRequestedAt": ..}`, by a merge patch.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when another object has the name now.
    pub async fn merge_status<K: Namespaced>(
        &self,
        live: &K,
        status: Value,
        cache: &Cache<K>,
    ) -> Result<K, WriteError> {
        let patch = Patch::Merge(with_precondition(json!({ "status": status }), live, None));
        let (api, name, params) = (self.api(live)?, live.name_any(), self.patch_params());
        let answer = self.sent(Verb::MergeStatus, live, api.patch_status(&name, &params, &patch));
        Ok(shown_by(cache, answer.await?))
    }

    /// Replaces the whole status by that of `object`, at the version that it has: nothing of what somebody else wrote meanwhile is
    /// lost. [`optimistic::Updater`](crate::optimistic::Updater) reads again after a conflict.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when it is another version now, or another object.
    pub async fn replace_status<K: Namespaced>(&self, object: &K, cache: &Cache<K>) -> Result<K, WriteError> {
        let (api, name, params) = (self.api(object)?, object.name_any(), self.post_params());
        let answer = self.sent(Verb::ReplaceStatus, object, api.replace_status(&name, &params, object));
        Ok(shown_by(cache, answer.await?))
    }

    /// Sets or takes away a finalizer, with a field manager of its own, `<manager>-finalizer`: all that it states is the finalizer.
    /// Does nothing when the object has gone.
    ///
    /// `kube::runtime::finalizer` is not used. It wants to be the only action of a reconcile and decides itself when to clean up;
    /// here an object with and without finalizer is reconciled alike, and the finalizer comes and goes with `spec.storage.reclaim`.
    /// It tests the position of the finalizer and not the UID, so it could write to another object that got the name since. And it
    /// adds the finalizer by a JSON patch, which has no owner in `managedFields`.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn set_finalizer<K: Namespaced>(
        &self,
        live: &K,
        finalizer: &str,
        wanted: bool,
        cache: &Cache<K>,
    ) -> Result<(), WriteError> {
        let manager = format!("{}-finalizer", self.field_manager);
        let (api, name) = (self.api(live)?, live.name_any());
        let result = if wanted {
            let document = json!({
                "apiVersion": K::api_version(&()),
                "kind": K::kind(&()),
                "metadata": {"name": name, "uid": live.uid(), "finalizers": [finalizer]},
            });
            let params = PatchParams::apply(&manager).force();
            self.sent(
                Verb::SetFinalizer,
                live,
                api.patch(&name, &params, &Patch::Apply(document)),
            )
            .await
        } else {
            // Not by an apply without it: that leaves it there when somebody else has applied it as well, for ever.
            let patch = Patch::Json::<()>(without_finalizer(live, finalizer)?);
            let params = PatchParams {
                field_manager: Some(manager),
                ..PatchParams::default()
            };
            self.sent(Verb::SetFinalizer, live, api.patch(&name, &params, &patch))
                .await
        };
        match result {
            Ok(written) if written.meta().deletion_timestamp.is_some() && written.finalizers().is_empty() => {
                // That was its end, and the answer has the version of before.
                cache.deleted(live);
                Ok(())
            }
            Ok(written) => {
                cache.written(written);
                Ok(())
            }
            Err(error) if error.is(ApiReason::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes the resources of a Pod that runs, by a strategic merge patch of its subresource `resize`.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; invalid when they cannot change in place, not found when the apiserver has no such subresource.
    pub async fn resize(&self, live: &Pod, patch: Value, cache: &Cache<Pod>) -> Result<Pod, WriteError> {
        let (api, name, params) = (self.api(live)?, live.name_any(), self.patch_params());
        let patch = Patch::Strategic(patch);
        let answer = self.sent(Verb::Resize, live, api.patch_resize(&name, &params, &patch));
        Ok(shown_by(cache, answer.await?))
    }

    /// Asks a subresource of another API server to change an object, such as KubeVirt's `stop`, by a PUT of an empty object to `path`. The
    /// answer is not read.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; what a conflict means is the subresource's to say.
    pub async fn call_subresource(
        &self,
        kind: &str,
        object: &ObjectMeta,
        name: &'static str,
        path: &str,
    ) -> Result<(), WriteError> {
        let request = Request::put(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(b"{}".to_vec())
            .map_err(|error| WriteError::Internal(error.to_string()))?;
        let result = self.bounded(self.client.request_text(request)).await.map(drop);
        self.note(Verb::Subresource(name), kind, object, result.as_ref().err());
        result
    }

    /// Applies fields of the status of an object that has no type, because this version cannot decode it. The answer is not read.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when another object has the name now.
    pub async fn apply_untyped_status(
        &self,
        live: &DynamicObject,
        resource: &ApiResource,
        status: Value,
    ) -> Result<(), WriteError> {
        let (namespace, name) = (live.namespace().unwrap_or_default(), live.name_any());
        let document = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "uid": live.uid()},
            "status": status,
        });
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, resource);
        let (params, patch) = (PatchParams::apply(&self.field_manager).force(), Patch::Apply(document));
        let result = self.bounded(api.patch_status(&name, &params, &patch)).await.map(drop);
        self.note(Verb::ApplyStatus, &resource.kind, live.meta(), result.as_ref().err());
        result
    }

    /// Sends one write, counts and logs it. The answer has no `managedFields`: nothing here reads them, and they are often half of it.
    pub(super) async fn sent<K: Resource<DynamicType = ()>>(
        &self,
        verb: Verb,
        object: &K,
        request: impl Future<Output = kube::Result<K>>,
    ) -> Result<K, WriteError> {
        self.sent_as(verb, &K::kind(&()), object, request).await
    }

    /// The same for an object whose kind is told.
    pub(super) async fn sent_as<K: Resource>(
        &self,
        verb: Verb,
        kind: &str,
        object: &K,
        request: impl Future<Output = kube::Result<K>>,
    ) -> Result<K, WriteError> {
        let result = self.bounded(request).await;
        self.note(verb, kind, object.meta(), result.as_ref().err());
        let mut answer = result?;
        answer.meta_mut().managed_fields = None;
        Ok(answer)
    }

    /// Waits for an answer as long as [`Applier::within`] says.
    pub(super) async fn bounded<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let Some(limit) = self.request_timeout else {
            return Ok(request.await?);
        };
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(kube::Error::Service(Box::new(TimedOut(limit))).into()),
        }
    }

    /// Counts and logs one write.
    pub(super) fn note(&self, verb: Verb, kind: &str, object: &ObjectMeta, error: Option<&WriteError>) {
        let (namespace, name) = (object.namespace.as_deref(), object.name.as_deref());
        self.metrics
            .written(kind, verb.as_str(), error.map_or("Succeeded", WriteError::reason));
        let verb_name = verb.as_str();
        match error {
            Some(error) => tracing::debug!(kind, namespace, name, verb = verb_name, %error, "a write failed"),
            // An Event is a line for people itself.
            None if verb.is_frequent() || kind == "Event" => {
                tracing::debug!(kind, namespace, name, verb = verb_name, "wrote");
            }
            None => tracing::info!(kind, namespace, name, verb = verb_name, "wrote"),
        }
    }

    pub(super) fn post_params(&self) -> PostParams {
        PostParams {
            field_manager: Some(self.field_manager.to_string()),
            ..PostParams::default()
        }
    }

    pub(super) fn patch_params(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.field_manager.to_string()),
            ..PatchParams::default()
        }
    }
}

fn shown_by<K: Namespaced>(cache: &Cache<K>, written: K) -> K {
    cache.written(written.clone());
    written
}

/// With the UID a patch cannot hit another object that got this name since; with the version, none that somebody else has changed.
fn with_precondition<K: Resource>(mut patch: Value, live: &K, version: Option<String>) -> Value {
    let mut precondition = json!({ "uid": live.meta().uid });
    if let (Some(version), Some(fields)) = (version, precondition.as_object_mut()) {
        fields.insert("resourceVersion".to_owned(), version.into());
    }
    merge_into(&mut patch, "metadata", precondition);
    patch
}

fn merge_into(patch: &mut Value, key: &str, fields: Value) {
    let (Some(patch), Value::Object(fields)) = (patch.as_object_mut(), fields) else {
        return;
    };
    let inner = patch.entry(key).or_insert_with(|| json!({}));
    if let Some(inner) = inner.as_object_mut() {
        inner.extend(fields);
    }
}

/// A JSON patch (RFC 6902) that takes a finalizer away where it was seen, and nothing else.
fn without_finalizer<K: Resource>(live: &K, finalizer: &str) -> Result<json_patch::Patch, WriteError> {
    let index = live.finalizers().iter().position(|other| other == finalizer);
    let place = format!("/metadata/finalizers/{}", index.unwrap_or_default());
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": live.meta().uid},
        {"op": "test", "path": place, "value": finalizer},
        {"op": "remove", "path": place},
    ]);
    serde_json::from_value(patch).map_err(|error| WriteError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn only_our_finalizer_is_taken_away_and_only_where_it_is() {
        let live: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "alice", "uid": "alice-1", "finalizers": ["example.org/other", "novasphere.io/home"]},
        }))
        .unwrap();
        let patch = without_finalizer(&live, "novasphere.io/home").unwrap();
        assert_eq!(
            serde_json::to_value(patch).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "alice-1"},
                {"op": "test", "path": "/metadata/finalizers/1", "value": "novasphere.io/home"},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ])
        );
    }

    #[test]
    fn a_patch_names_the_object_that_was_seen() {
        let live: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}})).unwrap();
        let patch = json!({"metadata": {"labels": {"a": "b"}}});
        assert_eq!(
            with_precondition(patch.clone(), &live, None),
            json!({"metadata": {"labels": {"a": "b"}, "uid": "u"}})
        );
        assert_eq!(
            with_precondition(patch, &live, live.resource_version()),
            json!({"metadata": {"labels": {"a": "b"}, "uid": "u", "resourceVersion": "7"}})
        );
        assert_eq!(
            with_precondition(json!({"spec": {"ports": []}}), &live, None),
            json!({"metadata": {"uid": "u"}, "spec": {"ports": []}})
        );
    }
}
