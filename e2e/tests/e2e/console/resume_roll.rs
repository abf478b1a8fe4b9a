//! Pages come back by themselves over lines that break and gateways that are rolled.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use novasphere_e2e::{
    fixtures::{
        balancer::{Balancer, Line},
        browser::Browser,
        cluster::Cluster,
        console::ConsoleFixture,
        console_session::connections,
        console_socket::ConsoleSocket,
        console_visitor::Visitor,
        gateway::{Gateway, GatewayOptions},
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use parking_lot::Mutex;

use super::resume_page::{grants, new_link, policy, resumed, types};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::resume_roll::rolled", Needs::ControlPlane, rolled),
        Case::new("console::resume_roll::network", Needs::ControlPlane, network),
    ]
}

/// From a gateway that serves, or a line that carries, to everybody who is back.
const BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a person has no network.
const OUTAGE_PERIOD: Duration = Duration::from_secs(10);

/// Has the page remember since when it is in which state, as `[milliseconds, state]`.
const REMEMBER: &str = r#"(() => {
  const { body } = document;
  window.trail = [[Date.now(), body.dataset.state]];
  new MutationObserver(() => {
    if (window.trail.at(-1)[1] !== body.dataset.state) {
      window.trail.push([Date.now(), body.dataset.state]);
    }
  }).observe(body, { attributes: true, attributeFilter: ["data-state"] });
})()"#;

/// The time without a console, in milliseconds since 1970.
#[derive(Clone)]
struct Absence {
    from: i64,
    back: Option<i64>,
    /// Why the last try failed.
    why: String,
}

impl Absence {
    const fn new(from: i64) -> Self {
        Self {
            from,
            back: None,
            why: String::new(),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "from {} to {:?} {}; ", self.from, self.back, self.why)
    }
}

fn described(trail: &[Absence]) -> String {
    trail.iter().map(ToString::to_string).collect()
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// When the page that shows had no console.
async fn absences(browser: &Browser) -> Result<Vec<Absence>> {
    let trail: Vec<(i64, String)> = serde_json::from_value(browser.evaluate("window.trail").await?)?;
    let mut absences: Vec<Absence> = Vec::new();
    for (at, state) in trail {
        let open = absences.last_mut().filter(|last| last.back.is_none());
        match (state == "connected", open) {
            (true, Some(last)) => last.back = Some(at),
            (false, None) => absences.push(Absence::new(at)),
            (true, None) | (false, Some(_)) => {}
        }
    }
    Ok(absences)
}

async fn network() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume_roll::network",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let balancer = Balancer::start().await?;
            let options = GatewayOptions {
                public: Some(balancer.address),
                ..GatewayOptions::new(&fixture.account, "g1")
            };
            let gateway = Gateway::start_with(context, options).await?;
            balancer.lead_to(vec![gateway.http]);
            let browser = Browser::start(&context.output)?;
            browser.open(&new_link(context, &gateway, "mobile").await?).await?;
            browser.connected().await?;
            browser.evaluate(REMEMBER).await?;
            line_breaks(&fixture, &balancer, &browser).await.context("broken")?;
            line_is_silent(&fixture, &gateway, &balancer, &browser)
                .await
                .context("silent")?;
            away_too_long(context, &fixture).await.context("too long")
        },
    )
    .await
}

async fn line_breaks(fixture: &ConsoleFixture, balancer: &Balancer, browser: &Browser) -> Result<()> {
    balancer.set(Line::Cut);
    let look = browser
        .until("that it connects again", wait::SHORT, [0; 3], |look| {
            look.state == "waiting"
        })
        .await?;
    ensure!(look.notice.contains("connects again by itself"), "{look:?}");
    tokio::time::sleep(OUTAGE_PERIOD).await;
    let up = now();
    balancer.set(Line::Up);
    browser.connected().await?;
    let last = absences(browser).await?.pop().context("it was away")?;
    let back = last.back.context("it is connected")?;
    ensure!(
        back - up <= BACK_TIMEOUT.as_millis().try_into()?,
        "back after {} ms",
        back - up
    );
    types(&fixture.vnc, browser).await
}

