//! Places to come back to: which account may make, change and use them. `present` has made the session `open` with the place `kept`.

use serde_json::{Value, json};

use super::{How, Write, grant, session, with, write};

/// A stream of ann's.
pub(super) fn stream(id: &str) -> Value {
    json!({
        "id": id, "user": "ann", "gateway": "g", "clientAddress": "192.0.2.1", "transport": "WebSocket",
        "connectedAt": "2026-01-01T00:00:00Z",
    })
}

/// The place of that stream, to which ann comes back by the credential that she was given.
pub(super) fn place(id: &str, connection: &str) -> Value {
    json!({
        "id": id, "user": "ann", "input": "Control", "connection": connection, "grant": "spent", "sha256": "a".repeat(64),
        "successors": ["b".repeat(64)],
    })
}

/// The place of a user whom kube-apiserver knows.
fn place_of_user(id: &str, connection: &str) -> Value {
    json!({"id": id, "user": "ann", "input": "Control", "connection": connection})
}

/// The place `kept`, after ann has come back to it with this stream.
fn taken_back(connection: &str) -> Value {
    let used = with(place("kept", connection), "/used", json!("b".repeat(64)));
    with(used, "/successors", json!(["c".repeat(64)]))
}

/// A place that a use of the grant `one` makes for the stream `new`.
fn place_by_token() -> Value {
    with(place("new", "new"), "/grant", json!("one"))
}

fn status_of_open(change: Value) -> Value {
    with(session("open", &json!({})), "/status", change)
}

/// A place that the aggregated API makes for a stream that it lets in.
pub(super) fn of_user() -> Value {
    status_of_open(json!({
        "resumes": [place("kept", "old"), place_of_user("new", "new")], "connections": [stream("old"), stream("new")],
    }))
}

/// Places to come back to that the gateway for browsers may not make or change.
pub(super) fn of_console() -> Vec<Write> {
    let streams = json!([stream("old"), stream("new")]);
    let places = |places: Value| status_of_open(json!({"resumes": places}));
    let used = json!([grant("one", 1), grant("spent", 0)]);
    let bens = with(place_by_token(), "/user", json!("ben"));
    let write_of = |what, places: Value, connections: &Value, grants: &Value| {
        let change = json!({"resumes": places, "connections": connections, "grants": grants});
        write(what, How::ReplaceStatus, status_of_open(change))
    };
    let unused = json!([grant("one", 2), grant("spent", 0)]);
    vec![
        write(
            "a place without a stream",
            How::ReplaceStatus,
            places(json!([place("kept", "old"), place("new", "old")])),
        ),
        write_of(
            "a place without a use of a token",
            json!([place("kept", "old"), place_by_token()]),
            &streams,
            &unused,
        ),
        write_of(
            "a place of a token that was used before",
            json!([place("kept", "old"), place("new", "new")]),
            &streams,
            &used,
        ),
        write_of(
            "a place of another user",
            json!([place("kept", "old"), bens]),
            &streams,
            &used,
        ),
        write_of(
            "two places of one use",
            json!([
                place("kept", "old"),
                place_by_token(),
                with(place_by_token(), "/id", json!("more"))
            ]),
            &streams,
            &used,
        ),
        write_of(
            "a place for whom kube-apiserver knows",
            json!([place("kept", "old"), place_of_user("new", "new")]),
            &streams,
            &unused,
        ),
        write(
            "another credential of a place",
            How::ReplaceStatus,
            places(json!([with(
                place("kept", "old"),
                "/successors",
                json!(["c".repeat(64)])
            )])),
        ),
        write(
            "a place's user",
            How::ReplaceStatus,
            places(json!([with(place("kept", "old"), "/user", json!("ben"))])),
        ),
        write(
            "a place's name for whoever comes back",
            How::ReplaceStatus,
            places(json!([with(place("kept", "old"), "/sha256", json!("d".repeat(64)))])),
        ),
        write(
            "a place taken back without a stream",
            How::ReplaceStatus,
            places(json!([taken_back("new")])),
        ),
        write(
            "the groups of who was let in",
            How::ReplaceStatus,
            status_of_open(
                json!({"grants": [grant("one", 2), with(grant("spent", 0), "/groups", json!(["system:masters"]))]}),
            ),
        ),
        write(
            "a place in a session that is over",
            How::ReplaceStatus,
            with(
                session("over", &json!({})),
                "/status",
                json!({"resumes": [place("kept", "old")]}),
            ),
        ),
    ]
}

/// What only the gateway for browsers may do with places.
pub(super) fn of_others() -> Vec<Write> {
    let streams = json!([stream("old"), stream("new")]);
    vec![
        write(
            "a place by a token",
            How::ReplaceStatus,
            status_of_open(json!({
                "resumes": [place("kept", "old"), place_by_token()], "connections": streams,
                "grants": [grant("one", 1), grant("spent", 0)],
            })),
        ),
        write(
            "a place taken back",
            How::ReplaceStatus,
            status_of_open(json!({"resumes": [taken_back("new")], "connections": [stream("new")]})),
        ),
        write(
            "another credential of a place",
            How::ReplaceStatus,
            status_of_open(json!({"resumes": [with(place("kept", "old"), "/successors", json!(["c".repeat(64)]))]})),
        ),
    ]
}

pub(super) fn good_of_console() -> Vec<Write> {
    let left = with(place("kept", "old"), "/leftAt", json!("2026-01-01T00:00:05Z"));
    vec![
        write(
            "a place by a token",
            How::ReplaceStatus,
            status_of_open(json!({
                "resumes": [place("kept", "old"), place_by_token()], "connections": [stream("old"), stream("new")],
                "grants": [grant("one", 1), grant("spent", 0)],
            })),
        ),
        write(
            "a place taken back",
            How::ReplaceStatus,
            status_of_open(json!({"resumes": [taken_back("new")], "connections": [stream("new")]})),
        ),
        write(
            "a place that is kept",
            How::ReplaceStatus,
            status_of_open(json!({"resumes": [left], "connections": []})),
        ),
        write(
            "a place that is given up",
            How::ReplaceStatus,
            status_of_open(json!({"resumes": null, "connections": null})),
        ),
    ]
}
