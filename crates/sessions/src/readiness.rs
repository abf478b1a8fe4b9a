//! Whether a gateway is ready: its caches have been filled once. What it may not read afterwards is told in `/readyz` and closes nothing:
//! the sessions that it knows are better than none, and its Service would have no other place to send people to.

use std::time::Duration;

use novasphere_runtime::{
    health::GateHandle,
    watch::{DeniedWatch, DeniedWatches},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::view::SessionView;

/// How often it is looked at. A probe looks every few seconds.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be said of a gateway.
#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    ReadyDespite(String),
    NotReady(String),
}

/// Opens the gate, and says what is wrong, for ever.
pub(crate) async fn follow(gate: GateHandle, view: SessionView, denied: DeniedWatches) {
    let mut timer = interval(CHECK_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let unfilled = view.caches().unfilled();
        match readiness(&unfilled, &denied.current()) {
            Readiness::Ready => gate.ready(),
            Readiness::ReadyDespite(fault) => gate.ready_despite(fault),
            Readiness::NotReady(reason) => gate.not_ready(reason),
        }
    }
}

fn readiness(unfilled: &[impl AsRef<str>], denied: &[DeniedWatch]) -> Readiness {
    let denied: Vec<String> = denied.iter().map(ToString::to_string).collect();
    let unfilled: Vec<&str> = unfilled.iter().map(AsRef::as_ref).collect();
    match (denied.is_empty(), unfilled.is_empty()) {
        (true, true) => Readiness::Ready,
        (false, true) => Readiness::ReadyDespite(denied.join("; ")),
        (false, false) => Readiness::NotReady(denied.join("; ")),
        (true, false) => Readiness::NotReady(format!("waiting for the first list of {}", unfilled.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_is_lost_later_is_told_and_ends_nothing() {
        let denied = [DeniedWatch {
            kind: "VirtualMachine".to_owned(),
            resource: "virtualmachines".to_owned(),
            verb: "watch",
            message: "virtualmachines is forbidden".to_owned(),
        }];
        let none: [&str; 0] = [];
        assert_eq!(readiness(&none, &[]), Readiness::Ready);
        let sentence = "may not watch VirtualMachine: virtualmachines is forbidden.";
        let Readiness::ReadyDespite(fault) = readiness(&none, &denied) else {
            panic!("it goes on")
        };
        assert!(fault.starts_with(sentence), "{fault}");
        let Readiness::NotReady(reason) = readiness(&["VirtualMachine"], &denied) else {
            panic!("it cannot begin")
        };
        assert!(reason.starts_with(sentence), "{reason}");
        assert_eq!(
            readiness(&["VmAccess", "VncWorkspace"], &[]),
            Readiness::NotReady("waiting for the first list of VmAccess, VncWorkspace".to_owned())
        );
    }
}
