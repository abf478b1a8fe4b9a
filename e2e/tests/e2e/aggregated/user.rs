//! Every question about the rights of a user who comes through kube-apiserver names the user whole: with UID, groups and extra. An
//! authorizer that limits by extra, such as one of scoped tokens, would else be asked about more rights than the user has.

use anyhow::{Context as _, Result, ensure};
use http::{HeaderName, HeaderValue, Request};
use kube::{Client, client::Body};
use novasphere_e2e::{
    fixtures::{
        apiserver::{BASE, text, with_apiserver},
        audit::{Mark, Write},
        console::ConsoleFixture,
        console_session::{TARGET, open_session},
        console_socket::{BINARY_SUBPROTOCOL, ConsoleSocket},
        namespace::Context,
        rights::{SESSION_STREAMS, SESSION_TOKENS, VM_CONSOLES, allow},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("aggregated::user::named_whole", Needs::ControlPlane, named_whole),
        Case::new("aggregated::user::many_groups", Needs::ControlPlane, many_groups),
    ]
}

const USER: &str = "ursula";
const UID: &str = "5b1d0c1e-ursula";
const GROUP: &str = "team-blue";

/// What kube-apiserver takes from an impersonator and hands on to an aggregated API server.
const IMPERSONATION: &[(&str, &str)] = &[
    ("impersonate-user", USER),
    ("impersonate-uid", UID),
    ("impersonate-group", GROUP),
    ("impersonate-extra-scopes", "view"),
    ("impersonate-extra-scopes", "control"),
    ("impersonate-extra-example.org%2ftenant", "blue"),
];

async fn named_whole() -> Result<()> {
    with_apiserver("aggregated::user::named_whole", async |context, server| {
        let fixture = ConsoleFixture::start(context, &json!({"maxConcurrentSessions": 100})).await?;
        for (resource, verbs) in [
            (VM_CONSOLES, &["get", "update"][..]),
            (SESSION_STREAMS, &["get"]),
            (SESSION_TOKENS, &["create"]),
        ] {
            allow(context, USER, resource, verbs).await?;
        }
        open_session(context, "shared", json!({})).await?;
        let ursula = ursula(context).await?;
        let mark = context.cluster.audit().mark()?;
        let namespace = format!("{BASE}/namespaces/{}", context.namespace);
        for path in [
            format!("{namespace}/vmaccesses/{TARGET}/console"),
            format!("{namespace}/consolesessions/shared/connect"),
        ] {
            // kube-apiserver learns of new roles by its own watch.
            let socket = wait::until(format!("{USER} opens {path}"), wait::SHORT, || async {
                let socket = ConsoleSocket::connect(&ursula, &path, BINARY_SUBPROTOCOL).await?;
                Ok(Seen::Done(socket.entered().await?))
            })
            .await?;
            socket.leave().await?;
        }
        let request = Request::post(format!("{namespace}/consolesessions/shared/token")).body(Body::empty())?;
        let answer = ursula.send(request).await?;
        ensure!(answer.status() == 201, "a token: {}", answer.status());
        let answer: Value = serde_json::from_slice(&answer.into_body().collect_bytes().await?)?;
        let questions = [
            ("get", "vmaccesses/console"),
            ("update", "vmaccesses/console"),
            ("get", "consolesessions/connect"),
            ("create", "consolesessions/token"),
        ];
        were_asked(context, mark, &server.account.user(), &questions)?;

        // A gateway knows the user by the token alone.
        let gateways = fixture.gateways(context, &["g1"]).await?;
        let gateway = gateways.first().context("a gateway was started")?;
        let mark = context.cluster.audit().mark()?;
        let socket = ConsoleSocket::enter(gateway.http, text(&answer, "/token")).await?;
        socket.leave().await?;
        let questions = [("get", "vmaccesses/console"), ("update", "vmaccesses/console")];
        were_asked(context, mark, &fixture.account.user(), &questions).context("by the gateway")?;
        Ok(())
    })
    .await
}

