//! `docs/reference/`: one page for each kind, from its schema.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::files::{Files, MARK};

/// One page for each kind, and an overview with links to them.
pub(crate) fn files() -> anyhow::Result<Files> {
    let crds = novasphere_crd::crds();
    let mut files = crds
        .iter()
        .map(|crd| Ok((PathBuf::from(format!("docs/reference/{}.md", page(crd))), kind(crd)?)))
        .collect::<anyhow::Result<Files>>()?;
    files.push((PathBuf::from("docs/reference/README.md"), overview(&crds)));
    Ok(files)
}

/// The types with rules beyond their JSON type. The rules' messages explain them at admission; the pages of kinds do not repeat them.
const TYPES: [(&str, &str); 5] = [
    ("time", "A time by RFC 3339, such as `2026-11-20T08:00:00Z`."),
    (
        "duration",
        "Up to four numbers with the units `h`, `m`, `s` or `ms`, such as `90s`, `15m` or `1h30m`; a day is `24h`. As in \
         Gateway API (GEP-2257).",
    ),
    (
        "quantity",
        "A Kubernetes quantity that is not negative, such as `500m`, `2` or `4Gi`.",
    ),
    (
        "address range",
        "An IPv4 or IPv6 range in CIDR notation with no bits set beyond its prefix, such as `10.20.0.0/16`, or \
         `10.20.0.7/32` for one address.",
    ),
    (
        "any object",
        "Fields that somebody else defines and checks; the text says who.",
    ),
];

fn page(crd: &CustomResourceDefinition) -> String {
    crd.spec.names.kind.to_lowercase()
}

fn header() -> String {
    format!("<!-- {MARK} from crates/crd. Do not edit. -->\n\n")
}

fn overview(crds: &[CustomResourceDefinition]) -> String {
    let mut out = header();
    out.push_str("# Reference of the custom resources\n\n| Kind | Short name | Says |\n|---|---|---|\n");
    for crd in crds {
        let names = &crd.spec.names;
        let says = root(crd)
            .and_then(|root| root.description.as_deref())
            .unwrap_or_default();
        let short = names.short_names.as_deref().unwrap_or_default().join(", ");
        let _ = writeln!(
            out,
            "| [{}]({}.md) | `{short}` | {} |",
            names.kind,
            page(crd),
            cell(says)
        );
    }
    out.push_str("\nAll are namespaced. `kubectl explain <kind>.spec` shows the same texts.\n\n## Types\n\n");
    out.push_str("| Type | Is |\n|---|---|\n");
    for (kind, is) in TYPES {
        let _ = writeln!(out, "| {kind} | {is} |");
    }
    out
}

fn root(crd: &CustomResourceDefinition) -> Option<&JSONSchemaProps> {
    crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()
}

fn kind(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    let names = &crd.spec.names;
    let version = crd.spec.versions.first().context("a CRD without versions")?;
    let root = root(crd).with_context(|| format!("{} has no schema", names.kind))?;
    let mut out = header();
    let short = names.short_names.as_deref().unwrap_or_default().join("`, `");
    let _ = write!(
        out,
        "# {}\n\n{}\n\n`apiVersion: {}/{}`, `kind: {}`; in kubectl also `{}`, `{short}`.\n",
        names.kind,
        root.description.as_deref().unwrap_or_default(),
        crd.spec.group,
        version.name,
        names.kind,
        names.plural,
    );
    if let Some(fields) = version.selectable_fields.as_deref().filter(|fields| !fields.is_empty()) {
        let list: Vec<_> = fields
            .iter()
            .map(|field| format!("`{}`", field.json_path.trim_start_matches('.')))
            .collect();
        let _ = write!(
            out,
            "\n`kubectl get {} --field-selector` knows {}.\n",
            names.plural,
            list.join(", ")
        );
    }
    if let Some(rules) = rules(root, "") {
        let _ = write!(out, "\n{rules}");
    }
    for (name, schema) in root.properties.iter().flatten() {
        if ["spec", "status"].contains(&name.as_str()) {
            let _ = write!(out, "\n## {name}\n\n");
            object(&mut out, name, schema);
        }
    }
    Ok(out)
}

