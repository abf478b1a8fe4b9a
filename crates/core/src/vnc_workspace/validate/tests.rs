use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        references::{NamedClaim, SnapshotApi, WorkspaceSettings},
        samples::{references, workspace},
    },
    *,
};

fn refused(spec: &Value) -> String {
    validate(&workspace(spec), &references())
        .err()
        .unwrap_or_else(|| panic!("{spec} is accepted"))
        .to_string()
}

#[test]
fn overrides_are_laid_over_the_pod() {
    let spec = json!({"podOverrides": {
        "metadata": {"labels": {"novasphere.io/x-team": "a"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "desktop", "env": [{"name": "LANG", "value": "C"}]}],
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
        },
    }});
    let mut with = references();
    with.claims.insert("shared".to_owned(), NamedClaim::Shared);
    let valid = validate(&workspace(&spec), &with).unwrap();
    let pod = &valid.pod.spec;
    assert_eq!(valid.pod.labels["novasphere.io/x-team"], "a");
    assert_eq!(pod.containers.len(), 1);
    let names: Vec<_> = pod.containers[0]
        .env
        .iter()
        .flatten()
        .map(|env| env.name.as_str())
        .collect();
    assert!(
        names.contains(&"LANG") && names.contains(&"VNC_PASSWORD_FILE"),
        "{names:?}"
    );
    assert!(
        pod.volumes
            .as_ref()
            .unwrap()
            .iter()
            .any(|volume| volume.name == "shared")
    );
}

#[test]
fn what_a_desktop_needs_stays_when_overrides_add_mounts_and_ports() {
    let spec = json!({"podOverrides": {"spec": {
        "terminationGracePeriodSeconds": 300,
        "containers": [{
            "name": "desktop",
            "volumeMounts": [{"name": "home", "mountPath": "/data"}, {"name": "home", "mountPath": "/more"}],
            "volumeDevices": [{"name": "a", "devicePath": "/dev/a"}, {"name": "b", "devicePath": "/dev/b"}],
            "ports": [{"containerPort": 8080}],
        }],
        "volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "disks"}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "disks"}},
        ],
    }}});
    let mut with = references();
    with.claims.insert("disks".to_owned(), NamedClaim::Shared);
    let valid = validate(&workspace(&spec), &with).unwrap();
    let desktop = &valid.pod.spec.containers[0];
    let mounts = desktop.volume_mounts.iter().flatten();
    let paths: Vec<_> = mounts.map(|mount| mount.mount_path.as_str()).collect();
    let own = [
        "/home/user/workspace",
        "/run/novasphere/credentials",
        "/tmp",
        "/run/user",
        "/dev/shm",
    ];
    assert_eq!(paths, [&own[..], &["/data", "/more"]].concat());
    let devices = desktop.volume_devices.iter().flatten();
    let devices: Vec<_> = devices.map(|device| device.device_path.as_str()).collect();
    assert_eq!(devices, ["/dev/a", "/dev/b"]);
    let ports: Vec<_> = desktop.ports.iter().flatten().map(|port| port.container_port).collect();
    assert_eq!(ports, [5901, 8080]);
}

fn assert_weakens(cases: Vec<(Value, &str)>) {
    for (spec, field) in cases {
        let said = refused(&json!({"podOverrides": {"spec": spec}}));
        assert!(
            said.contains("would weaken Pod Security") && said.contains(field),
            "{field}: {said}"
        );
    }
}

#[test]
fn no_annotation_weakens_pod_security() {
    let key = "container.apparmor.security.beta.kubernetes.io/desktop";
    let with = |value: &str| json!({"podOverrides": {"metadata": {"annotations": {key: value}}}});
    let said = refused(&with("unconfined"));
    assert!(
        said.contains("would weaken Pod Security") && said.contains(key),
        "{said}"
    );
    let mut opened = references();
    opened.settings = Arc::new(WorkspaceSettings {
        allowed_overrides: serde_json::from_value(json!({"annotations": [key]})).unwrap(),
        ..WorkspaceSettings::default()
    });
    validate(&workspace(&with("runtime/default")), &opened).unwrap();
}

