//! What of its namespace a machine that is made from a template may read and join.
//!
//! Users who may make `VmAccess` objects need not have the right to make machines or to read Secrets, and must not get it by a machine
//! that reads for them. So a machine reads what a user who may write it has labelled for machines, and no workspace's home. The rule is
//! over the whole spec, `overrides` included, and knows each source of a volume: `KubeVirt` gets new ones, and a source that is not known here
//! is refused.

mod findings;
mod place;

use std::collections::BTreeSet;

use novasphere_crd::VmAccess;

use self::findings::{Finding, Requirement, findings};
use super::{
    build::{plain_spec, wanted_spec},
    references::References,
    validate::{
        ValidateError,
        template::{self, TEMPLATE_FIELD},
    },
    validated::Template,
    virtual_machine_name,
};

/// Label of a Secret or `ConfigMap` that machines of its namespace may read, with the value `true`.
pub const KEY_SHARED_WITH_MACHINES: &str = "novasphere.io/shared-with-machines";

/// What a machine names of its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineReferences {
    /// Secrets, which its guest would read, or which would be sent to where a disk comes from.
    pub secrets: BTreeSet<String>,
    /// `ConfigMaps`, which its guest would read.
    pub config_maps: BTreeSet<String>,
    /// Claims that it would use or copy.
    pub claims: BTreeSet<String>,
    /// Snapshots that it would copy.
    pub snapshots: BTreeSet<String>,
}

/// How many Secrets and `ConfigMaps` a machine may name: each is asked for with every reconcile.
const SHARED_OBJECTS_LIMIT: usize = 32;

impl MachineReferences {
    /// What the machine of `vm_access` names; nothing for one that is adopted, and when there can be no such machine.
    #[must_use]
    pub fn of(vm_access: &VmAccess) -> Self {
        let mut named = Self::default();
        let Some(spec) = &vm_access.spec.virtual_machine.template else {
            return named;
        };
        let namespace = vm_access.metadata.namespace.as_deref().unwrap_or_default();
        let Ok(template) = template::validate(spec, &virtual_machine_name(vm_access)) else {
            return named;
        };
        let found = findings(&wanted_spec(namespace, &template), namespace);
        if has_too_many(&found) {
            return named;
        }
        for finding in found {
            match finding.requirement {
                Requirement::Secret(name) => named.secrets.insert(name),
                Requirement::ConfigMap(name) => named.config_maps.insert(name),
                Requirement::Claim(name) => named.claims.insert(name),
                Requirement::Snapshot(name) => named.snapshots.insert(name),
                _ => false,
            };
        }
        named
    }
}

/// Refuses a machine that would read or join what it may not.
pub(super) fn check(template: &Template, namespace: &str, references: &References) -> Result<(), ValidateError> {
    let wanted = wanted_spec(namespace, template);
    let found = findings(&wanted, namespace);
    if has_too_many(&found) {
        return Err(ValidateError::Refused {
            field: TEMPLATE_FIELD.to_owned(),
            problem: "a machine may name 32 Secrets and ConfigMaps; put their contents together, and name fewer",
        });
    }
    let mut problems = found
        .iter()
        .filter_map(|finding| Some((finding, problem(finding, references)?)));
    let Some((finding, problem)) = problems.next() else {
        return Ok(());
    };
    let field = place_of(finding, template, namespace);
    Err(match problem {
        Problem::NotShared { kind, name } => ValidateError::NotShared { field, kind, name },
        Problem::Home { kind, name } => ValidateError::HomeOfWorkspace { field, kind, name },
        Problem::Refused(problem) => ValidateError::Refused { field, problem },
        Problem::NotAllowed { value, setting } => ValidateError::NotAllowed { field, value, setting },
    })
}

fn has_too_many(found: &[Finding]) -> bool {
    let is_shared =
        |finding: &&Finding| matches!(finding.requirement, Requirement::Secret(_) | Requirement::ConfigMap(_));
    found.iter().filter(is_shared).count() > SHARED_OBJECTS_LIMIT
}

enum Problem {
    NotShared { kind: &'static str, name: String },
    Home { kind: &'static str, name: String },
    Refused(&'static str),
    NotAllowed { value: String, setting: &'static str },
}

fn problem(finding: &Finding, references: &References) -> Option<Problem> {
    let (granted, limits) = (&references.granted, &references.limits);
    let not_shared = |kind, name: &str| {
        Some(Problem::NotShared {
            kind,
            name: name.to_owned(),
        })
    };
    let home = |kind, name: &str| {
        Some(Problem::Home {
            kind,
            name: name.to_owned(),
        })
    };
    let not_allowed = |value: &str, setting| {
        Some(Problem::NotAllowed {
            value: value.to_owned(),
            setting,
        })
    };
    match &finding.requirement {
        Requirement::Refused(problem) => Some(Problem::Refused(problem)),
        Requirement::Secret(name) if !granted.secrets.contains(name) => not_shared("Secret", name),
        Requirement::ConfigMap(name) if !granted.config_maps.contains(name) => not_shared("ConfigMap", name),
        Requirement::Claim(name) if granted.homes.contains(name) => home("PersistentVolumeClaim", name),
        Requirement::Snapshot(name) if granted.home_snapshots.contains(name) => home("VolumeSnapshot", name),
        Requirement::Label(key) if !limits.labels.allows(key) => not_allowed(key, "allowedLabels"),
        Requirement::Annotation(key) if !limits.annotations.allows(key) => not_allowed(key, "allowedAnnotations"),
        Requirement::PriorityClass(name) if !limits.priority_classes.allows(name) => {
            not_allowed(name, "allowedPriorityClasses")
        }
        Requirement::Scheduler(name) if !limits.schedulers.allows(name) => not_allowed(name, "allowedSchedulers"),
        Requirement::Toleration(key) if !limits.tolerations.allows(key) => not_allowed(key, "allowedTolerations"),
        Requirement::NetworkOf(namespace) if !limits.network_namespaces.allows(namespace) => {
            not_allowed(namespace, "allowedNetworkNamespaces")
        }
        _ => None,
    }
}

/// The field of the `VmAccess` that a finding comes from: one of the template, or of its overrides.
fn place_of(finding: &Finding, template: &Template, namespace: &str) -> String {
    if findings(&plain_spec(namespace, template), namespace).contains(finding) {
        format!("{TEMPLATE_FIELD}.{}", place::in_template(&finding.path, template))
    } else {
        format!("{TEMPLATE_FIELD}.overrides.{}", finding.path)
    }
}

#[cfg(test)]
mod tests;
