use proptest::prelude::*;

use serde_json::{Value, json};

use super::{
    super::{
        samples::{references, workspace},
        schedule::time_zone,
    },
    *,
};

fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + second).unwrap()
}

fn cron(text: &str) -> Option<Cron> {
    Cron::parse(text, time_zone("Etc/UTC").unwrap())
}

const ALWAYS: ValidatedLifecycle = ValidatedLifecycle {
    state: LifecycleState::Running,
    idle_timeout: None,
    keep_awake_until: None,
    ends_at: None,
    wake: None,
    hibernate: None,
};

fn idle_after(seconds: u64) -> ValidatedLifecycle {
    ValidatedLifecycle {
        idle_timeout: Some(Duration::from_secs(seconds)),
        ..ALWAYS
    }
}

fn to_hibernate() -> ValidatedLifecycle {
    ValidatedLifecycle {
        state: LifecycleState::Hibernated,
        ..ALWAYS
    }
}

/// A desktop and its history, as reconciles carry it on. Its Pod answers from the start.
struct Desktop {
    history: LifecycleHistory,
    activity: Activity,
}

impl Default for Desktop {
    fn default() -> Self {
        Self {
            history: LifecycleHistory {
                ready_since: Some(at(0)),
                ..LifecycleHistory::default()
            },
            activity: Activity::default(),
        }
    }
}

impl Desktop {
    fn decide(&mut self, lifecycle: &ValidatedLifecycle, second: i64) -> LifecycleDecision {
        let decision = decide(lifecycle, &self.history, &self.activity, at(second));
        self.history.awake_since = match decision.state {
            DesktopState::Awake { since, .. } => Some(since),
            DesktopState::Asleep(_) | DesktopState::Expired => None,
        };
        self.history.hibernation = decision.hibernation;
        decision
    }

    fn sleeps(&mut self, lifecycle: &ValidatedLifecycle, second: i64) -> Option<HibernationReason> {
        match self.decide(lifecycle, second).state {
            DesktopState::Asleep(sleep) => Some(sleep.reason),
            DesktopState::Awake { .. } | DesktopState::Expired => None,
        }
    }

    fn typed(&mut self, second: i64) {
        self.activity.last_input_at = Some(at(second));
    }

    fn connects(&mut self, second: i64) {
        self.history.wake_requested_at = Some(at(second));
    }
}

#[test]
fn a_desktop_runs_for_ever_unless_told_otherwise() {
    let mut desktop = Desktop::default();
    assert!(desktop.decide(&ALWAYS, 0).is_awake());
    let decision = desktop.decide(&ALWAYS, 1_000_000);
    assert!(decision.is_awake());
    assert_eq!(decision.next, None);
}

#[test]
fn it_sleeps_when_nobody_types_and_input_that_is_told_late_does_not_wake_it() {
    use HibernationReason::Idle;
    let lifecycle = idle_after(100);
    let mut desktop = Desktop::default();
    assert_eq!(desktop.decide(&lifecycle, 0).next, Some(at(80)), "the warning");
    desktop.typed(50);
    let decision = desktop.decide(&lifecycle, 135);
    let warning = Sleep {
        reason: Idle,
        since: at(150),
    };
    assert_eq!(
        decision.state,
        DesktopState::Awake {
            since: at(0),
            warning: Some(warning)
        }
    );
    assert_eq!(decision.next, Some(at(150)));
    assert_eq!(desktop.sleeps(&lifecycle, 150), Some(Idle));
    desktop.typed(149);
    assert_eq!(desktop.sleeps(&lifecycle, 155), Some(Idle));
    desktop.connects(160);
    assert_eq!(desktop.sleeps(&lifecycle, 161), None);
    assert_eq!(desktop.sleeps(&lifecycle, 260), None);
    assert_eq!(
        desktop.sleeps(&lifecycle, 261),
        Some(Idle),
        "idle counts from its waking"
    );
    assert_eq!(desktop.sleeps(&lifecycle, 9999), Some(Idle), "a request wakes it once");
}

#[test]
fn one_that_does_not_answer_is_not_idle() {
    use HibernationReason::{Asked, Idle};
    let lifecycle = idle_after(100);
    let mut desktop = Desktop::default();
    desktop.history.ready_since = None;
    assert_eq!(desktop.decide(&lifecycle, 0).next, None);
    assert_eq!(desktop.sleeps(&lifecycle, 5000), None);
    desktop.history.ready_since = Some(at(5000));
    assert_eq!(desktop.decide(&lifecycle, 5001).next, Some(at(5080)), "the warning");
    assert_eq!(desktop.sleeps(&lifecycle, 5099), None);
    desktop.history.ready_since = None;
    assert_eq!(desktop.sleeps(&lifecycle, 6000), None, "it fails again");
    desktop.history.ready_since = Some(at(6000));
    assert_eq!(desktop.sleeps(&lifecycle, 6100), Some(Idle));

    let mut woken = Desktop::default();
    woken.sleeps(&to_hibernate(), 0);
    woken.connects(10);
    woken.history.ready_since = None;
    assert_eq!(woken.sleeps(&to_hibernate(), 11), None);
    assert_eq!(
        woken.sleeps(&to_hibernate(), 11 + 1800),
        Some(Asked),
        "as its spec says"
    );
}

