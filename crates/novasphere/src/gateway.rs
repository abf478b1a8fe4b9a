//! Settings of what carries streams, for every role that does.

use std::{path::PathBuf, time};

use novasphere_core::console_session::resume::DEFAULT_RESUME_WINDOW;
use novasphere_crd::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Configuration;

/// The longest that streams may go on after the request to stop, whatever the configuration says.
const DRAIN_LIMIT: time::Duration = time::Duration::from_secs(10);

/// How long a viewer waits for a desktop, when nothing else is said.
const WAKE_TIMEOUT: time::Duration = time::Duration::from_mins(5);

/// The `gateway` section of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Serve only sessions of this namespace. The chart then grants rights on objects in it alone, beside asking who may do what and
    /// reading definitions. Default: all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_namespace: Option<String>,

    /// How long somebody who connects to a desktop that sleeps or starts waits for it at most, from `1s` to `1h`. Default `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_timeout: Option<Duration>,

    /// How long the place of a viewer who was let in is kept for them when their connection broke or their page was loaded again, so that they
    /// come back without a new token; from `1s` to `1h`, and `0s` for not at all. Default `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_window: Option<Duration>,

    /// File to which the audit log is appended; it may be renamed at any time. Default: standard output, where it is beside the program's
    /// own log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_log: Option<PathBuf>,

    /// Unix datagram socket to which the audit log is sent, each line as one datagram. Not with `auditLog`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_socket: Option<PathBuf>,

    /// Whether `/metrics` has a gauge for each session that has a stream, labelled with its namespace and name. Default
    /// `false`: such labels can become many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_per_session: Option<bool>,

    /// When the process is asked to stop: how long streams may go on before their viewers are told to connect again, from
    /// `0s` to `10s`. Default `0s`: another replica serves them at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_grace: Option<Duration>,
}

/// The settings with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// The one namespace that is served.
    pub watch_namespace: Option<String>,
    /// How long a viewer waits for a desktop.
    pub wake_timeout: time::Duration,
    /// How long places are kept.
    pub resume_window: time::Duration,
    /// The audit log's file.
    pub audit_log: Option<PathBuf>,
    /// The audit log's socket.
    pub audit_socket: Option<PathBuf>,
    /// Whether each session has a gauge.
    pub metrics_per_session: bool,
    /// How long streams go on after the request to stop.
    pub drain_grace: time::Duration,
}

/// A setting has two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gateway.{0} and console.{0} are both set, and are the same setting; remove console.{0}, its old name")]
pub struct SetTwice(pub &'static str);

impl Configuration {
    /// The settings of what carries streams, from the section `gateway` or by their old names in the section `console`.
    ///
    /// # Errors
    ///
    /// [`SetTwice`] when a setting is in both sections.
    pub fn gateway_settings(&self) -> Result<GatewaySettings, SetTwice> {
        let (new, old) = (&self.gateway, &self.console);
        let wake_timeout = one("wakeTimeout", new.wake_timeout.as_ref(), old.wake_timeout.as_ref())?;
        let drain_grace = one("drainGrace", new.drain_grace.as_ref(), old.drain_grace.as_ref())?;
        let (least, most) = (time::Duration::from_secs(1), time::Duration::from_hours(1));
        Ok(GatewaySettings {
            watch_namespace: one(
                "watchNamespace",
                new.watch_namespace.as_ref(),
                old.watch_namespace.as_ref(),
            )?,
            wake_timeout: wake_timeout.map_or(WAKE_TIMEOUT, |set| set.get().clamp(least, most)),
            resume_window: new
                .resume_window
                .as_ref()
                .map_or(DEFAULT_RESUME_WINDOW, |set| set.get().min(most)),
            audit_log: one("auditLog", new.audit_log.as_ref(), old.audit_log.as_ref())?,
            audit_socket: new.audit_socket.clone(),
            metrics_per_session: one(
                "metricsPerSession",
                new.metrics_per_session.as_ref(),
                old.metrics_per_session.as_ref(),
            )?
            .unwrap_or_default(),
            drain_grace: drain_grace.map_or(time::Duration::ZERO, |set| set.get().min(DRAIN_LIMIT)),
        })
    }
}

/// The one of the two that is set.
fn one<T: Clone>(name: &'static str, new: Option<&T>, old: Option<&T>) -> Result<Option<T>, SetTwice> {
    match (new, old) {
        (Some(_), Some(_)) => Err(SetTwice(name)),
        (new, old) => Ok(new.or(old).cloned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GatewaySettings, SetTwice> {
        let configuration: Configuration = novasphere_runtime::config::parse(text, "test").unwrap();
        configuration.gateway_settings()
    }

    const ALL: &str = "{watchNamespace: team, wakeTimeout: 7m, auditLog: /a, metricsPerSession: true, drainGrace: 3s}";

    #[test]
    fn the_old_names_under_console_mean_the_same() {
        let new = read(&format!("gateway: {ALL}")).unwrap();
        assert_eq!(read(&format!("console: {ALL}")).unwrap(), new);
        assert_eq!(
            new,
            GatewaySettings {
                watch_namespace: Some("team".into()),
                wake_timeout: time::Duration::from_mins(7),
                resume_window: DEFAULT_RESUME_WINDOW,
                audit_log: Some("/a".into()),
                audit_socket: None,
                metrics_per_session: true,
                drain_grace: time::Duration::from_secs(3),
            }
        );
        let mixed = read("gateway: {watchNamespace: team}\nconsole: {auditLog: /a}").unwrap();
        assert_eq!(mixed.watch_namespace.as_deref(), Some("team"));
        assert_eq!(mixed.audit_log, Some("/a".into()));
    }

    #[test]
    fn a_setting_of_both_sections_is_an_error_that_names_them() {
        let error = read("gateway: {drainGrace: 1s}\nconsole: {drainGrace: 1s}").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("gateway.drainGrace and console.drainGrace"), "{text}");
    }

    #[test]
    fn the_defaults_are_within_their_limits() {
        let defaults = read("{}").unwrap();
        assert_eq!(defaults.wake_timeout, WAKE_TIMEOUT);
        assert_eq!(defaults.drain_grace, time::Duration::ZERO);
        let far = read("gateway: {wakeTimeout: 9h, drainGrace: 1m}").unwrap();
        assert_eq!(
            (far.wake_timeout, far.drain_grace),
            (time::Duration::from_hours(1), DRAIN_LIMIT)
        );
        let window = |text: &str| {
            read(&format!("gateway: {{resumeWindow: {text}}}"))
                .unwrap()
                .resume_window
        };
        assert_eq!(defaults.resume_window, time::Duration::from_mins(5));
        assert_eq!(
            ["0s", "30s", "9h"].map(window),
            [0, 30, 3600].map(time::Duration::from_secs),
            "0s means that nobody comes back without a token"
        );
    }
}
