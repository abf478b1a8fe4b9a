//! The roles of the tables in the crates of the program's roles, for
//! `config/rbac/` and for the chart.

use std::{fmt::Write as _, path::PathBuf};

use novasphere_apiserver::rbac as apiserver;
use novasphere_console::role::rbac as console;
use novasphere_controller::rbac::{CLUSTER_RULES, NAMESPACE_RULES, USER_ROLES};
use novasphere_runtime::rbac::Rule;

use crate::{
    artifacts::{Files, yaml_header},
    manager::NAMESPACE,
};

/// What one role of the program may do.
struct Table {
    /// The role, as the chart's values and components name it.
    component: &'static str,
    /// Where its table is written down.
    source: &'static str,
    /// Permissions in every namespace.
    cluster: &'static [&'static [Rule]],
    /// Permissions in its own namespace.
    namespace: &'static [&'static [Rule]],
    /// Built-in roles that it is bound to.
    built_in: &'static [BuiltIn],
}

/// A `Role` that Kubernetes itself makes.
struct BuiltIn {
    name: &'static str,
    namespace: &'static str,
    /// What is added to the name of the binding.
    suffix: &'static str,
}

const TABLES: &[Table] = &[
    Table {
        component: "controller",
        source: "crates/controller/src/rbac.rs",
        cluster: &[CLUSTER_RULES],
        namespace: &[NAMESPACE_RULES],
        built_in: &[],
    },
    Table {
        component: "console",
        source: "crates/console/src/role/rbac.rs",
        cluster: &[console::CLUSTER_RULES],
        namespace: &[console::NAMESPACE_RULES],
        built_in: &[],
    },
    Table {
        component: "apiserver",
        source: "crates/apiserver/src/rbac.rs and crates/console/src/role/rbac.rs",
        cluster: &[console::CLUSTER_RULES, apiserver::CLUSTER_RULES],
        namespace: &[console::NAMESPACE_RULES],
        built_in: &[BuiltIn {
            name: apiserver::AUTHENTICATION_READER,
            namespace: "kube-system",
            suffix: "authentication-reader",
        }],
    },
];

/// Name of the role that lets gateways read the passwords of VNC servers, where it is bound.
pub(crate) const PASSWORDS: &str = "novasphere-console-passwords";

/// The same in the chart.
const HELM_PASSWORDS: &str = r#"{{ include "novasphere.fullname" . }}-console-passwords"#;

/// Where one set of roles goes: names and labels are plain in `config/` and
/// template calls in the chart.
struct Place {
    name: String,
    namespace: &'static str,
    service_account: String,
    labels: String,
    /// Template expression of the one namespace that the role watches, if any.
    watched: Option<&'static str>,
}

impl Place {
    fn kustomize(component: &str) -> Self {
        Self {
            name: format!("novasphere-{component}"),
            namespace: NAMESPACE,
            service_account: format!("novasphere-{component}"),
            labels: format!("{PLAIN_LABELS}    app.kubernetes.io/component: {component}\n"),
            watched: None,
        }
    }

    fn helm(component: &str) -> Self {
        let call = |name: &str| format!(r#"{{{{ include "novasphere.{component}.{name}" . }}}}"#);
        Self {
            name: call("name"),
            namespace: "{{ .Release.Namespace }}",
            service_account: call("serviceAccountName"),
            labels: format!("    {{{{- include \"novasphere.{component}.labels\" . | nindent 4 }}}}\n"),
            watched: Some(match component {
                "controller" => "(.Values.config.controller).watchNamespace",
                _ => "(.Values.config.console).watchNamespace",
            }),
        }
    }
}

const PLAIN_LABELS: &str = "    app.kubernetes.io/name: novasphere\n    app.kubernetes.io/instance: novasphere\n";
const HELM_LABELS: &str = "    {{- include \"novasphere.labels\" . | nindent 4 }}\n";

/// All RBAC files.
pub(crate) fn files() -> anyhow::Result<Files> {
    let kustomize = |name: &str| PathBuf::from("config/rbac").join(name);
    let mut files = Files::new();
    for table in TABLES {
        let (header, component) = (yaml_header(table.source), table.component);
        let (plain, helm) = (Place::kustomize(component), Place::helm(component));
        files.push((
            kustomize(&format!("{component}_role.yaml")),
            format!("{header}{}", table.roles(&plain)?),
        ));
        files.push((
            kustomize(&format!("{component}_role_binding.yaml")),
            format!("{header}{}", table.bindings(&plain)?),
        ));
        let condition = match component {
            "controller" => "{{- if .Values.rbac.create }}".to_owned(),
            _ => format!("{{{{- if and .Values.rbac.create .Values.{component}.enabled }}}}"),
        };
        files.push((
            PathBuf::from(format!("charts/novasphere/templates/{component}/rbac.yaml")),
            format!(
                "{header}{condition}\n{}---\n{}{{{{- end }}}}\n",
                table.roles(&helm)?,
                table.bindings(&helm)?
            ),
        ));
    }
    files.extend(user_roles()?);
    files.extend(passwords()?);
    Ok(files)
}

/// The roles for people: the kinds, and their consoles.
fn user_roles() -> anyhow::Result<Files> {
    let header = yaml_header("crates/controller/src/rbac.rs and crates/apiserver/src/rbac.rs");
    let mut files = Files::new();
    let mut chart = format!("{header}{{{{- if .Values.rbac.userRoles }}}}\n");
    for role in USER_ROLES {
        let consoles = apiserver::user_rules(role.name);
        let all: Vec<Rule> = role.rules.iter().chain(consoles).copied().collect();
        let labels = |labels: &str| {
            let aggregate = format!(
                "    rbac.authorization.k8s.io/aggregate-to-{}: \"true\"\n",
                role.aggregates_to
            );
            format!("{labels}{aggregate}")
        };
        let file = format!("config/rbac/{}_role.yaml", role.name.replace('-', "_"));
        let plain = cluster_role(role.name, &labels(PLAIN_LABELS), &all)?;
        files.push((PathBuf::from(file), format!("{header}{plain}")));
        chart.push_str("---\n");
        chart.push_str(&cluster_role(role.name, &labels(HELM_LABELS), &all)?);
    }
    chart.push_str("{{- end }}\n");
    files.push((PathBuf::from("charts/novasphere/templates/user-roles.yaml"), chart));
    Ok(files)
}

fn passwords() -> anyhow::Result<Files> {
    let header = yaml_header("crates/console/src/role/rbac.rs");
    let role = |name: &str, labels: &str| cluster_role(name, labels, console::PASSWORD_RULES);
    let condition = "{{- if and .Values.rbac.create (or .Values.console.enabled .Values.apiserver.enabled) }}";
    Ok(vec![
        (
            PathBuf::from("config/rbac/console_passwords_role.yaml"),
            format!("{header}{}", role(PASSWORDS, PLAIN_LABELS)?),
        ),
        (
            PathBuf::from("charts/novasphere/templates/console/passwords-role.yaml"),
            format!(
                "{header}{condition}\n{}{{{{- end }}}}\n",
                role(HELM_PASSWORDS, HELM_LABELS)?
            ),
        ),
    ])
}

impl Table {
    fn roles(&self, place: &Place) -> anyhow::Result<String> {
        let (everywhere, namespaced): (Vec<Rule>, Vec<Rule>) =
            self.cluster.concat().into_iter().partition(Rule::is_cluster_scoped);
        let mut text = String::new();
        head(&mut text, "ClusterRole", &place.name, "", &place.labels)?;
        rules(&mut text, &namespaced)?;
        text.push_str("---\n");
        head(&mut text, "ClusterRole", &place.cluster_name(), "", &place.labels)?;
        rules(&mut text, &everywhere)?;
        text.push_str("---\n");
        let namespace = format!("  namespace: {}\n", place.namespace);
        head(&mut text, "Role", &place.name, &namespace, &place.labels)?;
        rules(&mut text, &self.namespace.concat())?;
        Ok(text)
    }

