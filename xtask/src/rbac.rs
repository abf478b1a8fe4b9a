//! The roles of the chart, from the tables in the crates of the program's roles.

use std::{fmt::Write as _, path::PathBuf};

use novasphere::{ROLES, RoleSpec};
use novasphere_apiserver::rbac as apiserver;
use novasphere_console::rbac as console;
use novasphere_controller::rbac::{
    DEPLOYMENT_NAME, GATEWAY_RULES, GatewayRules, UNINSTALL_CLUSTER_RULES, UNINSTALL_NAMESPACE_RULES, USER_ROLES,
};
use novasphere_runtime::rbac::Rule;

use crate::files::{Files, yaml_header};

const TEMPLATES: &str = "charts/novasphere/templates";

/// Name of the role that lets gateways read the passwords of VNC servers, where it is bound.
const PASSWORDS: &str = r#"{{ include "novasphere.fullname" . }}-console-passwords"#;

/// Name of the account that gets a release ready to be removed, and of its roles.
const UNINSTALL: &str = r#"{{ include "novasphere.uninstall.name" . }}"#;

/// Its labels, and the annotations of a hook that is there before its Job.
const UNINSTALL_LABELS: &str = concat!(
    "    {{- include \"novasphere.labels\" . | nindent 4 }}\n    app.kubernetes.io/component: uninstall\n",
    "  annotations:\n    {{- include \"novasphere.uninstall.hook\" \"-1\" | nindent 4 }}\n",
);

/// Template calls for the one role that a template is about; it sets `$role` first.
const NAME: &str = r#"{{ include "novasphere.role.name" $role }}"#;
const SERVICE_ACCOUNT: &str = r#"{{ include "novasphere.role.serviceAccountName" $role }}"#;
const NAMESPACE: &str = "{{ .Release.Namespace }}";
const ROLE_LABELS: &str = "    {{- include \"novasphere.role.labels\" $role | nindent 4 }}\n";
const LABELS: &str = "    {{- include \"novasphere.labels\" . | nindent 4 }}\n";

/// All templates of RBAC.
pub(crate) fn files() -> anyhow::Result<Files> {
    let mut files = Files::new();
    for role in ROLES {
        files.push((
            PathBuf::from(format!("{TEMPLATES}/{}/rbac.yaml", role.name)),
            template(role)?,
        ));
    }
    files.push(user_roles()?);
    files.push(passwords()?);
    files.push(gateways()?);
    files.push(uninstall()?);
    for rules in GATEWAY_RULES {
        files.extend(gateway_folder(rules)?);
    }
    Ok(files)
}

fn template(role: &RoleSpec) -> Result<String, std::fmt::Error> {
    let mut text = yaml_header(role.rules.source);
    if role.is_optional {
        writeln!(
            text,
            "{{{{- if and .Values.rbac.create .Values.{}.enabled }}}}",
            role.name
        )?;
    } else {
        text.push_str("{{- if .Values.rbac.create }}\n");
    }
    writeln!(text, "{{{{- $role := dict \"root\" . \"role\" {:?} }}}}", role.name)?;
    roles(&mut text, role)?;
    text.push_str("---\n");
    bindings(&mut text, role)?;
    text.push_str("{{- end }}\n");
    Ok(text)
}

/// The roles for people: the kinds, and their consoles.
fn user_roles() -> anyhow::Result<(PathBuf, String)> {
    let header = yaml_header("crates/controller/src/rbac.rs and crates/apiserver/src/rbac.rs");
    let mut text = format!("{header}{{{{- if .Values.rbac.userRoles }}}}\n");
    for role in USER_ROLES {
        let consoles = apiserver::user_rules(role.name);
        let all: Vec<Rule> = role.rules.iter().chain(consoles).copied().collect();
        let labels = format!(
            "{LABELS}    rbac.authorization.k8s.io/aggregate-to-{}: \"true\"\n",
            role.aggregates_to
        );
        text.push_str("---\n");
        cluster_role(&mut text, role.name, &labels, &all)?;
    }
    text.push_str("{{- end }}\n");
    Ok((PathBuf::from(format!("{TEMPLATES}/user-roles.yaml")), text))
}

