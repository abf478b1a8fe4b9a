//! Makes the cluster have the objects of routes, and no others of their owner.

use std::{collections::BTreeSet, sync::Arc};

use kube::{ResourceExt, api::DynamicObject};
use novasphere_core::{
    child::ChildOutcome,
    label::Owner,
    routes::{
        KEY_ROUTE,
        object::RouteObject,
        plan::PlannedRoute,
        status::{AppliedRoute, RoutesOutcome},
    },
};
use novasphere_runtime::{
    apply::{Outcome, WriteError},
    lease::NotLeader,
    untyped::Untyped,
};

use super::{Routes, stores::RouteStore};
use crate::{caches::Caches, children::Children};

/// Which objects of an owner are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Routes.
    Routes,
    /// What limits routes.
    Helpers,
}

impl Routes {
    /// Deletes the routes that are not wanted any more, because others may need their entry points; applies those that are wanted, each
    /// after what limits it; and deletes what limits none of them. One failure does not stop the rest. While the objects of a gateway are
    /// being listed, nothing is done for its routes: what they want is not known.
    ///
    /// # Errors
    ///
    /// [`NotLeader`] when this process may not write any more.
    pub(crate) async fn apply(
        &self,
        planned: Vec<PlannedRoute>,
        owner: &Owner,
        children: &mut Children<'_>,
        caches: &Caches,
    ) -> Result<RoutesOutcome, NotLeader> {
        let mut applied = Vec::new();
        if self.prune(Which::Routes, &planned, owner, children, caches).await? {
            for route in &planned {
                if let Ok(objects) = &route.objects {
                    applied.push(AppliedRoute {
                        name: route.name.clone(),
                        outcome: apply_route(objects, children, caches).await?,
                    });
                }
            }
            self.prune(Which::Helpers, &planned, owner, children, caches).await?;
        }
        Ok(RoutesOutcome {
            planned,
            applied,
            note: self.settings().rejected.clone(),
        })
    }

    /// Deletes the objects of `owner` that no route of `planned` wants. Returns whether all are gone.
    async fn prune(
        &self,
        which: Which,
        planned: &[PlannedRoute],
        owner: &Owner,
        children: &mut Children<'_>,
        caches: &Caches,
    ) -> Result<bool, NotLeader> {
        let is_wanted = |store: &RouteStore, name: &str| {
            let objects = planned.iter().filter_map(|route| route.objects.as_ref().ok()).flatten();
            objects
                .into_iter()
                .any(|object| (object.kind, object.api.group) == (store.kind, store.api.group) && object.name() == name)
        };
        // What a route had at another gateway, it keeps until it is known what it gets of this one.
        let unlisted = planned.iter().filter(|route| route.is_not_listed());
        let unlisted: BTreeSet<_> = unlisted.map(|route| route.name.as_str()).collect();
        let is_kept = |orphan: &Untyped| {
            let route = orphan.labels().get(KEY_ROUTE).map(String::as_str);
            route.map_or(!unlisted.is_empty(), |route| unlisted.contains(route))
        };
        let mut all_gone = true;
        for store in caches.routes.wanted() {
            if store.kind.is_helper() != (which == Which::Helpers) {
                continue;
            }
            // Without the API, its objects are gone.
            let Some(version) = self.apis.served(&store.api) else {
                continue;
            };
            let orphans = store.cache.indexed(&owner.key());
            for orphan in orphans
                .into_iter()
                .filter(|orphan| !is_wanted(store, &orphan.name_any()) && !is_kept(orphan))
            {
                all_gone &= delete(store, version, &orphan, children).await?;
            }
        }
        Ok(all_gone)
    }
}

/// Deletes one object. Returns whether it is gone.
async fn delete(
    store: &RouteStore,
    version: &str,
    orphan: &Arc<Untyped>,
    children: &mut Children<'_>,
) -> Result<bool, NotLeader> {
    if orphan.0.metadata.deletion_timestamp.is_some() {
        return Ok(true);
    }
    let resource = store.resource(version);
    match children.applier().delete_untyped(&resource, orphan, &store.cache).await {
        Ok(_) => Ok(true),
        Err(WriteError::NotLeader(lost)) => Err(lost),
        Err(error) => {
            tracing::warn!(kind = resource.kind, name = orphan.name_any(), %error, "cannot delete an object of a route that is no longer wanted");
            children.retry_because(error.reason());
            Ok(false)
        }
    }
}

/// Applies the objects of a route in order. What limits it comes first: without that, the route itself is not made.
async fn apply_route(
    objects: &[RouteObject],
    children: &mut Children<'_>,
    caches: &Caches,
) -> Result<ChildOutcome<DynamicObject>, NotLeader> {
    let mut outcome = ChildOutcome::NotTried;
    for object in objects {
        let Some(store) = caches.routes.of(object.kind, object.api.group) else {
            continue;
        };
        let resource = store.resource(object.api.version);
        let desired = DynamicObject {
            types: None,
            metadata: object.metadata.clone(),
            data: object.data.clone(),
        };
        let result = children
            .applier()
            .apply_untyped(&resource, &desired, &store.cache)
            .await;
        match result.map(Outcome::into_object) {
            Ok(live) => outcome = ChildOutcome::Applied(live),
            Err(error) => {
                let failure = children.record_failure_of(&resource.kind, object.name(), &error)?;
                return Ok(ChildOutcome::Failed(failure));
            }
        }
    }
    Ok(outcome)
}
