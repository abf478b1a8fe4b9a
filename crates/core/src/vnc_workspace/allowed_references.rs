//! What of its namespace a desktop may read.
//!
//! Users who may make `VncWorkspace` objects need not have the right to make Pods or to read Secrets, and must not get it by a
//! desktop that reads for them. So a desktop gets its own credentials and home, and of the rest: `ConfigMap`s, and the Secrets and claims
//! that a user who may write them has labelled for it. The home of another workspace is never mounted.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use novasphere_crd::VncWorkspace;

use super::{
    references::{NamedClaim, References, home_of},
    secret_name,
    validate::{ValidateError, pod},
};

/// Label of a Secret or claim that desktops of its namespace may read, with the value `true`.
pub const KEY_SHARED: &str = "novasphere.io/shared-with-desktops";

/// How many Secrets and claims a workspace may name.
const REFERENCES_LIMIT: usize = 64;

/// What a workspace names beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodReferences {
    /// Secrets, which its Pod would read.
    pub secrets: BTreeSet<String>,
    /// Claims, which its Pod would mount.
    pub claims: BTreeSet<String>,
}

impl PodReferences {
    /// What the Pod of `workspace` names. Nothing when there can be no such Pod.
    #[must_use]
    pub fn of(workspace: &VncWorkspace) -> Self {
        let spec = &workspace.spec;
        if spec.pod_overrides.is_empty() && spec.env.iter().all(|variable| variable.value_from.is_none()) {
            return Self::default();
        }
        let name = workspace.metadata.name.as_deref().unwrap_or_default();
        let home = home_of(workspace);
        let Ok(template) = pod(name, spec, &home) else {
            return Self::default();
        };
        let own = secret_name(name);
        let secrets = secrets(&template.spec).into_iter().map(|(_, name)| name);
        let claims = claims(&template.spec).into_iter().map(|(_, name)| name);
        Self {
            secrets: secrets.filter(|name| *name != own).collect(),
            claims: claims.filter(|name| *name != home).collect(),
        }
    }

    /// Whether there are more than are looked at: each costs a request per reconcile.
    #[must_use]
    pub fn are_too_many(&self) -> bool {
        self.secrets.len() + self.claims.len() > REFERENCES_LIMIT
    }
}

/// Refuses a Pod that reads what it may not.
pub(super) fn check(workspace: &VncWorkspace, pod: &PodSpec, references: &References) -> Result<(), ValidateError> {
    if PodReferences::of(workspace).are_too_many() {
        return Err(ValidateError::TooManyReferences(REFERENCES_LIMIT));
    }
    let own = secret_name(workspace.metadata.name.as_deref().unwrap_or_default());
    let is_shared = |name: &String| *name == own || references.shared_secrets.contains(name);
    if let Some((field, secret)) = secrets(pod).into_iter().find(|(_, name)| !is_shared(name)) {
        return Err(ValidateError::SecretNotShared {
            field: place(workspace, &field),
            secret,
        });
    }
    let home = home_of(workspace);
    for (field, claim) in claims(pod).into_iter().filter(|(_, name)| *name != home) {
        let field = place(workspace, &field);
        match references.claims.get(&claim) {
            Some(NamedClaim::Shared) => {}
            Some(NamedClaim::NotShared) => return Err(ValidateError::ClaimNotShared { field, claim }),
            Some(NamedClaim::HomeOfOther) => return Err(ValidateError::HomeOfOther { field, claim }),
            None => return Err(ValidateError::VolumeNotFound { field, claim }),
        }
    }
    match pod.volumes.iter().flatten().find(|volume| copies(volume)) {
        Some(volume) => Err(ValidateError::Override {
            field: format!("spec.volumes[{}].ephemeral", volume.name),
            problem: "a copy of another volume may hold another user's home; remove dataSource and dataSourceRef",
        }),
        None => Ok(()),
    }
}

/// The field of the workspace from which this field of the Pod comes.
fn place(workspace: &VncWorkspace, field: &str) -> String {
    let mut env = workspace.spec.env.iter();
    let variable = env.find(|variable| {
        let has_source = variable.value_from.is_some();
        has_source && field.starts_with(&format!("spec.containers[desktop].env[{}]", variable.name))
    });
    match variable {
        Some(variable) => format!("spec.env[{}].valueFrom.secretKeyRef", variable.name),
        None => format!("spec.podOverrides.{field}"),
    }
}

