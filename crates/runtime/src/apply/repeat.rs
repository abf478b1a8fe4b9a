//! Objects that repeat what somebody else decides.
//!
//! A field that a kind requires cannot be left out of a server-side apply, also where people decide it. So the live value is repeated, at the
//! version of the live object that it was read from: a value that somebody has changed since is not taken back.

use kube::ResourceExt;

use super::{ApiReason, Applier, Outcome, WriteError};
use crate::{cache::Cache, namespaced::Namespaced};

/// How often an object is made of a newer version of the live one, in a row. Each time somebody else's write went through.
const REPEAT_LIMIT: usize = 4;

impl Applier {
    /// Makes the cluster have `desired`, which repeats what the live object had at the `metadata.resourceVersion` that it states. After a
    /// conflict the live object is read, and `repeat` makes `desired` of it; that states the version of the live object.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a conflict when others write the object all the time.
    pub async fn apply_repeating<K: Namespaced>(
        &self,
        desired: &K,
        cache: &Cache<K>,
        repeat: fn(&K, &K) -> K,
    ) -> Result<Outcome<K>, WriteError> {
        let live = cache.get(&desired.namespace().unwrap_or_default(), &desired.name_any());
        let outcome = match live {
            Some(live) => match self.apply_over(desired, Some(&live)).await {
                Err(error) if error.is(ApiReason::Conflict) => self.repeat_newest(desired, repeat).await,
                result => result,
            },
            None => self.repeat_newest(desired, repeat).await,
        }?;
        if let Outcome::Created(object) | Outcome::Patched(object) = &outcome {
            cache.written(object.clone());
        }
        Ok(outcome)
    }

    async fn repeat_newest<K: Namespaced>(
        &self,
        desired: &K,
        repeat: fn(&K, &K) -> K,
    ) -> Result<Outcome<K>, WriteError> {
        let mut attempt = 1;
        loop {
            let live = self.read(desired).await?;
            // Nothing but its end is worth another look then.
            let is_going = live
                .as_ref()
                .is_some_and(|live| live.meta().deletion_timestamp.is_some());
            let repeated = live.as_ref().map(|live| repeat(desired, live));
            let result = self
                .apply_over(repeated.as_ref().unwrap_or(desired), live.as_ref())
                .await;
            match result {
                Err(error) if error.is(ApiReason::Conflict) && attempt < REPEAT_LIMIT && !is_going => attempt += 1,
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use k8s_openapi::api::core::v1::Service;

    use super::{
        super::tests::{Calls, applier, expect, expect_none, service, status, stored},
        *,
    };
    use crate::watch::WatchEvent;

    /// `desired` with the type of `live`, which somebody else decides, at the version of `live`.
    fn repeat_type(desired: &Service, live: &Service) -> Service {
        let mut repeated = desired.clone();
        let type_of_live = live.spec.as_ref().and_then(|spec| spec.type_.clone());
        repeated.spec.as_mut().unwrap().type_ = type_of_live;
        repeated.metadata.resource_version = live.resource_version();
        repeated
    }

    /// A live object that lacks something, and a cache that has it.
    fn seen() -> (Service, Cache<Service>) {
        let mut seen = stored(&service(|_| {}));
        seen.spec.as_mut().unwrap().selector = None;
        let cache = Cache::new(|_| None);
        cache.observe(&WatchEvent::Apply(seen.clone()));
        (seen, cache)
    }

    async fn conflict(calls: &mut Calls) -> String {
        let conflict = status(409, "Conflict", "the object has been modified");
        let call = expect(calls, 409, &conflict).await;
        call.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_others_decide_is_repeated_at_its_version_and_made_again_after_a_conflict() {
        let (applier, mut calls) = applier();
        let (seen, cache) = seen();
        let desired = repeat_type(&service(|_| {}), &seen);
        let mut newer = seen.clone();
        newer.spec.as_mut().unwrap().type_ = Some("NodePort".to_owned());
        newer.metadata.resource_version = Some("8".to_owned());
        let answer = stored(&repeat_type(&desired, &newer));
        let (outcome, ()) = tokio::join!(applier.apply_repeating(&desired, &cache, repeat_type), async {
            assert_eq!(conflict(&mut calls).await, "7");
            assert_eq!(expect(&mut calls, 200, &newer).await.method, Method::GET);
            let second = expect(&mut calls, 200, &answer).await;
            assert_eq!(second.body["metadata"]["resourceVersion"], "8");
            assert_eq!(second.body["spec"]["type"], "NodePort");
        });
        assert!(matches!(outcome.unwrap(), Outcome::Patched(_)));
        expect_none(calls);
    }

    #[tokio::test]
    async fn what_others_write_all_the_time_is_not_overwritten() {
        let (applier, mut calls) = applier();
        let (seen, cache) = seen();
        let desired = repeat_type(&service(|_| {}), &seen);
        let (outcome, ()) = tokio::join!(applier.apply_repeating(&desired, &cache, repeat_type), async {
            conflict(&mut calls).await;
            for _ in 0..REPEAT_LIMIT {
                assert_eq!(expect(&mut calls, 200, &seen).await.method, Method::GET);
                conflict(&mut calls).await;
            }
        });
        assert!(outcome.unwrap_err().is(ApiReason::Conflict));
        expect_none(calls);
    }

    #[tokio::test]
    async fn what_the_cache_does_not_have_is_read_before_it_is_repeated() {
        let (applier, mut calls) = applier();
        let (seen, _) = seen();
        let desired = service(|value| value["spec"]["type"] = "LoadBalancer".into());
        let answer = stored(&repeat_type(&desired, &seen));
        let cache = Cache::new(|_| None);
        let (outcome, ()) = tokio::join!(applier.apply_repeating(&desired, &cache, repeat_type), async {
            assert_eq!(expect(&mut calls, 200, &seen).await.method, Method::GET);
            let sent = expect(&mut calls, 200, &answer).await;
            assert_eq!(sent.body["spec"]["type"], "ClusterIP");
        });
        assert!(matches!(outcome.unwrap(), Outcome::Patched(_)));
        assert!(cache.get("ns", "web").is_some());
        expect_none(calls);
    }
}
