//! The roles of the program as the chart installs them, from the table in `crates/novasphere`.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Context;
use novasphere::{Configuration, ROLES, RolePort};
use serde_json::Value;

use crate::files::{Files, MARK};

/// The table as a part of the chart: the templates in `templates/roles` range over it.
pub(crate) fn files() -> anyhow::Result<Files> {
    let defaults = serde_json::to_value(Configuration::default())?;
    let mut text = format!(
        "{{{{/*\n{MARK} from crates/novasphere/src/role.rs. Do not edit.\n\nThe roles that are installed, as a YAML list.\n*/}}}}\n\
         {{{{- define \"novasphere.roles\" -}}}}\n"
    );
    for role in ROLES {
        if role.is_optional {
            writeln!(text, "{{{{- if .Values.{}.enabled }}}}", role.name)?;
        }
        writeln!(text, "- name: {}\n  gateway: {}", role.name, role.carries_streams)?;
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
                default_number(port, &defaults)?
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

/// The number in the default address.
fn default_number(port: &RolePort, defaults: &Value) -> anyhow::Result<u16> {
    let pointer = format!("/{}", port.setting.join("/"));
    let address = defaults.pointer(&pointer).and_then(Value::as_str);
    let number = address.and_then(|address| address.rsplit_once(':')?.1.parse().ok());
    number.with_context(|| format!("the configuration has no address with a port at {pointer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_default_ports_of_the_configuration() {
        let (_, text) = files().unwrap().remove(0);
        for port in ["8443", "5900", "9443", "8444"] {
            assert!(text.contains(&format!("\"default\" \"{port}\"")), "{port}: {text}");
        }
    }
}