#[test]
fn a_connection_is_waited_for_until_it_has_told_of_its_last_minute() {
    let lifecycle = idle_after(100);
    let mut desktop = Desktop::default();
    desktop.activity.connected = true;
    desktop.decide(&lifecycle, 0);
    assert_eq!(desktop.sleeps(&lifecycle, 164), None);
    assert_eq!(desktop.sleeps(&lifecycle, 165), Some(HibernationReason::Idle));
}

#[test]
fn it_sleeps_when_asked_and_a_connection_wakes_it_until_it_is_idle() {
    use HibernationReason::Asked;
    let mut desktop = Desktop::default();
    assert_eq!(desktop.sleeps(&ALWAYS, 0), None);
    assert_eq!(desktop.sleeps(&to_hibernate(), 10), Some(Asked));
    desktop.connects(10);
    assert_eq!(desktop.sleeps(&to_hibernate(), 11), None);
    assert_eq!(desktop.sleeps(&to_hibernate(), 11 + 1799), None);
    assert_eq!(desktop.sleeps(&to_hibernate(), 11 + 1800), Some(Asked));
    assert_eq!(desktop.sleeps(&ALWAYS, 5000), None, "it may run again");
    assert_eq!(desktop.sleeps(&to_hibernate(), 6000), Some(Asked), "asked again");
    assert_eq!(Desktop::default().sleeps(&to_hibernate(), 0), Some(Asked), "a new one");
}

#[test]
fn a_request_that_was_followed_does_not_wake_it_again() {
    use HibernationReason::{Asked, Idle};
    // 0 s: it is put to sleep in the second in which it was woken. 600 s: the gateway's clock is ahead.
    for ahead in [0, 600] {
        let mut desktop = Desktop::default();
        desktop.sleeps(&to_hibernate(), 0);
        desktop.connects(10 + ahead);
        assert_eq!(desktop.sleeps(&to_hibernate(), 10), None);
        assert_eq!(desktop.sleeps(&ALWAYS, 10), None);
        assert_eq!(desktop.sleeps(&to_hibernate(), 10), Some(Asked));
        assert_eq!(desktop.sleeps(&to_hibernate(), 11), Some(Asked), "{ahead}");
        assert_eq!(desktop.sleeps(&to_hibernate(), 5000), Some(Asked), "{ahead}");
        // The next one, in the same second.
        let since = desktop.history.hibernation.unwrap().since;
        desktop.history.wake_requested_at = Some(since.max(at(10)));
        assert_eq!(desktop.sleeps(&to_hibernate(), 10), None, "{ahead}");
    }
    let mut idle = Desktop::default();
    idle.decide(&idle_after(100), 0);
    idle.connects(100);
    assert_eq!(idle.sleeps(&idle_after(100), 100), Some(Idle));
    assert_eq!(idle.sleeps(&idle_after(100), 101), Some(Idle));
}

#[test]
fn one_that_sleeps_for_another_reason_is_woken_by_a_connection_also_when_it_is_to_hibernate_by_now() {
    let mut desktop = Desktop::default();
    desktop.decide(&idle_after(100), 0);
    assert_eq!(desktop.sleeps(&idle_after(100), 100), Some(HibernationReason::Idle));
    assert_eq!(desktop.sleeps(&to_hibernate(), 110), Some(HibernationReason::Idle));
    desktop.connects(120);
    assert_eq!(desktop.sleeps(&to_hibernate(), 121), None);
    assert_eq!(desktop.sleeps(&to_hibernate(), 122), None);
}

