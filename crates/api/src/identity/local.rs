//! Users of a Secret, for installations without an identity provider.

use novasphere_runtime::access::UserInfo;
use serde::{Deserialize, Serialize};

use super::{VerifiedUser, password::PasswordVerifier};
use crate::{caller::TenantId, config::LocalUsersConfig, login::secret::WatchedSecret};

/// The Secret with the users. Its keys are their names.
pub const USERS_SECRET: &str = "novasphere-users";

/// The provider's name in records and audit lines.
pub const PROVIDER: &str = "local";

/// Characters of a user's name: it is a key of a Secret.
pub const NAME_LENGTH_LIMIT: usize = 64;

/// A user as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalUser {
    /// A PHC string of argon2id.
    pub hash: String,
    /// Groups, without the prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Tenants that the user may choose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// Whether they may not sign in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// The users. Clones share them.
#[derive(Clone)]
pub struct LocalUsers {
    secret: WatchedSecret,
    passwords: PasswordVerifier,
    prefix: String,
}

/// Whether a name can be that of a local user.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH_LIMIT).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl LocalUsers {
    /// The users of a Secret.
    #[must_use]
    pub fn new(secret: WatchedSecret, passwords: PasswordVerifier, config: &LocalUsersConfig) -> Self {
        Self {
            secret,
            passwords,
            prefix: config.prefix.clone(),
        }
    }

    /// The user with this name and password. Who is not there takes as long as who is.
    pub async fn verify(&self, name: &str, password: String) -> Option<VerifiedUser> {
        let user = is_name(name).then(|| self.find(name)).flatten();
        let user = user.filter(|user| !user.disabled);
        let hash = user.as_ref().map(|user| user.hash.clone());
        if !self.passwords.verify(password, hash).await {
            return None;
        }
        Some(verified(name, &user?, &self.prefix))
    }

    /// Whether a user is there and may sign in: a login of one who may not any more has ended, without anybody's ending it.
    #[must_use]
    pub fn is_active(&self, name: &str) -> bool {
        self.find(name).is_some_and(|user| !user.disabled)
    }

    fn find(&self, name: &str) -> Option<LocalUser> {
        let value = self.secret.value(name)?;
        let user = serde_json::from_slice(&value);
        if let Err(error) = &user {
            tracing::error!(user = name, %error, "a local user cannot be read; set the password again: novasphere user add");
        }
        user.ok()
    }
}

fn verified(name: &str, user: &LocalUser, prefix: &str) -> VerifiedUser {
    VerifiedUser {
        user: UserInfo {
            name: format!("{prefix}{name}"),
            groups: user.groups.iter().map(|group| format!("{prefix}{group}")).collect(),
            ..UserInfo::default()
        },
        display_name: name.to_owned(),
        tenants: user.tenants.iter().cloned().map(TenantId).collect(),
        provider: PROVIDER.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_keys_of_a_secret() {
        for good in ["ann", "ann.b-c_1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "ann/x", "äöü", "a b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn user_and_groups_have_the_prefix() {
        let user = LocalUser {
            groups: vec!["ops".to_owned()],
            tenants: vec!["blue".to_owned()],
            ..LocalUser::default()
        };
        let verified = verified("ann", &user, "novasphere:");
        assert_eq!(verified.user.name, "novasphere:ann");
        assert_eq!(verified.user.groups, ["novasphere:ops"]);
        assert_eq!(verified.tenants, [TenantId("blue".to_owned())]);
    }
}