fn passwords() -> anyhow::Result<(PathBuf, String)> {
    let mut text = yaml_header("crates/console/src/rbac.rs");
    text.push_str("{{- if and .Values.rbac.create (or .Values.console.enabled .Values.apiserver.enabled) }}\n");
    cluster_role(&mut text, PASSWORDS, LABELS, console::PASSWORD_RULES)?;
    text.push_str("{{- end }}\n");
    Ok((PathBuf::from(format!("{TEMPLATES}/console/passwords-role.yaml")), text))
}

/// What the hook of `helm uninstall` may do, as long as it runs.
fn uninstall() -> anyhow::Result<(PathBuf, String)> {
    let watched = "(.Values.config.controller).watchNamespace";
    let mut text = yaml_header("crates/controller/src/rbac.rs");
    text.push_str("{{- if include \"novasphere.uninstall.run\" . }}\n");
    cluster_role(&mut text, UNINSTALL, UNINSTALL_LABELS, UNINSTALL_CLUSTER_RULES)?;
    text.push_str("---\n");
    head(&mut text, "Role", UNINSTALL, &in_namespace(NAMESPACE), UNINSTALL_LABELS)?;
    let mut own = String::new();
    rules(&mut own, UNINSTALL_NAMESPACE_RULES)?;
    // A release of another name has a controller of another name.
    let deployment = r#"[{{ include "novasphere.role.name" (dict "root" . "role" "controller") }}]"#;
    text.push_str(&own.replace(&format!("[{DEPLOYMENT_NAME}]"), deployment));
    text.push_str("---\n");
    head(
        &mut text,
        &format!("{{{{ if {watched} }}}}RoleBinding{{{{ else }}}}ClusterRoleBinding{{{{ end }}}}"),
        &format!("{UNINSTALL}{{{{ if {watched} }}}}-watched{{{{ end }}}}"),
        &format!("  {{{{- with {watched} }}}}\n  namespace: {{{{ . }}}}\n  {{{{- end }}}}\n"),
        UNINSTALL_LABELS,
    )?;
    granted_to(&mut text, "ClusterRole", UNINSTALL, UNINSTALL)?;
    text.push_str("---\n");
    head(
        &mut text,
        "RoleBinding",
        UNINSTALL,
        &in_namespace(NAMESPACE),
        UNINSTALL_LABELS,
    )?;
    granted_to(&mut text, "Role", UNINSTALL, UNINSTALL)?;
    text.push_str("{{- end }}\n");
    Ok((PathBuf::from(format!("{TEMPLATES}/uninstall/rbac.yaml")), text))
}

/// The controller's rights for the gateways that are configured: on what each kind reads, and on the object that has a gateway's addresses.
fn gateways() -> anyhow::Result<(PathBuf, String)> {
    let mut text = yaml_header("crates/controller/src/rbac.rs");
    text.push_str("{{- if .Values.rbac.create }}\n{{- $role := dict \"root\" . \"role\" \"controller\" }}\n");
    let watched = "$.Values.config.controller).watchNamespace";
    for GatewayRules {
        field, suffix, rules, ..
    } in GATEWAY_RULES
    {
        let name = format!("{NAME}-{suffix}");
        writeln!(text, "{{{{- $isConfigured := false }}}}")?;
        writeln!(
            text,
            "{{{{- range .Values.config.gateways }}}}{{{{- if .{field} }}}}{{{{- $isConfigured = true }}}}{{{{- end }}}}{{{{- end }}}}"
        )?;
        text.push_str("{{- if $isConfigured }}\n---\n");
        cluster_role(&mut text, &name, ROLE_LABELS, rules)?;
        text.push_str("---\n");
        head(
            &mut text,
            &format!("{{{{ if ({watched} }}}}RoleBinding{{{{ else }}}}ClusterRoleBinding{{{{ end }}}}"),
            &name,
            &format!("  {{{{- with ({watched} }}}}\n  namespace: {{{{ . | quote }}}}\n  {{{{- end }}}}\n"),
            ROLE_LABELS,
        )?;
        granted_here(&mut text, "ClusterRole", &name)?;
        text.push_str("{{- end }}\n");
    }
    text.push_str("{{- range $gateway := .Values.config.gateways }}\n");
    for GatewayRules {
        field, address_source, ..
    } in GATEWAY_RULES
    {
        let (group, resources, named) = address_source;
        let resource = resources.join(", ");
        let name = format!("{NAME}-gateway-{{{{ $gateway.name }}}}");
        writeln!(text, "{{{{- with $gateway.{field} }}}}\n---")?;
        head(
            &mut text,
            "Role",
            &name,
            "  namespace: {{ .namespace | quote }}\n",
            ROLE_LABELS,
        )?;
        write!(
            text,
            "rules:\n  # Where clients reach the gateway.\n  - apiGroups: [{group:?}]\n    resources: [{resource}]\n    \
             resourceNames: [{{{{ .{named} | quote }}}}]\n    verbs: [get, list, watch]\n---\n"
        )?;
        head(
            &mut text,
            "RoleBinding",
            &name,
            "  namespace: {{ .namespace | quote }}\n",
            ROLE_LABELS,
        )?;
        granted_here(&mut text, "Role", &name)?;
        text.push_str("{{- end }}\n");
    }
    text.push_str("{{- end }}\n{{- end }}\n");
    let path = format!("{TEMPLATES}/controller/gateways-rbac.yaml");
    Ok((PathBuf::from(path), text))
}

