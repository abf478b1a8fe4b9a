//! A target that turns the gateway away: what it says is for those who see the session's events, and for nobody else.

use novasphere_dataplane::{
    admission::EntryRejected,
    upstream::{UpstreamError, kubevirt::KubeVirtError},
};
use tokio::time::timeout;

use super::*;

/// As virt-api answers for a machine with `autoattachGraphicsDevice: false`.
const WORDS: &str = "No graphics devices are present.";

impl Stage {
    /// A viewer who was let in does not get a stream for this reason.
    fn turned_away(&self, admitted: &Admitted, end: StreamEnd) {
        let rejected = EntryRejected {
            counted_as: end.reason.reason(),
            end,
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            session: Some(admitted.session.to_string()),
            user: Some(admitted.user.clone()),
            target: Some(admitted.target_name.clone()),
            slot: admitted.slot.clone(),
        };
        Observer::on_rejected(&self.report, &rejected);
    }

    /// The note of the next event of this reason.
    async fn event(&self, reason: &str) -> Value {
        let written = async {
            loop {
                let found = self
                    .server
                    .0
                    .lock()
                    .events
                    .iter()
                    .find(|event| event["reason"] == reason)
                    .cloned();
                if let Some(event) = found {
                    return event;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), written).await.unwrap()
    }
}

#[tokio::test]
async fn what_kubevirt_says_when_it_refuses_is_in_the_event() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let error = UpstreamError::KubeVirt(KubeVirtError::Refused {
        status: http::StatusCode::BAD_REQUEST,
        message: WORDS.to_owned(),
    });
    let end = StreamEnd {
        reason: error.close(),
        detail: Some(error.to_string()),
    };
    assert_eq!(end.reason, EndReason::TargetRefused);
    stage.turned_away(&admitted, end);
    let event = stage.event("ConnectionRefused").await;
    assert_eq!(
        (&event["type"], &event["regarding"]["uid"]),
        (&json!("Warning"), &json!("s1"))
    );
    let note = event["note"].as_str().unwrap();
    assert!(
        note.starts_with("ann was turned away (TargetRefused)") && note.contains(WORDS),
        "{note}"
    );
}

#[tokio::test]
async fn what_is_known_of_other_refusals_is_not_in_the_event() {
    let stage = Stage::new(1);
    let admitted = stage.enter().await.unwrap();
    let end = StreamEnd {
        reason: EndReason::TargetUnreachable,
        detail: Some("cannot connect to 192.0.2.7:5901".to_owned()),
    };
    stage.turned_away(&admitted, end);
    let event = stage.event("ConnectionRefused").await;
    let note = event["note"].as_str().unwrap();
    assert!(!note.contains("192.0.2.7"), "{note}");
}
