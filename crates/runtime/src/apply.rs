//! Writes that happen only when something changes.
//!
//! [`Applier::apply`] is a server-side apply that is not sent when it would change nothing. That is decided from the cached live
//! object: every field that is desired is there (`diff`), and nothing that was stated before has been dropped
//! ([`APPLIED_HASH`]). What a write did to the object is remembered where the server keeps differing (`normalization`).

mod diff;
mod document;
mod error;
pub mod list_type;
mod normalization;
mod repeat;
mod target;
mod unowned;
mod verbs;

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    diff::differences,
    normalization::ServerNormalization,
    target::{Target, Written},
    verbs::Verb,
};
pub use self::{
    document::APPLIED_HASH,
    error::{ApiReason, WriteError},
};
use crate::{cache::Cache, metrics::Metrics, namespaced::Namespaced, untyped::Untyped};

/// No live object has this resource version (the first write to an empty etcd is revision 2), so an apply that names it is
/// refused with a conflict when there is an object (`Store.Update` in k8s.io/apiserver), and makes one when there is none.
const CREATE_ONLY: &str = "1";

/// What [`Applier::apply`] did, with the object as it is in the cluster now (without `managedFields`).
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<K> {
    /// Nothing was sent: the cached object has all that is desired.
    Unchanged(K),
    /// The object did not exist.
    Created(K),
    /// The object was changed.
    Patched(K),
}

impl<K> Outcome<K> {
    /// The object.
    pub fn into_object(self) -> K {
        match self {
            Self::Unchanged(object) | Self::Created(object) | Self::Patched(object) => object,
        }
    }

    /// The object.
    pub fn object(&self) -> &K {
        match self {
            Self::Unchanged(object) | Self::Created(object) | Self::Patched(object) => object,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Unchanged(_) => "Unchanged",
            Self::Created(_) => "Created",
            Self::Patched(_) => "Patched",
        }
    }
}

/// What [`Applier::delete`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The apiserver took the request; finalizers may keep the object for a while.
    Requested,
    /// It is being deleted already: nothing was sent.
    Underway,
    /// It had gone already, or another object has its name now.
    AlreadyGone,
}

/// Applies objects for one field manager. Clones share its memory.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    field_manager: Arc<str>,
    owner_label: Option<&'static str>,
    normalization: Arc<ServerNormalization>,
    metrics: Metrics,
    request_timeout: Option<Duration>,
}

impl Applier {
    /// `field_manager` names one call site (`novasphere/vmaccess`), at most 128 bytes; two that share a name take each other's
    /// fields away.
    #[must_use]
    pub fn new(client: Client, field_manager: &str, metrics: Metrics) -> Self {
        Self {
            client,
            field_manager: field_manager.into(),
            owner_label: None,
            normalization: Arc::default(),
            metrics,
            request_timeout: None,
        }
    }

    /// Lets a label with the owner's UID stand for the controller owner reference, for objects that outlive their owner. An object
    /// that has both a controller and the label belongs to the controller.
    #[must_use]
    pub fn owner_label(self, key: &'static str) -> Self {
        Self {
            owner_label: Some(key),
            ..self
        }
    }

    /// The same for writes of another call site.
    #[must_use]
    pub fn with_field_manager(&self, field_manager: &str) -> Self {
        Self {
            field_manager: field_manager.into(),
            normalization: Arc::default(),
            ..self.clone()
        }
    }

