//! Which API there is: `/`, `/apis`, the group and the version, in the old form and in the aggregated one.
//!
//! The documents are the same for everybody and need no authentication: kube-apiserver's discovery asks as a user of no group,
//! and a 401 or 403 there would keep every namespace of the cluster from being deleted.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use novasphere_runtime::serve::status::{ResponseBody, bytes_response, json_response};

use crate::{
    GROUP, VERSION,
    negotiate::{AGGREGATED, Form},
    route::{SUBRESOURCES, Subresource},
};

/// `/`
#[must_use]
pub fn root() -> Response<ResponseBody> {
    let group = format!("/apis/{GROUP}");
    let version = format!("{group}/{VERSION}");
    let document = format!("/openapi/v3/apis/{GROUP}/{VERSION}");
    let paths = json!([
        "/apis",
        group,
        version,
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        document,
        "/readyz"
    ]);
    json_response(StatusCode::OK, &json!({"paths": paths}))
}

/// `/apis`
#[must_use]
pub fn groups(form: Form, headers: &HeaderMap) -> Response<ResponseBody> {
    match form {
        Form::Json => json_response(
            StatusCode::OK,
            &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group_document()]}),
        ),
        Form::Aggregated => aggregated(headers),
    }
}

/// `/apis/<group>`
#[must_use]
pub fn group() -> Response<ResponseBody> {
    let mut document = group_document();
    if let Some(document) = document.as_object_mut() {
        document.insert("kind".to_owned(), json!("APIGroup"));
        document.insert("apiVersion".to_owned(), json!("v1"));
    }
    json_response(StatusCode::OK, &document)
}

/// `/apis/<group>/<version>`
#[must_use]
pub fn resources() -> Response<ResponseBody> {
    let resource = |subresource: &Subresource| {
        json!({
            "name": format!("{}/{}", subresource.resource(), subresource.name()),
            "singularName": "",
            "namespaced": true,
            "kind": subresource.kind(),
            "verbs": [subresource.verb().0],
        })
    };
    let document = json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": SUBRESOURCES.iter().map(resource).collect::<Vec<_>>(),
    });
    json_response(StatusCode::OK, &document)
}

fn group_document() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

/// The aggregated form, with an `ETag` so that kube-apiserver, which asks each minute, gets a 304.
fn aggregated(headers: &HeaderMap) -> Response<ResponseBody> {
    let text = aggregated_document().to_string();
    let etag = format!("\"{}\"", short_hash(&text));
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        let mut response = bytes_response(
            StatusCode::NOT_MODIFIED,
            HeaderValue::from_static(AGGREGATED),
            Bytes::new(),
        );
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else {
        bytes_response(StatusCode::OK, HeaderValue::from_static(AGGREGATED), text.into())
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// The first half of a text's SHA-256, which is enough to tell documents apart.
pub(crate) fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let half = hash.first_chunk::<16>().copied().unwrap_or_default();
    format!("{:032X}", u128::from_be_bytes(half))
}

fn aggregated_document() -> Value {
    let mut parents: Vec<&str> = SUBRESOURCES.iter().map(|subresource| subresource.resource()).collect();
    parents.dedup();
    let resources: Vec<Value> = parents.into_iter().map(aggregated_resource).collect();
    let version = json!({"version": VERSION, "resources": resources, "freshness": "Current"});
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{"metadata": {"name": GROUP, "creationTimestamp": null}, "versions": [version]}],
    })
}

/// A resource that exists only for its subresources. Its response kind is empty, as kube-apiserver itself writes it, so clients
/// take it for no resource of its own.
fn aggregated_resource(parent: &str) -> Value {
    let subresource = |subresource: &&Subresource| {
        json!({
            "subresource": subresource.name(),
            "responseKind": {"group": GROUP, "version": VERSION, "kind": subresource.kind()},
            "verbs": [subresource.verb().0],
        })
    };
    let own = SUBRESOURCES
        .iter()
        .filter(|subresource| subresource.resource() == parent);
    json!({
        "resource": parent,
        "responseKind": {"group": "", "version": "", "kind": ""},
        "scope": "Namespaced",
        "singularResource": "",
        "verbs": [],
        "subresources": own.collect::<Vec<_>>().iter().map(subresource).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList};

    use super::*;
    use crate::testing::body;

    #[tokio::test]
    async fn the_old_documents_decode_as_what_they_are() {
        let list: APIGroupList = serde_json::from_value(body(groups(Form::Json, &HeaderMap::new())).await).unwrap();
        let group: APIGroup = serde_json::from_value(body(group()).await).unwrap();
        assert_eq!(list.groups[0].versions, group.versions);
        assert_eq!(
            group.preferred_version.unwrap().group_version,
            format!("{GROUP}/{VERSION}")
        );
        let list: APIResourceList = serde_json::from_value(body(resources()).await).unwrap();
        let names: Vec<_> = list.resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "consolesessions/connect",
                "consolesessions/token",
                "vmaccesses/console",
                "vncworkspaces/console"
            ]
        );
        for resource in list.resources {
            assert!(resource.namespaced && !resource.kind.is_empty());
            // Whatever lists these verbs must serve them: namespaces are deleted by them.
            for verb in ["list", "watch", "delete", "deletecollection"] {
                assert!(!resource.verbs.iter().any(|has| has == verb), "{}", resource.name);
            }
        }
    }

    #[tokio::test]
    async fn the_aggregated_document_has_its_type_and_an_etag() {
        let first = groups(Form::Aggregated, &HeaderMap::new());
        assert_eq!(first.headers()[header::CONTENT_TYPE], AGGREGATED);
        let etag = first.headers()[header::ETAG].clone();
        let document = body(first).await;
        assert_eq!(document["kind"], "APIGroupDiscoveryList");
        let resources = document["items"][0]["versions"][0]["resources"].as_array().unwrap();
        let names: Vec<_> = resources
            .iter()
            .map(|resource| resource["resource"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["consolesessions", "vmaccesses", "vncworkspaces"]);
        assert_eq!(resources[0]["subresources"].as_array().unwrap().len(), 2);
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]);
        assert_eq!(groups(Form::Aggregated, &headers).status(), StatusCode::NOT_MODIFIED);
    }
}
