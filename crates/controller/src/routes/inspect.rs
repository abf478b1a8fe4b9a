//! Asks the APIs of gateways that have one what they make of routes.

use std::{sync::Arc, time::Duration};

use http::Uri;
use jiff::Timestamp;
use kube::{Client, Config};
use novasphere_core::routes::{gateway::GatewayKind, inspection::TraefikInspection};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::watches::Watches;

/// How often they are asked.
const INSPECTION_INTERVAL: Duration = Duration::from_secs(10);

/// After so many answers that say the same, routes are looked at all the same.
const UNREAD_ROUNDS: u32 = 6;

/// How long one may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks, for ever. What does not answer is not known.
pub(super) async fn inspect(watches: Arc<Watches>) {
    let mut timer = interval(INSPECTION_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    let mut quiet: u32 = 0;
    loop {
        timer.tick().await;
        let settings = watches.routes.settings();
        let mut changed = false;
        for gateway in settings.gateways.all() {
            let Some(GatewayKind::Traefik(traefik)) = gateway.kind() else {
                continue;
            };
            let Some(url) = &traefik.api_url else { continue };
            let found = match timeout(ANSWER_TIMEOUT, ask(url)).await {
                Ok(Ok(found)) => Some(Arc::new(found)),
                Ok(Err(error)) => {
                    warn_once(
                        &mut told,
                        format!("the API of the gateway {} ({url}): {error}", gateway.name),
                    );
                    None
                }
                Err(_) => {
                    warn_once(
                        &mut told,
                        format!("the API of the gateway {} ({url}) does not answer", gateway.name),
                    );
                    None
                }
            };
            if found.as_ref().is_some_and(|found| found.has_no_default()) {
                let words = "no entry point is a default one (asDefault), so routes that name none use those of the pool as well";
                warn_once(&mut told, format!("gateway {}: {words}", gateway.name));
            }
            changed |= watches.routes.set_inspection(&gateway.name, found);
        }
        quiet = if changed { 0 } else { quiet.wrapping_add(1) };
        // That a route is still not read is no change.
        let is_due = quiet.is_multiple_of(UNREAD_ROUNDS) && watches.routes.has_inspections();
        if changed || is_due {
            watches.routes.enqueue_all(&watches.queues);
        }
    }
}

fn warn_once(told: &mut String, words: String) {
    if *told != words {
        tracing::warn!("{words}");
        *told = words;
    }
}

/// Everything that an inspection reads. kube's client speaks plain HTTP as well.
async fn ask(url: &str) -> Result<TraefikInspection, String> {
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
    Ok(TraefikInspection::parse(
        Timestamp::now(),
        &entry_points,
        &tcp_routers,
        &http_routers,
    ))
}
