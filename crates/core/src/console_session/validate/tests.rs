use std::sync::Arc;

use novasphere_crd::{ConsoleProtocol, SessionTargetKind};
use serde_json::json;

use super::*;
use crate::console_session::{
    samples::{at, instance, ready, references, references_of_workspace, session, session_of, vm_access},
    target::{Console, SecretKey},
    target_state::TargetState,
};

#[test]
fn a_session_of_a_vm_access_opens_its_machines_console() {
    let valid = validate(&session(json!({})), &references(&json!({}))).unwrap();
    assert_eq!(
        (valid.target.uid.as_str(), valid.target.state),
        ("target-1", TargetState::Running)
    );
    assert_eq!(
        valid.target.console,
        Console::KubeVirt {
            namespace: "team".into(),
            name: "web-vm".into()
        }
    );
}

#[test]
fn a_session_of_a_machine_has_the_default_policy() {
    let mut references = references(&json!({"input": "ViewOnly"}));
    references.vm_access = None;
    let session = session_of("VirtualMachine", json!({"input": "Control"}));
    let valid = validate(&session, &references).unwrap();
    assert_eq!(valid.target.kind, SessionTargetKind::VirtualMachine);
    assert_eq!(valid.target.uid, "machine-1");
    references.virtual_machine = None;
    references.virtual_machine_instance = None;
    assert!(matches!(
        validate(&session, &references),
        Err(SessionError::TargetNotFound { .. })
    ));
}

#[test]
fn the_screen_of_a_machine_takes_keys_and_no_text() {
    let references = references(&json!({}));
    for (protocol, expected) in [("vnc", true), ("serial", false)] {
        let valid = validate(&session(json!({"protocol": protocol})), &references).unwrap();
        assert_eq!(
            valid.target.takes_keys_only(valid.policy.protocol),
            expected,
            "{protocol}"
        );
    }
}

#[test]
fn the_screen_of_a_vnc_server_in_the_guest_is_reached_by_its_service() {
    let mut references = references(&json!({}));
    let mut vm_access = vm_access(&json!({}));
    vm_access.spec.vnc_server = Some(novasphere_crd::VncServer {
        service: "screen".into(),
        port: 5901,
        password_secret_name: Some("web-vnc".into()),
    });
    references.vm_access = Some(Arc::new(vm_access.clone()));
    let screen = validate(&session(json!({})), &references).unwrap();
    assert_eq!(
        screen.target.console,
        Console::Vnc {
            namespace: "team".into(),
            service: "web-screen".into(),
            owner_uid: "target-1".into(),
            port: "rfb".into(),
            password: Some(SecretKey {
                secret: "web-vnc".into(),
                key: "password".into(),
                label: Some("novasphere.io/vnc-password"),
            }),
        }
    );
    let serial = validate(&session(json!({"protocol": "serial"})), &references).unwrap();
    assert!(matches!(serial.target.console, Console::KubeVirt { .. }));
    assert!(!screen.target.takes_keys_only(screen.policy.protocol));
    assert!(!serial.target.takes_keys_only(serial.policy.protocol));

    if let Some(server) = &mut vm_access.spec.vnc_server {
        server.port = 5999;
    }
    references.vm_access = Some(Arc::new(vm_access));
    let error = validate(&session(json!({})), &references).unwrap_err();
    assert!(error.to_string().contains("5999"), "{error}");
}

/// The machine has these devices.
fn with_devices(devices: &serde_json::Value) -> References {
    let spec = json!({"template": {"spec": {"domain": {"devices": devices}}}});
    let machine = json!({"metadata": {"name": "web-vm", "namespace": "team", "uid": "machine-1"}, "spec": spec});
    References {
        virtual_machine: Some(Arc::new(serde_json::from_value(machine).unwrap())),
        virtual_machine_instance: None,
        ..references(&json!({"defaultProtocol": "vnc"}))
    }
}

