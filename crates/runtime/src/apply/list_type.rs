//! How server-side apply merges lists: the `x-kubernetes-list-type` and `x-kubernetes-list-map-keys` of the kinds that novasphere
//! writes, by the names of fields. Kubernetes publishes them with its OpenAPI; a comparison has no schemas at hand. The cluster
//! test `api::merge_keys` holds this table against the OpenAPI of a real API server.

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// One owner has the whole list.
    Atomic,
    /// Each item has owners of its own.
    Set,
    /// Each item has owners of its own, and is known by the values of these fields.
    Map(&'static [&'static str]),
}

/// Which kinds of rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// A kind of kube-apiserver itself, whose Go types and merge keys are known.
    BuiltIn,
    /// A custom resource.
    Custom,
}

impl Schema {
    /// The groups of kube-apiserver have no dot (`apps`) or end in `.k8s.io` and are not protected custom resources.
    #[must_use]
    pub fn of_group(group: &str) -> Self {
        let custom = ["gateway.networking.k8s.io", "snapshot.storage.k8s.io", "metrics.k8s.io"];
        if !group.contains('.') || (group.ends_with(".k8s.io") && !custom.contains(&group)) {
            Self::BuiltIn
        } else {
            Self::Custom
        }
    }
}

/// The type of the list `key`, which stands in an object or in the items of a list called `parent`: the `+listType` and
/// `+listMapKey` markers of k8s.io/api 0.37 and, for custom resources, the `x-kubernetes-list-*` of KubeVirt 1.8.
#[must_use]
pub fn list_type(schema: Schema, parent: &str, key: &str) -> ListType {
    match (parent, key) {
        ("metadata", "finalizers") => return ListType::Set,
        // Atomic by its markers, but admission adds some to every Pod, and none can be taken from a Pod.
        ("spec", "tolerations") if schema == Schema::BuiltIn => return ListType::Set,
        ("metadata", "ownerReferences") => return ListType::Map(&["uid"]),
        (_, "topologySpreadConstraints") => return ListType::Map(&["topologyKey", "whenUnsatisfiable"]),
        (_, "resourceClaims") => return ListType::Map(&["name"]),
        _ => {}
    }
    if schema == Schema::Custom {
        return ListType::Atomic;
    }
    match (parent, key) {
        ("spec", "ports") => ListType::Map(&["port", "protocol"]),
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => {
            ListType::Map(&["containerPort", "protocol"])
        }
        (
            _,
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "env"
            | "imagePullSecrets"
            | "claims"
            | "evictionResponders"
            | "schedulingGates",
        )
        | ("spec", "volumes") => ListType::Map(&["name"]),
        (_, "volumeMounts") => ListType::Map(&["mountPath"]),
        (_, "volumeDevices") => ListType::Map(&["devicePath"]),
        (_, "hostAliases") => ListType::Map(&["ip"]),
        ("exitCodes", "values") | ("volumeMounts", "bindMountOptions") => ListType::Set,
        _ => ListType::Atomic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_the_type_of_its_place() {
        let built_in = |parent, key| list_type(Schema::BuiltIn, parent, key);
        assert_eq!(built_in("spec", "ports"), ListType::Map(&["port", "protocol"]));
        assert_eq!(
            built_in("containers", "ports"),
            ListType::Map(&["containerPort", "protocol"])
        );
        assert_eq!(built_in("ingress", "ports"), ListType::Atomic);
        assert_eq!(built_in("exitCodes", "values"), ListType::Set);
        assert_eq!(list_type(Schema::Custom, "spec", "ports"), ListType::Atomic);
    }
}
