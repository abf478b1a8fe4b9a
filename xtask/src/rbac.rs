//! The roles of the table `novasphere_controller::rbac`, for `config/rbac/` and
//! for the chart.

use std::{fmt::Write as _, path::PathBuf};

use novasphere_controller::rbac::{CLUSTER_RULES, NAMESPACE_RULES, Rule, USER_ROLES, UserRole};

use crate::artifacts::{Files, yaml_header};

const SOURCE: &str = "crates/controller/src/rbac.rs";

/// Where one set of roles goes: names and labels are plain in `config/` and
/// template calls in the chart.
struct Place {
    name: &'static str,
    namespace: &'static str,
    service_account: &'static str,
    labels: &'static str,
}

const KUSTOMIZE: Place = Place {
    name: "novasphere-controller",
    namespace: "novasphere-system",
    service_account: "novasphere-controller",
    labels: "    app.kubernetes.io/name: novasphere
    app.kubernetes.io/instance: novasphere
    app.kubernetes.io/component: controller
",
};

const HELM: Place = Place {
    name: r#"{{ include "novasphere.controller.name" . }}"#,
    namespace: "{{ .Release.Namespace }}",
    service_account: r#"{{ include "novasphere.controller.serviceAccountName" . }}"#,
    labels: "    {{- include \"novasphere.controller.labels\" . | nindent 4 }}\n",
};

/// All RBAC files.
pub(crate) fn files() -> anyhow::Result<Files> {
    let header = yaml_header(SOURCE);
    let kustomize = |name: &str| PathBuf::from("config/rbac").join(name);
    let mut files = vec![
        (
            kustomize("controller_role.yaml"),
            format!("{header}{}", roles(&KUSTOMIZE)?),
        ),
        (
            kustomize("controller_role_binding.yaml"),
            format!("{header}{}", bindings(&KUSTOMIZE)?),
        ),
        (
            PathBuf::from("charts/novasphere/templates/controller/rbac.yaml"),
            format!(
                "{header}{{{{- if .Values.rbac.create }}}}\n{}---\n{}{{{{- end }}}}\n",
                roles(&HELM)?,
                bindings(&HELM)?
            ),
        ),
    ];
    let mut chart = format!("{header}{{{{- if .Values.rbac.userRoles }}}}\n");
    for role in USER_ROLES {
        let file = format!("{}_role.yaml", role.name.replace('-', "_"));
        let labels = "    app.kubernetes.io/name: novasphere\n    app.kubernetes.io/instance: novasphere\n";
        files.push((kustomize(&file), format!("{header}{}", user_role(role, labels)?)));
        chart.push_str("---\n");
        chart.push_str(&user_role(
            role,
            "    {{- include \"novasphere.labels\" . | nindent 4 }}\n",
        )?);
    }
    chart.push_str("{{- end }}\n");
    files.push((PathBuf::from("charts/novasphere/templates/user-roles.yaml"), chart));
    Ok(files)
}

fn roles(place: &Place) -> anyhow::Result<String> {
    let mut text = String::new();
    role_head(&mut text, "ClusterRole", place, "")?;
    rules(&mut text, CLUSTER_RULES)?;
    text.push_str("---\n");
    role_head(&mut text, "Role", place, &format!("  namespace: {}\n", place.namespace))?;
    rules(&mut text, NAMESPACE_RULES)?;
    Ok(text)
}

fn bindings(place: &Place) -> anyhow::Result<String> {
    let mut text = String::new();
    let namespace = format!("  namespace: {}\n", place.namespace);
    for (kind, namespace) in [("ClusterRole", ""), ("Role", namespace.as_str())] {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        role_head(&mut text, &format!("{kind}Binding"), place, namespace)?;
        write!(
            text,
            "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {}\n\
             subjects:\n  - kind: ServiceAccount\n    name: {}\n    namespace: {}\n",
            place.name, place.service_account, place.namespace
        )?;
    }
    Ok(text)
}

fn role_head(text: &mut String, kind: &str, place: &Place, namespace: &str) -> std::fmt::Result {
    write!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}\n{namespace}  labels:\n{}",
        place.name, place.labels
    )
}

fn user_role(role: &UserRole, labels: &str) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {}\n  labels:\n{labels}    \
         rbac.authorization.k8s.io/aggregate-to-{}: \"true\"\n",
        role.name, role.aggregates_to
    );
    rules(&mut text, role.rules)?;
    Ok(text)
}

fn rules(text: &mut String, rules: &[Rule]) -> std::fmt::Result {
    text.push_str("rules:\n");
    for rule in rules {
        writeln!(text, "  # {}", rule.reason)?;
        writeln!(text, "  - apiGroups: [{:?}]", rule.group)?;
        writeln!(text, "    resources: [{}]", rule.resources.join(", "))?;
        if !rule.names.is_empty() {
            writeln!(text, "    resourceNames: [{}]", rule.names.join(", "))?;
        }
        writeln!(text, "    verbs: [{}]", rule.verbs.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn a_rule_is_rendered_with_its_reason() {
        let rule = Rule {
            group: "",
            resources: &["services", "services/status"],
            names: &["one"],
            verbs: &["get", "patch"],
            reason: "Look at it.",
        };
        let mut text = String::new();
        rules(&mut text, &[rule]).unwrap();
        assert_eq!(
            text,
            "rules:\n  # Look at it.\n  - apiGroups: [\"\"]\n    resources: [services, services/status]\n    \
             resourceNames: [one]\n    verbs: [get, patch]\n"
        );
    }

    #[test]
    fn the_roles_for_kustomize_are_yaml_and_bound_to_the_service_account() {
        for text in [roles(&KUSTOMIZE).unwrap(), bindings(&KUSTOMIZE).unwrap()] {
            for document in text.split("---\n") {
                assert_eq!(
                    yaml::parse(document).unwrap()["metadata"]["name"],
                    "novasphere-controller"
                );
            }
        }
    }
}
