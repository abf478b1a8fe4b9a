//! A session that a gateway cannot read any more, because a newer API wrote it, opens nothing and keeps nothing open: `revoked: true`
//! may be what cannot be read.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        console::{ANN, ConsoleFixture},
        console_session::{Grant, connections, grant_token, open_session},
        console_socket::{ConsoleSocket, Entry},
        event::wait_for_event,
        gateway::Gateway,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{BELL, KEY, Transport as _},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// From the answer to the write to the last viewer who is disconnected.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const CRD: &str = "consolesessions.novasphere.io";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "console::undecodable::ends_streams",
        Needs::ControlPlane,
        ends_streams,
    )]
}

/// On a cluster of its own, whose definition of sessions is that of a newer API.
async fn ends_streams() -> Result<()> {
    let cluster = Cluster::control_plane("undecodable", &["kubevirt"])?;
    with_namespace(
        &cluster,
        "console::undecodable::ends_streams",
        PodSecurity::Restricted,
        async |context| {
            newer_definition(context).await.context("the newer definition")?;
            let policy = json!({"maxViewers": 8, "maxConcurrentSessions": 100});
            let fixture = ConsoleFixture::start(context, &policy).await?;
            let gateways = fixture.gateways(context, &["g1", "g2"]).await?;
            let mut others = viewers(context, &gateways, "other").await?.1;
            let (token, own) = viewers(context, &gateways, "newer").await?;

            let since = write_what_nobody_reads(context, "newer").await?;
            for mut viewer in own {
                let (code, reason) = viewer.closed(CLOSE_TIMEOUT + Duration::from_secs(5)).await?;
                let took = since.elapsed();
                ensure!(took <= CLOSE_TIMEOUT, "closed with {code} {reason} after {took:?}");
                println!("console::undecodable: closed with {code} {reason} after {took:?}");
            }
            for gateway in &gateways {
                let entry = ConsoleSocket::open(gateway.http, &token).await?.entry().await?;
                ensure!(
                    entry == Entry::Closed(4040, "TokenRefused".to_owned()),
                    "a token of the session opens {entry:?}"
                );
            }
            wait_for_event(context, "newer", "type=Warning", "Correct the field").await?;

            // The streams of a session that can be read go on, and so do new ones.
            for viewer in &mut others {
                is_alive(&fixture, viewer).await?;
            }
            viewers(context, &gateways, "later").await.map(drop)
        },
    )
    .await
}

/// Replaces the definition of sessions by one whose field `clipboard` has a type that nobody here knows. It is replaced before any
/// watch begins: kube-apiserver ends the watches of a kind whose definition changes.
async fn newer_definition(context: &Context<'_>) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let mut newer = serde_json::to_value(crds.get(CRD).await?)?;
    let spec = newer
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .context("no schema of the spec")?;
    let clipboard = spec.pointer_mut("/properties/clipboard").context("no such field")?;
    *clipboard = json!({"x-kubernetes-preserve-unknown-fields": true});
    let rules = spec
        .get_mut("x-kubernetes-validations")
        .and_then(Value::as_array_mut)
        .context("no rules")?;
    rules.retain(|rule| !rule.to_string().contains("clipboard"));
    let newer = serde_json::from_value(newer)?;
    crds.replace(CRD, &PostParams::default(), &newer).await?;
    // It is in force when such an object is taken.
    let sessions: Api<ConsoleSession> = context.api();
    let probe = json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "ConsoleSession", "metadata": {"name": "probe"},
        "spec": {"targetRef": {"name": "none"}, "clipboard": {"direction": "Both"}},
    });
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::apply("novasphere-e2e").force()
    };
    wait::until("the newer definition is in force", wait::SHORT, || async {
        let request =
            kube::core::Request::new(sessions.resource_url()).patch("probe", &parameters, &Patch::Apply(&probe))?;
        context.client.request::<Value>(request).await?;
        Ok(Seen::Done(()))
    })
    .await
}

/// A session with a stream on each gateway, and a token for one more on each.
async fn viewers(context: &Context<'_>, gateways: &[Gateway], name: &str) -> Result<(String, Vec<ConsoleSocket>)> {
    open_session(context, name, json!({})).await?;
    let uses = u32::try_from(gateways.len())?;
    let grant = Grant::to(ANN).uses(uses * 2);
    let token = grant_token(&context.api(), name, grant).await?;
    let mut viewers = Vec::new();
    for gateway in gateways {
        viewers.push(ConsoleSocket::enter(gateway.http, &token).await?);
    }
    connections(context, name, viewers.len()).await?;
    Ok((token, viewers))
}

/// Revokes the session in the same write that makes it unreadable, and returns when that was answered.
async fn write_what_nobody_reads(context: &Context<'_>, name: &str) -> Result<Instant> {
    let sessions: Api<ConsoleSession> = context.api();
    let patch = json!({"spec": {"revoked": true, "clipboard": {"direction": "Both", "formats": ["text/plain"]}}});
    let request = kube::core::Request::new(sessions.resource_url()).patch(
        name,
        &PatchParams::default(),
        &Patch::Merge(&patch),
    )?;
    // Not as a ConsoleSession: the answer cannot be read as one either.
    let answer: Value = context.client.request(request).await?;
    let since = Instant::now();
    ensure!(
        answer.pointer("/spec/clipboard/direction").is_some() && answer.pointer("/spec/revoked") == Some(&json!(true)),
        "the write is not as it was asked for: {answer}"
    );
    let readable = sessions.list(&ListParams::default()).await;
    ensure!(readable.is_err(), "the session can be read all the same");
    Ok(since)
}

/// Both directions work.
async fn is_alive(fixture: &ConsoleFixture, viewer: &mut ConsoleSocket) -> Result<()> {
    let _ = fixture.vnc.take();
    viewer.send(KEY).await?;
    wait::until("a key reaches the machine", wait::SHORT, || async {
        Ok(Seen::some((!fixture.vnc.take().is_empty()).then_some(()), "nothing"))
    })
    .await?;
    fixture.vnc.send(BELL);
    viewer.expect(BELL).await
}
