//! Input to a desktop, from the sessions on it.

use jiff::Timestamp;
use novasphere_crd::{ConsoleInput, ConsoleSession};

use crate::console_session::connection::only_views;

/// How a gateway words that a viewer closed its connection (`Close::ViewerLeft` of the console crate).
const VIEWER_LEFT: &str = "ViewerLeft";

/// Input to a desktop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The last human input that is known of.
    pub last_input_at: Option<Timestamp>,
    /// Whether a session shows that input, so that it is found again as long as the session stays.
    pub is_shown: bool,
    /// Whether a viewer is connected now.
    pub connected: bool,
}

impl Activity {
    /// What the sessions on the workspace with this UID show. Sessions are what gateways of all kinds write, so browser, stock
    /// viewer and SSH count together.
    ///
    /// Input is what gateways count (`lastInputAt`, reported once a minute), and that a viewer connects or leaves. That a gateway, a
    /// network or novasphere itself ends a stream is none: the viewer may have left before. A viewer who may only view is no input,
    /// neither by being connected nor by coming and going: else they could keep a desktop awake.
    pub fn of<'a>(sessions: impl IntoIterator<Item = &'a ConsoleSession>, uid: &str) -> Self {
        let mut found = Self::default();
        for status in sessions.into_iter().filter_map(|session| session.status.as_ref()) {
            // One of the same name that was there before is another desktop.
            if status.target_uid.as_deref().is_some_and(|target| target != uid) {
                continue;
            }
            let controlling = || status.connections.iter().filter(|connection| !only_views(connection));
            found.connected |= controlling().next().is_some();
            let counted = controlling()
                .flat_map(|connection| [Some(&connection.connected_at), connection.last_input_at.as_ref()]);
            let left = status
                .last_disconnect
                .as_ref()
                .filter(|last| last.reason == VIEWER_LEFT && last.input != Some(ConsoleInput::ViewOnly))
                .map(|last| &last.at);
            let newest = counted.flatten().chain(left).map(|time| time.0).max();
            found.last_input_at = found.last_input_at.max(newest);
        }
        found.is_shown = found.last_input_at.is_some();
        found
    }

    /// With an input that was known before: the session that showed it may have gone.
    #[must_use]
    pub fn or_known(self, known: Option<Timestamp>) -> Self {
        if known <= self.last_input_at {
            return self;
        }
        Self {
            last_input_at: known,
            is_shown: false,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{
        super::{
            lifecycle::{DesktopState, LifecycleDecision, LifecycleHistory, ValidatedLifecycle, decide},
            samples::{at, workspace},
            validate::lifecycle,
        },
        *,
    };

    fn connection(connected: i64, typed: Option<i64>) -> Value {
        let mut connection = json!({
            "id": "a", "user": "alice", "gateway": "console-1", "clientAddress": "192.0.2.7", "transport": "WebSocket",
            "connectedAt": at(connected).to_string(),
        });
        if let Some(typed) = typed {
            connection["lastInputAt"] = json!(at(typed).to_string());
        }
        connection
    }

    fn session(status: &Value) -> ConsoleSession {
        serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "ConsoleSession", "metadata": {"name": "s"},
            "spec": {"targetRef": {"kind": "VncWorkspace", "name": "alice"}}, "status": status,
        }))
        .unwrap()
    }

    fn left(reason: &str, second: i64) -> Value {
        json!({"user": "alice", "reason": reason, "at": at(second).to_string()})
    }

    fn of(statuses: &[Value]) -> Activity {
        let sessions: Vec<_> = statuses.iter().map(session).collect();
        Activity::of(&sessions, "alice-1")
    }

    #[test]
    fn input_is_the_newest_of_all_sessions_and_coming_and_going_are_input() {
        assert_eq!(of(&[]), Activity::default());
        assert_eq!(of(&[json!({})]), Activity::default());
        let one = of(&[json!({"connections": [connection(5, None)]})]);
        assert_eq!(
            (one.last_input_at, one.connected, one.is_shown),
            (Some(at(5)), true, true)
        );
        let typed = of(&[
            json!({"connections": [connection(5, Some(70)), connection(9, None)]}),
            json!({}),
        ]);
        assert_eq!(typed.last_input_at, Some(at(70)));
        let gone = of(&[
            json!({"lastDisconnect": left("ViewerLeft", 90)}),
            json!({"connections": [connection(5, Some(70))]}),
        ]);
        assert_eq!((gone.last_input_at, gone.connected), (Some(at(90)), true));
    }

    #[test]
    fn a_viewer_who_may_only_view_is_no_input() {
        let mut looks = connection(5, Some(70));
        looks["input"] = json!("ViewOnly");
        let mut gone = left("ViewerLeft", 90);
        gone["input"] = json!("ViewOnly");
        assert_eq!(
            of(&[json!({"connections": [looks], "lastDisconnect": gone})]),
            Activity::default()
        );
        looks["input"] = json!("Control");
        assert_eq!(of(&[json!({"connections": [looks]})]).last_input_at, Some(at(70)));
    }

    #[test]
    fn what_no_person_did_is_no_input() {
        for reason in [
            "GatewayLost",
            "ViewerLost",
            "Idle",
            "TargetStopped",
            "Restarting",
            "Expired",
        ] {
            assert_eq!(
                of(&[json!({"lastDisconnect": left(reason, 90)})]),
                Activity::default(),
                "{reason}"
            );
        }
    }

    #[test]
    fn sessions_on_an_earlier_workspace_of_the_name_do_not_count() {
        let status = |uid: &str| json!({"targetUid": uid, "connections": [connection(5, Some(70))]});
        assert_eq!(of(&[status("alice-0")]), Activity::default());
        assert_eq!(of(&[status("alice-1")]).last_input_at, Some(at(70)));
    }

    #[test]
    fn what_was_known_outlives_its_session() {
        let shown = of(&[json!({"connections": [connection(5, Some(70))]})]);
        assert_eq!(shown.or_known(None), shown);
        assert_eq!(shown.or_known(Some(at(70))), shown);
        let known = Activity::default().or_known(Some(at(70)));
        assert_eq!(
            (known.last_input_at, known.is_shown, known.connected),
            (Some(at(70)), false, false)
        );
    }

    /// A desktop with these sessions from time to time.
    struct Desktop {
        lifecycle: ValidatedLifecycle,
        history: LifecycleHistory,
        known: Option<Timestamp>,
    }

    impl Desktop {
        fn new(idle_timeout: &str) -> Self {
            let mut desktop = Self {
                lifecycle: lifecycle(&workspace(&json!({"lifecycle": {"idleTimeout": idle_timeout}}))).unwrap(),
                history: LifecycleHistory {
                    ready_since: Some(at(0)),
                    ..LifecycleHistory::default()
                },
                known: None,
            };
            desktop.decide(0, &[]);
            desktop
        }

        fn decide(&mut self, second: i64, statuses: &[Value]) -> LifecycleDecision {
            let activity = of(statuses).or_known(self.known);
            self.known = activity.last_input_at;
            let decision = decide(&self.lifecycle, &self.history, &activity, at(second));
            self.history.hibernation = decision.hibernation;
            self.history.awake_since = match decision.state {
                DesktopState::Awake { since, .. } => Some(since),
                DesktopState::Asleep(_) | DesktopState::Expired => None,
            };
            decision
        }

        fn sleeps_by(&mut self, statuses: &[Value], from: i64, to: i64) -> Option<i64> {
            (from..to).find(|second| !self.decide(*second, statuses).is_awake())
        }
    }

    #[test]
    fn a_viewer_that_only_looks_does_not_keep_it_awake() {
        let looks = [json!({"connections": [connection(0, None)]})];
        assert_eq!(Desktop::new("10m").sleeps_by(&looks, 0, 2000), Some(665));
    }

    #[test]
    fn one_key_a_period_keeps_it_awake_although_it_is_told_a_minute_late() {
        let mut desktop = Desktop::new("10m");
        for second in 0..10_000 {
            // The last key that was told: keys come every 600 s, and what is told is up to a minute old.
            let told = (second - 60).max(0) / 600 * 600;
            let status = json!({"connections": [connection(0, (told > 0).then_some(told))]});
            assert!(desktop.decide(second, &[status]).is_awake(), "asleep after {second} s");
        }
    }

    #[test]
    fn a_gateway_that_died_in_the_middle_of_a_stream_does_not_keep_it_awake_for_ever() {
        // Nobody takes its connection out of the session.
        let stale = [json!({"connections": [connection(0, Some(300))]})];
        assert_eq!(Desktop::new("10m").sleeps_by(&stale, 0, 5000), Some(300 + 665));
        // The controller takes it out, or the session is deleted.
        let mut desktop = Desktop::new("10m");
        assert!(desktop.decide(360, &stale).is_awake());
        let lost = [json!({"lastDisconnect": left("GatewayLost", 390)})];
        assert_eq!(desktop.sleeps_by(&lost, 390, 5000), Some(900));
        let mut desktop = Desktop::new("10m");
        assert!(desktop.decide(360, &stale).is_awake());
        assert_eq!(desktop.sleeps_by(&[], 390, 5000), Some(900));
    }

    #[test]
    fn input_in_the_last_minutes_takes_the_warning_back() {
        let mut desktop = Desktop::new("10m");
        let decision = desktop.decide(550, &[json!({"connections": [connection(0, None)]})]);
        let DesktopState::Awake {
            warning: Some(sleep), ..
        } = decision.state
        else {
            panic!("{decision:?}")
        };
        assert_eq!(sleep.since, at(665));
        let decision = desktop.decide(600, &[json!({"connections": [connection(0, Some(590))]})]);
        assert!(
            matches!(decision.state, DesktopState::Awake { warning: None, .. }),
            "{decision:?}"
        );
        // The next warning: a fifth of the timeout before the sleep.
        let lead = Duration::from_mins(10) / 5;
        assert_eq!(
            decision.next,
            Some(at(590 + 665 - i64::try_from(lead.as_secs()).unwrap()))
        );
    }
}
