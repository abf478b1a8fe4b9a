//! People at their desktops, through the installed gateways: in a browser, in stock viewers, through kube-apiserver. A
//! viewer who connects to a desktop that sleeps gets it without a second try, and one who only views does not keep it awake.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use kube::{Api, Client, api::ListParams};
use novasphere_crd::{ConsoleSession, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        apply::change,
        browser::{Browser, Colour, PageSnapshot},
        cluster::Cluster,
        condition::{has, wait_for},
        console_session::apply_session,
        console_socket::{ConsoleSocket, KUBEVIRT_SUBPROTOCOL},
        desktop::Screen,
        desktop_image,
        install::{self, NAMESPACE},
        installed,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{Security, Viewer},
        rights::{DESKTOP_CONSOLES, client_of},
        ssh::{self, Keys, Ssh},
        stock_viewer::{Login, StockViewer},
        users::{Token, allow_consoles, nobody_is_connected, request_token},
        wait::{self, Seen},
        workspace::{self, apply_workspace, desktop_answers, hibernate},
    },
    harness::{Case, Needs},
};
use novasphere_runtime::ca;
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::desktop::idle", Needs::Node, idle),
        Case::new("workspace::desktop::browser", Needs::Node, browser),
        Case::new("workspace::desktop::viewers", Needs::Node, viewers),
    ]
}

/// May control all desktops of the namespace.
const ALICE: &str = "alice";

/// The workspace of a case.
const DESK: &str = "desk";

/// What nothing but the desktop itself is painted with: images/desktop/files/etc/novasphere/jwmrc.
const BACKGROUND: Colour = [0x2e, 0x4a, 0x62];

/// A tenth of the pixels of the desktops here; the terminal covers most of the screen.
const LEAST_PIXELS: usize = 70_000;

/// How long a desktop may take to wake on a machine that does other things as well.
const WAKE_TIMEOUT: Duration = Duration::from_mins(2);

/// Without input for so long a desktop of [`idle`] sleeps.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Between two keys of the viewer who keeps one awake: less than [`IDLE_TIMEOUT`].
const KEY_INTERVAL: Duration = Duration::from_secs(40);

/// How much later than [`IDLE_TIMEOUT`] it may sleep while somebody is connected: docs/workspace.md, and a busy machine.
const IDLE_GRACE: Duration = Duration::from_secs(65 + 40);

/// A desktop with more room than its terminal takes, and with what `spec` says.
async fn desk(context: &Context<'_>, name: &str, image: &str, mut spec: Value) -> Result<()> {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("display".to_owned(), json!({"width": 1000, "height": 700}));
    }
    apply_workspace(context, name, image, &spec).await.map(drop)
}

/// A session of a desktop, and a token of it.
async fn token(context: &Context<'_>, name: &str, workspace: &str) -> Result<Token> {
    let spec = json!({"targetRef": {"kind": "VncWorkspace", "name": workspace}});
    apply_session(context, name, spec).await?;
    request_token(context, ALICE, name).await
}

/// Waits until the page shows the desktop.
async fn shows(browser: &Browser, bound: Duration) -> Result<PageSnapshot> {
    browser
        .until("the desktop", bound, BACKGROUND, |look| {
            look.state == "connected" && usize::try_from(look.of_colour).is_ok_and(|count| count >= LEAST_PIXELS)
        })
        .await
}

