//! Signing in by a local user's password, and what is no sign-in.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        namespace::{Context, PodSecurity, with_namespace},
        rest::{RestAnswer, RestApi, add_user, token_of},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("rest::sign_in::password", Needs::ControlPlane, password),
        Case::new("rest::sign_in::cookie", Needs::ControlPlane, cookie),
        Case::new("rest::sign_in::forged", Needs::ControlPlane, forged),
        Case::new("rest::sign_in::brute_force", Needs::ControlPlane, brute_force),
    ]
}

async fn with_rest<F>(test: &str, settings: Value, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Context<'_>, &RestApi) -> Result<()>,
{
    with_namespace(Cluster::plane()?, test, PodSecurity::Restricted, async |context| {
        RestApi::prepare(context, &["novasphere:ann"], &["novasphere:ops"]).await?;
        add_user(context, "ann", PASSWORD, &["--group", "ops"])?;
        let api = RestApi::start(context, "rest-1", settings).await?;
        body(context, &api).await
    })
    .await
}

/// Sign in, be known, renew, sign out. A refresh token that comes twice ends the login.
async fn password() -> Result<()> {
    with_rest("rest::sign_in::password", json!({}), async |_, api| {
        let wrong = json!({"username": "ann", "password": "wrong"});
        let chinese = [("accept-language", "zh-CN")];
        let refused = api
            .send(Method::POST, "/auth/login", &chinese, Some(&wrong))
            .await?
            .is(40101)?;
        ensure!(refused.text("/message") == "用户名或密码错误", "{refused:?}");
        ensure!(refused.at("/data").is_null(), "{refused:?}");

        let login = api.login("ann", PASSWORD).await?;
        for member in ["token", "expireTime", "refreshToken"] {
            ensure!(
                !login.text(&format!("/data/{member}")).is_empty(),
                "{member}: {login:?}"
            );
        }
        let token = login.text("/data/token");
        let me = api.get("/auth/me", token).await?.is(200)?;
        ensure!(me.text("/data/user") == "novasphere:ann", "{me:?}");
        ensure!(me.at("/data/groups") == &json!(["novasphere:ops"]), "{me:?}");
        let path = "/auth/permissions?resourceType=vm&operation=console:access";
        let may = api.get(path, token).await?.is(200)?;
        ensure!(may.at("/data/hasPermission") == &json!(false), "{may:?}");
        api.get("/auth/permissions?resourceType=vm&operation=fly", token)
            .await?
            .is(40003)?;

        let refresh = json!({"refreshToken": login.text("/data/refreshToken")});
        let renewed = api
            .send(Method::POST, "/auth/refresh", &[], Some(&refresh))
            .await?
            .is(200)?;
        let token = renewed.text("/data/token");
        api.get("/auth/me", token).await?.is(200)?;
        api.send(Method::POST, "/auth/refresh", &[], Some(&refresh))
            .await?
            .is(40106)?;
        api.get("/auth/me", token).await?.is(40105)?;

        let login = api.login("ann", PASSWORD).await?;
        let token = login.text("/data/token");
        let logins = api.get("/auth/logins", token).await?.is(200)?;
        ensure!(logins.at("/data/0/isCurrent") == &json!(true), "{logins:?}");
        api.post("/auth/logout", token, &json!({})).await?.is(200)?;
        api.get("/auth/me", token).await?.is(40105)?;
        says(
            api,
            &["SignInRefused", "SignedIn", "LoginEnded", "SignedIn", "SignedOut"],
        )?;
        let log = api.log()?;
        ensure!(
            !log.contains(PASSWORD) && !log.contains(token),
            "a secret is in the log"
        );
        Ok(())
    })
    .await
}

/// A browser's cookie cannot be read by a script, and no foreign page can use it.
async fn cookie() -> Result<()> {
    with_rest("rest::sign_in::cookie", json!({}), async |_, api| {
        let body = json!({"username": "ann", "password": PASSWORD, "cookie": true});
        let foreign = [("origin", "https://evil.example.org")];
        api.send(Method::POST, "/auth/login", &foreign, Some(&body))
            .await?
            .is(40302)?;
        let login = api.send(Method::POST, "/auth/login", &[], Some(&body)).await?.is(200)?;
        ensure!(
            login.at("/data/token").is_null(),
            "the token is in the answer: {login:?}"
        );
        let cookies = cookies(&login)?;
        for cookie in &cookies {
            ensure!(
                cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
                "{cookie}"
            );
        }
        let session = cookies
            .iter()
            .find(|cookie| cookie.starts_with("novasphere="))
            .context("no session cookie")?;
        let session = session.split(';').next().unwrap_or_default();
        let csrf = login.text("/data/csrfToken");
        api.send(Method::GET, "/auth/me", &[("cookie", session)], None)
            .await?
            .is(200)?;
        for headers in [
            &[("cookie", session)][..],
            &[("cookie", session), ("x-csrf-token", "other")],
            &[
                ("cookie", session),
                ("x-csrf-token", csrf),
                ("origin", "https://evil.example.org"),
            ],
        ] {
            api.send(Method::POST, "/auth/logout", headers, None).await?.is(40302)?;
        }
        let good = [("cookie", session), ("x-csrf-token", csrf)];
        api.send(Method::POST, "/auth/logout", &good, None).await?.is(200)?;
        api.send(Method::GET, "/auth/me", &[("cookie", session)], None)
            .await?
            .is(40105)?;
        Ok(())
    })
    .await
}

/// Tokens that are not ours, or were changed; headers that impersonate; and a token of Kubernetes, which is good.
async fn forged() -> Result<()> {
    with_rest("rest::sign_in::forged", json!({}), async |context, api| {
        api.send(Method::GET, "/auth/me", &[], None).await?.is(40102)?;
        let login = api.login("ann", PASSWORD).await?;
        let token = login.text("/data/token");
        for (change, wanted) in [
            (json!({"alg": "none"}), 40103),
            (json!({"alg": "HS256"}), 40103),
            (json!({"kid": "other"}), 40103),
        ] {
            let forged = with_header(token, &change)?;
            api.get("/auth/me", &forged).await?.is(wanted)?;
        }
        let (signed, _) = token.rsplit_once('.').context("no token")?;
        api.get("/auth/me", &format!("{signed}.{}", "A".repeat(86)))
            .await?
            .is(40103)?;
        api.get("/auth/me", "nonsense").await?.is(40103)?;

        let bearer = format!("Bearer {token}");
        for name in ["impersonate-user", "impersonate-group", "impersonate-extra-x"] {
            let headers = [("authorization", bearer.as_str()), (name, "system:masters")];
            api.send(Method::GET, "/auth/me", &headers, None).await?.is(40301)?;
        }
        let kubernetes = token_of(context, "api").await?;
        let me = api.get("/auth/me", &kubernetes).await?.is(200)?;
        ensure!(me.text("/data/user").starts_with("system:serviceaccount:"), "{me:?}");
        Ok(())
    })
    .await
}

/// Five wrong passwords lock a name, and the right one is not told from a wrong one then.
async fn brute_force() -> Result<()> {
    let settings = json!({"limits": {"loginsPerAddress": 1000}});
    with_rest("rest::sign_in::brute_force", settings, async |_, api| {
        let attempt = async |user: &str, password: &str| {
            let body = json!({"username": user, "password": password});
            api.send(Method::POST, "/auth/login", &[], Some(&body)).await
        };
        for number in 0..5 {
            attempt("ann", &number.to_string()).await?.is(40101)?;
        }
        let locked = attempt("ann", PASSWORD).await?.is(42902)?;
        ensure!(locked.headers.contains_key("retry-after"), "{locked:?}");
        attempt("nobody", "x").await?.is(40101)?;
        Ok(())
    })
    .await
}

fn cookies(answer: &RestAnswer) -> Result<Vec<String>> {
    let values = answer.headers.get_all("set-cookie").iter();
    values.map(|value| Ok(value.to_str()?.to_owned())).collect()
}

/// A token with another head.
fn with_header(token: &str, change: &Value) -> Result<String> {
    let (head, rest) = token.split_once('.').context("no token")?;
    let mut head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head)?)?;
    for (name, value) in change.as_object().context("no object")? {
        head.as_object_mut()
            .context("no object")?
            .insert(name.clone(), value.clone());
    }
    Ok(format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head.to_string())))
}

fn says(api: &RestApi, wanted: &[&str]) -> Result<()> {
    let lines = api.audit()?;
    let events: Vec<&str> = lines.iter().filter_map(|line| line.get("event")?.as_str()).collect();
    ensure!(events == wanted, "{events:?}");
    Ok(())
}