/// [`granted`] inside a `range`, where `.` is something else.
fn granted_here(text: &mut String, kind: &str, role: &str) -> std::fmt::Result {
    let mut inner = String::new();
    granted(&mut inner, kind, role)?;
    text.push_str(&inner.replace("{{ .Release", "{{ $.Release"));
    Ok(())
}

/// The same rights for those who install with kustomize: a folder to add for each kind of gateway that they configure. Services can be read
/// already, in all namespaces.
fn gateway_folder(gateway: &GatewayRules) -> anyhow::Result<Files> {
    let folder = PathBuf::from("config/gateway").join(gateway.suffix);
    let mut rules = gateway.rules.to_vec();
    let (group, resources, _) = gateway.address_source;
    if !group.is_empty() {
        rules.push(Rule {
            group,
            resources,
            names: &[],
            verbs: &["get", "list", "watch"],
            reason: "Where clients reach the gateway.",
        });
    }
    let name = format!("novasphere-controller-{}", gateway.suffix);
    let labels = "    app.kubernetes.io/component: controller\n    app.kubernetes.io/name: novasphere\n";
    let mut text = yaml_header("crates/controller/src/rbac.rs");
    cluster_role(&mut text, &name, labels, &rules)?;
    text.push_str("---\n");
    head(&mut text, "ClusterRoleBinding", &name, "", labels)?;
    write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: {name}\n\
         subjects:\n  - kind: ServiceAccount\n    name: novasphere-controller\n    namespace: novasphere-system\n",
    )?;
    let mut kustomization = yaml_header("crates/controller/src/rbac.rs");
    kustomization.push_str("# What the controller needs for gateways of this kind; see docs/gateways.md.\n");
    kustomization
        .push_str("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - rbac.yaml\n");
    Ok(vec![
        (folder.join("rbac.yaml"), text),
        (folder.join("kustomization.yaml"), kustomization),
    ])
}

fn roles(text: &mut String, role: &RoleSpec) -> std::fmt::Result {
    let (everywhere, namespaced): (Vec<Rule>, Vec<Rule>) = role
        .rules
        .cluster
        .concat()
        .into_iter()
        .partition(Rule::is_cluster_scoped);
    cluster_role(text, NAME, ROLE_LABELS, &namespaced)?;
    text.push_str("---\n");
    cluster_role(text, &cluster_name(), ROLE_LABELS, &everywhere)?;
    text.push_str("---\n");
    head(text, "Role", NAME, &in_namespace(NAMESPACE), ROLE_LABELS)?;
    rules(text, &role.rules.namespace.concat())
}

