//! `config/`: the objects of the chart with its default values, split into the folders of a kustomize tree. `make
//! test-manifests` proves the split: what kustomize puts together is what Helm renders.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::Value;

use crate::{
    files::{Files, MARK, yaml_header},
    helm::{CHART, RELEASE},
    yaml::{self, at},
};

/// A folder that holds one sort of objects, of all roles. Everything else is in the folder of its role.
struct Folder {
    name: &'static str,
    /// Kinds, and how they end the name of a file; empty for the kind that gives the folder its name.
    kinds: &'static [(&'static str, &'static str)],
    /// Whether `config/default` leaves it out.
    is_optional: bool,
    /// Comment of its kustomization.
    comment: &'static str,
}

const FOLDERS: &[Folder] = &[
    Folder {
        name: "rbac",
        kinds: &[
            ("ServiceAccount", "service_account"),
            ("ClusterRole", "role"),
            ("Role", "role"),
            ("ClusterRoleBinding", "role_binding"),
            ("RoleBinding", "role_binding"),
        ],
        is_optional: false,
        comment: "# workspace_credentials_role_binding.yaml lets the gateways read Secrets, by name, in every namespace: they log in to desktops with\n\
                  # the VNC passwords of their workspaces. To narrow it, delete the binding by a patch and bind ClusterRole\n\
                  # novasphere-console-passwords in the namespaces of workspaces; see docs/install.md.\n",
    },
    Folder {
        name: "admission",
        kinds: &[
            ("ValidatingAdmissionPolicy", ""),
            ("ValidatingAdmissionPolicyBinding", "binding"),
        ],
        is_optional: false,
        comment: "# Only novasphere may write the status of ConsoleSessions and VncWorkspaces, what novasphere's own accounts may write, and how large specs are.\n",
    },
    Folder {
        name: "authority",
        kinds: &[("Secret", "")],
        is_optional: false,
        comment: "# Clients trust what the gateways write into it, so `make undeploy` leaves it.\n",
    },
    Folder {
        name: "network-policy",
        kinds: &[("NetworkPolicy", "")],
        is_optional: false,
        comment: "# Admits only the roles' own ports, and to health and metrics only who is named. Needs a network plug-in that enforces policies.\n",
    },
    Folder {
        name: "prometheus",
        kinds: &[("ServiceMonitor", "service_monitor"), ("PrometheusRule", "")],
        is_optional: true,
        comment: "# Needs the Prometheus operator.\n",
    },
];

/// The folder of the role `controller`, and of what belongs to no role. Kubebuilder gave it this name.
const MANAGER: &str = "manager";

/// Comments of the kustomizations of roles.
const COMMENTS: &[(&str, &str)] = &[(
    "apiserver",
    "# Delete api_service.yaml before the rest: an APIService without a server keeps namespaces from being deleted. `make undeploy`\n\
     # does so.\n",
)];

const DEFAULT_COMMENT: &str = "# The whole installation: the same objects as the chart with its defaults.\n\
                               # Optional part: OPTIONAL.\n\
                               # No `namespace:` here or in an overlay: it would move the RoleBinding that has to be in kube-system. Every object names\n\
                               # its namespace itself.\n";

const ROUTES_COMMENT: &str = "# Routes of the gateway to novasphere itself, for the host vms.example.com: change it by a patch, or let `make deploy-gateway-...` do so.\n\
                              # All but Traefik need `console.http.plain: true` in the configuration: see docs/gateways.md.\n";

/// The files of `config/` for what helm rendered.
pub(crate) fn files(rendered: &str) -> anyhow::Result<Files> {
    let mut folders: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for document in documents(rendered) {
        let object = yaml::parse(&document).with_context(|| format!("parse what helm printed:\n{document}"))?;
        if object.is_null() {
            continue;
        }
        let (folder, file) = place(&object)?;
        let text = folders.entry(folder).or_default().entry(file).or_default();
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&document);
    }
    let header = yaml_header(CHART);
    let mut files = vec![(PathBuf::from("config/default/kustomization.yaml"), whole(&folders)?)];
    for (folder, objects) in folders {
        let comment = comment(&folder);
        let names = objects.keys().map(String::as_str);
        let path = |file: &str| Path::new("config").join(&folder).join(file);
        files.push((path("kustomization.yaml"), kustomization(comment, names)?));
        files.extend(
            objects
                .iter()
                .map(|(file, text)| (path(file), format!("{header}{text}"))),
        );
    }
    Ok(files)
}

