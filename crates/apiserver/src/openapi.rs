//! OpenAPI documents, in both versions that kube-apiserver asks for, from the types themselves.

use std::sync::LazyLock;

use novasphere_core::console_session::target::protocols_of;
use novasphere_crd::ConsoleProtocol;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    GROUP, VERSION,
    discovery::short_hash,
    route::{SUBRESOURCES, Subresource},
    token::{ConsoleToken, KIND},
};

/// Name of the token's schema.
const TOKEN: &str = "io.novasphere.subresources.v1alpha1.ConsoleToken";

/// `/openapi/v2`
#[must_use]
pub fn v2() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let body = json!([{"in": "body", "name": "body", "schema": {"$ref": format!("#/definitions/{TOKEN}")}}]);
        let answer = json!({"description": "Created", "schema": {"$ref": format!("#/definitions/{TOKEN}")}});
        let schema = |kind: &str| json!({"type": kind, "uniqueItems": true});
        json!({
            "swagger": "2.0",
            "info": info(),
            "paths": paths(&body, &answer, &schema, true),
            "definitions": {TOKEN: token_schema()},
        })
    });
    &DOCUMENT
}

/// `/openapi/v3`: where the documents are. The hash lets clients keep them.
#[must_use]
pub fn v3_index() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let hash = short_hash(&v3().to_string());
        let path = format!("apis/{GROUP}/{VERSION}");
        let url = format!("/openapi/v3/{path}?hash={hash}");
        json!({"paths": {path: {"serverRelativeURL": url}}})
    });
    &DOCUMENT
}

/// `/openapi/v3/apis/<group>/<version>`
#[must_use]
pub fn v3() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let reference = json!({"$ref": format!("#/components/schemas/{TOKEN}")});
        let content = json!({"application/json": {"schema": reference}});
        let answer = json!({"description": "Created", "content": content});
        let schema = |kind: &str| json!({"schema": {"type": kind, "uniqueItems": true}});
        json!({
            "openapi": "3.0.0",
            "info": info(),
            "paths": paths(&json!({"content": content}), &answer, &schema, false),
            "components": {"schemas": {TOKEN: token_schema()}},
        })
    });
    &DOCUMENT
}

fn info() -> Value {
    json!({"title": "novasphere consoles", "version": VERSION})
}

/// The two versions say a body and a parameter's type in different words.
fn paths(body: &Value, answer: &Value, typed: &dyn Fn(&str) -> Value, is_v2: bool) -> Value {
    let path = |subresource: &Subresource| {
        let path = format!(
            "/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{}/{{name}}/{}",
            subresource.resource(),
            subresource.name()
        );
        let parameter = |place: &str, name: &str, required: bool, text: &str| {
            let mut parameter = typed("string");
            if let Some(fields) = parameter.as_object_mut() {
                fields.insert("name".to_owned(), json!(name));
                fields.insert("in".to_owned(), json!(place));
                fields.insert("description".to_owned(), json!(text));
                if required {
                    fields.insert("required".to_owned(), json!(true));
                }
            }
            parameter
        };
        let mut item = Map::new();
        let (verb, method) = subresource.verb();
        let named = vec![
            parameter("path", "name", true, "name of the object"),
            parameter("path", "namespace", true, "namespace of the object"),
        ];
        item.insert("parameters".to_owned(), json!(named));
        let mut query = Vec::new();
        if let Some(kind) = subresource.target() {
            let protocols = format!("which console: {}", words_of(protocols_of(kind)));
            query.push(parameter("query", "protocol", false, &protocols));
            query.push(parameter("query", "input", false, "Control or ViewOnly"));
            query.push(parameter(
                "query",
                "takeover",
                false,
                "what happens to a present viewer: Refuse or Replace",
            ));
        }
        let operation = operation(*subresource, verb, query, body, answer, is_v2);
        item.insert(method.as_str().to_ascii_lowercase(), operation);
        (path, Value::Object(item))
    };
    Value::Object(SUBRESOURCES.iter().map(path).collect())
}

