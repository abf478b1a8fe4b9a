//! Rights by the words of the documents.

use k8s_openapi::api::authorization::v1::ResourceAttributes;

use super::right;

const OURS: &str = "novasphere.io";

const SUBRESOURCES: &str = "subresources.novasphere.io";

/// A word, and the right that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// `<type>:<operation>`.
    pub word: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    verb: &'static str,
}

const fn on(word: &'static str, resource: &'static str, verb: &'static str) -> Permission {
    Permission {
        word,
        group: OURS,
        resource,
        subresource: None,
        verb,
    }
}

const fn below(
    word: &'static str,
    resource: &'static str,
    subresource: &'static str,
    verb: &'static str,
) -> Permission {
    Permission {
        word,
        group: SUBRESOURCES,
        resource,
        subresource: Some(subresource),
        verb,
    }
}

/// All words.
pub const PERMISSIONS: &[Permission] = &[
    on("vm:query", "vmaccesses", "list"),
    on("vm:create", "vmaccesses", "create"),
    on("vm:start", "vmaccesses", "patch"),
    on("vm:stop", "vmaccesses", "patch"),
    on("vm:restart", "vmaccesses", "patch"),
    on("vm:delete", "vmaccesses", "delete"),
    below("vm:console:view", "vmaccesses", "console", "get"),
    below("vm:console:access", "vmaccesses", "console", "update"),
    on("vm:service:create", "vmaccesses", "patch"),
    on("vm:service:delete", "vmaccesses", "patch"),
    on("workspace:query", "vncworkspaces", "list"),
    on("workspace:create", "vncworkspaces", "create"),
    on("workspace:start", "vncworkspaces", "patch"),
    on("workspace:hibernate", "vncworkspaces", "patch"),
    on("workspace:delete", "vncworkspaces", "delete"),
    below("workspace:console:view", "vncworkspaces", "console", "get"),
    below("workspace:console:access", "vncworkspaces", "console", "update"),
    on("session:query", "consolesessions", "list"),
    on("session:create", "consolesessions", "create"),
    on("session:revoke", "consolesessions", "patch"),
    below("session:token", "consolesessions", "token", "create"),
];

impl Permission {
    /// The permission of a word.
    #[must_use]
    pub fn find(word: &str) -> Option<&'static Self> {
        PERMISSIONS.iter().find(|permission| permission.word == word)
    }

    /// The right, in a namespace or in all.
    #[must_use]
    pub fn right(&self, namespace: Option<&str>) -> ResourceAttributes {
        right(self.group, self.resource, self.subresource, self.verb, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_of_the_documents_is_a_right() {
        let words: std::collections::BTreeSet<_> = PERMISSIONS.iter().map(|permission| permission.word).collect();
        assert_eq!(words.len(), PERMISSIONS.len());
        for word in ["vm:query", "vm:start", "vm:console:access"] {
            assert!(Permission::find(word).is_some(), "{word}");
        }
        let right = Permission::find("vm:console:access").unwrap().right(Some("team"));
        assert_eq!(right.subresource.as_deref(), Some("console"));
        assert_eq!(Permission::find("vm:fly"), None);
    }
}
