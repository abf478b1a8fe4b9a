//! CEL rules that several types need, each with a message that says what is wrong and what to do.

use kube::core::{Reason, Rule};
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::Duration;

/// A DNS label, as in names of volumes, networks and ports.
const DNS_LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A DNS name, with or without a wildcard as its first label.
const HOST_PATTERN: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// An OpenSSH public key: its type, its data and a comment, without options before them. White space around it means nothing: a block scalar of
/// YAML ends in a line break.
const SSH_KEY_PATTERN: &str = r"^\s*(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( .*)?\s*$";

/// A value that is wrong by itself.
pub(crate) fn invalid(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

/// A value that is wrong beside another one, or that may not change.
pub(crate) fn forbidden(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(message).reason(Reason::FieldValueForbidden)
}

/// A value that is missing.
pub(crate) fn required(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(message).reason(Reason::FieldValueRequired)
}

/// Exactly one of the fields is there.
pub(crate) fn exactly_one(fields: &[&str]) -> Rule {
    Rule::new(format!("{} == 1", count(fields))).message(format!("give exactly one of {}", list(fields)).as_str())
}

/// At most one of the fields is there.
pub(crate) fn at_most_one(fields: &[&str]) -> Rule {
    forbidden(
        &format!("{} <= 1", count(fields)),
        &format!("give at most one of {}", list(fields)),
    )
}

/// The field stays as it was made. `instead` says what to do for another value.
pub(crate) fn immutable(field: &str, instead: &str) -> Rule {
    forbidden(
        &format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        ),
        &format!("{field} is immutable; {instead}"),
    )
    .field_path(format!(".{field}"))
}

/// The field is a DNS label; the schema bounds its length.
pub(crate) fn dns_label(field: &str) -> Rule {
    matches(
        field,
        DNS_LABEL_PATTERN,
        &format!("{field} must have only lower-case letters, digits and '-', with a letter or digit at both ends"),
    )
}

/// The field is a DNS name, `*.` allowed as its first label, and no address.
pub(crate) fn host(field: &str) -> Rule {
    optional(
        field,
        &format!("self.{field}.matches(r'{HOST_PATTERN}') && !isIP(self.{field})"),
        &format!("{field} must be a DNS name in lower case, such as vm1.example.org or *.example.org, and no address"),
    )
}

/// The field is the name of a Kubernetes object.
pub(crate) fn object_name(field: &str) -> Rule {
    optional(
        field,
        &format!("!format.dns1123Subdomain().validate(self.{field}).hasValue()"),
        &format!("{field} must be the name of an object: lower-case letters, digits, '-' and '.'"),
    )
}

/// The field matches the regular expression, which has no single quotes; the schema bounds its length.
pub(crate) fn matches(field: &str, expression: &str, message: &str) -> Rule {
    optional(field, &format!("self.{field}.matches(r'{expression}')"), message)
}

/// The field is a cron expression of five fields, as far as that can be seen without reading it; the schema bounds its length.
pub(crate) fn cron(field: &str) -> Rule {
    matches(
        field,
        r"^\s*[-0-9A-Za-z*/,]+(\s+[-0-9A-Za-z*/,]+){4}\s*$",
        &format!(
            "{field} must be a cron expression of five fields, such as 0 8 * * 1-5 for 8:00 from Monday to Friday"
        ),
    )
}

/// The field looks like the name of a time zone; the schema bounds its length.
pub(crate) fn time_zone(field: &str) -> Rule {
    matches(
        field,
        "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$",
        &format!("{field} must be a name of the IANA database, such as Europe/Berlin or Etc/UTC"),
    )
}

/// The field is a duration from `least` to `most`, both included; its type's own rule says when it is none.
pub(crate) fn between(field: &str, least: &str, most: &str) -> Rule {
    optional(
        field,
        &format!(
            "!self.{field}.matches('{}') || \
             (duration(self.{field}) >= duration('{least}') && duration(self.{field}) <= duration('{most}'))",
            Duration::PATTERN
        ),
        &format!("{field} must be from {least} to {most}"),
    )
}

