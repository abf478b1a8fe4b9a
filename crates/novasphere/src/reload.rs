//! The section of the configuration file that is read again while the program runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use novasphere_core::routes::gateway::{RouteGateways, RouteSettings};
use novasphere_runtime::{config, metrics::Metrics, shutdown::Shutdown, tasks::spawn_until};
use tokio::sync::watch;

use crate::Configuration;

/// How often the file is looked at. The kubelet needs up to a minute to show a changed `ConfigMap`.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The gateways that carry routes, as the file at `path` names them: now `configuration`, later what the file says then. While that cannot be
/// used, the last good ones stay, and the settings and `metrics` say so.
#[must_use]
pub fn follow_gateways(
    path: Option<PathBuf>,
    configuration: &Configuration,
    metrics: Metrics,
    shutdown: Shutdown,
) -> watch::Receiver<Arc<RouteSettings>> {
    let settings = RouteSettings {
        gateways: RouteGateways::from(configuration.gateways.clone()),
        rejected: None,
    };
    let (sender, receiver) = watch::channel(Arc::new(settings));
    spawn_until("configuration file", shutdown, async move {
        let Some(path) = path else {
            // The watchers keep what they have, for as long as somebody could tell them of another one.
            return sender.closed().await;
        };
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            look(&path, &sender);
            metrics.configuration_rejected(sender.borrow().rejected.is_some());
        }
    });
    receiver
}

/// One look at the file. Contents are compared, not times: a `ConfigMap`'s file is a symbolic link that the kubelet replaces.
fn look(path: &Path, sender: &watch::Sender<Arc<RouteSettings>>) {
    let read = config::load::<Configuration>(path).map_err(|error| error.to_string());
    let checked = read.and_then(|configuration| configuration.check().map(|()| configuration));
    let before = Arc::clone(&sender.borrow());
    let settings = match checked {
        Ok(configuration) => RouteSettings {
            gateways: RouteGateways::from(configuration.gateways),
            rejected: None,
        },
        Err(problem) => RouteSettings {
            gateways: before.gateways.clone(),
            rejected: Some(problem),
        },
    };
    if settings == *before {
        return;
    }
    match &settings.rejected {
        Some(problem) => tracing::error!("the changed configuration is not used, the last good one stays: {problem}"),
        None if settings.gateways == before.gateways => tracing::info!("the configuration file can be used again"),
        None => tracing::info!("the gateways of the configuration file have changed and are in use"),
    }
    sender.send_replace(Arc::new(settings));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "gateways:\n- {name: edge, traefik: {namespace: a, service: b}, entryPoints: [{name: vnc-0, port: 5900}]}\n";

    fn names(settings: &RouteSettings) -> Vec<&str> {
        settings
            .gateways
            .all()
            .iter()
            .map(|gateway| gateway.name.as_str())
            .collect()
    }

    #[test]
    fn a_changed_file_is_used_and_a_bad_one_leaves_the_last_good_one() {
        let directory = std::env::temp_dir().join(format!("novasphere-reload-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("config.yaml");
        let (sender, mut receiver) = watch::channel(Arc::default());
        std::fs::write(&path, GOOD).unwrap();
        look(&path, &sender);
        assert_eq!(names(&receiver.borrow_and_update()), ["edge"]);
        look(&path, &sender);
        assert!(!receiver.has_changed().unwrap(), "the same is no news");
        for (bad, words) in [
            ("gateways:\n- {name: edge, trafik: {}}\n", "line 2"),
            ("gateways: [{name: edge}]\n", "gateways[0]: give exactly one"),
        ] {
            std::fs::write(&path, bad).unwrap();
            look(&path, &sender);
            let now = Arc::clone(&receiver.borrow_and_update());
            assert_eq!(names(&now), ["edge"]);
            assert!(now.rejected.as_ref().unwrap().contains(words), "{:?}", now.rejected);
        }
        std::fs::write(&path, GOOD).unwrap();
        look(&path, &sender);
        assert_eq!(receiver.borrow_and_update().rejected, None);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
