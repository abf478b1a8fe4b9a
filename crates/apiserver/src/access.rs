//! What a user may do. kube-apiserver has asked the same already, but whoever reaches our port with its certificate need not
//! have come that way, and the right to a *target's* console is ours to ask.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use kube::{Api, Client, api::PostParams};
use novasphere_core::console_session::access::{missing_right, review, token_right};
use novasphere_wire::front_proxy::Identity;

use crate::status::ApiError;

/// Asks kube-apiserver. Clones share the connection.
#[derive(Clone)]
pub struct Access {
    reviews: Api<SubjectAccessReview>,
}

impl Access {
    /// Asks by this client, which needs `create` on `subjectaccessreviews`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
        }
    }

    /// Goes on only when the user has the right.
    ///
    /// # Errors
    ///
    /// 403 with a sentence that names the missing verb and resource; 503 when it cannot be known now.
    pub async fn require(&self, who: &Identity, right: ResourceAttributes) -> Result<(), ApiError> {
        let mut review = review(&who.user, &who.groups, right.clone());
        review.spec.uid.clone_from(&who.uid);
        if !who.extra.is_empty() {
            review.spec.extra = Some(who.extra.clone());
        }
        let answer = self.reviews.create(&PostParams::default(), &review).await;
        let answer =
            answer.map_err(|error| ApiError::Unavailable(format!("cannot ask for the user's rights: {error}")))?;
        let status = answer.status.unwrap_or_default();
        if status.allowed {
            return Ok(());
        }
        let mut sentence = missing_right(&who.user, &right);
        if let Some(reason) = status.reason.filter(|reason| !reason.is_empty()) {
            sentence = format!("{sentence} ({reason})");
        }
        Err(ApiError::Forbidden(sentence))
    }
}

/// The right to join a session.
#[must_use]
pub fn connect_right(namespace: &str, name: &str) -> ResourceAttributes {
    ResourceAttributes {
        verb: Some("get".to_owned()),
        subresource: Some("connect".to_owned()),
        ..token_right(namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower_test::mock;

    use super::*;

    async fn ask(answer: Value) -> (Value, Result<(), ApiError>) {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let access = Access::new(Client::new(service, "ns"));
        let who = Identity {
            user: "jane".into(),
            uid: Some("42".into()),
            groups: vec!["dev".into()],
            extra: BTreeMap::from([("scopes".to_owned(), vec!["a".to_owned()])]),
        };
        let asked = tokio::spawn(async move { access.require(&who, connect_right("team", "web")).await });
        let (request, respond) = calls.next_request().await.unwrap();
        let sent: Value = serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
        let mut whole = sent.clone();
        whole["status"] = answer;
        respond.send_response(Response::new(Body::from(serde_json::to_vec(&whole).unwrap())));
        (sent, asked.await.unwrap())
    }

    #[tokio::test]
    async fn all_of_the_identity_is_told() {
        let (sent, answer) = ask(json!({"allowed": true})).await;
        answer.unwrap();
        assert_eq!(sent["spec"]["user"], "jane");
        assert_eq!(sent["spec"]["uid"], "42");
        assert_eq!(sent["spec"]["groups"], json!(["dev"]));
        assert_eq!(sent["spec"]["extra"], json!({"scopes": ["a"]}));
        let right = &sent["spec"]["resourceAttributes"];
        assert_eq!(
            (&right["verb"], &right["subresource"]),
            (&json!("get"), &json!("connect"))
        );
    }

    #[tokio::test]
    async fn a_missing_right_is_named() {
        let (_, answer) = ask(json!({"allowed": false, "reason": "no RoleBinding"})).await;
        let error = answer.unwrap_err();
        assert_eq!(error.code(), 403);
        let text = error.to_string();
        for part in [
            "jane",
            "get",
            "consolesessions/connect",
            "web",
            "team",
            "no RoleBinding",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