/// The Secrets that a Pod reads, each with the field. Those that only pull its images are not read by it.
fn secrets(pod: &PodSpec) -> Vec<(String, String)> {
    let inits = pod.init_containers.iter().flatten();
    let inits = inits.flat_map(|container| of_container("initContainers", container));
    let containers = pod
        .containers
        .iter()
        .flat_map(|container| of_container("containers", container));
    let volumes = pod.volumes.iter().flatten().flat_map(of_volume);
    inits.chain(containers).chain(volumes).collect()
}

fn of_container<'a>(list: &'a str, container: &'a Container) -> impl Iterator<Item = (String, String)> + 'a {
    let place = format!("spec.{list}[{}]", container.name);
    let all = place.clone();
    let from = container.env_from.iter().flatten().filter_map(move |source| {
        let secret = source.secret_ref.as_ref()?;
        Some((format!("{all}.envFrom"), secret.name.clone()))
    });
    let env = container.env.iter().flatten().filter_map(move |variable| {
        let secret = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
        let field = format!("{place}.env[{}].valueFrom.secretKeyRef", variable.name);
        Some((field, secret.name.clone()))
    });
    from.chain(env)
}

fn of_volume(volume: &Volume) -> Vec<(String, String)> {
    let field = |kind: &str| format!("spec.volumes[{}].{kind}", volume.name);
    let mut found = Vec::new();
    if let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone()) {
        found.push((field("secret"), name));
    }
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    let projected = sources.filter_map(|source| source.secret.as_ref());
    found.extend(projected.map(|secret| (field("projected"), secret.name.clone())));
    let driver = volume.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref());
    found.extend(driver.map(|secret| (field("csi.nodePublishSecretRef"), secret.name.clone())));
    found
}

fn claims(pod: &PodSpec) -> Vec<(String, String)> {
    let volumes = pod.volumes.iter().flatten();
    let claims = volumes.filter_map(|volume| {
        let claim = volume.persistent_volume_claim.as_ref()?;
        let field = format!("spec.volumes[{}].persistentVolumeClaim", volume.name);
        Some((field, claim.claim_name.clone()))
    });
    claims.collect()
}