    /// Lets each write fail with [`ApiReason::Timeout`] when it has no answer within `limit`. A caller that stops waiting by itself would
    /// leave a write out of the metric.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self {
            request_timeout: Some(limit),
            ..self
        }
    }

    /// Makes the cluster have `desired`, compared with what `cache` has of it. What was written is in the cache at once.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn apply<K: Namespaced>(&self, desired: &K, cache: &Cache<K>) -> Result<Outcome<K>, WriteError> {
        let live = cache.get(&desired.namespace().unwrap_or_default(), &desired.name_any());
        let outcome = self.apply_over(desired, live.as_deref()).await?;
        if let Outcome::Created(object) | Outcome::Patched(object) = &outcome {
            cache.written(object.clone());
        }
        Ok(outcome)
    }

    /// The same for a kind that is not cached. `live` is the object of that name, if there is one.
    ///
    /// `desired` needs a name, a namespace and an owner (see [`Self::owner_label`]). A live object of another owner, or of none, is
    /// never taken over, also when the cache does not have it. A field that was desired in the apply before and is not any
    /// more goes away. A `metadata.resourceVersion` that `desired` states is a condition.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn apply_over<K: Namespaced>(&self, desired: &K, live: Option<&K>) -> Result<Outcome<K>, WriteError> {
        let target = Target::of(self.client.clone(), desired)?;
        self.apply_to(&target, desired, live).await
    }

    /// [`Self::apply`] for a kind that is known at run time alone.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn apply_untyped(
        &self,
        resource: &ApiResource,
        desired: &DynamicObject,
        cache: &Cache<Untyped>,
    ) -> Result<Outcome<DynamicObject>, WriteError> {
        let live = cache.get(&desired.namespace().unwrap_or_default(), &desired.name_any());
        let target = Target::untyped(self.client.clone(), resource, desired)?;
        let outcome = self
            .apply_to(&target, desired, live.as_deref().map(|live| &live.0))
            .await?;
        if let Outcome::Created(object) | Outcome::Patched(object) = &outcome {
            cache.written(Untyped(object.clone()));
        }
        Ok(outcome)
    }

    async fn apply_to<K: Written>(
        &self,
        target: &Target<K>,
        desired: &K,
        live: Option<&K>,
    ) -> Result<Outcome<K>, WriteError> {
        let result = match self.try_apply(target, desired, live).await {
            // The cache trails, or does not hold objects like this one: what is there decides.
            Err(error) if error.is(ApiReason::Conflict) && desired.meta().resource_version.is_none() => {
                match self.read_from(&target.api, desired).await {
                    Ok(live) => self.try_apply(target, desired, live.as_ref()).await,
                    Err(error) => Err(error),
                }
            }
            result => result,
        };
        self.metrics.applied(
            &target.kind,
            result.as_ref().map_or_else(WriteError::reason, Outcome::name),
        );
        result
    }

    /// The object of this name, as the apiserver has it now.
    pub(crate) async fn read<K: Namespaced>(&self, desired: &K) -> Result<Option<K>, WriteError> {
        self.read_from(&self.api(desired)?, desired).await
    }

    async fn read_from<K: Written>(&self, api: &Api<K>, desired: &K) -> Result<Option<K>, WriteError> {
        let name = desired.name_any();
        let mut live = self.bounded(api.get_opt(&name)).await?;
        if let Some(live) = &mut live {
            live.meta_mut().managed_fields = None;
        }
        Ok(live)
    }

    async fn try_apply<K: Written>(
        &self,
        target: &Target<K>,
        desired: &K,
        live: Option<&K>,
    ) -> Result<Outcome<K>, WriteError> {
        match live {
            Some(live) => self.patch(target, desired, live).await,
            None => self.create(target, desired).await,
        }
    }

    async fn create<K: Written>(&self, target: &Target<K>, desired: &K) -> Result<Outcome<K>, WriteError> {
        self.owner_uid(desired).ok_or_else(|| no_owner(&target.kind, desired))?;
        let mut document = document_of(target, desired)?;
        document::set_metadata(&mut document, "resourceVersion", CREATE_ONLY);
        let created = self.send(target, desired, &document).await?;
        self.note_answer(target, desired, &created)?;
        Ok(Outcome::Created(created))
    }

    async fn patch<K: Written>(&self, target: &Target<K>, desired: &K, live: &K) -> Result<Outcome<K>, WriteError> {
        self.check_owner(&target.kind, desired, live)?;
        if live.meta().deletion_timestamp.is_some() {
            let (kind, name) = (&target.kind, desired.name_any());
            return Err(WriteError::api(
                ApiReason::Conflict,
                format!("{kind} {name} is being deleted; it is made again when it has gone"),
            ));
        }
        let uid = live.uid().unwrap_or_default();
        let mut document = document_of(target, desired)?;
        let live_document = to_value(live)?;
        let found = differences(&document, &live_document, target.schema);
        if found.is_empty() || self.normalization.is_known(&uid, &document, &found) {
            return Ok(Outcome::Unchanged(live.clone()));
        }
        let changes: Vec<_> = found
            .iter()
            .map(|difference| difference.path.as_str())
            .take(10)
            .collect();
        tracing::info!(
            kind = target.kind,
            namespace = desired.namespace(),
            name = desired.name_any(),
            ?changes,
            "it differs from what is desired"
        );
        // With the UID the apply cannot hit another object that got this name since.
        document::set_metadata(&mut document, "uid", &uid);
        if let Some(version) = &desired.meta().resource_version {
            document::set_metadata(&mut document, "resourceVersion", version);
        }
        let patched = self.send(target, desired, &document).await?;
        self.note_answer(target, desired, &patched)?;
        Ok(Outcome::Patched(patched))
    }

    async fn send<K: Written>(&self, target: &Target<K>, desired: &K, document: &Value) -> Result<K, WriteError> {
        let params = PatchParams::apply(&self.field_manager).force().validation_strict();
        let (name, patch) = (desired.name_any(), Patch::Apply(document));
        let request = target.api.patch(&name, &params, &patch);
        self.sent_as(Verb::Apply, &target.kind, desired, request).await
    }

    fn note_answer<K: Written>(&self, target: &Target<K>, desired: &K, answer: &K) -> Result<(), WriteError> {
        let (document, answer_document) = (document_of(target, desired)?, to_value(answer)?);
        let left = differences(&document, &answer_document, target.schema);
        let uid = answer.meta().uid.as_deref().unwrap_or_default();
        self.normalization.applied(uid, &document, &left);
        Ok(())
    }

    /// Makes the status of `live` be `status`, by server-side apply on the status subresource, unless it equals `current` but
    /// for `lastTransitionTime`. Returns whether something was sent; then it is in `cache` at once.
    ///
    /// `current` is the part of the live status that this field manager writes; what it held and `status` does not hold goes away.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn apply_status<K: Namespaced, S>(
        &self,
        live: &K,
        current: Option<&S>,
        status: &S,
        cache: &Cache<K>,
    ) -> Result<bool, WriteError>
    where
        S: Serialize,
    {
        let new = to_value(status)?;
        if let Some(current) = current
            && without_times(to_value(current)?) == without_times(new.clone())
        {
            return Ok(false);
        }
        let document = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // With the UID the status cannot go to another object that got this name since.
            "metadata": {"name": live.name_any(), "namespace": live.namespace(), "uid": live.uid()},
            "status": new,
        });
        let params = PatchParams::apply(&self.field_manager).force().validation_strict();
        let (api, name) = (self.api(live)?, live.name_any());
        let patch = Patch::Apply(&document);
        let answer = self.sent(Verb::ApplyStatus, live, api.patch_status(&name, &params, &patch));
        cache.written(answer.await?);
        Ok(true)
    }

    /// Deletes exactly the object `live` (by UID), its dependents in the background.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn delete<K: Namespaced>(&self, live: &K) -> Result<Deleted, WriteError> {
        self.delete_at(live, None).await
    }

    /// The same, unless somebody has changed the object since `live` was read: for what cannot be taken back, and was decided from
    /// what `live` says.
    ///
    /// # Errors
    ///
    /// [`ApiReason::Conflict`] when it is another version now, or another object; and what else there is.
    pub async fn delete_unchanged<K: Namespaced>(&self, live: &K) -> Result<Deleted, WriteError> {
        let version = live.resource_version().unwrap_or_default();
        self.delete_at(live, Some(version)).await
    }

    async fn delete_at<K: Namespaced>(&self, live: &K, version: Option<String>) -> Result<Deleted, WriteError> {
        self.delete_from(&Target::of(self.client.clone(), live)?, live, version)
            .await
    }

    /// [`Self::delete`] for a kind that is known at run time alone.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn delete_untyped(
        &self,
        resource: &ApiResource,
        live: &Untyped,
        cache: &Cache<Untyped>,
    ) -> Result<Deleted, WriteError> {
        let target = Target::untyped(self.client.clone(), resource, &live.0)?;
        let deleted = self.delete_from(&target, &live.0, None).await?;
        cache.deleted(live);
        Ok(deleted)
    }

    async fn delete_from<K: Written>(
        &self,
        target: &Target<K>,
        live: &K,
        version: Option<String>,
    ) -> Result<Deleted, WriteError> {
        let is_versioned = version.is_some();
        if live.meta().deletion_timestamp.is_some() {
            return Ok(Deleted::Underway);
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.uid(),
                resource_version: version,
            }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let result = match self.bounded(target.api.delete(&live.name_any(), &params)).await {
            Ok(_) => Ok(Deleted::Requested),
            Err(error) if error.is(ApiReason::NotFound) => Ok(Deleted::AlreadyGone),
            Err(error) if error.is(ApiReason::Conflict) && !is_versioned => Ok(Deleted::AlreadyGone),
            Err(error) => Err(error),
        };
        self.note(Verb::Delete, &target.kind, live.meta(), result.as_ref().err());
        if result.is_ok() {
            self.normalization
                .forget(live.meta().uid.as_deref().unwrap_or_default());
        }
        self.metrics.applied(
            &target.kind,
            result.as_ref().map_or_else(WriteError::reason, |_| "Deleted"),
        );
        result
    }

    /// The UID of the owner: the controller's, else that of the owner label.
    fn owner_uid<'a, K: Resource>(&self, object: &'a K) -> Option<&'a str> {
        match controller_of(object) {
            Some(controller) => Some(&controller.uid),
            None => object
                .meta()
                .labels
                .as_ref()?
                .get(self.owner_label?)
                .map(String::as_str),
        }
    }

    fn check_owner<K: Resource>(&self, kind: &str, desired: &K, live: &K) -> Result<(), WriteError> {
        let ours = self.owner_uid(desired).ok_or_else(|| no_owner(kind, desired))?;
        if self.owner_uid(live) == Some(ours) {
            return Ok(());
        }
        let owner = match (controller_of(live), controller_of(desired)) {
            (Some(theirs), Some(ours)) if theirs.kind == ours.kind && theirs.name == ours.name => {
                format!(
                    "it belongs to an earlier {} {} that is being cleaned up",
                    theirs.kind, theirs.name
                )
            }
            (Some(theirs), _) => format!("it belongs to {} {}", theirs.kind, theirs.name),
            (None, _) => "somebody else made it".to_owned(),
        };
        Err(WriteError::NotOwned {
            kind: kind.to_owned(),
            name: desired.name_any(),
            owner,
        })
    }

    fn api<K: Namespaced>(&self, object: &K) -> Result<Api<K>, WriteError> {
        Ok(Target::of(self.client.clone(), object)?.api)
    }
}

fn document_of<K: Written>(target: &Target<K>, desired: &K) -> Result<Value, WriteError> {
    document::desired(desired, &target.api_version, &target.kind)
        .map_err(|error| WriteError::Internal(format!("cannot write as JSON: {error}")))
}

fn to_value(value: &impl Serialize) -> Result<Value, WriteError> {
    serde_json::to_value(value).map_err(|error| WriteError::Internal(format!("cannot write as JSON: {error}")))
}

fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

fn no_owner(kind: &str, desired: &impl Resource) -> WriteError {
    WriteError::Internal(format!("{kind} {} is desired without an owner", desired.name_any()))
}

/// A status without nulls and empty lists and maps, and without the times of its conditions.
fn without_times(mut status: Value) -> Value {
    for condition in status
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(condition) = condition.as_object_mut() {
            condition.remove("lastTransitionTime");
        }
    }
    without_empty(status)
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(key, value)| (key, without_empty(value)));
            let kept: serde_json::Map<_, _> = kept.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() {
                Value::Null
            } else {
                Value::Object(kept)
            }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
