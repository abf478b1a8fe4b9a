//! Every state of a workspace that GitOps tools see, as `docs/gitops.md` has it.

use std::collections::BTreeSet;

use super::*;
use crate::{
    gitops_states::assert_states,
    pause::{Pause, paused_conditions},
};

#[test]
fn the_guide_to_gitops_has_every_state() {
    let plain = workspace(&json!({}));
    let asked = workspace(&json!({"lifecycle": {"state": "Hibernated"}}));
    let invalid = workspace(&json!({"podOverrides": {"spec": {"hostPID": true}}}));
    let over = workspace(&json!({"lifecycle": {"maxLifetime": "1s"}}));
    let with_pod = |pod_outcome: PodOutcome| Applied {
        pod: pod_outcome,
        ..applied(pod(true))
    };
    let looping = Applied {
        crash_loop: Some(CrashLoop {
            message: "UnexpectedAdmissionError: no device".to_owned(),
            exits: 3,
        }),
        ..with_pod(PodOutcome::Ending)
    };
    let homeless = Applied {
        home: ChildOutcome::Failed(Failure::new(FailureKind::QuotaExceeded, "exceeded quota: team")),
        ..applied(pod(false))
    };
    let unsaved = Applied {
        snapshot: Some(taking(
            SnapshotTrigger::Schedule,
            SnapshotProgress::Failed("no space".into()),
        )),
        ..applied(pod(true))
    };
    let rejected = with_pod(PodOutcome::Refused(Failure::new(FailureKind::Rejected, "no")));
    let states = [
        ("runs", of(&plain, &applied(pod(true)), 5)),
        ("starts", of(&plain, &applied(pod(false)), 5)),
        ("goes to sleep", of(&asked, &with_pod(PodOutcome::Ending), 5)),
        ("sleeps", of(&asked, &with_pod(PodOutcome::Absent), 5)),
        ("ends again and again", of(&plain, &looping, 5)),
        ("a quota refuses its home", of(&plain, &homeless, 5)),
        ("a snapshot fails", of(&plain, &unsaved, 5)),
        ("its Pod is refused", of(&plain, &rejected, 5)),
        ("the spec contradicts itself", of(&invalid, &Applied::default(), 5)),
        ("its time is over", of(&over, &applied(pod(true)), 5)),
    ];
    let phases: BTreeSet<_> = states
        .iter()
        .filter_map(|(_, status)| Some(format!("{:?}", status.phase?)))
        .collect();
    assert_eq!(phases.len(), 6, "every phase has a state: {phases:?}");

    let mut states: Vec<_> = states
        .into_iter()
        .map(|(name, status)| (name.to_owned(), status.conditions))
        .collect();
    let runs = &states.first().unwrap().1;
    let (paused, _) = paused_conditions(runs, Pause::PausedByAnnotation, "The desktop stays.", at(6)).unwrap();
    states.push(("paused by a person".to_owned(), paused));
    assert_states("VncWorkspace", states);
}