    fn bindings(&self, place: &Place) -> anyhow::Result<String> {
        let mut text = String::new();
        let (kind, name, namespace) = place.watched_binding();
        head(&mut text, &kind, &name, &namespace, &place.labels)?;
        granted(&mut text, place, "ClusterRole", &place.name)?;
        text.push_str("---\n");
        let cluster = place.cluster_name();
        head(&mut text, "ClusterRoleBinding", &cluster, "", &place.labels)?;
        granted(&mut text, place, "ClusterRole", &cluster)?;
        text.push_str("---\n");
        let namespace = format!("  namespace: {}\n", place.namespace);
        head(&mut text, "RoleBinding", &place.name, &namespace, &place.labels)?;
        granted(&mut text, place, "Role", &place.name)?;
        for built_in in self.built_in {
            let name = format!("{}-{}", place.name, built_in.suffix);
            let namespace = format!("  namespace: {}\n", built_in.namespace);
            text.push_str("---\n");
            head(&mut text, "RoleBinding", &name, &namespace, &place.labels)?;
            granted(&mut text, place, "Role", built_in.name)?;
        }
        Ok(text)
    }
}

impl Place {
    /// The name of the role for what is in no namespace, and of its binding.
    fn cluster_name(&self) -> String {
        format!("{}-cluster", self.name)
    }

    /// Kind, name and namespace of what grants rights on objects: everywhere, or in the one namespace that is watched.
    fn watched_binding(&self) -> (String, String, String) {
        let name = &self.name;
        let Some(watched) = self.watched else {
            return ("ClusterRoleBinding".to_owned(), name.clone(), String::new());
        };
        (
            format!("{{{{ if {watched} }}}}RoleBinding{{{{ else }}}}ClusterRoleBinding{{{{ end }}}}"),
            // The watched namespace may be our own, where the binding of the Role has the plain name.
            format!("{name}{{{{ if {watched} }}}}-watched{{{{ end }}}}"),
            format!("  {{{{- with {watched} }}}}\n  namespace: {{{{ . }}}}\n  {{{{- end }}}}\n"),
        )
    }
}

/// The role of a binding, and the account that gets it.
fn granted(text: &mut String, place: &Place, kind: &str, role: &str) -> std::fmt::Result {
    write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {role}\n\
         subjects:\n  - kind: ServiceAccount\n    name: {}\n    namespace: {}\n",
        place.service_account, place.namespace
    )
}

fn head(text: &mut String, kind: &str, name: &str, namespace: &str, labels: &str) -> std::fmt::Result {
    write!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{namespace}  labels:\n{labels}"
    )
}

fn cluster_role(name: &str, labels: &str, list: &[Rule]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    head(&mut text, "ClusterRole", name, "", labels)?;
    rules(&mut text, list)?;
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
        for table in TABLES {
            let place = Place::kustomize(table.component);
            for text in [table.roles(&place).unwrap(), table.bindings(&place).unwrap()] {
                for document in text.split("---\n") {
                    let document = yaml::parse(document).unwrap();
                    let name = document["metadata"]["name"].as_str().unwrap();
                    assert!(name.starts_with(&format!("novasphere-{}", table.component)), "{name}");
                    if let Some(subject) = document.pointer("/subjects/0/name") {
                        assert_eq!(subject, &format!("novasphere-{}", table.component));
                    }
                }
            }
        }
    }
}
