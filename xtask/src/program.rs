//! The reference of the program `novasphere`: its command line, and the
//! configuration file as a page and as a part of the chart's schema.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context, bail};
use novasphere::Configuration;
use serde_json::{Map, Value};

use crate::files::{Files, MARK};

/// Schema of the chart's values; `config` is filled in.
const VALUES_SCHEMA: &str = include_str!("values.schema.json");

/// `docs/cli.md`, `docs/configuration.md` and the chart's `values.schema.json`.
pub(crate) fn files() -> anyhow::Result<Files> {
    let schema = novasphere_runtime::config::schema::<Configuration>();
    let defaults = serde_json::to_value(Configuration::default())?;
    Ok(vec![
        (PathBuf::from("docs/cli.md"), command_line()?),
        (
            PathBuf::from("docs/configuration.md"),
            configuration(&schema, &defaults)?,
        ),
        (
            PathBuf::from("charts/novasphere/values.schema.json"),
            values_schema(schema)?,
        ),
    ])
}

fn header(source: &str) -> String {
    format!("<!-- {MARK} from {source}. Do not edit. -->\n\n")
}

fn command_line() -> Result<String, std::fmt::Error> {
    let options = clap_markdown::MarkdownOptions::new()
        .title("Command line".to_owned())
        .show_footer(false);
    let text = clap_markdown::help_markdown_command_custom(&novasphere::command(), &options);
    let mut page = format!("{}{}\n", header("crates/novasphere"), text.trim_end());
    page.push_str("\n## Environment\n\nEach of these stands for an option, which wins over it.\n\n| Variable | Option |\n|---|---|\n");
    for argument in novasphere::command().get_arguments() {
        if let (Some(variable), Some(option)) = (argument.get_env(), argument.get_long()) {
            writeln!(page, "| `{}` | `--{option}` |", variable.to_string_lossy())?;
        }
    }
    Ok(page)
}

/// The chart's schema with the schema of the configuration file in it.
fn values_schema(mut configuration: Value) -> anyhow::Result<String> {
    let mut values: Value = serde_json::from_str(VALUES_SCHEMA).context("xtask/src/values.schema.json")?;
    let fields = configuration
        .as_object_mut()
        .context("the configuration's schema is not an object")?;
    fields.remove("$schema");
    fields.values_mut().try_for_each(without_cel)?;
    // References are counted from the root of the document.
    if let Some(Value::Object(definitions)) = fields.remove("$defs") {
        let shared = values
            .pointer_mut("/$defs")
            .and_then(Value::as_object_mut)
            .context("no $defs")?;
        shared.extend(definitions);
    }
    let place = values
        .pointer_mut("/properties/config")
        .context("no properties.config")?;
    *place = configuration;
    Ok(format!("{}\n", serde_json::to_string_pretty(&values)?))
}

/// An address range, with what a pattern can say of it.
const CIDR_PATTERN: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}/(3[0-2]|[12]?[0-9])|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$";

/// Turns rules of kube-apiserver, which Helm does not know, into patterns, which say the same.
fn without_cel(schema: &mut Value) -> anyhow::Result<()> {
    const RULES: &str = "x-kubernetes-validations";
    match schema {
        Value::Object(fields) => {
            if let Some(rules) = fields.remove(RULES) {
                let rule = rules.pointer("/0/rule").and_then(Value::as_str).unwrap_or_default();
                let matched = rule
                    .strip_prefix("self.matches('")
                    .and_then(|rule| rule.strip_suffix("')"));
                let pattern = match (matched, rule) {
                    (Some(pattern), _) => pattern,
                    (None, "isCIDR(self)") => CIDR_PATTERN,
                    _ => bail!("Helm needs a pattern for the rule {rule:?}"),
                };
                fields.insert("pattern".to_owned(), pattern.into());
            }
            fields.values_mut().try_for_each(without_cel)
        }
        Value::Array(items) => items.iter_mut().try_for_each(without_cel),
        _ => Ok(()),
    }
}

/// A table for each section of the configuration file.
fn configuration(schema: &Value, defaults: &Value) -> anyhow::Result<String> {
    let mut page = header("the types of the configuration");
    page.push_str(
        "# Configuration file\n\n\
         One YAML file, named by `--config` or `NOVASPHERE_CONFIG`; in a cluster it is the chart's value `config`. Every setting \
         has a default, and an unknown one is an error that names its line. The program reads it when it starts, \
         and the section `gateways` again when the file changes.\n",
    );
    sections(schema, schema, defaults, "", &mut page)?;
    Ok(page)
}