/// What a device without a network for a moment does not notice costs nothing; a line that says nothing any more is replaced.
async fn line_is_silent(
    fixture: &ConsoleFixture,
    gateway: &Gateway,
    balancer: &Balancer,
    browser: &Browser,
) -> Result<()> {
    let before = resumed(gateway).await?;
    balancer.set(Line::Held);
    tokio::time::sleep(OUTAGE_PERIOD).await;
    balancer.set(Line::Up);
    types(&fixture.vnc, browser).await?;
    ensure!(resumed(gateway).await? == before, "a line that carries was replaced");

    browser.evaluate("void dispatchEvent(new Event('offline'))").await?;
    browser.evaluate("void dispatchEvent(new Event('online'))").await?;
    // The machine of this test answers no question about its picture.
    wait::until("the line is replaced", wait::SHORT, || async {
        let now = resumed(gateway).await?;
        Ok(Seen::some((now > before).then_some(()), format!("{now} times")))
    })
    .await?;
    browser.connected().await?;
    types(&fixture.vnc, browser).await
}

/// The page says so when it was away for longer than its place is kept.
async fn away_too_long(context: &Context<'_>, fixture: &ConsoleFixture) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(5);
    let balancer = Balancer::start().await?;
    let options = GatewayOptions {
        public: Some(balancer.address),
        resume_window: Some("5s"),
        ..GatewayOptions::new(&fixture.account, "g2")
    };
    let gateway = Gateway::start_with(context, options).await?;
    balancer.lead_to(vec![gateway.http]);
    let browser = Browser::start(&context.output)?;
    browser.open(&new_link(context, &gateway, "short").await?).await?;
    browser.connected().await?;
    balancer.set(Line::Cut);
    connections(context, "short", 0).await?;
    tokio::time::sleep(WINDOW + Duration::from_secs(2)).await;
    balancer.set(Line::Up);
    let look = browser.ended("ResumeRefused").await?;
    ensure!(look.notice.contains("A console waits for a few minutes"), "{look:?}");
    browser.screenshot("too-long").await.map(drop)
}

/// Chromium's part of the crowd. A page costs it a process, so the others do what the page does without one.
const PAGES: usize = 3;
const VISITORS: usize = 17;

async fn rolled() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume_roll::rolled",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let balancer = Balancer::start().await?;
            let start = |instance| {
                let options = GatewayOptions {
                    public: Some(balancer.address),
                    ..GatewayOptions::new(&fixture.account, instance)
                };
                Gateway::start_with(context, options)
            };
            let mut gateways = futures::future::try_join_all(["g1", "g2"].map(start)).await?;
            balancer.lead_to(gateways.iter().map(|gateway| gateway.http).collect());
            let browser = Browser::start(&context.output)?;
            let crowd = Crowd::enter(context, &gateways, &balancer, &browser).await?;
            let granted = grants(context).await?;

            for gateway in &mut gateways {
                gateway.stop().await?;
                gateway.run().await?;
            }
            // Each was at one of the two.
            crowd.are_back(context, 1).await.context("one after the other")?;
            for absence in crowd.absences().await? {
                let back = absence.back.context("everybody is back")?;
                within(back - absence.from, "a gateway was there all the time")?;
            }

            let before = crowd.absences().await?.len();
            for gateway in &gateways {
                gateway.terminate()?;
            }
            for gateway in &mut gateways {
                ensure!(gateway.ended(wait::SHORT).await?, "a gateway ended badly");
            }
            let mut ready = i64::MAX;
            for gateway in &mut gateways {
                gateway.run().await?;
                ready = ready.min(now());
            }
            crowd.are_back(context, 2).await.context("both at once")?;
            let last = crowd.last_absences().await?;
            ensure!(crowd.absences().await?.len() > before, "nobody was away");
            for absence in last {
                let back = absence.back.context("everybody is back")?;
                within(back - ready, "since a gateway was ready")?;
            }
            ensure!(grants(context).await? == granted, "a token was made");
            Ok(())
        },
    )
    .await
}

fn within(milliseconds: i64, what: &str) -> Result<()> {
    let bound = i64::try_from(BACK_TIMEOUT.as_millis())?;
    ensure!(milliseconds <= bound, "back after {milliseconds} ms, {what}");
    Ok(())
}

type Trail = Arc<Mutex<Vec<Absence>>>;