#[test]
fn the_schedule_wakes_and_lets_sleep_and_misses_nothing() {
    use HibernationReason::Schedule;
    // Begins on a Monday at 8:00.
    let lifecycle = ValidatedLifecycle {
        wake: cron("0 8 * * 1-5"),
        hibernate: cron("0 18 * * *"),
        ..ALWAYS
    };
    let hour = 3600;
    let mut desktop = Desktop::default();
    assert_eq!(desktop.decide(&lifecycle, 0).next, Some(at(10 * hour - 300)));
    assert_eq!(desktop.sleeps(&lifecycle, 10 * hour), Some(Schedule));
    assert_eq!(desktop.decide(&lifecycle, 11 * hour).next, Some(at(24 * hour)));
    assert_eq!(desktop.sleeps(&lifecycle, 24 * hour), None);
    // The controller was away for two days, over a sleep and a waking.
    assert_eq!(desktop.sleeps(&lifecycle, 72 * hour), None);
    // Away over the sleep alone.
    assert_eq!(desktop.sleeps(&lifecycle, 83 * hour), Some(Schedule));
    desktop.connects(84 * hour);
    assert_eq!(desktop.sleeps(&lifecycle, 84 * hour), None);
    assert_eq!(
        desktop.sleeps(&lifecycle, 86 * hour),
        None,
        "woken after hours it stays"
    );
    assert_eq!(
        desktop.sleeps(&lifecycle, 106 * hour),
        Some(Schedule),
        "until the next evening"
    );
}

#[test]
fn keep_awake_until_holds_off_and_wakes() {
    let kept = ValidatedLifecycle {
        keep_awake_until: Some(at(500)),
        ..idle_after(100)
    };
    let mut desktop = Desktop::default();
    desktop.decide(&kept, 0);
    assert_eq!(desktop.sleeps(&kept, 499), None);
    assert_eq!(desktop.sleeps(&kept, 500), Some(HibernationReason::Idle));
    let longer = ValidatedLifecycle {
        keep_awake_until: Some(at(900)),
        ..idle_after(100)
    };
    assert_eq!(desktop.sleeps(&longer, 600), None);
}

#[test]
fn its_end_comes_before_everything() {
    let lifecycle = ValidatedLifecycle {
        ends_at: Some(at(50)),
        ..idle_after(100)
    };
    let mut desktop = Desktop::default();
    assert_eq!(desktop.decide(&lifecycle, 0).next, Some(at(50)));
    assert_eq!(desktop.decide(&lifecycle, 50).state, DesktopState::Expired);
}

proptest! {
    /// Whatever people do: the decision is stable until `next`, and `next` is in the future.
    #[test]
    fn nothing_changes_before_the_next_deadline(
        idle in prop::option::of(1_u64..5000),
        asked in any::<bool>(),
        scheduled in any::<bool>(),
        typed in prop::option::of(0_i64..5000),
        connects in prop::option::of(0_i64..5000),
        answers in prop::option::of(0_i64..5000),
        first in 0_i64..100_000,
        part in 0.0_f64..1.0,
    ) {
        let lifecycle = ValidatedLifecycle {
            state: if asked { LifecycleState::Hibernated } else { LifecycleState::Running },
            idle_timeout: idle.map(Duration::from_secs),
            wake: scheduled.then(|| cron("0 9 * * *").unwrap()),
            hibernate: scheduled.then(|| cron("30 * * * *").unwrap()),
            ..ALWAYS
        };
        let mut desktop = Desktop::default();
        desktop.decide(&lifecycle, 0);
        desktop.activity.last_input_at = typed.map(at);
        desktop.history.wake_requested_at = connects.map(at);
        desktop.history.ready_since = answers.map(at);
        desktop.decide(&lifecycle, first);
        let decision = desktop.decide(&lifecycle, first);
        if let Some(next) = decision.next {
            prop_assert!(next > at(first));
            let span = next.as_second() - at(first).as_second();
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of a small number")]
            let between = first + ((span - 1) as f64 * part) as i64;
            prop_assert_eq!(desktop.decide(&lifecycle, between).state, decision.state);
        }
    }
}

fn state_of_invalid(lifecycle: &Value, second: i64) -> Option<DesktopState> {
    let invalid = workspace(&json!({
        "lifecycle": lifecycle, "podOverrides": {"spec": {"hostNetwork": true}},
    }));
    validate::validate(&invalid, &references()).unwrap_err();
    decide_for(&invalid, &references(), at(second)).map(|decision| decision.state)
}

#[test]
fn an_invalid_desktop_sleeps_and_ends() {
    let asked = state_of_invalid(&json!({"state": "Hibernated"}), 5);
    assert!(matches!(asked, Some(DesktopState::Asleep(_))), "{asked:?}");
    let awake = state_of_invalid(&json!({"maxLifetime": "1h"}), 5);
    assert!(matches!(awake, Some(DesktopState::Awake { .. })), "{awake:?}");
    assert_eq!(
        state_of_invalid(&json!({"maxLifetime": "1h"}), 3600),
        Some(DesktopState::Expired)
    );
}

#[test]
fn a_malformed_schedule_ends_too_and_is_left_alone_before() {
    let lifecycle = json!({"maxLifetime": "1h", "schedule": {"timeZone": "Nowhere/Land", "hibernate": "0 18 * * *"}});
    assert_eq!(state_of_invalid(&lifecycle, 5), None);
    assert_eq!(state_of_invalid(&lifecycle, 3600), Some(DesktopState::Expired));
}
