//! The size of a desktop's screen changes for viewers where the workspace says so and for nobody where it does not, and a desktop takes no
//! messages of power.

use anyhow::{Context as _, Result, ensure};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        console_socket::Closed,
        desktop_image, installed,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::Transport as _,
        rights::{DESKTOP_CONSOLES, client_of},
        screen_size::{PROHIBITED, SHUTDOWN, SizeAnswer, ask},
        users::allow_consoles,
        vnc, wait,
        workspace::{self, apply_workspace, desktop_answers, screen_through_kube_apiserver},
    },
    harness::{Case, Needs},
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("workspace::screen_size", Needs::Node, screen_size)]
}

const DRIVER: &str = "alice";

/// The size of the tests' desktops.
const BEFORE: (u16, u16) = (640, 480);

/// What a viewer asks for who comes without a gateway, and who comes through one.
const ASKED: (u16, u16) = (800, 600);
const ASKED_THROUGH_GATEWAY: (u16, u16) = (720, 540);

/// `MessageNotAllowed` of docs/console-close-codes.md.
const MESSAGE_NOT_ALLOWED: u16 = 4061;

/// The desktop that changes its size, and the one that does not.
const DESKTOPS: [(&str, bool); 2] = [("free", true), ("fixed", false)];

async fn screen_size() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        allow_consoles(context, DRIVER, DESKTOP_CONSOLES, &["get", "update"]).await?;
        let image = desktop_image::load(cluster, "desktop")?;
        for (name, resize) in DESKTOPS {
            // What `power` says makes no difference to the desktop.
            let spec = json!({"console": {"resize": resize, "power": true}});
            apply_workspace(context, name, &image, &spec).await?;
        }
        for (name, resize) in DESKTOPS {
            keeps(context, name, resize)
                .await
                .with_context(|| format!("resize: {resize}"))?;
            gateway_keeps(context, name, resize)
                .await
                .with_context(|| format!("resize: {resize}, through a gateway"))?;
        }
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(
        cluster,
        "workspace::screen_size",
        PodSecurity::Restricted,
        story,
    ))
    .await
}

/// The desktop itself keeps its policy, whoever the viewer is: this one comes without a gateway.
async fn keeps(context: &Context<'_>, name: &str, resize: bool) -> Result<()> {
    let desktop = desktop_answers(context, name).await?;
    let (address, password) = (
        workspace::endpoint(&desktop, "vnc")?,
        workspace::password(context, name).await?,
    );
    let mut viewer = vnc::open(address, &password).await?;
    ensure!(
        (viewer.width, viewer.height) == BEFORE,
        "{} wide at first",
        viewer.width
    );
    let expected = if resize {
        SizeAnswer { result: 0, size: ASKED }
    } else {
        SizeAnswer {
            result: PROHIBITED,
            size: BEFORE,
        }
    };
    let answer = ask(&mut viewer, ASKED).await?;
    ensure!(answer == expected, "{answer:?}");
    viewer.stream.send(SHUTDOWN).await?;
    let mut rest = Vec::new();
    let end = tokio::time::timeout(wait::SHORT, viewer.stream.read_to_end(&mut rest)).await;
    // A reset is an end as well: the message was not read.
    drop(end.context("a message of power does not end the connection")?);
    let next = vnc::open(address, &password).await.context("the next viewer")?;
    ensure!(
        (next.width, next.height) == expected.size,
        "{} wide for the next one",
        next.width
    );
    Ok(())
}

/// The same through kube-apiserver: the gateway does not let forbidden messages be agreed on.
async fn gateway_keeps(context: &Context<'_>, name: &str, resize: bool) -> Result<()> {
    let client = client_of(context, DRIVER, &[]).await?;
    let mut viewer = screen_through_kube_apiserver(&client, context, name).await?;
    let answer = ask(&mut viewer, ASKED_THROUGH_GATEWAY).await;
    if resize {
        let answer = answer?;
        let expected = SizeAnswer {
            result: 0,
            size: ASKED_THROUGH_GATEWAY,
        };
        ensure!(answer == expected, "{answer:?}");
        return Ok(());
    }
    let error = answer.err().context("the gateway lets it pass")?;
    let closed = error.downcast_ref::<Closed>();
    ensure!(
        closed.is_some_and(|Closed(code, _)| *code == MESSAGE_NOT_ALLOWED),
        "another end: {error:#}"
    );
    let next = screen_through_kube_apiserver(&client, context, name).await?;
    ensure!(
        (next.width, next.height) == BEFORE,
        "{} wide for the next one",
        next.width
    );
    Ok(())
}