/// Those who have a console each.
struct Crowd<'a> {
    browser: &'a Browser,
    trails: Vec<Trail>,
    sessions: Vec<String>,
}

impl<'a> Crowd<'a> {
    async fn enter(
        context: &Context<'_>,
        gateways: &[Gateway],
        balancer: &Balancer,
        browser: &'a Browser,
    ) -> Result<Self> {
        let gateway = gateways.first().context("two gateways were started")?;
        let mut crowd = Self {
            browser,
            trails: Vec::new(),
            sessions: (0..PAGES + VISITORS).map(|number| format!("viewer-{number}")).collect(),
        };
        for (number, session) in crowd.sessions.iter().enumerate() {
            let link = new_link(context, gateway, session).await?;
            if number < PAGES {
                if number == 0 {
                    browser.open(&link).await?;
                } else {
                    browser.tab(&link).await?;
                }
                browser.connected().await?;
                browser.evaluate(REMEMBER).await?;
                continue;
            }
            let token = link.split(['=', '&']).nth(1).context("the link has a token")?;
            let mut visitor = Visitor::new(context, session);
            let socket = visitor.enter(balancer.address, Some(token)).await?;
            let trail = Trail::default();
            let spread = f64::from(u32::try_from(number)?) / f64::from(u32::try_from(PAGES + VISITORS)?);
            tokio::spawn(stay(visitor, socket, balancer.address, Arc::clone(&trail), spread));
            crowd.trails.push(trail);
        }
        Ok(crowd)
    }

    /// Waits until each was away at least that often and has a console, by their own word and by that of the sessions.
    async fn are_back(&self, context: &Context<'_>, times: usize) -> Result<()> {
        for (number, trail) in self.trails.iter().enumerate() {
            wait::until(format!("visitor {number} is back"), wait::SHORT, || async {
                let trail = trail.lock().clone();
                let is_back = trail.len() >= times && trail.iter().all(|absence| absence.back.is_some());
                Ok(Seen::some(is_back.then_some(()), described(&trail)))
            })
            .await?;
        }
        for number in 0..PAGES {
            self.browser.select(number).await?;
            wait::until(format!("page {number} is back"), wait::SHORT, || async {
                let trail = absences(self.browser).await?;
                let is_back = trail.len() >= times && trail.iter().all(|absence| absence.back.is_some());
                Ok(Seen::some(is_back.then_some(()), described(&trail)))
            })
            .await?;
        }
        for session in &self.sessions {
            connections(context, session, 1).await?;
        }
        Ok(())
    }

    async fn each(&self) -> Result<Vec<Vec<Absence>>> {
        let mut all: Vec<Vec<Absence>> = self.trails.iter().map(|trail| trail.lock().clone()).collect();
        for number in 0..PAGES {
            self.browser.select(number).await?;
            all.push(absences(self.browser).await?);
        }
        Ok(all)
    }

    async fn absences(&self) -> Result<Vec<Absence>> {
        Ok(self.each().await?.into_iter().flatten().collect())
    }

    async fn last_absences(&self) -> Result<Vec<Absence>> {
        let each = self.each().await?.into_iter();
        let last = each.map(|mut trail| trail.pop().context("they were away"));
        last.collect()
    }
}

/// Stays in a console as the page does: comes back after each end, with its pauses, of which it takes from half to all.
async fn stay(mut visitor: Visitor, mut socket: ConsoleSocket, address: SocketAddr, trail: Trail, spread: f64) {
    loop {
        // Whether it is said or the line breaks; the time is more than the case has.
        let _ = socket.closed(Duration::from_hours(1)).await;
        trail.lock().push(Absence::new(now()));
        let mut pauses = [0.5, 1.0, 1.0, 2.0].into_iter().chain(std::iter::repeat(3.0));
        socket = loop {
            let pause = pauses.next().unwrap_or(3.0);
            tokio::time::sleep(Duration::from_secs_f64(pause * (0.5 + spread / 2.0))).await;
            match visitor.enter(address, None).await {
                Ok(socket) => break socket,
                Err(error) => {
                    if let Some(absence) = trail.lock().last_mut() {
                        absence.why = format!("{error:#}");
                    }
                }
            }
        };
        if let Some(absence) = trail.lock().last_mut() {
            absence.back = Some(now());
        }
    }
}