async fn browser() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let case = "workspace::desktop::browser";
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        allow_consoles(context, ALICE, DESKTOP_CONSOLES, &["get", "update"]).await?;
        let image = desktop_image::load(cluster, "desktop")?;
        let keys = Keys::make(&context.output, &["person"])?;
        let spec = json!({"ssh": {"authorizedKeys": [keys.public("person")?]}});
        desk(context, DESK, &image, spec).await?;
        let ready = ["wait", "--for=condition=Ready", "--timeout=240s", "vncworkspace/desk"];
        cluster.kubectl(&[&["--namespace", &context.namespace][..], &ready].concat())?;
        let browser = Browser::start(&context.output)?;
        types_a_file(context, &browser, &keys).await.context("awake")?;
        wakes_in_the_page(context, &browser, &keys).await.context("asleep")?;
        through_apiserver(context).await.context("through kube-apiserver")?;
        ssh_through_apiserver(context, &keys).await.context("SSH")?;
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// A command that is typed in the page's terminal makes a file in the home, which SSH sees.
async fn types_a_file(context: &Context<'_>, browser: &Browser, keys: &Keys) -> Result<()> {
    browser.open(&token(context, "awake", DESK).await?.link()?).await?;
    shows(browser, wait::SHORT).await?;
    let workspace = desktop_answers(context, DESK).await?;
    let ssh = workspace::ssh(context, &workspace, &keys.file("person")).await?;
    // Until it arrives: the terminal may still be starting. A first Return ends what is half typed there.
    let typed = wait::until("a file is typed in the terminal", wait::LONG, || async {
        browser.type_text("\ntouch typed\n").await?;
        let files = ssh.command("ls")?;
        Ok(Seen::some(files.contains("typed").then_some(()), files))
    })
    .await;
    if let Err(error) = typed {
        browser.screenshot("not-typed").await?;
        let focus = browser
            .evaluate("[document.hasFocus(), document.activeElement?.tagName, document.body.dataset.state].join()")
            .await?;
        let look = browser.snapshot(BACKGROUND).await?;
        let programs = ssh.command("ps -eo pid,etimes,stat,args")?;
        return Err(error.context(format!("focus {focus}, {look:?}, programs:\n{programs}")));
    }
    let look = browser.snapshot(BACKGROUND).await?;
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("desktop").await.map(drop)
}

/// Asleep, the page says so, asks once, and shows the desktop when it is there.
async fn wakes_in_the_page(context: &Context<'_>, browser: &Browser, keys: &Keys) -> Result<()> {
    hibernate(context, DESK).await?;
    browser.ended("TargetHibernated").await?;
    browser.open("about:blank").await?;
    nobody_is_connected(context).await?;

    let link = token(context, "asleep", DESK).await?.link()?;
    let since = Instant::now();
    browser.open(&link).await?;
    let words = browser
        .until("that it waits", wait::SHORT, BACKGROUND, |look| {
            !look.waiting.is_empty()
        })
        .await?
        .waiting;
    browser.screenshot("waking").await?;
    let look = shows(browser, WAKE_TIMEOUT).await?;
    println!(
        "workspace::desktop::browser: connected to picture in {} ms, meanwhile: {words:?}",
        since.elapsed().as_millis()
    );
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("woken").await?;
    let workspace = desktop_answers(context, DESK).await?;
    let kept = workspace::ssh(context, &workspace, &keys.file("person"))
        .await?
        .command("ls")?;
    ensure!(kept.contains("typed"), "the home has lost what was typed: {kept:?}");
    browser.open("about:blank").await?;
    nobody_is_connected(context).await
}

/// The same desktop by `vncworkspaces/console`, which wakes it as well.
async fn through_apiserver(context: &Context<'_>) -> Result<()> {
    change::<VncWorkspace>(context, DESK, &json!({"lifecycle": {"state": "Running"}})).await?;
    desktop_answers(context, DESK).await?;
    hibernate(context, DESK).await?;
    let client = client_of(context, ALICE, &[]).await?;
    let since = Instant::now();
    let mut viewer = screen_of(&client, &console(context, DESK)).await?;
    let picture = viewer.picture().await?;
    println!(
        "workspace::desktop::browser: through kube-apiserver, connected to picture in {} ms",
        since.elapsed().as_millis()
    );
    let colours = picture.as_chunks::<4>().0.iter().collect::<HashSet<_>>().len();
    ensure!(colours >= 2, "the picture has one colour");
    viewer.stream.leave().await?;
    let stranger = client_of(context, "nora", &[]).await?;
    let refused = screen_of(&stranger, &console(context, DESK)).await.err();
    let refused = format!("{:#}", refused.context("a user without a right sees the desktop")?);
    for part in ["403", "get", "vncworkspaces/console"] {
        ensure!(refused.contains(part), "the refusal does not say {part:?}: {refused}");
    }
    Ok(())
}

