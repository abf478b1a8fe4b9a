//! What the aggregated API may not write beyond a gateway, and what it has to.

use serde_json::json;

use super::{
    How, Write,
    objects::{api_service, grant, session, with},
    places, write,
};

/// What the aggregated API may not.
pub(super) fn of_apiserver() -> Vec<Write> {
    let none = json!({});
    let labelled = with(api_service(&none), "/metadata/labels", json!({"a": "b"}));
    vec![
        write("a session for people", How::Create, session("x", &none)),
        write(
            "the APIService elsewhere",
            How::Merge,
            api_service(&json!({"service": {"name": "evil"}})),
        ),
        write(
            "the APIService unchecked",
            How::Merge,
            api_service(&json!({"insecureSkipTLSVerify": true})),
        ),
        write(
            "the APIService first",
            How::Merge,
            api_service(&json!({"groupPriorityMinimum": 20_000})),
        ),
        write("the labels of the APIService", How::Merge, labelled),
        write("the APIService, deleted", How::Delete, api_service(&none)),
    ]
}

pub(super) fn good_of_apiserver() -> Vec<Write> {
    let none = json!({});
    let both = json!({"grants": [grant("one", 2), grant("two", 1)]});
    vec![
        write(
            "a token",
            How::ReplaceStatus,
            with(session("open", &none), "/status", both),
        ),
        write(
            "a session for a connection",
            How::Create,
            session("x", &json!({"novasphere.io/made-for": "console"})),
        ),
        write(
            "a place for whom kube-apiserver knows",
            How::ReplaceStatus,
            places::of_user(),
        ),
        write("its end", How::Delete, session("over", &none)),
        write("the bundle", How::Merge, api_service(&json!({"caBundle": "YQ=="}))),
    ]
}
