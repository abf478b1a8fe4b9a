//! How many consoles of a target are open at once, whichever replica of the aggregated API opens them.

use anyhow::{Context as _, Result, bail, ensure};
use kube::{Api, Client, ResourceExt, api::ListParams};
use novasphere_crd::{ConsoleSession, SessionPhase};
use novasphere_e2e::{
    fixtures::{
        apiserver::{Apiserver, BASE, Replica, text, with_apiserver},
        console::ConsoleFixture,
        console_session::{TARGET, apply_session},
        console_socket::{BINARY_SUBPROTOCOL, ConsoleSocket},
        namespace::Context,
        rights::{VM_CONSOLES, allow, client_of},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

const PLACES: usize = 3;
const CROWD: usize = 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("aggregated::limits::replicas", Needs::ControlPlane, replicas)]
}

/// Two replicas are asked for twenty consoles at once where three may be open. Three open, and a session that somebody makes by hand begins
/// when one of them ends.
async fn replicas() -> Result<()> {
    with_apiserver("aggregated::limits::replicas", async |context, server| {
        let policy = json!({"protocols": ["vnc"], "maxConcurrentSessions": PLACES});
        let _fixture = ConsoleFixture::start(context, &policy).await?;
        let path = format!("{BASE}/namespaces/{}/vmaccesses/{TARGET}/console", context.namespace);
        for user in ["scout", "crowd"] {
            allow(context, user, VM_CONSOLES, &["get", "update"]).await?;
        }
        let replica = server.beside(context).await?;
        reached_by_kube_apiserver(context, &replica, &path).await?;
        replica.balancer.lead_to(vec![server.address, replica.address]);

        let crowd = client_of(context, "crowd", &[]).await?;
        let mut consoles = all_at_once(&crowd, &path).await?;
        ensure!(
            consoles.len() == PLACES,
            "{} of {CROWD} consoles opened where {PLACES} may be open",
            consoles.len()
        );
        both_were_asked(server, &replica).await?;

        for name in ["one", "two", "three"] {
            apply_session(context, name, json!({})).await?;
        }
        for left in (0..PLACES).rev() {
            wait::until("as many are open as may be", wait::SHORT, || async {
                let open = consoles.len() + ready_sessions(context).await?;
                Ok(Seen::some((open == PLACES).then_some(()), format!("{open} are open")))
            })
            .await?;
            consoles
                .pop()
                .with_context(|| format!("{left} consoles are left"))?
                .leave()
                .await?;
        }
        Ok(())
    })
    .await
}

/// Waits until connections through kube-apiserver come to the new replica, and leaves nothing open.
async fn reached_by_kube_apiserver(context: &Context<'_>, replica: &Replica, path: &str) -> Result<()> {
    let scout = client_of(context, "scout", &[]).await?;
    wait::until("the new replica is asked", wait::SHORT, || async {
        let console = ConsoleSocket::connect(&scout, path, BINARY_SUBPROTOCOL).await?;
        console.leave().await?;
        let was_asked = has_user(&replica.audit()?, "scout");
        Ok(Seen::some(was_asked.then_some(()), "another one answered"))
    })
    .await?;
    let sessions: Api<ConsoleSession> = context.api();
    wait::until("its consoles are closed", wait::SHORT, || async {
        let list = sessions.list(&ListParams::default()).await?;
        let open = list
            .iter()
            .filter(|session| session.status.as_ref().is_none_or(|status| status.closed_at.is_none()))
            .count();
        Ok(Seen::some((open == 0).then_some(()), format!("{open} are open")))
    })
    .await
}

/// The consoles that open. The others are refused because of the limit.
async fn all_at_once(client: &Client, path: &str) -> Result<Vec<ConsoleSocket>> {
    let opening = (0..CROWD).map(|_| ConsoleSocket::through_kube_apiserver(client, path, BINARY_SUBPROTOCOL));
    let mut open = Vec::new();
    for answer in futures::future::try_join_all(opening).await? {
        match answer {
            // Who does not go on with the handshake is cut after a while.
            Ok(console) => open.push(console.entered().await?),
            Err((409, status)) if text(&status, "/message").contains("maxConcurrentSessions") => {}
            Err((code, status)) => bail!("{code} {status}"),
        }
    }
    Ok(open)
}

async fn both_were_asked(server: &Apiserver, replica: &Replica) -> Result<()> {
    wait::until("both replicas were asked", wait::SHORT, || async {
        let asked = [server.audit()?, replica.audit()?].map(|lines| has_user(&lines, "crowd"));
        Ok(Seen::some((asked == [true, true]).then_some(()), format!("{asked:?}")))
    })
    .await
}

fn has_user(lines: &[Value], user: &str) -> bool {
    lines.iter().any(|line| text(line, "/user") == user)
}

/// How many of the sessions that were made by hand can be entered.
async fn ready_sessions(context: &Context<'_>) -> Result<usize> {
    let sessions: Api<ConsoleSession> = context.api();
    let list = sessions.list(&ListParams::default()).await?;
    let is_ready = |session: &&ConsoleSession| {
        let status = session.status.as_ref();
        let is_by_hand = !session.labels().contains_key("novasphere.io/made-for");
        is_by_hand && status.and_then(|status| status.phase) == Some(SessionPhase::Ready)
    };
    Ok(list.iter().filter(is_ready).count())
}
