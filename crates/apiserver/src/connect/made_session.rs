//! The session that is made for one connection.

use std::time::Duration;

use kube::api::ObjectMeta;
use novasphere_core::console_session::single_use;
use novasphere_crd::{ConsoleSession, ConsoleSessionSpec, FinishedTtl, SessionTargetKind, SessionTargetRef};
use novasphere_runtime::access::UserInfo;

use super::options::ConsoleOptions;

/// How long a session for a connection stays when it is over. What it has to say is in the audit log and in events.
const SESSION_TTL: Duration = Duration::from_mins(1);

/// Characters of the target's name in the name of a session for it; with what is added a name has at most 63.
const NAME_PREFIX_LIMIT: usize = 40;

/// A session for one connection of this user, and for nobody else.
pub(super) fn session_for(
    user: &UserInfo,
    kind: SessionTargetKind,
    namespace: &str,
    name: &str,
    options: ConsoleOptions,
) -> ConsoleSession {
    let part: String = name.chars().take(NAME_PREFIX_LIMIT).collect();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", part.trim_end_matches(['-', '.']))),
        namespace: Some(namespace.to_owned()),
        labels: Some(
            [(
                single_use::KEY_MADE_FOR.to_owned(),
                single_use::MADE_FOR_CONSOLE.to_owned(),
            )]
            .into(),
        ),
        ..ObjectMeta::default()
    };
    let spec = ConsoleSessionSpec {
        target_ref: SessionTargetRef {
            kind,
            name: name.to_owned(),
        },
        protocol: options.protocol,
        input: options.input,
        takeover: options.takeover,
        max_viewers: Some(1),
        ttl_after_finished: FinishedTtl::After(SESSION_TTL.into()),
        users: vec![user.name.clone()],
        ..ConsoleSessionSpec::default()
    };
    ConsoleSession {
        metadata,
        spec,
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_made_for_the_caller_alone() {
        let user = UserInfo {
            name: "jane".into(),
            ..UserInfo::default()
        };
        let long = format!("{}-web", "a".repeat(NAME_PREFIX_LIMIT - 1));
        let session = session_for(
            &user,
            SessionTargetKind::VncWorkspace,
            "team",
            &long,
            ConsoleOptions::default(),
        );
        assert_eq!(session.spec.target_ref.kind, SessionTargetKind::VncWorkspace);
        assert_eq!(session.spec.users, ["jane"]);
        assert!(single_use::is_made_for(&session, "jane") && !single_use::is_made_for(&session, "joe"));
        assert_eq!(session.spec.ttl_after_finished, FinishedTtl::After(SESSION_TTL.into()));
        assert!(single_use::is_single_use(&session));
        let prefix = session.metadata.generate_name.unwrap();
        assert_eq!(prefix, format!("{}-", "a".repeat(NAME_PREFIX_LIMIT - 1)));
    }
}
