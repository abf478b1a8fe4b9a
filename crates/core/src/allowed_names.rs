//! Names that an administrator allows.

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
        self.0.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == allowed,
        })
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
