//! The roles of the program as the chart installs them. One row here, a section of `values.yaml` and the Services of the role
//! itself are all that the manifests of a new role need.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Context;
use novasphere::Configuration;
use novasphere_apiserver::rbac as apiserver;
use novasphere_console::rbac as console;
use novasphere_controller::rbac as controller;
use novasphere_runtime::rbac::{BuiltInRole, RoleRules};
use serde_json::Value;

use crate::files::{Files, MARK};

/// A role of the program.
pub(crate) struct InstalledRole {
    /// Its name on the command line, in the chart's values and in the label `app.kubernetes.io/component`.
    pub(crate) name: &'static str,
    /// Whether it carries console streams: then it may read VNC passwords.
    pub(crate) is_gateway: bool,
    /// Whether the chart has a value `<name>.enabled`.
    pub(crate) is_optional: bool,
    /// Ports beside the one for health and metrics.
    ports: &'static [ContainerPort],
    /// Section of the configuration file whose `watchNamespace` limits its rights.
    pub(crate) watches_as: &'static str,
    /// What it may do.
    pub(crate) rules: RoleRules,
}

/// A container port.
struct ContainerPort {
    name: &'static str,
    /// The setting of the configuration file that names the address.
    setting: &'static [&'static str],
}

/// All roles, in the order of the command line's help.
pub(crate) const ROLES: &[InstalledRole] = &[
    InstalledRole {
        name: "controller",
        is_gateway: false,
        is_optional: false,
        ports: &[],
        watches_as: "controller",
        rules: RoleRules {
            source: "crates/controller/src/rbac.rs",
            cluster: &[controller::CLUSTER_RULES],
            namespace: &[controller::NAMESPACE_RULES],
            built_in: &[],
        },
    },
    InstalledRole {
        name: "console",
        is_gateway: true,
        is_optional: true,
        ports: &[
            ContainerPort {
                name: "web",
                setting: &["console", "http", "address"],
            },
            ContainerPort {
                name: "vnc",
                setting: &["console", "vnc", "address"],
            },
        ],
        watches_as: "console",
        rules: RoleRules {
            source: "crates/console/src/rbac.rs",
            cluster: &[console::CLUSTER_RULES],
            namespace: &[console::NAMESPACE_RULES],
            built_in: &[],
        },
    },
    InstalledRole {
        name: "apiserver",
        is_gateway: true,
        is_optional: true,
        ports: &[ContainerPort {
            name: "api",
            setting: &["apiserver", "address"],
        }],
        watches_as: "console",
        rules: RoleRules {
            source: "crates/apiserver/src/rbac.rs and crates/console/src/rbac.rs",
            cluster: &[console::CLUSTER_RULES, apiserver::CLUSTER_RULES],
            namespace: &[console::NAMESPACE_RULES],
            built_in: &[BuiltInRole {
                name: apiserver::AUTHENTICATION_READER,
                namespace: "kube-system",
                suffix: "authentication-reader",
            }],
        },
    },
];

/// The table as a part of the chart: the templates in `templates/roles` range over it.
pub(crate) fn files() -> anyhow::Result<Files> {
    let defaults = serde_json::to_value(Configuration::default())?;
    let mut text = format!(
        "{{{{/*\n{MARK} from xtask/src/roles.rs. Do not edit.\n\nThe roles that are installed, as a YAML list.\n*/}}}}\n\
         {{{{- define \"novasphere.roles\" -}}}}\n"
    );
    for role in ROLES {
        if role.is_optional {
            writeln!(text, "{{{{- if .Values.{}.enabled }}}}", role.name)?;
        }
        writeln!(text, "- name: {}\n  gateway: {}", role.name, role.is_gateway)?;
        text.push_str(if role.ports.is_empty() {
            "  ports: []\n"
        } else {
            "  ports:\n"
        });
        for port in role.ports {
            let keys: Vec<String> = port.setting.iter().map(|key| format!("{key:?}")).collect();
            writeln!(
                text,
                "    - name: {}\n      port: {{{{ include \"novasphere.port\" (dict \"address\" (dig {} \"\" .Values.config) \"default\" \
                 \"{}\") }}}}",
                port.name,
                keys.join(" "),
                port.number(&defaults)?
            )?;
        }
        if role.is_optional {
            text.push_str("{{- end }}\n");
        }
    }
    text.push_str("{{- end -}}\n");
    Ok(vec![(
        PathBuf::from("charts/novasphere/templates/_role_table.tpl"),
        text,
    )])
}

impl ContainerPort {
    /// The number in the default address.
    fn number(&self, defaults: &Value) -> anyhow::Result<u16> {
        let pointer = format!("/{}", self.setting.join("/"));
        let address = defaults.pointer(&pointer).and_then(Value::as_str);
        let port = address.and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        port.with_context(|| format!("the configuration has no address with a port at {pointer}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_default_ports_of_the_configuration() {
        let (_, text) = files().unwrap().remove(0);
        for port in ["8443", "5900", "9443"] {
            assert!(text.contains(&format!("\"default\" \"{port}\"")), "{port}: {text}");
        }
    }
}
