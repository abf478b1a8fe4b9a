//! Several replicas are one API.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        namespace::{PodSecurity, with_namespace},
        rest::{RestApi, add_user},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

const PASSWORD: &str = "correct horse battery staple";

/// In which an end has to be known everywhere.
const END_BOUND: Duration = Duration::from_secs(1);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("rest::replicas::logins", Needs::ControlPlane, logins)]
}

/// A login of one replica is good on the other at once, and its end counts on both within a second.
async fn logins() -> Result<()> {
    with_namespace(
        Cluster::plane()?,
        "rest::replicas::logins",
        PodSecurity::Restricted,
        async |context| {
            RestApi::prepare(context, &["novasphere:ann"], &[]).await?;
            add_user(context, "ann", PASSWORD, &[])?;
            let one = RestApi::start(context, "rest-1", json!({})).await?;
            let other = RestApi::start(context, "rest-2", json!({})).await?;
            for _ in 0..5 {
                let login = one.login("ann", PASSWORD).await?;
                let token = login.text("/data/token");
                other.get("/auth/me", token).await?.is(200)?;
                one.post("/auth/logout", token, &json!({})).await?.is(200)?;
                let ended = Instant::now();
                wait::until("the other replica knows the end", wait::SHORT, || async {
                    let answer = other.get("/auth/me", token).await?;
                    Ok(Seen::some((answer.status == 401).then_some(()), answer.status))
                })
                .await?;
                one.get("/auth/me", token).await?.is(40105)?;
                let took = ended.elapsed();
                ensure!(took <= END_BOUND, "the end was known after {took:?}");
            }
            Ok(())
        },
    )
    .await
}