#[test]
fn a_machine_without_a_screen_has_a_serial_console_alone() {
    let headless = with_devices(&json!({"autoattachGraphicsDevice": false}));
    let valid = validate(&session(json!({})), &headless).unwrap();
    assert_eq!(valid.policy.protocol, ConsoleProtocol::Serial);
    let error = validate(&session(json!({"protocol": "vnc"})), &headless).unwrap_err();
    assert!(
        error.to_string().contains("no screen") && error.to_string().contains("serial"),
        "{error}"
    );
    assert_eq!(error.reason(), ReadyReason::PolicyRefused);
    let of_machine = session_of("VirtualMachine", json!({"protocol": "vnc"}));
    assert!(matches!(
        validate(&of_machine, &headless),
        Err(SessionError::ConsoleMissing { .. })
    ));

    let mut with_server = headless;
    let mut vm_access = vm_access(&json!({}));
    vm_access.spec.vnc_server = Some(novasphere_crd::VncServer {
        service: "screen".into(),
        port: 5901,
        password_secret_name: None,
    });
    with_server.vm_access = Some(Arc::new(vm_access));
    let valid = validate(&session(json!({})), &with_server).unwrap();
    assert_eq!(
        valid.policy.protocol,
        ConsoleProtocol::Vnc,
        "that of the server in the guest"
    );

    let mute = with_devices(&json!({"autoattachSerialConsole": false}));
    let error = validate(&session(json!({"protocol": "serial"})), &mute).unwrap_err();
    assert!(error.to_string().contains("no serial console"), "{error}");
}

#[test]
fn a_console_of_kubevirt_carries_one_viewer_and_says_so() {
    let references = references(&json!({"maxViewers": 4}));
    for (spec, says) in [
        (json!({"maxViewers": 2}), true),
        (json!({}), true),
        (json!({"maxViewers": 1}), false),
    ] {
        let valid = validate(&session(spec.clone()), &references).unwrap();
        assert_eq!(
            (valid.policy.max_viewers, valid.wants_more_viewers),
            (1, says),
            "{spec}"
        );
    }
    let together = session(json!({"maxViewers": 2}));
    let ready = crate::console_session::samples::reconciled(together, &references, at(0));
    let status = ready.status.unwrap();
    assert_eq!(status.policy.unwrap().max_viewers, 1);
    let message = &status.conditions[0].message;
    assert!(message.contains("so maxViewers is 1"), "{message}");
}

#[test]
fn a_run_without_a_machine_is_told_as_such() {
    let mut alone = references(&json!({}));
    alone.virtual_machine = None;
    let error = validate(&session_of("VirtualMachine", json!({})), &alone).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("VirtualMachineInstance web without a VirtualMachine"),
        "{error}"
    );
    assert_eq!(error.reason(), ReadyReason::TargetNotFound);
    let of_run = session_of("VirtualMachineInstance", json!({}));
    let valid = validate(&of_run, &alone).unwrap();
    assert_eq!(
        (valid.target.kind, valid.target.uid.as_str()),
        (SessionTargetKind::VirtualMachineInstance, "run-1")
    );
    alone.virtual_machine_instance = None;
    assert!(matches!(
        validate(&of_run, &alone),
        Err(SessionError::TargetNotFound { .. })
    ));
}

