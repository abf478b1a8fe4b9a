//! A token opens as many streams as it was given for, over all replicas, and nothing else opens one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    cluster::Cluster,
    gateway::Gateway,
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use crate::console_stage::{self as stage, ANN, Entry, Stage, Viewer};

/// Viewers who try the same token at the same time.
const TRIES: usize = 1000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "console_tokens::once_over_replicas",
            Needs::ControlPlane,
            once_over_replicas,
        ),
        Case::new("console_tokens::refusals", Needs::ControlPlane, refusals),
        Case::new(
            "console_tokens::writes_of_a_session",
            Needs::ControlPlane,
            writes_of_a_session,
        ),
    ]
}

async fn once_over_replicas() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console_tokens::once_over_replicas",
        PodSecurity::Restricted,
        async |context| {
            let policy = json!({"maxViewers": 64, "maxSessionDuration": "1h"});
            let stage = Stage::set(context, policy).await?;
            let gateways = stage.gateways(context, &["g1", "g2", "g3"]).await?;
            for uses in [1, 5] {
                let name = format!("uses-{uses}");
                stage::session(context, &name, json!({})).await?;
                let token = stage::token(context, &name, Duration::from_mins(1), uses).await?;
                let (open, closed) = crowd(&gateways, &token).await?;
                ensure!(
                    open.len() == usize::try_from(uses)?,
                    "a token for {uses} streams opened {}",
                    open.len()
                );
                ensure!(
                    closed.iter().all(|end| *end == (4040, "TokenRefused".to_owned())),
                    "others were told {:?}",
                    closed.iter().find(|end| end.0 != 4040)
                );
                stage::connections(context, &name, open.len()).await?;
            }
            Ok(())
        },
    )
    .await
}

/// Tries one token many times at once, spread over the gateways.
async fn crowd(gateways: &[Gateway], token: &str) -> Result<(Vec<Viewer>, Vec<(u16, String)>)> {
    let tries = (0..TRIES).zip(gateways.iter().cycle()).map(|(_, gateway)| async move {
        let mut viewer = Viewer::open(gateway.http, token).await?;
        let entry = viewer.entry().await?;
        anyhow::Ok((viewer, entry))
    });
    let entries: Vec<_> = futures::stream::iter(tries).buffer_unordered(TRIES).collect().await;
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry? {
            (viewer, Entry::Open) => open.push(viewer),
            (_, Entry::Closed(code, word)) => closed.push((code, word)),
        }
    }
    Ok((open, closed))
}

async fn refusals() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console_tokens::refusals",
        PodSecurity::Restricted,
        async |context| {
            let stage = Stage::set(context, json!({"maxViewers": 4})).await?;
            let gateways = stage.gateways(context, &["g1", "g2"]).await?;
            let [first, second] = gateways.as_slice() else {
                bail!("two gateways were started")
            };
            one_sentence(context, first).await.context("one sentence")?;
            known_users(context, first, second).await.context("known users")
        },
    )
    .await
}