/// The fields of an object as a table, its rules, and then the objects inside it.
fn object(out: &mut String, path: &str, schema: &JSONSchemaProps) {
    if let Some(text) = &schema.description {
        let _ = writeln!(out, "{}\n", text.trim());
    }
    out.push_str("| Field | Type | Default | Meaning |\n|---|---|---|---|\n");
    for (name, field) in schema.properties.iter().flatten() {
        let required = schema.required.iter().flatten().any(|required| required == name);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            field_name(path, name, field),
            kind_of(field),
            if required {
                "required".to_owned()
            } else {
                default_of(field)
            },
            meaning(field)
        );
    }
    if let Some(rules) = rules(schema, path) {
        let _ = write!(out, "\n{rules}");
    }
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if let Some((path, inner)) = inner_object(&path, field) {
            let _ = write!(out, "\n### {path}\n\n");
            object(out, &path, inner);
        }
    }
}

/// The name, as a link when the field has a table of its own.
fn field_name(path: &str, name: &str, field: &JSONSchemaProps) -> String {
    match inner_object(&format!("{path}.{name}"), field) {
        Some((path, _)) => format!("[`{name}`](#{})", anchor(&path)),
        None => format!("`{name}`"),
    }
}

/// How GitHub names the anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || *letter == '-' || *letter == '_')
        .collect()
}

/// The object that a field holds, in a list or a map or by itself, when it has fields; with its path.
fn inner_object<'a>(path: &str, field: &'a JSONSchemaProps) -> Option<(String, &'a JSONSchemaProps)> {
    let (path, inner) = match (&field.items, &field.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => (format!("{path}[]"), items.as_ref()),
        (_, Some(JSONSchemaPropsOrBool::Schema(values))) => (format!("{path}.<key>"), values.as_ref()),
        _ => (path.to_owned(), field),
    };
    let has_fields = inner
        .properties
        .as_ref()
        .is_some_and(|properties| !properties.is_empty());
    // A free object lists fields only to refuse them.
    (has_fields && inner.x_kubernetes_preserve_unknown_fields != Some(true)).then_some((path, inner))
}

/// The type of [`TYPES`] that a field has by its rules.
fn type_by_rule(field: &JSONSchemaProps) -> Option<&'static str> {
    if field.x_kubernetes_int_or_string == Some(true) {
        return Some("quantity");
    }
    let rules = || {
        field
            .x_kubernetes_validations
            .iter()
            .flatten()
            .map(|rule| rule.rule.as_str())
    };
    if rules().any(|rule| rule.contains(novasphere_crd::Duration::PATTERN)) && field.type_.as_deref() == Some("string")
    {
        return Some("duration");
    }
    rules().any(|rule| rule == "isCIDR(self)").then_some("address range")
}

fn kind_of(field: &JSONSchemaProps) -> String {
    if let Some(kind) = type_by_rule(field) {
        return kind.to_owned();
    }
    match (&field.items, &field.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => return format!("list of {}", kind_of(items)),
        (_, Some(JSONSchemaPropsOrBool::Schema(values))) => return format!("map to {}", kind_of(values)),
        _ => {}
    }
    if field.enum_.is_some() {
        return "enum".to_owned();
    }
    match (field.type_.as_deref(), field.format.as_deref()) {
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some("string"), _) if field.pattern.as_deref() == Some(novasphere_crd::Duration::PATTERN) => {
            "duration".to_owned()
        }
        (Some("object"), _) if field.x_kubernetes_preserve_unknown_fields == Some(true) => "any object".to_owned(),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "any".to_owned(),
    }
}

fn default_of(field: &JSONSchemaProps) -> String {
    match field.default.as_ref().map(|default| &default.0) {
        None => String::new(),
        // The defaults of its fields state the same.
        Some(Value::Object(_)) => "its fields' defaults".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    }
}