/// A person of a large company: in 256 groups, with 256 values of extra. In one group more they are told so in a sentence.
async fn many_groups() -> Result<()> {
    with_apiserver("aggregated::user::many_groups", async |context, _| {
        let _fixture = ConsoleFixture::start(context, &json!({"maxConcurrentSessions": 100})).await?;
        for (resource, verbs) in [(VM_CONSOLES, &["get", "update"][..]), (SESSION_TOKENS, &["create"])] {
            allow(context, USER, resource, verbs).await?;
        }
        open_session(context, "shared", json!({})).await?;
        let path = format!("{BASE}/namespaces/{}/consolesessions/shared/token", context.namespace);
        // kube-apiserver adds system:authenticated.
        let allowed = large_user(context, 255, 256).await?;
        let answer = wait::until("a token for a user in 256 groups", wait::SHORT, || async {
            let answer = allowed.send(Request::post(&path).body(Body::empty())?).await?;
            let code = answer.status();
            let answer: Value = serde_json::from_slice(&answer.into_body().collect_bytes().await?)?;
            // kube-apiserver learns of new roles by its own watch.
            Ok(if code == 403 {
                Seen::NotYet(answer.to_string())
            } else {
                Seen::Done((code, answer))
            })
        })
        .await?;
        ensure!(answer.0 == 201, "the answer is {answer:?}");
        for (groups, extra, sentence) in [(256, 0, "more than 256 groups"), (1, 257, "more than 256 extra values")] {
            let refused = large_user(context, groups, extra).await?;
            let answer = refused.send(Request::post(&path).body(Body::empty())?).await?;
            let code = answer.status();
            let answer: Value = serde_json::from_slice(&answer.into_body().collect_bytes().await?)?;
            ensure!(
                code == 403 && text(&answer, "/kind") == "Status" && text(&answer, "/message").contains(sentence),
                "{groups} groups and {extra} extra values: {code} {answer}"
            );
        }
        Ok(())
    })
    .await
}

/// [`USER`] in so many groups, with so many values of extra.
async fn large_user(context: &Context<'_>, groups: usize, extra: usize) -> Result<Client> {
    let mut headers = vec![("impersonate-user", USER.to_owned())];
    headers.extend((0..groups).map(|number| {
        (
            "impersonate-group",
            format!("/company/department-of-long-names/team-{number}"),
        )
    }));
    headers.extend((0..extra).map(|number| {
        (
            "impersonate-extra-scopes",
            format!("https://scopes.example.org/{number}"),
        )
    }));
    impersonating(context, headers).await
}

async fn ursula(context: &Context<'_>) -> Result<Client> {
    let headers = IMPERSONATION.iter().map(|(name, value)| (*name, (*value).to_owned()));
    impersonating(context, headers).await
}

async fn impersonating(
    context: &Context<'_>,
    headers: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Client> {
    let mut config = context.cluster.config("person").await?;
    for (name, value) in headers {
        config
            .headers
            .push((HeaderName::from_static(name), HeaderValue::try_from(value)?));
    }
    Ok(Client::try_from(config)?)
}

/// Checks that `asks_as` has asked each of these questions, verb and resource, and that all of its questions name the user whole.
fn were_asked(context: &Context<'_>, mark: Mark, asks_as: &str, questions: &[(&str, &str)]) -> Result<()> {
    let writes = context.cluster.audit().since(mark)?;
    let reviews: Vec<&Value> = writes
        .iter()
        .filter(|write| write.user() == asks_as && write.resource() == "subjectaccessreviews")
        .map(Write::review)
        .filter(|review| review.get("user") == Some(&json!(USER)))
        .collect();
    for review in &reviews {
        let groups = review.get("groups").and_then(Value::as_array);
        ensure!(
            review.get("uid") == Some(&json!(UID))
                && groups.is_some_and(|groups| groups.contains(&json!(GROUP)))
                && review.get("extra") == Some(&json!({"scopes": ["view", "control"], "example.org/tenant": ["blue"]})),
            "a question does not name the user whole: {review}"
        );
    }
    for (verb, resource) in questions {
        let is_it = |review: &&&Value| {
            let attributes = review.get("resourceAttributes").cloned().unwrap_or_default();
            let field = |field: &str| {
                attributes
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            field("verb") == *verb && format!("{}/{}", field("resource"), field("subresource")) == *resource
        };
        ensure!(
            reviews.iter().any(|review| is_it(&review)),
            "nobody asked for {verb} {resource}: {reviews:?}"
        );
    }
    Ok(())
}
