//! Which server behind a Service is the target's, and with which password.

use super::*;

#[tokio::test]
async fn a_secret_is_a_guests_password_only_when_its_label_says_so() {
    let stage = Stage::new(1);
    let vm_access = json!({
        "metadata": {"name": "web", "namespace": "team", "uid": "t1"},
        "spec": {
            "virtualMachine": {"name": "web"},
            "services": [{"name": "desk", "ports": [{"name": "vnc", "port": 5901}]}],
            "vncServer": {"service": "desk", "port": 5901, "passwordSecretName": "guest"},
            "console": {"maxViewers": 8},
        },
    });
    let instance =
        json!({"metadata": {"name": "web", "namespace": "team", "uid": "i1"}, "status": {"phase": "Running"}});
    stage.sessions.fill(
        serde_json::from_value(vm_access).unwrap(),
        serde_json::from_value(instance).unwrap(),
    );
    for labels in [json!({}), json!({"novasphere.io/vnc-password": "false"})] {
        stage.server.0.lock().labels = labels;
        let refusal = stage.enter().await.unwrap_err();
        assert_eq!(refusal.reason, EndReason::TargetRefused);
        let how = "kubectl -n team label secret guest novasphere.io/vnc-password=true";
        assert!(refusal.detail().contains(how), "{}", refusal.detail());
    }
    stage.server.0.lock().labels = json!({"novasphere.io/vnc-password": "true"});
    stage.enter().await.unwrap();
    assert_eq!(stage.server.writes(), 1, "who is refused writes nothing");
}

#[tokio::test]
async fn a_service_of_the_same_name_that_is_not_the_targets_is_not_connected_to() {
    let stage = Stage::new(1);
    stage.server.0.lock().service_owners = vec!["somebody-else"];
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::TargetUnreachable);
    assert!(
        refusal.detail().contains("novasphere.io/owner-uid"),
        "{}",
        refusal.detail()
    );
    assert_eq!(stage.server.writes(), 0, "the token is still good");
    stage.server.0.lock().service_owners.push("t1");
    stage.enter().await.unwrap();
}