/// Whether a volume begins as a copy of another one.
fn copies(volume: &Volume) -> bool {
    let template = volume
        .ephemeral
        .as_ref()
        .and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
    template.is_some_and(|template| template.spec.data_source.is_some() || template.spec.data_source_ref.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{
        super::{
            references::WorkspaceSettings,
            samples::{references, workspace},
            validate::validate,
        },
        *,
    };

    fn open_csi() -> Arc<WorkspaceSettings> {
        Arc::new(WorkspaceSettings {
            allowed_overrides: serde_json::from_value(json!({"fields": ["volumes.csi"]})).unwrap(),
            ..WorkspaceSettings::default()
        })
    }

    fn allowed_references() -> Vec<(Value, &'static str)> {
        let over = |spec: Value| json!({"podOverrides": {"spec": spec}});
        let desktop = |fields: Value| {
            let mut container = json!({"name": "desktop"});
            container
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            over(json!({"containers": [container]}))
        };
        let env = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "t"}}}]);
        let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        vec![
            (json!({"env": env}), "spec.env[TOKEN].valueFrom.secretKeyRef"),
            (
                desktop(json!({"env": env})),
                "spec.podOverrides.spec.containers[desktop].env[TOKEN].valueFrom.secretKeyRef",
            ),
            (
                desktop(json!({"envFrom": [{"secretRef": {"name": "theirs"}}]})),
                "spec.podOverrides.spec.containers[desktop].envFrom",
            ),
            (
                over(json!({"initContainers": [{
                    "name": "init", "image": "a", "securityContext": restricted, "envFrom": [{"secretRef": {"name": "theirs"}}],
                }]})),
                "spec.podOverrides.spec.initContainers[init].envFrom",
            ),
            (
                over(json!({"volumes": [{"name": "v", "secret": {"secretName": "theirs"}}]})),
                "spec.podOverrides.spec.volumes[v].secret",
            ),
            // The volume of the credentials turned round to another Secret.
            (
                over(json!({"volumes": [{"name": "credentials", "secret": {"secretName": "theirs"}}]})),
                "spec.podOverrides.spec.volumes[credentials].secret",
            ),
            (
                over(json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "theirs"}}]}}]})),
                "spec.podOverrides.spec.volumes[v].projected",
            ),
            (
                over(
                    json!({"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "theirs"}}}]}),
                ),
                "spec.podOverrides.spec.volumes[v].csi.nodePublishSecretRef",
            ),
        ]
    }

    #[test]
    fn a_secret_is_read_only_when_it_is_shared() {
        for (spec, field) in allowed_references() {
            let workspace = workspace(&spec);
            let mut unshared = references();
            unshared.settings = open_csi();
            let error = validate(&workspace, &unshared).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{field}: ")), "{field}: {error}");
            assert!(error.may_recover(), "somebody may label the Secret");
            assert_eq!(
                PodReferences::of(&workspace).secrets,
                BTreeSet::from(["theirs".to_owned()]),
                "{field}"
            );
            let mut shared = references();
            shared.shared_secrets.insert("theirs".to_owned());
            shared.settings = open_csi();
            assert!(validate(&workspace, &shared).is_ok(), "{field}");
        }
    }

    #[test]
    fn more_secrets_and_claims_than_can_be_meant_are_refused_unread() {
        let naming = |count: usize| {
            let volumes: Vec<_> = (0..count)
                .map(|index| json!({"name": format!("v{index}"), "secret": {"secretName": format!("s{index}")}}))
                .collect();
            workspace(&json!({"podOverrides": {"spec": {"volumes": volumes}}}))
        };
        assert!(!PodReferences::of(&naming(REFERENCES_LIMIT)).are_too_many());
        let many = naming(REFERENCES_LIMIT + 1);
        assert!(PodReferences::of(&many).are_too_many());
        assert_eq!(
            validate(&many, &references()),
            Err(ValidateError::TooManyReferences(REFERENCES_LIMIT))
        );
    }

    #[test]
    fn its_own_secret_and_those_that_pull_images_need_no_label() {
        for spec in [
            json!({"ssh": {"authorizedKeys": ["ssh-ed25519 AAAA alice"]}}),
            json!({"podOverrides": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "alice-credentials"}}]}}}),
            json!({"podOverrides": {"spec": {"imagePullSecrets": [{"name": "pull"}]}}}),
        ] {
            assert!(validate(&workspace(&spec), &references()).is_ok(), "{spec}");
            assert_eq!(PodReferences::of(&workspace(&spec)), PodReferences::default(), "{spec}");
        }
    }

    #[test]
    fn a_claim_is_mounted_only_when_it_is_shared_and_none_is_copied() {
        let spec = json!({"podOverrides": {"spec": {
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "bob-home"}}],
        }}});
        let workspace = workspace(&spec);
        assert_eq!(
            PodReferences::of(&workspace).claims,
            BTreeSet::from(["bob-home".to_owned()])
        );
        let field = "spec.podOverrides.spec.volumes[v].persistentVolumeClaim: ";
        for (stands, says) in [
            (None, "there is no PersistentVolumeClaim bob-home"),
            (
                Some(NamedClaim::NotShared),
                "desktops may not mount the PersistentVolumeClaim bob-home",
            ),
            (
                Some(NamedClaim::HomeOfOther),
                "the PersistentVolumeClaim bob-home is the home of another workspace",
            ),
        ] {
            let mut with = references();
            with.claims.extend(stands.map(|stands| ("bob-home".to_owned(), stands)));
            let error = validate(&workspace, &with).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{field}{says}")), "{error}");
            assert!(error.may_recover(), "somebody may make or label it");
        }
        let mut with = references();
        with.claims.insert("bob-home".to_owned(), NamedClaim::Shared);
        validate(&workspace, &with).unwrap();

        for source in ["dataSource", "dataSourceRef"] {
            let claim = json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                source: {"kind": "PersistentVolumeClaim", "name": "bob-home"},
            });
            let spec = json!({"podOverrides": {"spec": {
                "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}],
            }}});
            let error = validate(&super::super::samples::workspace(&spec), &references()).unwrap_err();
            assert!(error.to_string().contains("spec.volumes[v].ephemeral"), "{error}");
        }
    }
}
