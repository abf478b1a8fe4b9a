//! Signing in at a real provider: by browser and by device; and its word that a login has ended.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        namespace::{Context, PodSecurity, with_namespace},
        network::free_port,
        oidc_provider::{OidcProvider, PROVIDER},
        rest::{RestAnswer, RestApi},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("rest::oidc::browser", Needs::ControlPlane, browser),
        Case::new("rest::oidc::device", Needs::ControlPlane, device),
    ]
}

async fn with_provider<F>(test: &str, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Context<'_>, &RestApi, &OidcProvider) -> Result<()>,
{
    with_namespace(Cluster::plane()?, test, PodSecurity::Restricted, async |context| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?));
        let url = format!("http://{address}");
        let provider = OidcProvider::start(context, &url).await?;
        RestApi::prepare(context, &["corp:ann"], &["corp:ops"]).await?;
        let settings = json!({
            "publicUrl": url, "identity": {"oidc": [provider.settings()]}, "limits": {"loginsPerAddress": 1000},
        });
        let api = RestApi::start_at(context, "rest-1", address, settings).await?;
        body(context, &api, &provider).await
    })
    .await
}

/// A browser goes to the provider and comes back with cookies; answers that were not asked for are refused; the provider's logout ends the login here,
/// and its keys may change.
async fn browser() -> Result<()> {
    with_provider("rest::oidc::browser", async |_, api, provider| {
        let authorize = format!("/auth/oidc/{PROVIDER}/authorize?returnTo=/machines");
        let foreign = format!("/auth/oidc/{PROVIDER}/authorize?returnTo=//evil.example.org");
        api.send(Method::GET, &foreign, &[], None).await?.is(40003)?;
        api.send(Method::GET, "/auth/oidc/other/authorize", &[], None)
            .await?
            .is(40401)?;

        let sent = api.send(Method::GET, &authorize, &[], None).await?;
        let (location, state) = (header(&sent, "location")?, cookie(&sent, "novasphere-oidc")?);
        ensure!(sent.status == 303 && location.starts_with(&provider.issuer), "{sent:?}");
        for part in ["code_challenge_method=S256", "nonce=", "state="] {
            ensure!(location.contains(part), "{part}: {location}");
        }
        let back = provider.sign_in(&location, "ann").await?;
        let path = path_of(&back)?;
        // Another browser, another state, another issuer.
        api.send(Method::GET, path, &[], None).await?.is(40001)?;
        let cookies = [("cookie", state.as_str())];
        api.send(Method::GET, &path.replace("state=", "state=x"), &cookies, None)
            .await?
            .is(40001)?;
        let other_issuer = path.replace("iss=", "iss=x");
        api.send(Method::GET, &other_issuer, &cookies, None).await?.is(40001)?;

        let signed_in = api.send(Method::GET, path, &cookies, None).await?;
        ensure!(
            signed_in.status == 303 && header(&signed_in, "location")? == "/machines",
            "{signed_in:?}"
        );
        let session = cookie(&signed_in, "novasphere")?;
        let me = api
            .send(Method::GET, "/auth/me", &[("cookie", &session)], None)
            .await?
            .is(200)?;
        ensure!(me.text("/data/user") == "corp:ann", "{me:?}");
        ensure!(me.at("/data/groups") == &json!(["corp:ops"]), "{me:?}");
        // A code is good once.
        api.send(Method::GET, path, &cookies, None).await?.is(40101)?;

        provider.sign_out().await?;
        wait::until("the provider's logout ends the login here", wait::SHORT, || async {
            let answer = api.send(Method::GET, "/auth/me", &[("cookie", &session)], None).await?;
            Ok(Seen::some(
                (answer.at("/code") == &json!(40105)).then_some(()),
                answer.body,
            ))
        })
        .await?;

        provider.rotate().await?;
        wait::until("a token of the new key is taken", wait::SHORT, || async {
            let sent = api.send(Method::GET, &authorize, &[], None).await?;
            let (location, state) = (header(&sent, "location")?, cookie(&sent, "novasphere-oidc")?);
            let back = provider.sign_in(&location, "ann").await?;
            let answer = api
                .send(Method::GET, path_of(&back)?, &[("cookie", &state)], None)
                .await?;
            Ok(Seen::some((answer.status == 303).then_some(()), answer.body))
        })
        .await
    })
    .await
}

/// A program without a browser shows a code, and is signed in once its person has typed it.
async fn device() -> Result<()> {
    with_provider("rest::oidc::device", async |_, api, provider| {
        let path = format!("/auth/oidc/{PROVIDER}/device");
        let started = api.send(Method::POST, &path, &[], None).await?.is(200)?;
        let body = json!({"deviceCode": started.text("/data/deviceCode")});
        let token = format!("{path}/token");
        let pending = api.send(Method::POST, &token, &[], Some(&body)).await?.is(200)?;
        ensure!(pending.text("/data/status") == "pending", "{pending:?}");
        let wrong = json!({"deviceCode": "nonsense"});
        api.send(Method::POST, &token, &[], Some(&wrong)).await?.is(40003)?;
        provider
            .approve(started.text("/data/verificationUriComplete"), "ann")
            .await?;
        let login = wait::until("the device is signed in", wait::SHORT, || async {
            let answer = api.send(Method::POST, &token, &[], Some(&body)).await?.is(200)?;
            let is_signed_in = answer.text("/data/status") == "success";
            let text = answer.body.to_string();
            Ok(Seen::some(is_signed_in.then_some(answer), text))
        })
        .await?;
        let me = api.get("/auth/me", login.text("/data/login/token")).await?.is(200)?;
        ensure!(me.text("/data/user") == "corp:ann", "{me:?}");
        Ok(())
    })
    .await
}

fn header(answer: &RestAnswer, name: &str) -> Result<String> {
    let value = answer
        .headers
        .get(name)
        .with_context(|| format!("no {name}: {answer:?}"))?;
    Ok(value.to_str()?.to_owned())
}

/// A cookie of an answer, as a browser sends it back.
fn cookie(answer: &RestAnswer, name: &str) -> Result<String> {
    let mut values = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let found = values.find(|value| value.starts_with(&format!("{name}=")));
    let found = found.with_context(|| format!("no cookie {name}: {answer:?}"))?;
    Ok(found.split(';').next().unwrap_or_default().to_owned())
}

/// What comes after the base of the API.
fn path_of(url: &str) -> Result<&str> {
    url.split_once("/api/v1")
        .map(|(_, path)| path)
        .context("not a path of the API")
}
