//! Tokens that have opened a stream and open no other: their hashes leave the session's status with its next change. The replica
//! that carries the stream knows its own; the others learn it from the change that used the token up.

use std::{collections::HashMap, sync::Arc};

use kube::runtime::reflector::ObjectRef;
use novasphere_crd::ConsoleSession;
use parking_lot::RwLock;

/// Used tokens by session, as long as a stream is open that one of them may have opened.
#[derive(Debug, Default)]
pub(super) struct UsedTokens(RwLock<HashMap<ObjectRef<ConsoleSession>, Vec<Used>>>);

#[derive(Debug)]
struct Used {
    sha256: String,
    /// The streams that came with the change. Events of a watch may come together, so these may be more than one.
    connections: Vec<String>,
}

impl UsedTokens {
    /// Takes in that a session is now like this, or gone.
    pub(super) fn changed(
        &self,
        key: &ObjectRef<ConsoleSession>,
        before: Option<&ConsoleSession>,
        now: Option<&ConsoleSession>,
    ) {
        let mut all = self.0.write();
        let mut used = all.remove(key).unwrap_or_default();
        keep_open(&mut used, now);
        if let (Some(before), Some(now)) = (before, now) {
            used.extend(used_up(before, now));
        }
        if !used.is_empty() {
            all.insert(key.clone(), used);
        }
    }

    /// Takes in what a list has shown: what ended while the watch was down has no event of its own.
    pub(super) fn listed(&self, now: impl Fn(&ObjectRef<ConsoleSession>) -> Option<Arc<ConsoleSession>>) {
        let mut all = self.0.write();
        all.retain(|key, used| {
            keep_open(used, now(key).as_deref());
            !used.is_empty()
        });
    }

    /// The session of a token whose stream is open.
    pub(super) fn session(&self, sha256: &str) -> Option<ObjectRef<ConsoleSession>> {
        let all = self.0.read();
        all.iter()
            .find(|(_, used)| used.iter().any(|token| token.sha256 == sha256))
            .map(|(key, _)| key.clone())
    }
}

/// Forgets tokens whose streams the session does not have any more.
fn keep_open(used: &mut Vec<Used>, now: Option<&ConsoleSession>) {
    let open: Vec<&str> = now.into_iter().flat_map(connections).collect();
    used.retain(|token| {
        token
            .connections
            .iter()
            .any(|connection| open.contains(&connection.as_str()))
    });
}

/// Tokens that opened something before, and nothing any more since streams have come.
fn used_up(before: &ConsoleSession, now: &ConsoleSession) -> Vec<Used> {
    let (had, left): (Vec<&str>, Vec<&str>) = (connections(before).collect(), unused(now).collect());
    let new: Vec<String> = connections(now)
        .filter(|connection| !had.contains(connection))
        .map(str::to_owned)
        .collect();
    if new.is_empty() {
        return Vec::new();
    }
    unused(before)
        .filter(|hash| !left.contains(hash))
        .map(|hash| Used {
            sha256: hash.to_owned(),
            connections: new.clone(),
        })
        .collect()
}

fn unused(session: &ConsoleSession) -> impl Iterator<Item = &str> {
    let grants = session.status.iter().flat_map(|status| &status.grants);
    grants
        .filter(|grant| grant.uses_left > 0)
        .map(|grant| grant.sha256.as_str())
}

fn connections(session: &ConsoleSession) -> impl Iterator<Item = &str> {
    let connections = session.status.iter().flat_map(|status| &status.connections);
    connections.map(|connection| connection.id.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A token with a dash before it has no use left.
    fn session(tokens: &[&str], streams: &[&str]) -> ConsoleSession {
        let at = "2026-11-21T08:00:00Z";
        let grants: Vec<_> = tokens
            .iter()
            .map(|token| {
                let (hash, uses) = token.strip_prefix('-').map_or((*token, 1), |hash| (hash, 0));
                json!({"id": hash, "sha256": hash, "user": "ann", "issuedAt": at, "notAfter": at, "usesLeft": uses})
            })
            .collect();
        let connections: Vec<_> = streams
            .iter()
            .map(|id| {
                json!({
                    "id": id, "user": "ann", "gateway": "g1", "clientAddress": "192.0.2.1", "transport": "WebSocket",
                    "connectedAt": at,
                })
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "team"},
            "spec": {"targetRef": {"name": "web"}},
            "status": {"grants": grants, "connections": connections},
        }))
        .unwrap()
    }

    #[test]
    fn a_token_is_known_from_its_use_to_the_end_of_its_stream() {
        let used = UsedTokens::default();
        let granted = session(&["a", "b"], &[]);
        let key = ObjectRef::from_obj(&granted);
        used.changed(&key, None, Some(&granted));
        assert_eq!(used.session("a"), None);
        let entered = session(&["-a", "b"], &["1"]);
        used.changed(&key, Some(&granted), Some(&entered));
        assert_eq!(used.session("a"), Some(key.clone()));
        let pruned = session(&["b"], &["1"]);
        used.changed(&key, Some(&entered), Some(&pruned));
        assert_eq!(used.session("a"), Some(key.clone()));
        assert_eq!(used.session("b"), None, "it is still to be used");
        let joined = session(&[], &["1", "2"]);
        used.changed(&key, Some(&pruned), Some(&joined));
        assert_eq!(used.session("b"), Some(key.clone()));
        used.changed(&key, Some(&joined), Some(&session(&[], &["2"])));
        assert_eq!((used.session("a"), used.session("b")), (None, Some(key.clone())));
        used.changed(&key, Some(&session(&[], &["2"])), None);
        assert_eq!(used.session("b"), None);
    }

    #[test]
    fn what_ended_while_the_watch_was_down_is_forgotten() {
        let used = UsedTokens::default();
        let (granted, entered) = (session(&["a"], &[]), session(&["-a"], &["1"]));
        let key = ObjectRef::from_obj(&granted);
        used.changed(&key, Some(&granted), Some(&entered));
        used.listed(|_| Some(Arc::new(session(&[], &["1"]))));
        assert_eq!(used.session("a"), Some(key.clone()));
        // Another session of the same name.
        used.listed(|_| Some(Arc::new(session(&[], &["2"]))));
        assert_eq!(used.session("a"), None);
        used.changed(&key, Some(&granted), Some(&entered));
        used.listed(|_| None);
        assert!(used.0.read().is_empty());
    }

    #[test]
    fn a_token_that_ran_out_is_not_a_used_one() {
        let used = UsedTokens::default();
        let (before, now) = (session(&["a"], &["1"]), session(&[], &["1"]));
        let key = ObjectRef::from_obj(&now);
        used.changed(&key, Some(&before), Some(&now));
        assert_eq!(used.session("a"), None);
    }
}