/// The field is a number of bytes that can be meant: `4` is a slip for `4Gi`. Its type's own rule says when it is no quantity.
pub(crate) fn plausible_size(field: &str) -> Rule {
    optional(
        field,
        &format!(
            "!isQuantity(string(self.{field})) || {}",
            is_plausible(&format!("self.{field}"))
        ),
        &format!("{field} must be at least 1Mi; a number without a unit is bytes, so write a unit, such as 2Gi"),
    )
}

/// The same for the memory in a field with quantities of resources.
pub(crate) fn plausible_memory(field: &str) -> Rule {
    let memory = format!("self.{field}['memory']");
    optional(
        field,
        &format!(
            "!('memory' in self.{field}) || !isQuantity(string({memory})) || {}",
            is_plausible(&memory)
        ),
        "memory must be at least 1Mi; a number without a unit is bytes, so write a unit, such as 2Gi",
    )
}

fn is_plausible(quantity: &str) -> String {
    let compared = |bound: &str| format!("quantity(string({quantity})).compareTo(quantity('{bound}'))");
    // A negative one is refused by the rule of its type.
    format!("({} < 0 || {} >= 0)", compared("0"), compared("1Mi"))
}

/// The text is at most as long as `KubeVirt` takes inline, in characters. The schema lets longer ones come as far as this rule, because
/// the words for a length that the schema refuses are the apiserver's and give no advice.
pub(crate) fn fits_inline(field: &str, secret_field: &str) -> Rule {
    optional(
        field,
        &format!("size(self.{field}) <= 2048"),
        &format!(
            "{field} may have 2048 characters, which is what KubeVirt takes; put it into a Secret, and name that in {secret_field}"
        ),
    )
}

/// A list of at most 16 OpenSSH public keys. The rule is on the entries, so that the apiserver names the one that breaks it.
pub(crate) fn ssh_keys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 8192,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches(r'{SSH_KEY_PATTERN}')"),
                "message": "must be one OpenSSH public key on one line without options, such as 'ssh-ed25519 AAAA... alice'"
            }]
        }
    })
}

/// An entry point is asked for by one route of the list alone: it carries no more.
pub(crate) fn entry_points_differ() -> Rule {
    routes_differ(
        "has(a.tcp) && has(a.tcp.entryPoint)",
        "has(b.tcp) && has(b.tcp.entryPoint) && a.tcp.entryPoint == b.tcp.entryPoint",
        "two routes ask for the same tcp.entryPoint, which carries one; name another one, or none to get any free one",
    )
}

/// A TLS host of one gateway leads to one target.
pub(crate) fn tls_hosts_differ() -> Rule {
    routes_differ(
        "has(a.tls)",
        "has(b.tls) && a.tls.host == b.tls.host",
        "two routes of one gateway have the same tls.host; give each its own",
    )
}

/// A host and path of one gateway lead to one target.
pub(crate) fn http_paths_differ() -> Rule {
    routes_differ(
        "has(a.http)",
        "has(b.http) && a.http.path == b.http.path && \
         (has(a.http.host) ? a.http.host : '') == (has(b.http.host) ? b.http.host : '')",
        "two routes of one gateway have the same http.host and http.path; give each its own",
    )
}

/// No two of `routes` have the same gateway and are alike; a route is always like itself.
fn routes_differ(concerned: &str, alike: &str, message: &str) -> Rule {
    let gateway = "(has(a.gateway) ? a.gateway : '') == (has(b.gateway) ? b.gateway : '')";
    forbidden(
        &format!(
            "!has(self.routes) || self.routes.all(a, !({concerned}) || self.routes.exists_one(b, {alike} && {gateway}))"
        ),
        message,
    )
    .field_path(".routes")
}

fn optional(field: &str, cel: &str, message: &str) -> Rule {
    invalid(&format!("!has(self.{field}) || ({cel})"), message).field_path(format!(".{field}"))
}

fn count(fields: &[&str]) -> String {
    let present: Vec<_> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    format!("[{}].filter(present, present).size()", present.join(", "))
}

fn list(fields: &[&str]) -> String {
    match fields {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        fields => fields.concat(),
    }
}