/// The folder with the routes of one kind of gateway to novasphere itself, for what helm rendered of them.
pub(crate) fn routes(folder: &str, rendered: &str) -> anyhow::Result<Files> {
    let folder = Path::new("config/gateway").join(folder).join("routes");
    let documents: Vec<String> = documents(rendered)
        .into_iter()
        .filter(|document| document.lines().any(|line| !line.starts_with('#')))
        .collect();
    let text = format!("{}{}", yaml_header(CHART), documents.join("---\n"));
    Ok(vec![
        (
            folder.join("kustomization.yaml"),
            kustomization(ROUTES_COMMENT, std::iter::once("routes.yaml"))?,
        ),
        (folder.join("routes.yaml"), text),
    ])
}

/// Each document without what Helm says of itself, and without the marks of the templates that are generated.
fn documents(rendered: &str) -> Vec<String> {
    const LEFT_OUT: &[&str] = &["# Source:", "app.kubernetes.io/managed-by:", "helm.sh/chart:"];
    let mut documents = vec![String::new()];
    for line in rendered.lines() {
        if line == "---" {
            documents.push(String::new());
            continue;
        }
        let is_left_out = line.trim().is_empty() || line.contains(MARK);
        if !is_left_out
            && !LEFT_OUT.iter().any(|start| line.trim_start().starts_with(start))
            && let Some(document) = documents.last_mut()
        {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents
}

/// Folder and file of an object.
fn place(object: &Value) -> anyhow::Result<(String, String)> {
    let kind = at(object, "/kind").as_str().context("an object without a kind")?;
    let name = at(object, "/metadata/name")
        .as_str()
        .context("an object without a name")?;
    let component = at(object, "/metadata/labels/app.kubernetes.io~1component").as_str();
    let own_name = name
        .strip_prefix(RELEASE)
        .and_then(|name| name.strip_prefix('-'))
        .unwrap_or(name);
    let shared = FOLDERS.iter().find_map(|folder| {
        let (_, ending) = folder.kinds.iter().find(|(candidate, _)| *candidate == kind)?;
        Some((folder, *ending))
    });
    let (folder, words) = if let Some((folder, ending)) = shared {
        (
            folder.name,
            vec![component.unwrap_or(own_name).replace('-', "_"), ending.to_owned()],
        )
    } else {
        let metrics = if name.ends_with("-metrics") { "metrics" } else { "" };
        let folder = component
            .filter(|component| *component != "controller")
            .unwrap_or(MANAGER);
        (folder, vec![metrics.to_owned(), snake_case(kind)])
    };
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    Ok((folder.to_owned(), format!("{}.yaml", words.join("_"))))
}

fn snake_case(kind: &str) -> String {
    let mut text = String::new();
    let mut after_lower = false;
    for letter in kind.chars() {
        if letter.is_uppercase() && after_lower {
            text.push('_');
        }
        after_lower = letter.is_lowercase();
        text.extend(letter.to_lowercase());
    }
    // The one kind that begins with an abbreviation.
    text.replace("apiservice", "api_service")
}

fn comment(folder: &str) -> &'static str {
    let shared = FOLDERS.iter().map(|folder| (folder.name, folder.comment));
    shared
        .chain(COMMENTS.iter().copied())
        .find_map(|(name, comment)| (name == folder).then_some(comment))
        .unwrap_or_default()
}

fn whole(folders: &BTreeMap<String, BTreeMap<String, String>>) -> anyhow::Result<String> {
    let is_optional = |name: &str| FOLDERS.iter().any(|folder| folder.name == name && folder.is_optional);
    let (optional, always): (Vec<_>, Vec<_>) = folders.keys().partition(|name| is_optional(name));
    let optional: Vec<String> = optional.into_iter().map(|name| format!("../{name}")).collect();
    let parts: Vec<String> = always.into_iter().map(|name| format!("../{name}")).collect();
    let parts = ["namespace.yaml", "../crd"]
        .into_iter()
        .chain(parts.iter().map(String::as_str));
    kustomization(&DEFAULT_COMMENT.replace("OPTIONAL", &optional.join(", ")), parts)
}

fn kustomization<'a>(comment: &str, resources: impl Iterator<Item = &'a str>) -> anyhow::Result<String> {
    let mut text = yaml_header(CHART);
    text.push_str(comment);
    text.push_str("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n");
    for resource in resources {
        writeln!(text, "  - {resource}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = "---\n# Source: novasphere/templates/a.yaml\n# Generated by `cargo xtask generate` from x. Do not edit.\n\
                            apiVersion: v1\nkind: Service\nmetadata:\n  name: novasphere-console-metrics\n  labels:\n    \
                            helm.sh/chart: novasphere-1\n    app.kubernetes.io/component: console\nspec:\n  # Why.\n  clusterIP: None\n\
                            ---\n# Source: b\n---\nkind: ClusterRole\nmetadata: {name: novasphere-viewer}\n\
                            ---\nkind: ClusterRole\nmetadata: {name: novasphere-controller, labels: {app.kubernetes.io/component: controller}}\n\
                            ---\nkind: Role\nmetadata: {name: novasphere-controller, labels: {app.kubernetes.io/component: controller}}\n\
                            ---\nkind: NetworkPolicy\nmetadata: {name: x, labels: {app.kubernetes.io/component: controller}}\n\
                            ---\nkind: ServiceMonitor\nmetadata: {name: x, labels: {app.kubernetes.io/component: controller}}\n\
                            ---\nkind: PrometheusRule\nmetadata: {name: novasphere-alerts}\n";

    fn rendered() -> BTreeMap<String, String> {
        let files = files(RENDERED).unwrap().into_iter();
        files.map(|(path, text)| (path.display().to_string(), text)).collect()
    }

    #[test]
    fn each_object_is_in_the_folder_of_its_kind_or_of_its_role() {
        let files = rendered();
        let objects: Vec<&str> = files
            .keys()
            .map(String::as_str)
            .filter(|path| !path.ends_with("kustomization.yaml"))
            .collect();
        assert_eq!(
            objects,
            [
                "config/console/metrics_service.yaml",
                "config/network-policy/controller.yaml",
                "config/prometheus/alerts.yaml",
                "config/prometheus/controller_service_monitor.yaml",
                "config/rbac/controller_role.yaml",
                "config/rbac/viewer_role.yaml"
            ]
        );
    }

    #[test]
    fn comments_stay_and_what_helm_says_of_itself_goes() {
        assert_eq!(
            rendered()["config/console/metrics_service.yaml"],
            "# Generated by `cargo xtask generate` from charts/novasphere. Do not edit.\napiVersion: v1\nkind: Service\nmetadata:\n  \
             name: novasphere-console-metrics\n  labels:\n    app.kubernetes.io/component: console\nspec:\n  # Why.\n  clusterIP: None\n"
        );
    }

    #[test]
    fn two_objects_of_one_name_share_a_file() {
        let text = &rendered()["config/rbac/controller_role.yaml"];
        assert_eq!(text.matches("---\n").count(), 1, "{text}");
    }

    #[test]
    fn the_optional_folders_are_not_in_the_whole() {
        let text = &rendered()["config/default/kustomization.yaml"];
        assert!(text.contains("# Optional part: ../prometheus.\n"), "{text}");
        assert!(
            text.contains(
                "resources:\n  - namespace.yaml\n  - ../crd\n  - ../console\n  - ../network-policy\n  - ../rbac\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn routes_have_a_folder_for_each_product() {
        let rendered = "---\n# Source: novasphere/templates/gateway/a.yaml\n---\n# Why.\nkind: Ingress\nmetadata:\n  labels:\n    \
                        helm.sh/chart: novasphere-1\n    a: b\n---\nkind: Service\n";
        let files = routes("kong", rendered).unwrap();
        let paths: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(
            paths,
            [
                "config/gateway/kong/routes/kustomization.yaml",
                "config/gateway/kong/routes/routes.yaml"
            ]
        );
        assert!(files[0].1.ends_with("resources:\n  - routes.yaml\n"), "{}", files[0].1);
        assert_eq!(
            files[1].1,
            "# Generated by `cargo xtask generate` from charts/novasphere. Do not edit.\n# Why.\nkind: Ingress\nmetadata:\n  labels:\n    a: b\n\
             ---\nkind: Service\n"
        );
    }

    #[test]
    fn kinds_are_written_as_file_names() {
        for (kind, file) in [
            ("Deployment", "deployment"),
            ("PodDisruptionBudget", "pod_disruption_budget"),
            ("ConfigMap", "config_map"),
            ("APIService", "api_service"),
        ] {
            assert_eq!(snake_case(kind), file);
        }
    }
}
