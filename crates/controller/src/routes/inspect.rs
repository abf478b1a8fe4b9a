//! Looks at gateways while the controller runs: what their own APIs make of routes, and what is wrong with them beside any route.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use jiff::Timestamp;
use kube::{Client, Config};
use novasphere_core::routes::{
    doctor::{FindingSeverity, GatewayFinding, GatewaySurroundings, ReadOutcome, examine},
    gateway::{GatewayKind, RouteGateway, RouteSettings},
    inspection::TraefikInspection,
};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    doctor::{ANSWER_TIMEOUT, look},
    stores::served,
};
use crate::watches::Watches;

/// How often their APIs are asked.
const INSPECTION_INTERVAL: Duration = Duration::from_secs(10);

/// After so many of these rounds, what surrounds a gateway is looked at again.
const EXAMINATION_ROUNDS: u32 = 6;

/// Looks, for ever.
pub(super) async fn inspect(watches: Arc<Watches>) {
    let mut timer = interval(INSPECTION_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut examined: Option<Arc<RouteSettings>> = None;
    let mut round: u32 = 0;
    loop {
        timer.tick().await;
        let settings = watches.routes.settings();
        ask_all(&watches, &settings).await;
        let is_new = examined.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &settings));
        let is_due = round.is_multiple_of(EXAMINATION_ROUNDS);
        if is_new || is_due {
            if examine_all(&watches, &settings).await {
                watches.routes.enqueue_all(&watches.queues);
            }
            examined = Some(settings);
        }
        round = round.wrapping_add(1);
    }
}

/// Asks each API. What does not answer is not known.
async fn ask_all(watches: &Watches, settings: &RouteSettings) {
    for gateway in settings.gateways.all() {
        let Some(url) = api_url(gateway) else { continue };
        let answer = match timeout(ANSWER_TIMEOUT, ask(url, Timestamp::now())).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
        };
        let found = match answer {
            Ok(found) => Some(Arc::new(found)),
            Err(error) => {
                if watches.routes.is_new_silence(&gateway.name, &error) {
                    tracing::warn!(
                        gateway = gateway.name,
                        url,
                        "the API of a gateway does not answer: {error}"
                    );
                }
                None
            }
        };
        let before = watches.routes.inspection(&gateway.name);
        watches.routes.set_inspection(&gateway.name, found);
        let (caches, queues) = (&watches.caches, &watches.queues);
        watches
            .routes
            .enqueue_inspected(gateway, before.as_deref(), caches, queues);
    }
}

fn api_url(gateway: &RouteGateway) -> Option<&str> {
    match gateway.kind()? {
        GatewayKind::Traefik(traefik) => traefik.api_url.as_deref(),
        GatewayKind::Kong(_) | GatewayKind::GatewayApi(_) => None,
    }
}

/// Looks at what surrounds each gateway. Returns whether that makes a difference to routes.
async fn examine_all(watches: &Watches, settings: &RouteSettings) -> bool {
    let mut looks = BTreeMap::new();
    for gateway in settings.gateways.all() {
        let mut found = look(&watches.client, gateway).await;
        if let Some(inspection) = watches.routes.inspection(&gateway.name) {
            found.api = ReadOutcome::Found(Arc::new(inspection.without_routers()));
        }
        looks.insert(gateway.name.clone(), found);
    }
    let surroundings = GatewaySurroundings {
        apis: &served(&watches.apis),
        looks: &looks,
        node_addresses: &watches.caches.node_addresses(),
    };
    let findings = examine(&settings.gateways, &surroundings);
    show(&findings, settings, watches);
    watches.routes.set_findings(findings)
}

/// Says what is new in the log, and how many there are in the metrics.
fn show(findings: &[GatewayFinding], settings: &RouteSettings, watches: &Watches) {
    let before = watches.routes.findings();
    let known: BTreeSet<_> = before.iter().collect();
    for finding in findings.iter().filter(|finding| !known.contains(finding)) {
        if finding.severity == FindingSeverity::Note {
            tracing::debug!("{finding}");
        } else {
            tracing::warn!("{finding}");
        }
    }
    if findings.is_empty() && !before.is_empty() {
        tracing::info!("nothing is wrong with the gateways of the configuration any more");
    }
    let mut counts = Vec::new();
    for gateway in settings.gateways.all() {
        for severity in FindingSeverity::all() {
            let of_both = |finding: &&GatewayFinding| finding.gateway == gateway.name && finding.severity == severity;
            let name: &'static str = severity.into();
            counts.push((gateway.name.clone(), name, findings.iter().filter(of_both).count()));
        }
    }
    watches.guard.metrics.gateway_findings(counts);
}

/// Everything that an inspection reads, as of `at`. kube's client speaks plain HTTP as well.
pub(super) async fn ask(url: &str, at: Timestamp) -> Result<TraefikInspection, String> {
    let uri = url.parse::<Uri>().map_err(|error| error.to_string())?;
    let client = Client::try_from(Config::new(uri)).map_err(|error| error.to_string())?;
    let read = async |path: &str| -> Result<Value, String> {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        client.request(request).await.map_err(|error| error.to_string())
    };
    // More than a page of the API is asked for: entry points carry one route each.
    let entry_points = read("/api/entrypoints?per_page=2000").await?;
    let tcp_routers = read("/api/tcp/routers?per_page=10000").await?;
    let http_routers = read("/api/http/routers?per_page=10000").await?;
    Ok(TraefikInspection::parse(at, &entry_points, &tcp_routers, &http_routers))
}
