//! What the console page says beside a desktop's picture, in a real browser; the gateway under it has an admission of the
//! test's own, so that the desktop sleeps and wakes when the test says so.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use novasphere_console::page::Page;
use novasphere_core::console_session::target_state::TargetState;
use novasphere_crd::{ConsoleInput, HibernationReason};
use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest, Admitted, ConnectionSlot},
    gateway::Gateway,
    limits::{ConnectionLimiter, Limits},
    listener::websocket,
    registry::{Protocol, SessionId, StreamInfo},
    upstream::{Upstream, tcp::TcpUpstream},
};
use novasphere_e2e::{
    fixtures::{
        browser::Browser,
        desktop::{Desktop, PASSWORD, TERMINAL},
        paths,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use novasphere_sessions::admit::TargetView;
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rfb::{security::vnc_auth::VncPassword, upstream::Authentication},
    rules::Rules,
    token::TokenHash,
    websocket::opening::Origins,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, time::Instant};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::page::waking", Needs::ControlPlane, waking),
        Case::new("console::page::ssh", Needs::ControlPlane, ssh),
        Case::new("console::page::links", Needs::ControlPlane, links),
    ]
}

const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";

/// A token that opens nothing.
const USED: &str = "bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09a";

/// A token of a console on which nothing comes.
const SILENT: &str = "cdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09ab";

/// Lets everybody in as soon as the desktop runs, but for two.
#[derive(Clone)]
pub(super) struct TestAdmission {
    pub(super) view: Arc<watch::Sender<TargetView>>,
    desktop: TcpUpstream,
    /// It takes connections and says nothing.
    silent: Arc<std::net::TcpListener>,
}

impl Admission for TestAdmission {
    type TargetView = TargetView;

    async fn admit(&self, request: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        if is(&request.token, USED) {
            return Err(StreamEnd {
                reason: EndReason::TokenRefused,
                detail: Some("used".into()),
            });
        }
        let mut desktop = self.desktop.clone();
        if is(&request.token, SILENT) {
            let silent = self.silent.local_addr().map_err(|error| StreamEnd {
                reason: EndReason::Internal,
                detail: Some(error.to_string()),
            })?;
            desktop.address = silent;
        }
        let mut seen = self.view.subscribe();
        // The sender lives as long as this does.
        let _ = seen.wait_for(|view| view.state == TargetState::Running).await;
        Ok(Admitted {
            session: SessionId {
                namespace: "team".into(),
                name: "alice".into(),
                uid: "1".into(),
            },
            user: "alice".into(),
            target_name: "VncWorkspace/alice".into(),
            protocol: Protocol::Vnc,
            rules: Rules::CONTROL,
            target: Upstream::Tcp(desktop),
            expires: Instant::now() + Duration::from_hours(1),
            idle_timeout: None,
            slot: ConnectionSlot::default(),
            is_resumable: false,
        })
    }

    fn target_view(&self, token: &TokenHash, _: std::net::IpAddr) -> Option<TargetView> {
        (!is(token, USED)).then(|| self.view.borrow().clone())
    }

    async fn explain(&self, _: &StreamInfo) -> Option<StreamEnd> {
        None
    }
}

fn is(token: &TokenHash, known: &str) -> bool {
    TokenHash::of_token(known.as_bytes()).is_ok_and(|known| known.is(token))
}

impl TestAdmission {
    pub(super) fn new(desktop: SocketAddr, authentication: Authentication) -> Result<Self> {
        let asleep = TargetView {
            kind: "VncWorkspace",
            name: "alice".into(),
            state: TargetState::Asleep,
            message: "The desktop sleeps because nobody typed.".into(),
            sleeps_at: None,
            sleeps_because: None,
            input: ConsoleInput::Control,
            keys_only: false,
            keyboard: None,
        };
        Ok(Self {
            view: Arc::new(watch::Sender::new(asleep)),
            desktop: TcpUpstream {
                address: desktop,
                authentication,
            },
            silent: Arc::new(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?),
        })
    }