fn bindings(text: &mut String, role: &RoleSpec) -> std::fmt::Result {
    watched_binding(text, role)?;
    text.push_str("---\n");
    let cluster = cluster_name();
    head(text, "ClusterRoleBinding", &cluster, "", ROLE_LABELS)?;
    granted(text, "ClusterRole", &cluster)?;
    text.push_str("---\n");
    head(text, "RoleBinding", NAME, &in_namespace(NAMESPACE), ROLE_LABELS)?;
    granted(text, "Role", NAME)?;
    for built_in in role.rules.built_in {
        let name = format!("{NAME}-{}", built_in.suffix);
        text.push_str("---\n");
        head(
            text,
            "RoleBinding",
            &name,
            &in_namespace(built_in.namespace),
            ROLE_LABELS,
        )?;
        granted(text, "Role", built_in.name)?;
    }
    Ok(())
}

/// Grants rights on objects: everywhere, or in the one namespace that is watched.
fn watched_binding(text: &mut String, role: &RoleSpec) -> std::fmt::Result {
    let watched = if role.carries_streams {
        r#"(include "novasphere.gateway.watchNamespace" .)"#.to_owned()
    } else {
        format!("(.Values.config.{}).watchNamespace", role.name)
    };
    head(
        text,
        &format!("{{{{ if {watched} }}}}RoleBinding{{{{ else }}}}ClusterRoleBinding{{{{ end }}}}"),
        // The watched namespace may be our own, where the binding of the Role has the plain name.
        &format!("{NAME}{{{{ if {watched} }}}}-watched{{{{ end }}}}"),
        &format!("  {{{{- with {watched} }}}}\n  namespace: {{{{ . }}}}\n  {{{{- end }}}}\n"),
        ROLE_LABELS,
    )?;
    granted(text, "ClusterRole", NAME)
}

/// The name of the role for what is in no namespace, and of its binding.
fn cluster_name() -> String {
    format!("{NAME}-cluster")
}

fn in_namespace(namespace: &str) -> String {
    format!("  namespace: {namespace}\n")
}

/// The role of a binding, and the account of the template's role of the program, which gets it.
fn granted(text: &mut String, kind: &str, role: &str) -> std::fmt::Result {
    granted_to(text, kind, role, SERVICE_ACCOUNT)
}

/// The role of a binding, and the account that gets it.
fn granted_to(text: &mut String, kind: &str, role: &str, account: &str) -> std::fmt::Result {
    write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {role}\n\
         subjects:\n  - kind: ServiceAccount\n    name: {account}\n    namespace: {NAMESPACE}\n",
    )
}

fn head(text: &mut String, kind: &str, name: &str, namespace: &str, labels: &str) -> std::fmt::Result {
    write!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{namespace}  labels:\n{labels}"
    )
}

fn cluster_role(text: &mut String, name: &str, labels: &str, list: &[Rule]) -> std::fmt::Result {
    head(text, "ClusterRole", name, "", labels)?;
    rules(text, list)
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
    use std::path::Path;

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
    fn the_hook_of_an_uninstallation_may_scale_the_controller_of_its_release_alone() {
        let (_, text) = uninstall().unwrap();
        let named = r#"resourceNames: [{{ include "novasphere.role.name" (dict "root" . "role" "controller") }}]"#;
        assert!(text.contains(named), "{text}");
        assert!(!text.contains(DEPLOYMENT_NAME), "{text}");
        assert_eq!(text.matches("novasphere.uninstall.hook").count(), 4, "{text}");
    }

    #[test]
    fn the_roles_for_kustomize_are_yaml_and_bound_to_the_service_account() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/rbac");
        // `config/` has the chart's defaults, by which the role api is off.
        for role in ROLES.iter().filter(|role| role.name != "api") {
            for file in ["role", "role_binding"] {
                let text = std::fs::read_to_string(folder.join(format!("{}_{file}.yaml", role.name))).unwrap();
                for document in text.split("---\n") {
                    let document = yaml::parse(document).unwrap();
                    let name = document["metadata"]["name"].as_str().unwrap();
                    assert!(name.starts_with(&format!("novasphere-{}", role.name)), "{name}");
                    if let Some(subject) = document.pointer("/subjects/0/name") {
                        assert_eq!(subject, &format!("novasphere-{}", role.name));
                    }
                }
            }
        }
    }
}
