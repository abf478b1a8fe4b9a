#![allow(
    clippy::needless_pass_by_value,
    reason = "json!({..}) reads better than &json!({..}) in a table"
)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        limits::MachineLimits,
        references::{Apis, GrantedObjects},
        validate::validate,
    },
    *,
};

fn vm_access(template: Value) -> VmAccess {
    let mut whole = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}});
    for (key, value) in template.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": "web-1", "namespace": "a", "uid": "u"},
        "spec": {"virtualMachine": {"template": whole}},
    }))
    .unwrap()
}

fn references() -> References {
    References {
        virtual_machine_name: "web-1".to_owned(),
        apis: Apis {
            kubevirt: true,
            cdi: true,
        },
        ..References::default()
    }
}

/// Overrides of the spec of the machine's instance.
fn over(spec: Value) -> Value {
    json!({"overrides": {"template": {"spec": spec}}})
}

fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    volume
        .as_object_mut()
        .unwrap()
        .extend(source.as_object().unwrap().clone());
    over(json!({ "volumes": [volume] }))
}

fn data_volume(spec: Value) -> Value {
    json!({"overrides": {"dataVolumeTemplates": [{"metadata": {"name": "d"}, "spec": spec}]}})
}

fn refusal(template: Value, references: &References) -> Option<String> {
    let error = validate(&vm_access(template), references).err()?;
    Some(error.to_string())
}

/// What names the Secret `theirs`, and in which field.
fn readers_of_a_secret() -> Vec<(Value, &'static str)> {
    let http = json!({"size": "1Gi", "source": {"http": {"url": "https://x", "secretName": "theirs"}}});
    let credentials =
        |kind: &str| over(json!({"accessCredentials": [{kind: {"source": {"secret": {"secretName": "theirs"}}}}]}));
    vec![
        (json!({"cloudInit": {"secretRef": "theirs"}}), "cloudInit.secretRef"),
        (
            json!({"cloudInit": {"userData": "x", "networkDataSecretRef": "theirs"}}),
            "cloudInit.networkDataSecretRef",
        ),
        (
            json!({"rootDisk": {"dataVolume": http}}),
            "rootDisk.dataVolume.source.http.secretName",
        ),
        (
            json!({"disks": [{"name": "d", "dataVolume": http}]}),
            "disks[d].dataVolume.source.http.secretName",
        ),
        (
            volume(json!({"secret": {"secretName": "theirs"}})),
            "overrides.template.spec.volumes[v].secret",
        ),
        // A disk of the template turned round to another source.
        (
            over(json!({"volumes": [{"name": "root", "containerDisk": null, "secret": {"secretName": "theirs"}}]})),
            "overrides.template.spec.volumes[root].secret",
        ),
        (
            volume(json!({"sysprep": {"secret": {"name": "theirs"}}})),
            "overrides.template.spec.volumes[v].sysprep.secret",
        ),
        (
            volume(json!({"cloudInitNoCloud": {"secretRef": {"name": "theirs"}}})),
            "overrides.template.spec.volumes[v].cloudInitNoCloud.secretRef",
        ),
        (
            volume(json!({"cloudInitConfigDrive": {"networkDataSecretRef": {"name": "theirs"}}})),
            "overrides.template.spec.volumes[v].cloudInitConfigDrive.networkDataSecretRef",
        ),
        (
            credentials("sshPublicKey"),
            "overrides.template.spec.accessCredentials[0].sshPublicKey.source.secret",
        ),
        (
            credentials("userPassword"),
            "overrides.template.spec.accessCredentials[0].userPassword.source.secret",
        ),
        (
            data_volume(json!({"source": {"s3": {"url": "https://x", "secretRef": "theirs"}}})),
            "overrides.dataVolumeTemplates[d].spec.source.s3.secretRef",
        ),
        (
            data_volume(json!({"source": {"http": {"url": "https://x", "secretExtraHeaders": ["theirs"]}}})),
            "overrides.dataVolumeTemplates[d].spec.source.http.secretExtraHeaders",
        ),
    ]
}