    /// Serves the page; returns where.
    pub(super) async fn serve(&self) -> Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let limits = Limits {
            handshake: Duration::from_mins(5),
            ..Limits::default()
        };
        let gateway = Gateway::new(self.clone(), Vec::new(), ConnectionLimiter::new(limits));
        let (origins, page) = (Origins::new([&base])?, Page::new(Vec::<String>::new())?);
        let serving = websocket::serve_with_page(
            listener,
            None,
            origins,
            Some(Arc::new(page)),
            gateway,
            std::future::pending(),
        );
        tokio::spawn(serving);
        Ok(base)
    }
}

pub(super) fn link(base: &str, protocol: &str) -> String {
    format!("{base}/console/#token={TOKEN}&protocol={protocol}&session=team/alice")
}

async fn start(output: &Path) -> Result<(Desktop, TestAdmission, String, Browser)> {
    let desktop = Desktop::start(Ipv4Addr::LOCALHOST, output).await?;
    let password = VncPassword::new(PASSWORD.as_bytes());
    let admission = TestAdmission::new(desktop.address, Authentication::Password(password))?;
    let base = admission.serve().await?;
    Ok((desktop, admission, base, Browser::start(output)?))
}

async fn waking() -> Result<()> {
    let output = paths::output("console::page::waking")?;
    let (desktop, admission, base, browser) = start(&output).await?;
    browser.open(&link(&base, "vnc")).await?;
    let look = browser
        .until("that it is woken", wait::SHORT, TERMINAL, |look| {
            look.waiting.contains("This desktop sleeps. It is being woken…")
        })
        .await?;
    ensure!(
        look.waiting.contains("The desktop sleeps because nobody typed."),
        "{look:?}"
    );
    ensure!(
        look.waiting.contains("Waited ") && look.state == "connecting",
        "{look:?}"
    );
    ensure!((look.width, look.target.as_str()) == (0, "Asleep"), "{look:?}");
    browser.screenshot("asleep").await?;
    let announced = browser
        .evaluate("document.getElementById('waiting-title').closest('[aria-live=polite]') !== null")
        .await?;
    ensure!(
        announced == json!(true),
        "it is not announced to a person who does not see it"
    );

    admission.view.send_modify(|view| {
        view.state = TargetState::Starting;
        view.message = "The desktop's programs start.".into();
    });
    browser
        .until("that it starts", wait::SHORT, TERMINAL, |look| {
            look.waiting.contains("Its programs are starting…")
        })
        .await?;
    browser.screenshot("starting").await?;

    admission.view.send_modify(|view| {
        view.state = TargetState::Running;
        view.message = String::new();
        view.sleeps_at = Some(Timestamp::now() + Duration::from_mins(4));
        view.sleeps_because = Some(HibernationReason::Idle);
    });
    let look = browser
        .until("the desktop and the warning", wait::SHORT, TERMINAL, |look| {
            look.state == "connected" && look.of_colour > 150_000 && !look.warning.is_empty()
        })
        .await?;
    ensure!(look.waiting.is_empty(), "{look:?}");
    ensure!(
        look.warning
            .contains("because nobody types. Move the mouse or press a key"),
        "{look:?}"
    );
    browser.screenshot("sleeps-soon").await?;
    browser.type_text("hello\n").await?;
    desktop.was_typed("hello\n").await?;

    admission.view.send_modify(|view| {
        view.sleeps_at = None;
        view.sleeps_because = None;
        view.input = ConsoleInput::ViewOnly;
    });
    let look = browser
        .until("no warning, and that it only views", wait::SHORT, TERMINAL, |look| {
            look.warning.is_empty() && look.view_only == "View only"
        })
        .await?;
    ensure!(look.of_colour > 150_000, "{look:?}");
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("view-only").await.map(drop)
}