/// A shell of a desktop that sleeps: it wakes, and the key of the home's owner opens it, nobody else's.
async fn ssh_through_apiserver(context: &Context<'_>, keys: &Keys) -> Result<()> {
    change::<VncWorkspace>(context, DESK, &json!({"lifecycle": {"state": "Running"}})).await?;
    desktop_answers(context, DESK).await?;
    hibernate(context, DESK).await?;
    let client = client_of(context, ALICE, &[]).await?;
    let host = workspace::credential(context, DESK, "ssh_host_ed25519_key.pub").await?;
    let since = Instant::now();
    let stream = ConsoleSocket::connect(&client, &path(context, DESK, "ssh"), KUBEVIRT_SUBPROTOCOL).await?;
    let address = ssh::tunnel(stream).await?;
    let ssh = Ssh::new(&context.output, address, &host, keys.file("person"))?;
    let files = tokio::task::spawn_blocking(move || ssh.command("ls")).await??;
    println!(
        "workspace::desktop::browser: SSH through kube-apiserver, connected to answer in {} ms",
        since.elapsed().as_millis()
    );
    ensure!(files.contains("typed"), "another home: {files:?}");
    Ok(())
}

/// Opens a desktop through kube-apiserver, as `virtctl` would.
async fn screen_of(client: &Client, path: &str) -> Result<Viewer<ConsoleSocket>> {
    Viewer::enter(
        ConsoleSocket::connect(client, path, KUBEVIRT_SUBPROTOCOL).await?,
        Security::None,
    )
    .await
}

fn console(context: &Context<'_>, workspace: &str) -> String {
    path(context, workspace, "vnc")
}

fn path(context: &Context<'_>, workspace: &str, protocol: &str) -> String {
    format!(
        "/apis/subresources.novasphere.io/v1alpha1/namespaces/{}/vncworkspaces/{workspace}/console?protocol={protocol}",
        context.namespace
    )
}

/// Stock viewers connect to a desktop that sleeps: the first to one that never ran.
async fn viewers() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let case = "workspace::desktop::viewers";
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        allow_consoles(context, ALICE, DESKTOP_CONSOLES, &["get", "update"]).await?;
        let image = desktop_image::load(cluster, "desktop")?;
        desk(context, DESK, &image, json!({"lifecycle": {"state": "Hibernated"}})).await?;
        wait_for::<VncWorkspace>(context, DESK, ("Hibernated", "True", "Asked"), wait::SHORT).await?;
        let authority = authority(context).await?;
        let host = install::node_address(cluster)?;
        for (viewer, name) in [
            (StockViewer::TigerVnc, "tigervnc"),
            (StockViewer::Gvncviewer, "gvncviewer"),
        ] {
            let output = context.output.join(name);
            std::fs::create_dir_all(&output)?;
            let token = token(context, name, DESK).await?;
            let screen = Screen::start(&output, "screen").await?;
            let login = Login {
                host: &host,
                port: install::VNC_PORT,
                authority: &authority,
                user: format!("{}/{name}", context.namespace),
                password: &token.token,
            };
            let since = Instant::now();
            let program = viewer.start(&screen, &login, &output).await?;
            let shown = screen.shows(BACKGROUND, LEAST_PIXELS, WAKE_TIMEOUT).await;
            screen.screenshot(&output.join("picture.ppm"))?;
            shown.with_context(|| format!("{name} shows the desktop"))?;
            println!(
                "{case}: {name}, started to picture in {} ms",
                since.elapsed().as_millis()
            );
            drop(program);
            nobody_is_connected(context).await?;
            change::<VncWorkspace>(context, DESK, &json!({"lifecycle": {"state": "Running"}})).await?;
            desktop_answers(context, DESK).await?;
            hibernate(context, DESK).await?;
        }
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// The file with the authority of the installed gateways' certificate.
async fn authority(context: &Context<'_>) -> Result<std::path::PathBuf> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), NAMESPACE);
    let data = secrets.get(ca::SECRET_NAME).await?.data.unwrap_or_default();
    let bundle = data.get("ca.crt").context("the authority has no ca.crt")?;
    let file = context.output.join("ca.crt");
    std::fs::write(&file, &bundle.0)?;
    Ok(file)
}