fn sections(root: &Value, schema: &Value, defaults: &Value, path: &str, page: &mut String) -> anyhow::Result<()> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let (groups, settings): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(_, property)| group(root, property).is_some());
    if !settings.is_empty() {
        page.push_str("\n| Setting | Type | Default | Meaning |\n|---|---|---|---|\n");
    }
    for (name, property) in settings {
        let default = match defaults.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(value) => format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        };
        writeln!(
            page,
            "| `{name}` | {} | {default} | {} |",
            type_of(root, property),
            description(root, property)
        )?;
    }
    for (name, property) in groups {
        let Some((fields, mark)) = group(root, property) else {
            continue;
        };
        let path = if path.is_empty() {
            format!("{name}{mark}")
        } else {
            format!("{path}.{name}{mark}")
        };
        let nothing = Value::Null;
        let inner = defaults.get(name).unwrap_or(&nothing);
        write!(page, "\n## `{path}`\n\n{}\n", description(root, property))?;
        sections(root, fields, inner, &path, page)?;
    }
    Ok(())
}

/// The schema of a property that has settings itself, and what marks its name when it is a list of such.
fn group<'a>(root: &'a Value, property: &'a Value) -> Option<(&'a Value, &'static str)> {
    let has_settings = |schema: &&Value| schema.get("properties").is_some();
    let own = resolve(root, property);
    let one = Some(own).filter(has_settings).map(|own| (own, ""));
    one.or_else(|| {
        let items = resolve(root, own.get("items")?);
        Some(items).filter(has_settings).map(|items| (items, "[]"))
    })
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    // An optional section may be null; that is the same as leaving it out.
    let is_null = |schema: &&Value| schema.get("type").is_some_and(|kind| kind == "null");
    let wanted = schema.get("anyOf").and_then(Value::as_array);
    if let Some(wanted) = wanted.and_then(|any| any.iter().find(|schema| !is_null(schema))) {
        return resolve(root, wanted);
    }
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn type_of(root: &Value, property: &Value) -> String {
    match resolve(root, property).get("type") {
        Some(Value::String(name)) => name.clone(),
        // An optional setting may be null; that is the same as leaving it out.
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => String::new(),
    }
}

fn description(root: &Value, property: &Value) -> String {
    let own = property
        .get("description")
        .or_else(|| resolve(root, property).get("description"));
    own.and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_configuration_is_checked_as_a_part_of_the_values() {
        let schema = json!({
            "$schema": "x", "title": "C", "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}},
        });
        let values: Value = serde_json::from_str(&values_schema(schema).unwrap()).unwrap();
        assert_eq!(values["properties"]["config"]["properties"]["a"]["$ref"], "#/$defs/A");
        assert_eq!(values["$defs"]["A"]["type"], "string");
        assert!(values["$defs"]["texts"].is_object());
    }

    #[test]
    fn rules_of_kubernetes_become_patterns() {
        let rules =
            |rule: &str| json!({"type": "string", "x-kubernetes-validations": [{"rule": rule, "message": "m"}]});
        let mut schema =
            json!({"properties": {"a": rules("self.matches('^[0-9]+s$')"), "b": {"items": rules("isCIDR(self)")}}});
        without_cel(&mut schema).unwrap();
        assert_eq!(
            schema["properties"]["a"],
            json!({"type": "string", "pattern": "^[0-9]+s$"})
        );
        assert_eq!(schema["properties"]["b"]["items"]["pattern"], CIDR_PATTERN);
        let error = without_cel(&mut rules("self > 1")).unwrap_err();
        assert!(error.to_string().contains("self > 1"), "{error}");
    }

    #[test]
    fn settings_are_listed_with_type_default_and_meaning() {
        let schema = json!({
            "properties": {"section": {"$ref": "#/$defs/S", "description": "A section."}},
            "$defs": {"S": {"properties": {"size": {"type": ["integer", "null"], "description": "How\nmany."}}}},
        });
        let page = configuration(&schema, &json!({"section": {"size": 8}})).unwrap();
        assert!(page.contains("## `section`\n\nA section.\n"), "{page}");
        assert!(page.contains("| `size` | integer | `8` | How many. |"), "{page}");
    }
}