#[test]
fn what_stands_in_the_way_is_told_apart() {
    let good = references(&json!({}));
    let cases = [
        (
            session_of("VncWorkspace", json!({})),
            good.clone(),
            ReadyReason::TargetNotFound,
        ),
        (
            session(json!({"protocol": "ssh"})),
            good.clone(),
            ReadyReason::InvalidSpec,
        ),
        (
            session_of("VncWorkspace", json!({"protocol": "serial"})),
            good.clone(),
            ReadyReason::InvalidSpec,
        ),
        (
            session(json!({})),
            References {
                vm_access: None,
                ..good.clone()
            },
            ReadyReason::TargetNotFound,
        ),
        (
            session(json!({})),
            References {
                kubevirt: false,
                ..good.clone()
            },
            ReadyReason::KubeVirtNotInstalled,
        ),
        (
            session(json!({"maxViewers": 9})),
            good.clone(),
            ReadyReason::PolicyRefused,
        ),
        (
            session(json!({})),
            References {
                sessions_ahead: 10,
                ..good
            },
            ReadyReason::TooManySessions,
        ),
    ];
    for (session, references, reason) in cases {
        let error = validate(&session, &references).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
}

#[test]
fn a_session_that_runs_keeps_what_it_was_given() {
    let session = ready(json!({}));
    // More is allowed now, and a place is no longer asked for.
    let mut wider = references(&json!({"maxViewers": 9, "defaultProtocol": "serial", "idleTimeout": "12h"}));
    wider.sessions_ahead = 99;
    let narrower = validate(&session, &wider).unwrap_err();
    assert!(
        matches!(narrower, SessionError::Policy(_)),
        "no time-out is more than 12h: {narrower}"
    );
    let mut wider = references(&json!({"maxViewers": 9, "defaultProtocol": "serial"}));
    wider.sessions_ahead = 99;
    let valid = validate(&session, &wider).unwrap();
    assert_eq!(
        (valid.policy.max_viewers, valid.policy.protocol),
        (1, ConsoleProtocol::Vnc)
    );
}

#[test]
fn a_target_that_is_being_deleted_is_no_target() {
    let mut vm_access = vm_access(&json!({}));
    vm_access.metadata.deletion_timestamp = Some(novasphere_crd::Time(at(1)));
    let references = References {
        vm_access: Some(Arc::new(vm_access)),
        ..references(&json!({}))
    };
    assert!(matches!(
        validate(&session(json!({})), &references),
        Err(SessionError::TargetNotFound { .. })
    ));
}

#[test]
fn a_machine_runs_when_kubevirt_says_so() {
    use TargetState::{Running, Stopped};
    for (phase, state) in [("Running", Running), ("Scheduling", Stopped), ("Succeeded", Stopped)] {
        let references = References {
            virtual_machine_instance: Some(Arc::new(instance(phase))),
            ..references(&json!({}))
        };
        assert_eq!(
            validate(&session(json!({})), &references).unwrap().target.state,
            state,
            "{phase}"
        );
    }
}

#[test]
fn a_session_of_a_workspace_opens_its_desktop_without_kubevirt() {
    let running = json!({"conditions": [{
        "type": "PodReady", "status": "True", "reason": "Running", "message": "m", "lastTransitionTime": "2026-03-01T12:00:00Z",
    }]});
    let references = references_of_workspace(&json!({"console": {"maxViewers": 3}}), &running);
    let valid = validate(&session_of("VncWorkspace", json!({})), &references).unwrap();
    assert_eq!(
        (valid.policy.max_viewers, valid.target.state),
        (3, TargetState::Running)
    );
    assert_eq!(
        valid.target.console,
        Console::Vnc {
            namespace: "team".into(),
            service: "web".into(),
            owner_uid: "target-1".into(),
            port: "vnc".into(),
            password: Some(SecretKey {
                secret: "web-credentials".into(),
                key: "vnc-password".into(),
                label: None,
            }),
        }
    );
}

#[test]
fn ssh_is_opened_where_it_is_enabled_and_may_be_typed_into() {
    let ssh = json!({"ssh": {"authorizedKeys": ["ssh-ed25519 AAAA"]}});
    let session = session_of("VncWorkspace", json!({"protocol": "ssh"}));
    let opened = |spec: &serde_json::Value| validate(&session, &references_of_workspace(spec, &json!({})));
    let valid = opened(&ssh).unwrap();
    assert_eq!(
        (valid.policy.protocol, valid.target.state),
        (ConsoleProtocol::Ssh, TargetState::Starting)
    );
    let ssh_port = Console::Ssh {
        namespace: "team".into(),
        service: "web".into(),
        owner_uid: "target-1".into(),
        port: "ssh".into(),
    };
    assert_eq!(valid.target.console, ssh_port);
    let refused = opened(&json!({})).unwrap_err();
    assert!(
        matches!(&refused, SessionError::Policy(PolicyError::Protocol { allowed, .. }) if allowed == "vnc"),
        "{refused}"
    );
    let mut looks = ssh;
    looks["console"] = json!({"input": "ViewOnly"});
    assert_eq!(opened(&looks), Err(SessionError::Policy(PolicyError::SshViewOnly)));
}