/// The field's text, and the limits that the text does not state.
fn meaning(field: &JSONSchemaProps) -> String {
    let text = field.description.as_deref().unwrap_or_default();
    let mut limits = limits(field, text);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items
        && items.properties.is_none()
    {
        limits.extend(
            self::limits(items, text)
                .into_iter()
                .map(|limit| format!("each {limit}")),
        );
    }
    match limits.as_slice() {
        [] => cell(text),
        limits => format!("{} *({})*", cell(text), limits.join("; ")),
    }
}

fn limits(field: &JSONSchemaProps, text: &str) -> Vec<String> {
    let mut limits = Vec::new();
    let mut range = |least: Option<String>, most: Option<String>, what: &str| {
        // A limit that the text states needs no repetition.
        let news = |limit: &Option<String>| limit.as_ref().is_some_and(|limit| !says(text, limit));
        limits.extend(match (&least, &most) {
            (Some(least_), Some(most_)) if news(&least) || news(&most) => Some(format!("{least_} to {most_}{what}")),
            (Some(least_), None) if news(&least) => Some(format!("at least {least_}{what}")),
            (None, Some(most_)) if news(&most) => Some(format!("at most {most_}{what}")),
            _ => None,
        });
    };
    let count = |number: Option<i64>| number.map(|number| number.to_string());
    let above_one = |number: Option<i64>| number.filter(|number| *number > 1).map(|number| number.to_string());
    if field.enum_.is_none() {
        range(
            field.minimum.map(|number| number.to_string()),
            field.maximum.map(|number| number.to_string()),
            "",
        );
    }
    range(above_one(field.min_items), count(field.max_items), " entries");
    range(above_one(field.min_properties), count(field.max_properties), " entries");
    if kind_of(field) == "string" {
        range(above_one(field.min_length), count(field.max_length), " characters");
        limits.extend(
            field
                .pattern
                .as_ref()
                .map(|pattern| format!("matches `{}`", pattern.replace('|', "\\|"))),
        );
    }
    limits
}

/// Whether the text has the number as a word of its own.
fn says(text: &str, number: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric())
        .any(|word| word == number)
}

/// The messages of the rules on an object and on its plain values, which say what is refused.
fn rules(schema: &JSONSchemaProps, path: &str) -> Option<String> {
    let mut messages = messages(schema, path);
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if inner_object(&path, field).is_some() {
            continue;
        }
        if type_by_rule(field).is_none() {
            messages.extend(self::messages(field, &path));
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items
            && type_by_rule(items).is_none()
        {
            messages.extend(self::messages(items, &format!("{path}[]")));
        }
    }
    (!messages.is_empty()).then(|| format!("Refused at admission, with these words:\n\n{}", messages.concat()))
}

fn messages(schema: &JSONSchemaProps, path: &str) -> Vec<String> {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    rules
        .map(|rule| {
            let at = format!("{path}{}", rule.field_path.as_deref().unwrap_or_default());
            let message = rule.message.as_deref().unwrap_or(&rule.rule);
            match at.trim_start_matches('.') {
                "" => format!("- {message}\n"),
                at => format!("- `{at}`: {message}\n"),
            }
        })
        .collect()
}

/// Text for one cell of a table; lists become one line.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace("\n- ", "<br>• ")
        .replace("\n\n", "<br>")
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_link_of_a_page_leads_to_a_heading() {
        for (path, text) in files().unwrap() {
            let headings: BTreeSet<_> = text
                .lines()
                .filter_map(|line| line.split_once("# "))
                .map(|(_, title)| anchor(title))
                .collect();
            for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
                assert!(headings.contains(link), "{}: #{link}", path.display());
            }
        }
    }

    #[test]
    fn a_limit_is_stated_once() {
        let field = JSONSchemaProps {
            type_: Some("array".to_owned()),
            max_items: Some(16),
            ..JSONSchemaProps::default()
        };
        assert_eq!(limits(&field, "Ports. At most 16."), Vec::<String>::new());
        assert_eq!(limits(&field, "Ports 1 to 160."), ["at most 16 entries"]);
    }
}
