//! Writes of objects that belong to no other one and that no apply follows: an Event, a session whose name the apiserver chooses, the Secret
//! of our own authority. They are counted as all others are, and have a field manager.

use kube::{ResourceExt, api::Patch};
use serde_json::Value;

use super::{Applier, WriteError, verbs::Verb};
use crate::namespaced::Namespaced;

impl Applier {
    /// Creates an object, also one whose name the apiserver chooses (`metadata.generateName`).
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn create_unowned<K: Namespaced>(&self, object: &K) -> Result<K, WriteError> {
        let (api, params) = (self.api(object)?, self.post_params());
        self.sent(Verb::Create, object, api.create(&params, object)).await
    }

    /// Replaces a whole object, at the version that it has.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when it is another version now, or another object.
    pub(crate) async fn replace<K: Namespaced>(&self, object: &K) -> Result<K, WriteError> {
        let (api, name, params) = (self.api(object)?, object.name_any(), self.post_params());
        self.sent(Verb::Replace, object, api.replace(&name, &params, object))
            .await
    }

    /// Replaces fields of the object that has the namespace and the name of `place`, whichever it is, by a merge patch.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub(crate) async fn merge_any<K: Namespaced>(&self, place: &K, patch: Value) -> Result<K, WriteError> {
        let (api, name, params) = (self.api(place)?, place.name_any(), self.patch_params());
        let patch = Patch::Merge(patch);
        self.sent(Verb::Merge, place, api.patch(&name, &params, &patch)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::Secret;
    use kube::api::ObjectMeta;
    use serde_json::json;

    use super::super::{
        ApiReason,
        tests::{applier, expect, status},
    };

    fn secret() -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some("a".to_owned()),
                namespace: Some("ns".to_owned()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        }
    }

    #[tokio::test]
    async fn each_write_is_counted_and_has_the_field_manager() {
        let (applier, mut calls) = applier();
        let (place, taken) = (secret(), status(409, "Conflict", "the object has been modified"));
        let (created, call) = tokio::join!(applier.create_unowned(&place), expect(&mut calls, 201, &place));
        created.unwrap();
        let mut queries = vec![call.query];
        let (replaced, call) = tokio::join!(applier.replace(&place), expect(&mut calls, 409, &taken));
        assert!(replaced.unwrap_err().is(ApiReason::Conflict));
        queries.push(call.query);
        let patch = json!({"type": "Opaque"});
        let (merged, call) = tokio::join!(
            applier.merge_any(&place, patch.clone()),
            expect(&mut calls, 200, &place)
        );
        merged.unwrap();
        assert_eq!(call.body, patch);
        queries.push(call.query);
        for query in queries {
            assert!(query.contains("fieldManager=novasphere%2Ftest"), "{query}");
        }
        for (verb, outcome) in [("create", "Succeeded"), ("replace", "Conflict"), ("merge", "Succeeded")] {
            assert_eq!(applier.metrics.writes("Secret", verb, outcome), 1, "{verb}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_waited_for_no_longer_is_counted() {
        let (applier, _calls) = applier();
        let impatient = applier.clone().within(Duration::from_secs(1));
        let error = impatient.create_unowned(&secret()).await.unwrap_err();
        assert!(error.is(ApiReason::Timeout), "{error}");
        assert_eq!(applier.metrics.writes("Secret", "create", "Timeout"), 1);
    }
}