#[test]
fn a_secret_is_read_only_when_it_is_shared() {
    for (template, field) in readers_of_a_secret() {
        let object = vm_access(template);
        let error = validate(&object, &references()).unwrap_err();
        let start = format!("spec.virtualMachine.template.{field}: there is no Secret theirs with the label");
        assert!(error.to_string().starts_with(&start), "{field}: {error}");
        assert!(error.may_recover(), "somebody may label it");
        assert_eq!(
            MachineReferences::of(&object).secrets,
            BTreeSet::from(["theirs".to_owned()]),
            "{field}"
        );
        let shared = References {
            granted: GrantedObjects {
                secrets: BTreeSet::from(["theirs".to_owned()]),
                ..GrantedObjects::default()
            },
            ..references()
        };
        assert_eq!(validate(&object, &shared).err(), None, "{field}");
    }
}

#[test]
fn a_config_map_is_read_only_when_it_is_shared() {
    for source in [
        json!({"configMap": {"name": "theirs"}}),
        json!({"sysprep": {"configMap": {"name": "theirs"}}}),
    ] {
        let object = vm_access(volume(source.clone()));
        let error = validate(&object, &references()).unwrap_err().to_string();
        assert!(error.contains("there is no ConfigMap theirs with the label"), "{error}");
        assert_eq!(MachineReferences::of(&object).config_maps.len(), 1, "{source}");
    }
}

#[test]
fn a_home_is_neither_used_nor_copied() {
    let copy =
        |kind: &str| json!({"rootDisk": {"dataVolume": {"size": "1Gi", "source": {kind: {"name": "alice-home"}}}}});
    let source = |kind: &str| {
        data_volume(
            json!({"source": {"blank": {}}, "storage": {"dataSourceRef": {"kind": kind, "name": "alice-home"}}}),
        )
    };
    for (template, field) in [
        (
            json!({"rootDisk": {"persistentVolumeClaim": {"claimName": "alice-home"}}}),
            "rootDisk.persistentVolumeClaim",
        ),
        (
            json!({"disks": [{"name": "d", "ephemeral": {"claimName": "alice-home"}}]}),
            "disks[d].ephemeral",
        ),
        (copy("pvc"), "rootDisk.dataVolume.source.pvc"),
        (copy("snapshot"), "rootDisk.dataVolume.source.snapshot"),
        (
            volume(json!({"dataVolume": {"name": "alice-home"}})),
            "overrides.template.spec.volumes[v].dataVolume",
        ),
        (
            volume(json!({"memoryDump": {"claimName": "alice-home"}})),
            "overrides.template.spec.volumes[v].memoryDump",
        ),
        (
            over(json!({"utilityVolumes": [{"name": "u", "claimName": "alice-home"}]})),
            "overrides.template.spec.utilityVolumes[u].claimName",
        ),
        (
            source("PersistentVolumeClaim"),
            "overrides.dataVolumeTemplates[d].spec.storage.dataSourceRef",
        ),
        (
            source("VolumeSnapshot"),
            "overrides.dataVolumeTemplates[d].spec.storage.dataSourceRef",
        ),
    ] {
        assert_eq!(refusal(template.clone(), &references()), None, "{field}: nobody's home");
        let home = BTreeSet::from(["alice-home".to_owned()]);
        let with_home = References {
            granted: GrantedObjects {
                homes: home.clone(),
                home_snapshots: home,
                ..GrantedObjects::default()
            },
            ..references()
        };
        let error = refusal(template, &with_home).unwrap();
        let start = format!("spec.virtualMachine.template.{field}: the ");
        assert!(
            error.starts_with(&start) && error.contains("holds the home"),
            "{field}: {error}"
        );
    }
}

