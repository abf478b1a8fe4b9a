//! What a gateway may not write, and what it has to.

use serde_json::{Value, json};

use super::{
    How, Write,
    objects::{api_service, event, grant, lease, pod, policy, repeated, secret, service, session, with},
    write,
};

/// What no gateway may.
pub(super) fn of_gateway() -> Vec<Write> {
    let none = json!({});
    let named = |name: &str| secret(name, &none, None);
    let annotated = with(
        named("novasphere-ca"),
        "/metadata/annotations",
        json!({"kubernetes.io/service-account.name": "default"}),
    );
    let status = |change: Value| with(session("open", &none), "/status", change);
    vec![
        write("a Secret", How::Create, named("x")),
        write("the authority, created", How::Create, named("novasphere-ca")),
        write(
            "another's Secret",
            How::Replace,
            with(named("theirs"), "/stringData", json!({"a": "b"})),
        ),
        write("the authority with an account", How::Replace, annotated),
        write("the authority, deleted", How::Delete, named("novasphere-ca")),
        write(
            "a Pod",
            How::Create,
            pod(
                "x",
                &json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"}),
                &none,
            ),
        ),
        write(
            "another's Pod, deleted",
            How::Delete,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"}}),
        ),
        write("a Service", How::Create, service("x", &none)),
        write("the leader's lease", How::Merge, lease("novasphere-controller", "evil")),
        write(
            "the leader's lease, deleted",
            How::Delete,
            lease("novasphere-controller", "evil"),
        ),
        write("another's lease", How::Merge, lease("somebodys", "evil")),
        write("another's lease, deleted", How::Delete, lease("somebodys", "evil")),
        write(
            "a lease of another program",
            How::Create,
            lease("kube-scheduler", "evil"),
        ),
        write("a session that is open, deleted", How::Delete, session("open", &none)),
        write(
            "the spec of a session",
            How::Merge,
            with(session("open", &none), "/spec", json!({"revoked": true})),
        ),
        write(
            "the policy of a session",
            How::ReplaceStatus,
            status(json!({"policy": policy("Control")})),
        ),
        write(
            "the target of a session",
            How::ReplaceStatus,
            status(json!({"targetUid": "2"})),
        ),
        write(
            "the start of a session",
            How::ReplaceStatus,
            status(json!({"startedAt": "2026-01-01T00:30:00Z"})),
        ),
        write(
            "the expiry of a session",
            How::ReplaceStatus,
            status(json!({"expiresAt": "2126-01-01T00:30:00Z"})),
        ),
        write(
            "no start of a session",
            How::ReplaceStatus,
            status(json!({"startedAt": null})),
        ),
        write(
            "a session that is over",
            How::ReplaceStatus,
            with(session("over", &none), "/status", json!({"closedAt": null})),
        ),
        write(
            "a token of one that is over",
            How::ReplaceStatus,
            with(session("over", &none), "/status", json!({"grants": [grant("x", 1)]})),
        ),
        write("an event of another program", How::Create, event("x", "kubelet")),
        write("another's event", How::Merge, repeated()),
    ]
}

/// What the gateway for browsers and viewers may not.
pub(super) fn of_console() -> Vec<Write> {
    let none = json!({});
    let grants = |grants: Value| with(session("open", &none), "/status", json!({"grants": grants}));
    let other = with(grant("one", 2), "/user", json!("system:admin"));
    vec![
        write(
            "a token",
            How::ReplaceStatus,
            grants(json!([grant("one", 2), grant("two", 1)])),
        ),
        write(
            "more uses of a token",
            How::ReplaceStatus,
            grants(json!([grant("one", 3)])),
        ),
        write("a token's user", How::ReplaceStatus, grants(json!([other]))),
        write(
            "a session",
            How::Create,
            session("x", &json!({"novasphere.io/made-for": "console"})),
        ),
        write("an APIService", How::Merge, api_service(&json!({"caBundle": "YQ=="}))),
    ]
}

pub(super) fn good_of_gateway() -> Vec<Write> {
    let none = json!({});
    let authority = with(secret("novasphere-ca", &none, None), "/data", json!({"ca.crt": "YQ=="}));
    let used = json!({"grants": [grant("one", 1)], "viewers": 1});
    vec![
        write("the authority", How::Replace, authority),
        write("its lease", How::Merge, lease("novasphere-gateway-a", "a")),
        write("its lease, deleted", How::Delete, lease("novasphere-gateway-a", "a")),
        write(
            "a use of a token",
            How::ReplaceStatus,
            with(session("open", &none), "/status", used),
        ),
        write(
            "the end of a session",
            How::ReplaceStatus,
            with(
                session("open", &none),
                "/status",
                json!({
                    "phase": "Closed", "closedAt": "2026-01-01T00:30:00Z", "grants": null, "resumes": null,
                }),
            ),
        ),
        write("an event", How::Create, event("x", "novasphere/console")),
    ]
}