/// Two desktops with a viewer each. One viewer only views, in a browser, which asks for updates all the time; the other one presses
/// a key now and then.
async fn idle() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let case = "workspace::desktop::idle";
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        allow_consoles(context, ALICE, DESKTOP_CONSOLES, &["get", "update"]).await?;
        let image = desktop_image::load(cluster, "desktop")?;
        let spec = json!({"lifecycle": {"idleTimeout": format!("{}s", IDLE_TIMEOUT.as_secs())}});
        for name in ["viewed", "typed-in"] {
            desk(context, name, &image, spec.clone()).await?;
        }
        for name in ["viewed", "typed-in"] {
            desktop_answers(context, name).await?;
        }
        let browser = Browser::start(&context.output)?;
        browser.open(&token(context, "viewer", "viewed").await?.link()?).await?;
        shows(&browser, wait::SHORT).await?;
        let since = Instant::now();
        let typing = types_now_and_then(context);
        let sleeping = async {
            is_warned(&browser).await?;
            wait_for::<VncWorkspace>(
                context,
                "viewed",
                ("Hibernated", "True", "Idle"),
                IDLE_TIMEOUT + IDLE_GRACE,
            )
            .await?;
            anyhow::Ok(since.elapsed())
        };
        let took = tokio::select! {
            took = sleeping => took?,
            error = typing => return error.map(|never| match never {}),
        };
        println!(
            "{case}: nobody typed, asleep after {} s of {} s",
            took.as_secs(),
            IDLE_TIMEOUT.as_secs()
        );
        // The last input that is counted is the connection itself, which was before.
        ensure!(
            took + Duration::from_secs(20) >= IDLE_TIMEOUT,
            "it sleeps after {took:?}"
        );
        browser.ended("TargetHibernated").await?;
        let pods: Api<Pod> = context.api();
        wait::gone(&pods, "viewed", wait::SHORT).await?;
        announced(context).await?;
        let other = context.api::<VncWorkspace>().get("typed-in").await?;
        has(&other, ("Ready", "True", "Running")).map_err(anyhow::Error::msg)?;
        ensure!(
            pods.get_opt("typed-in").await?.is_some(),
            "the one with keys sleeps as well"
        );
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// Returns only with an error.
async fn types_now_and_then(context: &Context<'_>) -> Result<std::convert::Infallible> {
    let client = client_of(context, ALICE, &[]).await?;
    let mut viewer = screen_of(&client, &console(context, "typed-in")).await?;
    let mut turns = tokio::time::interval(KEY_INTERVAL);
    loop {
        turns.tick().await;
        viewer.type_text("\n", Duration::ZERO).await?;
        // What is not read would stop the stream some time.
        viewer.picture().await?;
    }
}

/// The page warns before the desktop sleeps.
async fn is_warned(browser: &Browser) -> Result<()> {
    let warning = browser
        .until("that it sleeps soon", IDLE_TIMEOUT + IDLE_GRACE, BACKGROUND, |look| {
            !look.warning.is_empty()
        })
        .await?
        .warning;
    println!("workspace::desktop::idle: {warning:?}");
    browser.screenshot("warned").await.map(drop)
}

/// An event announced the sleep, and its session says why it ended.
async fn announced(context: &Context<'_>) -> Result<()> {
    let events: Api<Event> = context.api();
    let about = ListParams::default().fields("involvedObject.name=viewed,reason=SleepsSoon");
    ensure!(
        !events.list(&about).await?.items.is_empty(),
        "no event announced the sleep"
    );
    let sessions: Api<ConsoleSession> = context.api();
    wait::object(&sessions, "viewer", "its stream has ended", wait::SHORT, |session| {
        let last = session
            .status
            .as_ref()
            .and_then(|status| status.last_disconnect.as_ref());
        let ended = last.is_some_and(|last| last.reason == "TargetHibernated");
        ended.then_some(()).ok_or_else(|| format!("{last:?}"))
    })
    .await
    .map(drop)
}