#[test]
fn no_field_of_the_pod_weakens_pod_security() {
    assert_weakens(vec![
        (json!({"hostNetwork": true}), "spec.hostNetwork"),
        (json!({"hostPID": true}), "spec.hostPID"),
        (json!({"hostIPC": true}), "spec.hostIPC"),
        (
            json!({"automountServiceAccountToken": true}),
            "spec.automountServiceAccountToken",
        ),
        (json!({"securityContext": null}), "spec.securityContext"),
        (
            json!({"securityContext": {"runAsUser": 0}}),
            "spec.securityContext.runAsUser",
        ),
        (
            json!({"securityContext": {"runAsNonRoot": false}}),
            "securityContext.runAsNonRoot",
        ),
        (
            json!({"securityContext": {"runAsNonRoot": null}}),
            "securityContext.runAsNonRoot",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}),
            "spec.securityContext.sysctls",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "spec.securityContext.seccompProfile",
        ),
        (
            json!({"securityContext": {"seccompProfile": null}}),
            "securityContext.seccompProfile",
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            "spec.securityContext.appArmorProfile",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
            "spec.securityContext.seLinuxOptions",
        ),
        (
            json!({"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}),
            "spec.volumes[node]",
        ),
        (
            json!({"volumes": [{"name": "nfs", "nfs": {"path": "/", "server": "a"}}]}),
            "spec.volumes[nfs]",
        ),
        (
            json!({"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            "spec.volumes[t].projected",
        ),
    ]);
}

#[test]
fn no_container_weakens_pod_security() {
    let container = |fields: Value| {
        let mut container = json!({"name": "desktop"});
        container
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        json!({"containers": [container]})
    };
    let context = |fields: Value| container(json!({"securityContext": fields}));
    assert_weakens(vec![
        (
            container(json!({"ports": [{"name": "vnc", "containerPort": 5901, "hostPort": 5901}]})),
            "ports.hostPort",
        ),
        (
            container(json!({"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}})),
            "livenessProbe.httpGet.host",
        ),
        (
            container(json!({"lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 22}}}})),
            "lifecycle.preStop.tcpSocket.host",
        ),
        (context(json!({"privileged": true})), "securityContext.privileged"),
        (
            context(json!({"allowPrivilegeEscalation": true})),
            "securityContext.allowPrivilegeEscalation",
        ),
        (
            context(json!({"allowPrivilegeEscalation": null})),
            "securityContext.allowPrivilegeEscalation",
        ),
        (context(json!({"runAsUser": 0})), "securityContext.runAsUser"),
        (context(json!({"runAsNonRoot": false})), "securityContext.runAsNonRoot"),
        (context(json!({"procMount": "Unmasked"})), "securityContext.procMount"),
        (
            context(json!({"capabilities": {"drop": []}})),
            "securityContext.capabilities.drop",
        ),
        (
            context(json!({"capabilities": {"add": ["SYS_ADMIN"]}})),
            "securityContext.capabilities.add",
        ),
        (
            context(json!({"seccompProfile": {"type": "Unconfined"}})),
            "securityContext.seccompProfile",
        ),
        (
            json!({"containers": [{"name": "side", "image": "a"}]}),
            "spec.containers[side].securityContext",
        ),
        (
            json!({"initContainers": [{"name": "init", "image": "a"}]}),
            "spec.initContainers[init].securityContext",
        ),
    ]);
}

#[test]
fn what_novasphere_decides_and_what_is_no_field_is_refused() {
    for (overrides, part) in [
        (json!({"metadata": {"name": "a"}}), "podOverrides.metadata.name"),
        (
            json!({"metadata": {"labels": {"novasphere.io/owner-uid": "a"}}}),
            "labels[novasphere.io/owner-uid]",
        ),
        (
            json!({"spec": {"serviceAccountName": "admin"}}),
            "podOverrides.spec.serviceAccountName",
        ),
        (
            json!({"spec": {"restartPolicy": "Never"}}),
            "podOverrides.spec.restartPolicy",
        ),
        (
            json!({"spec": {"nodeSelektor": {"a": "b"}}}),
            "podOverrides.spec.nodeSelektor",
        ),
        (
            json!({"spec": {"containers": [{"name": "desktop", "imagge": "a"}]}}),
            "podOverrides.spec.containers[0].imagge",
        ),
        (json!({"spec": {"terminationGracePeriodSeconds": "long"}}), "not a Pod"),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 301}}),
            "podOverrides.spec.terminationGracePeriodSeconds: a desktop ends within 300 seconds",
        ),
    ] {
        let said = refused(&json!({"podOverrides": overrides}));
        assert!(said.contains(part), "{said}");
    }
    for name in ["VNC_PASSWORD_FILE", "DISPLAY_RESIZE", "CLIPBOARD", "KEYBOARD_LAYOUT"] {
        let said = refused(&json!({"env": [{"name": name, "value": "/tmp/x"}]}));
        assert!(said.contains(&format!("spec.env[{name}]")), "{said}");
    }
}

#[test]
fn wishes_for_snapshots_are_refused_where_there_are_none() {
    let mut without = references();
    without.snapshot_api = SnapshotApi::Missing;
    for (spec, field) in [
        (json!({"storage": {"reclaim": "Snapshot"}}), "spec.storage.reclaim"),
        (json!({"backup": {"onHibernate": true}}), "spec.backup.onHibernate"),
        (json!({"backup": {"onDelete": true}}), "spec.backup.onDelete"),
        (json!({"backup": {"schedule": "0 3 * * *"}}), "spec.backup.schedule"),
        (
            json!({"backup": {}, "lifecycle": {"maxLifetime": "1h"}}),
            "spec.backup.onExpire",
        ),
        (
            json!({"storage": {"restoreFrom": {"volumeSnapshotName": "old"}}}),
            "spec.storage.restoreFrom",
        ),
    ] {
        let error = validate(&workspace(&spec), &without).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
        assert_eq!(error.part(), Part::Storage);
    }
    assert!(
        validate(&workspace(&json!({"backup": {}})), &without).is_ok(),
        "it never ends"
    );
    assert!(
        refused(&json!({"storage": {"restoreFrom": {"volumeSnapshotName": "old"}}})).contains("no VolumeSnapshot old")
    );
}

#[test]
fn a_claim_is_taken_over_when_its_workspace_is_gone() {
    let spec = json!({"storage": {"restoreFrom": {"persistentVolumeClaimName": "bob-home"}}});
    assert!(refused(&spec).contains("no PersistentVolumeClaim bob-home"));
    let mut with = references();
    let claim = json!({"metadata": {"name": "bob-home", "labels": {"novasphere.io/owner-uid": "bob-1"}}});
    with.home = Some(Arc::new(serde_json::from_value(claim).unwrap()));
    let valid = validate(&workspace(&spec), &with).unwrap();
    assert_eq!(
        (valid.home.name.as_str(), &valid.home.source),
        ("bob-home", &HomeSource::Claim)
    );
    with.home_is_used = true;
    assert_eq!(
        validate(&workspace(&spec), &with),
        Err(ValidateError::ClaimInUse("bob-home".into()))
    );
}

#[test]
fn a_schedule_that_is_none_is_refused() {
    let schedule = |schedule: Value| refused(&json!({"lifecycle": {"schedule": schedule}}));
    assert!(schedule(json!({"timeZone": "Europe/Nowhere", "wake": "0 8 * * *"})).contains("timeZone"));
    assert!(schedule(json!({"hibernate": "0 25 * * *"})).contains("schedule.hibernate"));
}

#[test]
fn a_time_zone_that_is_none_is_refused() {
    let said = refused(&json!({"timeZone": "Europe/Nowhere"}));
    assert!(
        said.contains("spec.timeZone") && said.contains("Europe/Nowhere"),
        "{said}"
    );
}

#[test]
fn metadata_addresses_cannot_be_asked_for() {
    let said = refused(&json!({"network": {"egress": [{"cidr": "169.254.169.254/32"}]}}));
    assert!(said.contains("169.254.169.254/32"), "{said}");
}

#[test]
fn snapshots_are_pruned_only_where_the_spec_says_how_many_stay() {
    let keep = |spec: &Value| validate(&workspace(spec), &references()).unwrap().backup.keep;
    assert_eq!(keep(&json!({"backup": {"onHibernate": true, "keep": 5}})), Some(5));
    assert_eq!(keep(&json!({"backup": {}})), Some(3));
    assert_eq!(
        keep(&json!({})),
        None,
        "a backup that is taken out of the spec takes no snapshot along"
    );
}

#[test]
fn a_home_without_a_size_keeps_the_one_that_it_has() {
    let size = |storage: &Value, live: Option<&str>| {
        let home = live.map(|size| {
            let home = json!({
                "metadata": {"name": "alice-home", "labels": {"novasphere.io/owner-uid": "old"}},
                "spec": {"resources": {"requests": {"storage": size}}},
            });
            Arc::new(serde_json::from_value(home).unwrap())
        });
        let references = References { home, ..references() };
        let valid = validate(&workspace(&json!({ "storage": storage })), &references).unwrap();
        valid.home.size.0
    };
    let taken = json!({"restoreFrom": {"persistentVolumeClaimName": "alice-home"}});
    assert_eq!(
        size(&taken, Some("1Gi")),
        "1Gi",
        "smaller than the default, and taken over"
    );
    assert_eq!(size(&json!({}), Some("20Gi")), "20Gi");
    assert_eq!(size(&json!({}), None), "10Gi");
    assert_eq!(size(&json!({"size": "12Gi"}), Some("1Gi")), "12Gi");
}

#[test]
fn a_snapshot_that_is_not_listed_yet_is_not_missed() {
    let of = |snapshot_api, is_there: bool| {
        let snapshot = json!({"metadata": {"name": "old"}});
        let references = References {
            snapshot_api,
            restored_snapshot: is_there.then(|| Arc::new(serde_json::from_value(snapshot).unwrap())),
            ..references()
        };
        let from = json!({"storage": {"restoreFrom": {"volumeSnapshotName": "old"}, "reclaim": "Snapshot"}});
        validate(&workspace(&from), &references).map(drop)
    };
    assert_eq!(of(SnapshotApi::Unlisted, true), Ok(()));
    let error = of(SnapshotApi::Unlisted, false).unwrap_err();
    assert_eq!(error, ValidateError::SnapshotsUnlisted("old".to_owned()));
    assert!(error.may_recover() && error.part() == Part::Storage);
    assert_eq!(
        of(SnapshotApi::Listed, false),
        Err(ValidateError::SnapshotNotFound("old".to_owned()))
    );
}

#[test]
fn a_schedule_of_backups_that_cannot_be_meant_is_refused() {
    for (backup, says) in [
        (
            json!({"schedule": "61 3 * * *"}),
            "spec.backup.schedule: \"61 3 * * *\" is not",
        ),
        (json!({"schedule": "0 3 30 2 *"}), "never comes"),
        (
            json!({"schedule": "0 3 * * *", "timeZone": "Europe/Nowhere"}),
            "spec.backup.timeZone: there is no time zone \"Europe/Nowhere\"",
        ),
    ] {
        let error = validate(&workspace(&json!({ "backup": backup })), &references()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.part() == Part::Storage && !error.may_recover(), "{error}");
    }
    let good = json!({"backup": {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"}});
    assert!(validate(&workspace(&good), &references()).is_ok());
}

#[test]
fn what_was_too_large_to_keep_is_refused() {
    let mut large = workspace(&json!({"podOverrides": {"spec": {"hostname": "x".repeat(70_000)}}}));
    large.spec.pod_overrides.drop_oversized();
    let error = validate(&large, &references()).unwrap_err();
    assert!(
        matches!(error, ValidateError::TooLarge(bytes) if bytes > 70_000),
        "{error}"
    );
    assert!(!error.may_recover());
}