/// Expired, used, unknown and foreign tokens and a wrong name are told apart by nobody outside.
async fn one_sentence(context: &Context<'_>, gateway: &Gateway) -> Result<()> {
    for name in ["mine", "other"] {
        stage::session(context, name, json!({})).await?;
    }
    let window = Duration::from_mins(1);
    let mine = format!("{}/mine", context.namespace);
    let used = stage::token(context, "mine", window, 1).await?;
    let stream = native(gateway.vnc, &mine, &used).await?;
    ensure!(stream == Native::Open, "a good token opens a stream, not {stream:?}");
    let expired = stage::token(context, "mine", Duration::from_secs(1), 1).await?;
    let api = context.api::<ConsoleSession>();
    wait::object(&api, "mine", "the token is too old", wait::SHORT, |session| {
        let grants = session.status.iter().flat_map(|status| &status.grants);
        let last = grants.map(|grant| grant.not_after.0).max();
        let is_over = last.is_none_or(|last| last < jiff::Timestamp::now());
        if is_over {
            Ok(())
        } else {
            Err(format!("until {last:?}"))
        }
    })
    .await?;
    let foreign = stage::token(context, "other", window, 1).await?;
    let mut sentences = Vec::new();
    for token in [&used, &expired, &foreign, &stage::random_token()?] {
        sentences.push(native(gateway.vnc, &mine, token).await?);
    }
    let good = stage::token(context, "mine", window, 1).await?;
    sentences.push(native(gateway.vnc, &format!("{}/other", context.namespace), &good).await?);
    let told = Native::Refused("Access refused. Ask for a new token.".to_owned());
    ensure!(sentences.iter().all(|sentence| *sentence == told), "{sentences:?}");
    let details = audited(gateway, "TokenRefused", 5).await?;
    let text = format!("{details:?}");
    for token in [&used, &expired, &foreign, &good] {
        ensure!(!text.contains(token.as_str()), "a token is in the audit log");
    }
    Ok(())
}

/// The lines of the audit log with this reason. They are written when the viewer has been told.
async fn audited(gateway: &Gateway, reason: &str, count: usize) -> Result<Vec<Value>> {
    wait::until(format!("{count} audit lines say {reason}"), wait::SHORT, || async {
        let lines = gateway.audit()?;
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line.get("reason") == Some(&json!(reason)))
            .cloned()
            .collect();
        Ok(Seen::some((told.len() == count).then_some(told), format!("{lines:?}")))
    })
    .await
}

/// Whoever has a good token is told what stands in the way.
async fn known_users(context: &Context<'_>, first: &Gateway, second: &Gateway) -> Result<()> {
    let window = Duration::from_mins(1);
    stage::session(context, "range", json!({"allowedSourceRanges": ["192.0.2.0/24"]})).await?;
    let token = stage::token(context, "range", window, 1).await?;
    refused(first, &token, 4042).await.context("a foreign address")?;
    let lines = audited(first, "AddressNotAllowed", 1).await?;
    let line = lines.first().context("a line")?;
    ensure!(
        line.get("user") == Some(&json!(ANN)) && line.get("target") == Some(&json!("VmAccess/web")),
        "{line}"
    );

    stage::session(context, "full", json!({"maxViewers": 1})).await?;
    let token = stage::token(context, "full", window, 2).await?;
    let _present = Viewer::enter(first.http, &token).await?;
    refused(second, &token, 4041)
        .await
        .context("all places are taken, on another replica")?;

    stage::session(context, "right", json!({})).await?;
    let token = stage::token_for(context, "right", "nobody-knows-me", window, 1).await?;
    refused(first, &token, 4006).await.context("no right to the target")?;

    // Another policy, so it comes last.
    stage::target(context, stage::TARGET, &json!({"native": false})).await?;
    stage::session(context, "browsers", json!({})).await?;
    let token = stage::token(context, "browsers", window, 1).await?;
    let user = format!("{}/browsers", context.namespace);
    let told = native(first.vnc, &user, &token).await?;
    ensure!(
        told == Native::Refused("The session does not allow this kind of viewer.".to_owned()),
        "{told:?}"
    );
    let _browser = Viewer::enter(first.http, &token).await?;
    Ok(())
}

async fn refused(gateway: &Gateway, token: &str, code: u16) -> Result<()> {
    let mut viewer = Viewer::open(gateway.http, token).await?;
    match viewer.entry().await? {
        Entry::Closed(told, _) if told == code => Ok(()),
        other => bail!("expected {code}, got {other:?}"),
    }
}

/// What became of a stock viewer.
#[derive(Debug, PartialEq, Eq)]
enum Native {
    Open,
    Refused(String),
}

