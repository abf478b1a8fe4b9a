//! One macro that makes a plain struct a Kubernetes object.

/// Declares a namespaced object with `metadata` and the given fields.
///
/// `apiVersion` and `kind` are written by the serializer, as `k8s-openapi` does it, and so are not kept in each of the
/// cached objects. `kube`'s own derive makes a whole custom resource definition, which these types are not.
///
/// Group, version, plural and kind are the constants of [`k8s_openapi::Resource`], from which `kube::Resource` follows, and
/// everything else that has to name the API.
macro_rules! namespaced_object {
    (
        $(#[$attribute:meta])*
        $name:ident, $group:literal / $version:literal, $plural:literal {
            $( $(#[$field_attribute:meta])* $field:ident ($wire:literal): $type:ty, )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub struct $name {
            /// The object's metadata.
            #[serde(default)]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $(
                $(#[$field_attribute])*
                #[serde(rename = $wire, default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl k8s_openapi::Resource for $name {
            const API_VERSION: &'static str = concat!($group, "/", $version);
            const GROUP: &'static str = $group;
            const KIND: &'static str = stringify!($name);
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::NamespaceResourceScope;
        }

        impl k8s_openapi::Metadata for $name {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("apiVersion", <Self as k8s_openapi::Resource>::API_VERSION)?;
                map.serialize_entry("kind", <Self as k8s_openapi::Resource>::KIND)?;
                map.serialize_entry("metadata", &self.metadata)?;
                $(
                    if let Some(value) = &self.$field {
                        map.serialize_entry($wire, value)?;
                    }
                )*
                map.end()
            }
        }
    };
}

pub(crate) use namespaced_object;