async fn ssh() -> Result<()> {
    let output = paths::output("console::page::ssh")?;
    let (_desktop, _door, base, browser) = start(&output).await?;
    browser.open(&link(&base, "ssh")).await?;
    let look = browser.ended("Ssh").await?;
    let address = format!("{}/api/v1/console/ws", base.replace("http:", "ws:"));
    ensure!(
        look.notice.contains("A browser cannot speak SSH") && look.notice.contains(&address),
        "{look:?}"
    );
    let page = browser
        .evaluate("document.documentURI + document.documentElement.outerHTML")
        .await?;
    ensure!(!page.to_string().contains(TOKEN), "the token is in the page");
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("ssh").await.map(drop)
}

/// Shows the console page in a frame of its own origin, so that the test sees into it, and hears it.
const SHOW: &str = r#"(() => {
  window.heard = [];
  addEventListener("message", ({ data }) => heard.push(data.type + (data.reason ? ":" + data.reason : "")));
  window.frame = document.createElement("iframe");
  Object.assign(frame, { src: "/console/#protocol=serial&session=team/alice", width: 1000, height: 700 });
  document.body.replaceChildren(frame);
})()"#;

/// Answers the first question for a token, and returns when the page has read that.
const REFUSE: &str = r#"new Promise((done) => {
  frame.contentWindow.addEventListener("message", ({ data }) => data === "read" && setTimeout(done));
  frame.contentWindow.postMessage(
    { novasphere: "console", version: 1, type: "token-refused", request: 1, message: "too late" }, location.origin);
  frame.contentWindow.postMessage("read", location.origin);
})"#;

/// What an embedder has heard of the page, and the page's state.
async fn heard(browser: &Browser, wanted: &[&str], state: &str) -> Result<()> {
    let words = "heard.concat(frame.contentDocument?.body?.dataset.state ?? '')";
    let wanted: Vec<&str> = wanted.iter().copied().chain([state]).collect();
    wait::until(format!("the embedder hears {wanted:?}"), wait::SHORT, || async {
        let heard = browser.evaluate(words).await?;
        Ok(Seen::some((heard == json!(wanted)).then_some(()), heard.to_string()))
    })
    .await
}

/// Pastes a link into the address bar of the page in the frame.
async fn paste(browser: &Browser, token: &str, protocol: &str) -> Result<()> {
    let fragment = format!("#token={token}&protocol={protocol}&session=team/alice");
    browser
        .evaluate(&format!("void (frame.contentWindow.location.hash = {fragment:?})"))
        .await
        .map(drop)
}

async fn links() -> Result<()> {
    let output = paths::output("console::page::links")?;
    let (_desktop, admission, base, browser) = start(&output).await?;
    admission.view.send_modify(|view| view.state = TargetState::Running);
    browser.open(&format!("{base}/api/v1/console/target")).await?;
    browser.evaluate(SHOW).await?;
    heard(&browser, &["token-request"], "connecting").await?;

    paste(&browser, TOKEN, "vnc").await?;
    heard(&browser, &["token-request", "connected"], "connected").await?;
    let address = browser.evaluate("frame.contentWindow.location.href").await?;
    ensure!(
        address == json!(format!("{base}/console/#protocol=vnc&session=team/alice")),
        "{address}"
    );
    browser.evaluate(REFUSE).await?;
    heard(&browser, &["token-request", "connected"], "connected").await?;
    browser.screenshot("pasted").await?;

    // A silent console is there when the gateway says so beside it.
    paste(&browser, SILENT, "serial").await?;
    heard(&browser, &["token-request", "connected", "connected"], "connected").await?;
    // One that turns away is not, although its line is open for a moment.
    paste(&browser, USED, "serial").await?;
    let all = ["token-request", "connected", "connected", "closed:TokenRefused"];
    wait::until(format!("the embedder hears {all:?} first"), wait::SHORT, || async {
        // Then it asks for another one.
        let heard = browser.evaluate("heard.slice(0, 4)").await?;
        Ok(Seen::some((heard == json!(all)).then_some(()), heard.to_string()))
    })
    .await
}
