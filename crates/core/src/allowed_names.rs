//! Names that an administrator allows: of machines ([`limits`](crate::vm_access::limits)), and keys in the `podOverrides` of workspaces
//! ([`allowed_overrides`](crate::vnc_workspace::allowed_overrides)).
//!
//! The two have the same names and the same free keys, and not the same list: a workspace's author may set any field of a Pod that is open, so
//! there it is fields that an administrator opens; a machine's Pod is KubeVirt's, so there it is values.

/// Keys of labels and annotations by which nobody selects or configures a Pod: they are for everybody.
pub(crate) const FREE_KEYS: &str = "novasphere.io/x-*";

/// Whether a name is meant by one that is written in a configuration: the same, or any that begins like one that ends in `*`.
pub(crate) fn stands_for(written: &str, name: &str) -> bool {
    match written.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == written,
    }
}

/// A list of names. One that ends in `*` stands for all that begin like it, and `*` alone for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNames(Vec<String>);

impl AllowedNames {
    /// The list as it is written in a configuration.
    #[must_use]
    pub fn new<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Whether `name` is allowed.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.0.iter().any(|allowed| stands_for(allowed, name))
    }

    /// The names as they are written.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_stands_for_all_that_begin_so() {
        let names = AllowedNames::new(["batch", "novasphere.io/x-*"]);
        for (name, allowed) in [
            ("batch", true),
            ("batch-2", false),
            ("novasphere.io/x-team", true),
            ("novasphere.io/owner-uid", false),
            ("", false),
        ] {
            assert_eq!(names.allows(name), allowed, "{name}");
        }
        assert!(AllowedNames::new(["*"]).allows("anything"));
        assert!(!AllowedNames::default().allows("anything"));
    }
}