#[test]
fn what_no_machine_gets_is_refused_with_its_field() {
    for (template, words) in [
        (
            volume(json!({"serviceAccount": {"serviceAccountName": "default"}})),
            "volumes[v].serviceAccount: a machine gets no token",
        ),
        (
            volume(json!({"hostDisk": {"path": "/x", "type": "Disk"}})),
            "volumes[v].hostDisk: a machine gets no file of its node",
        ),
        (
            volume(json!({"containerPath": {"path": "/var/run/secrets"}})),
            "volumes[v].containerPath: novasphere does not know",
        ),
        (
            data_volume(json!({"source": {"pvc": {"name": "golden", "namespace": "b"}}})),
            "source.pvc.namespace: a disk is a copy of what is in the namespace",
        ),
    ] {
        let error = refusal(template, &references()).unwrap();
        assert!(error.contains(words), "{error}");
    }
    let secrets: Vec<_> = (0..40)
        .map(|index| json!({"name": format!("v{index}"), "secret": {"secretName": format!("s{index}")}}))
        .collect();
    let many = over(json!({ "volumes": secrets }));
    assert!(refusal(many.clone(), &references()).unwrap().contains("32 Secrets"));
    assert_eq!(MachineReferences::of(&vm_access(many)), MachineReferences::default());
}

#[test]
fn what_reaches_beyond_the_machine_is_the_administrators_to_allow() {
    let metadata = |kind: &str, key: &str| json!({"overrides": {"template": {"metadata": {kind: {key: "x"}}}}});
    let multus = |name: &str| over(json!({"networks": [{"name": "n", "multus": {"networkName": name}}]}));
    for (template, field, setting) in [
        (json!({"labels": {"app": "victim"}}), "labels[app]", "allowedLabels"),
        (
            metadata("labels", "app"),
            "overrides.template.metadata.labels[app]",
            "allowedLabels",
        ),
        (
            metadata("annotations", "hooks.kubevirt.io/hookSidecars"),
            "overrides.template.metadata.annotations[hooks.kubevirt.io/hookSidecars]",
            "allowedAnnotations",
        ),
        (
            json!({"annotations": {"k8s.v1.cni.cncf.io/networks": "default/lan"}}),
            "annotations[k8s.v1.cni.cncf.io/networks]",
            "allowedAnnotations",
        ),
        (
            json!({"scheduling": {"priorityClassName": "system-node-critical"}}),
            "scheduling.priorityClassName",
            "allowedPriorityClasses",
        ),
        (
            over(json!({"priorityClassName": "system-node-critical"})),
            "overrides.template.spec.priorityClassName",
            "allowedPriorityClasses",
        ),
        (
            over(json!({"schedulerName": "mine"})),
            "overrides.template.spec.schedulerName",
            "allowedSchedulers",
        ),
        (
            json!({"scheduling": {"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]}}),
            "scheduling.tolerations[0]",
            "allowedTolerations",
        ),
        (
            over(json!({"tolerations": [{"operator": "Exists"}]})),
            "overrides.template.spec.tolerations[0]",
            "allowedTolerations",
        ),
        (
            json!({"networks": [{"name": "n", "multus": {"networkName": "infra/lan"}}]}),
            "networks[n].multus.networkName",
            "allowedNetworkNamespaces",
        ),
        (
            multus("infra/lan"),
            "overrides.template.spec.networks[n].multus.networkName",
            "allowedNetworkNamespaces",
        ),
    ] {
        let error = refusal(template.clone(), &references()).unwrap();
        assert!(
            error.starts_with(&format!("spec.virtualMachine.template.{field}: ")),
            "{field}: {error}"
        );
        assert!(
            error.contains(&format!("controller.machines.{setting} ")),
            "{field}: {error}"
        );
        let opened = References {
            limits: Arc::new(MachineLimits::unlimited()),
            ..references()
        };
        assert_eq!(refusal(template, &opened), None, "{field}");
    }
    for template in [
        multus("lan"),
        multus("a/lan"),
        json!({"labels": {"novasphere.io/x-team": "design"}}),
    ] {
        assert_eq!(refusal(template.clone(), &references()), None, "{template}");
    }
}