fn operation(
    subresource: Subresource,
    verb: &str,
    mut parameters: Vec<Value>,
    body: &Value,
    answer: &Value,
    is_v2: bool,
) -> Value {
    let is_token = subresource == Subresource::SessionToken;
    let answers = if is_token {
        json!({"201": answer})
    } else {
        json!({"101": {"description": "Switching Protocols: a WebSocket"}})
    };
    let words = format!("{}-{}", subresource.resource(), subresource.name());
    let mut operation = json!({
        "description": description(subresource),
        "operationId": format!("{verb}-novasphere-{words}"),
        "responses": answers,
        "x-kubernetes-action": if is_token { "post" } else { "connect" },
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": subresource.kind()},
    });
    let Some(fields) = operation.as_object_mut() else {
        return operation;
    };
    if is_token && is_v2 {
        parameters.extend(body.as_array().into_iter().flatten().cloned());
        fields.insert("consumes".to_owned(), json!(["application/json"]));
        fields.insert("produces".to_owned(), json!(["application/json"]));
    } else if is_token {
        fields.insert("requestBody".to_owned(), body.clone());
    }
    if !parameters.is_empty() {
        fields.insert("parameters".to_owned(), json!(parameters));
    }
    operation
}

fn words_of(protocols: &[ConsoleProtocol]) -> String {
    let words: Vec<_> = protocols.iter().map(|protocol| protocol.as_str()).collect();
    words.join(" or ")
}

const fn description(subresource: Subresource) -> &'static str {
    match subresource {
        Subresource::VmAccessConsole => "make a console session for the caller and connect to it by WebSocket",
        Subresource::VncWorkspaceConsole => {
            "make a console session for the caller and connect to it by WebSocket; a desktop that sleeps is woken"
        }
        Subresource::SessionConnect => "connect to a console session by WebSocket",
        Subresource::SessionToken => "create a token that opens a console session",
    }
}

fn token_schema() -> Value {
    let mut schema = schema_of::<ConsoleToken>();
    if let Some(fields) = schema.as_object_mut() {
        let kind = json!([{"group": GROUP, "version": VERSION, "kind": KIND}]);
        fields.insert("x-kubernetes-group-version-kind".to_owned(), kind);
    }
    schema
}

/// A type's schema in the words that both versions know.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    schema
}

fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A field that may be left out is not one that may be null.
            for word in [
                "$schema",
                "components",
                "title",
                "nullable",
                "default",
                "additionalProperties",
            ] {
                if fields
                    .get(word)
                    .is_some_and(|value| !value.is_object() || word == "components")
                {
                    fields.remove(word);
                }
            }
            fields.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_explained_in_both_versions() {
        for schema in [
            v2().pointer(&format!("/definitions/{TOKEN}")).unwrap(),
            v3().pointer(&format!("/components/schemas/{TOKEN}")).unwrap(),
        ] {
            assert_eq!(schema["type"], "object");
            assert!(schema["description"].as_str().unwrap().starts_with("A token"));
            assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], KIND);
            let fields = schema["properties"].as_object().unwrap();
            for (name, field) in fields {
                assert!(field["type"].is_string(), "{name}: {field}");
                assert!(!field["description"].as_str().unwrap().is_empty(), "{name}");
            }
            assert_eq!(fields["urls"]["properties"]["vnc"]["type"], "string");
            assert!(!schema.to_string().contains("nullable"));
        }
    }

    #[test]
    fn every_subresource_is_there_with_its_method() {
        for document in [v2(), v3()] {
            let paths = document["paths"].as_object().unwrap();
            assert_eq!(paths.len(), SUBRESOURCES.len());
            for subresource in SUBRESOURCES {
                let path = paths
                    .keys()
                    .find(|path| path.ends_with(subresource.name()) && path.contains(subresource.resource()));
                let method = subresource.verb().1.as_str().to_ascii_lowercase();
                assert!(
                    paths[path.unwrap()][&method]["operationId"].is_string(),
                    "{subresource:?}"
                );
            }
        }
    }

    #[test]
    fn the_index_names_the_document_with_its_hash() {
        let path = format!("/paths/apis~1{GROUP}~1{VERSION}/serverRelativeURL");
        let url = v3_index().pointer(&path).unwrap().as_str().unwrap();
        assert!(
            url.starts_with("/openapi/v3/apis/subresources.novasphere.io/v1alpha1?hash="),
            "{url}"
        );
    }
}
