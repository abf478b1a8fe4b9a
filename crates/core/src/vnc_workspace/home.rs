//! The owner of a home, from its metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::KEY_WORKSPACE;
use crate::label::{self, Owner};

/// The owner references that a home is to have, when it has others: with that of its workspace it is collected, without it stays.
/// Those of others are left alone.
#[must_use]
pub fn owner_references(owner: &Owner, goes_along: bool, home: &ObjectMeta) -> Option<Vec<OwnerReference>> {
    let live = home.owner_references.as_deref().unwrap_or_default();
    if live.iter().any(|reference| reference.uid == owner.uid) == goes_along {
        return None;
    }
    let others = live.iter().filter(|reference| reference.uid != owner.uid).cloned();
    Some(others.chain(goes_along.then(|| owner.reference())).collect())
}

/// Name and UID of the workspace that a home was made for.
#[must_use]
pub fn made_for(home: &ObjectMeta) -> Option<(&str, &str)> {
    let named = || home.labels.as_ref()?.get(KEY_WORKSPACE).map(String::as_str);
    let name = label::controller(home)
        .map(|owner| owner.name.as_str())
        .or_else(named)?;
    Some((name, label::owner_uid(home)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::samples::workspace, *};

    fn home(owners: &Value) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": "alice-home", "ownerReferences": owners,
            "labels": {"novasphere.io/workspace": "alice", "novasphere.io/owner-uid": "alice-1"},
        }))
        .unwrap()
    }

    #[test]
    fn a_home_belongs_to_its_workspace_while_it_goes_along_with_it() {
        let owner = Owner::of(&workspace(&json!({}))).unwrap();
        let ours = json!(owner.reference());
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "other-1"});
        let uids = |goes_along, owners: Value| {
            let wanted = owner_references(&owner, goes_along, &home(&owners))?;
            Some(wanted.into_iter().map(|owner| owner.uid).collect::<Vec<_>>())
        };
        assert_eq!(uids(false, json!([])), None);
        assert_eq!(uids(false, json!([ours])), Some(vec![]));
        assert_eq!(uids(false, json!([other, ours])), Some(vec!["other-1".to_owned()]));
        assert_eq!(uids(true, json!([ours])), None);
        assert_eq!(uids(true, json!([])), Some(vec!["alice-1".to_owned()]));
    }

    #[test]
    fn a_home_tells_whose_it_was() {
        assert_eq!(made_for(&home(&json!([]))), Some(("alice", "alice-1")));
        let owner = json!({"apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "name": "bob", "uid": "bob-1", "controller": true});
        assert_eq!(made_for(&home(&json!([owner]))), Some(("bob", "bob-1")));
        assert_eq!(made_for(&ObjectMeta::default()), None);
    }
}