/// Connects as a stock viewer does: `VeNCrypt` `X509Plain`.
async fn native(to: SocketAddr, user: &str, password: &str) -> Result<Native> {
    let entered = native_stream(to, user, password).await?;
    Ok(entered.map_or_else(Native::Refused, |_| Native::Open))
}

/// The same, up to where the viewer says whether it shares; the error is why it may not come in.
pub(crate) async fn native_stream(
    to: SocketAddr,
    user: &str,
    password: &str,
) -> Result<Result<TlsStream<TcpStream>, String>> {
    let mut stream = TcpStream::connect(to).await?;
    read(&mut stream, 12).await?;
    stream.write_all(b"RFB 003.008\n").await?;
    read(&mut stream, 2).await?;
    stream.write_all(&[19]).await?;
    read(&mut stream, 2).await?;
    stream.write_all(&[0, 2]).await?;
    read(&mut stream, 6).await?;
    stream.write_all(&[0, 0, 1, 6]).await?;
    read(&mut stream, 1).await?;
    let mut stream = TlsConnector::from(Arc::new(anybody()?))
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    let length = |text: &str| u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
    let message = [
        &length(user)[..],
        &length(password),
        user.as_bytes(),
        password.as_bytes(),
    ]
    .concat();
    stream.write_all(&message).await?;
    if read(&mut stream, 4).await? == [0; 4] {
        return Ok(Ok(stream));
    }
    let size = read(&mut stream, 4).await?;
    let size = u32::from_be_bytes(size.try_into().map_err(|_| anyhow::anyhow!("four bytes were read"))?);
    Ok(Err(String::from_utf8(
        read(&mut stream, usize::try_from(size)?).await?,
    )?))
}

async fn read<S: AsyncReadExt + Unpin>(stream: &mut S, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    tokio::time::timeout(wait::SHORT, stream.read_exact(&mut bytes)).await??;
    Ok(bytes)
}

/// Believes every certificate: these tests are not about them.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

fn anybody() -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(schemes)))
        .with_no_client_auth())
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// From its making to its deletion, novasphere writes a session at most six times.
async fn writes_of_a_session() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console_tokens::writes_of_a_session",
        PodSecurity::Restricted,
        async |context| {
            let stage = Stage::set(context, json!({})).await?;
            let gateways = stage.gateways(context, &["g1"]).await?;
            let gateway = gateways.first().context("a gateway was started")?;
            let mark = cluster.audit().mark()?;
            stage::session(context, "life", json!({"ttlAfterFinished": "0s"})).await?;
            let token = stage::token(context, "life", Duration::from_mins(1), 1).await?;
            let mut viewer = Viewer::enter(gateway.http, &token).await?;
            // A key, so that there is input to tell of.
            viewer.send(&[4, 1, 0, 0, 0, 0, 0, 65]).await?;
            stage::connections(context, "life", 1).await?;
            viewer.leave().await?;
            stage::connections(context, "life", 0).await?;
            let api = context.api::<ConsoleSession>();
            let revoke = json!({"spec": {"revoked": true}});
            api.patch(
                "life",
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(&revoke),
            )
            .await?;
            wait::gone(&api, "life", wait::SHORT).await?;
            let writes = cluster.audit().since(mark)?;
            let of_session: Vec<_> = writes
                .into_iter()
                .filter(|write| {
                    write.namespace() == context.namespace && write.resource().starts_with("consolesessions")
                })
                // What a person does: makes it and revokes it.
                .filter(|write| !(write.resource() == "consolesessions" && write.verb == "patch"))
                .collect();
            let all = novasphere_e2e::audit::describe(&of_session);
            ensure!(of_session.len() <= 6, "{} writes: {all}", of_session.len());
            ensure!(of_session.len() >= 5, "not everything was written: {all}");
            ensure!(!all.contains(ANN), "the person wrote nothing else");
            eprintln!("writes of a whole session: {}{all}", of_session.len());
            Ok(())
        },
    )
    .await
}
