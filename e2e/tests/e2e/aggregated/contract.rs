//! The contract between kube-apiserver and the aggregated API: who is believed, discovery, and what happens while it is down.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use novasphere_e2e::{
    fixtures::{
        apiserver::{Apiserver, BASE, ClientCertificate, Direct, answered, at, text, with_apiserver},
        namespace::Context,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("aggregated::contract::front_proxy", Needs::ControlPlane, front_proxy),
        Case::new("aggregated::contract::discovery", Needs::ControlPlane, discovery),
        Case::new("aggregated::contract::down", Needs::ControlPlane, down),
    ]
}

/// What a request looks like that the front proxy sends for a user.
const JANE: &[(&str, &str)] = &[
    ("X-Remote-User", "jane"),
    ("X-Remote-Group", "system:masters"),
    ("X-Remote-Extra-Scopes", "all"),
];

async fn front_proxy() -> Result<()> {
    with_apiserver("aggregated::contract::front_proxy", async |context, server| {
        let console = format!("{BASE}/namespaces/{}/vmaccesses/web/console", context.namespace);
        let own = |name: &str| ClientCertificate::of_cluster(context.cluster, name);
        let authority = Issuer::from_ca_cert_pem(
            &std::fs::read_to_string(context.cluster.pki("front-proxy-ca.crt"))?,
            KeyPair::from_pem(&std::fs::read_to_string(context.cluster.pki("front-proxy-ca.key"))?)?,
        )?;
        let other_name = issue(&authority, "somebody")?;
        for (client, why) in [
            (None, "no client certificate"),
            (Some(own("admin")?), "authority"),
            (Some(other_name), "somebody"),
        ] {
            let mut direct = Direct::open(context, server, client).await?;
            let (code, status) = direct.get(&console, JANE).await?;
            ensure!(
                code == 401 && at(&status, "/reason") == "Unauthorized",
                "{why}: {code} {status}"
            );
            let message = text(&status, "/message");
            ensure!(message.contains(why), "{why}: {message}");
            // Discovery is for everybody, also for those.
            let (code, _) = direct.get(BASE, &[]).await?;
            ensure!(code == 200, "{why}: discovery answers {code}");
        }
        let mut direct = Direct::open(context, server, Some(own("front-proxy-client")?)).await?;
        let (code, status) = direct.get(&console, JANE).await?;
        ensure!(code == 400, "a master's request without a WebSocket: {code} {status}");
        let (code, status) = direct.get(&console, &[("X-Remote-User", "nobody")]).await?;
        ensure!(code == 403, "a user without rights: {code} {status}");
        let message = text(&status, "/message");
        ensure!(
            message.contains("get vmaccesses/console") && message.contains("nobody"),
            "{message}"
        );
        let (code, _) = direct.get(&console, &[("X-Remote-Group", "system:masters")]).await?;
        ensure!(code == 401, "without a user: {code}");
        new_authority(context, server, &console).await
    })
    .await
}

/// An authority that is added to the bundle is believed without a restart, on connections that are open already.
async fn new_authority(context: &Context<'_>, server: &Apiserver, console: &str) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "front-proxy-next");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key)?.pem();
    let next = issue(&Issuer::new(params, key), "front-proxy-client")?;
    let mut direct = Direct::open(context, server, Some(next)).await?;
    let (code, _) = direct.get(console, JANE).await?;
    ensure!(code == 401, "an unknown authority is believed: {code}");

    let config_maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), "kube-system");
    let name = "extension-apiserver-authentication";
    let key = "requestheader-client-ca-file";
    let present = config_maps.get(name).await?.data.unwrap_or_default();
    let bundle = format!("{}{certificate}", present.get(key).context("no bundle")?);
    let change = json!({"data": {key: bundle}});
    config_maps
        .patch(name, &PatchParams::default(), &Patch::Merge(&change))
        .await?;
    let direct = tokio::sync::Mutex::new(direct);
    wait::until("the new authority is believed", wait::SHORT, || async {
        let (code, status) = direct.lock().await.get(console, JANE).await?;
        Ok(Seen::some((code == 400).then_some(()), format!("{code} {status}")))
    })
    .await
}

fn issue(authority: &Issuer<'_, KeyPair>, name: &str) -> Result<ClientCertificate> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(ClientCertificate {
        certificate: params.signed_by(&key, authority)?.der().clone(),
        key: rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow::anyhow!(error))?,
    })
}

async fn discovery() -> Result<()> {
    with_apiserver("aggregated::contract::discovery", async |context, _server| {
        let list = answered(context, BASE, "an APIResourceList", |list| {
            text(list, "/kind") == "APIResourceList"
        })
        .await?;
        let names: Vec<_> = at(&list, "/resources")
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| at(one, "/name").clone())
            .collect();
        ensure!(
            names
                == [
                    json!("consolesessions/connect"),
                    json!("consolesessions/token"),
                    json!("vmaccesses/console"),
                    json!("vncworkspaces/console")
                ],
            "{list}"
        );
        aggregated(context).await?;
        openapi(context).await?;

        let output = context.cluster.kubectl_output(&["api-resources"])?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(
            output.status.success() && err.is_empty(),
            "kubectl api-resources: {err}"
        );
        ensure!(
            !out.contains("subresources.novasphere.io"),
            "subresources are listed as resources: {out}"
        );
        ensure!(out.contains("vmaccesses"), "{out}");
        // Our group must not make the kinds' short names ambiguous.
        context
            .cluster
            .kubectl(&["get", "vma,csn,vw", "--namespace", &context.namespace])?;

        namespace_is_deleted(context).await?;
        garbage_is_collected(context).await
    })
    .await
}

/// kube-apiserver's own aggregated discovery shows our subresources below their parents.
async fn aggregated(context: &Context<'_>) -> Result<()> {
    let what = "our group in aggregated discovery";
    wait::until(what, wait::LONG, || async {
        let request = http::Request::get("/apis")
            .header(
                "accept",
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
            .body(Vec::new())?;
        let text = context.client.request_text(request).await?;
        let document: Value = serde_json::from_str(&text)?;
        let groups = at(&document, "/items").as_array().into_iter().flatten();
        let mut own = groups.filter(|group| at(group, "/metadata/name") == "subresources.novasphere.io");
        let Some(group) = own.next() else {
            return Ok(Seen::NotYet("it is not there".to_owned()));
        };
        let version = at(group, "/versions/0");
        let token = at(version, "/resources/0/subresources/1");
        let good = at(version, "/freshness") == "Current"
            && at(token, "/subresource") == "token"
            && *at(token, "/verbs") == json!(["create"]);
        Ok(Seen::some(good.then_some(()), group.to_string()))
    })
    .await
}

async fn openapi(context: &Context<'_>) -> Result<()> {
    let entry = "/paths/apis~1subresources.novasphere.io~1v1alpha1".to_owned();
    let index = answered(context, "/openapi/v3", "our document", |index| {
        at(index, &entry).is_object()
    })
    .await?;
    let url = text(&index, &format!("{entry}/serverRelativeURL")).to_owned();
    let token = "io.novasphere.subresources.v1alpha1.ConsoleToken";
    answered(context, &url, "the token's schema", |document| {
        !text(
            document,
            &format!("/components/schemas/{token}/properties/expirationSeconds/description"),
        )
        .is_empty()
    })
    .await?;
    answered(context, "/openapi/v2", "the token's definition", |document| {
        text(document, &format!("/definitions/{token}/properties/uses/type")) == "integer"
    })
    .await?;
    Ok(())
}

async fn namespace_is_deleted(context: &Context<'_>) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let name = format!("{}-gone", context.namespace);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await?;
    namespaces.delete(&name, &DeleteParams::default()).await?;
    wait::gone(&namespaces, &name, wait::SHORT).await
}

async fn garbage_is_collected(context: &Context<'_>) -> Result<()> {
    let config_maps: Api<ConfigMap> = context.api();
    let named = |name: &str| ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    let owner = config_maps.create(&PostParams::default(), &named("owner")).await?;
    let mut child = named("child");
    let reference = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid.context("no UID")?,
    });
    child.metadata.owner_references = Some(vec![serde_json::from_value(reference)?]);
    config_maps.create(&PostParams::default(), &child).await?;
    config_maps.delete("owner", &DeleteParams::background()).await?;
    wait::gone(&config_maps, "child", wait::SHORT).await
}

/// While the server is down a namespace waits; when it is back, all goes on by itself.
async fn down() -> Result<()> {
    with_apiserver("aggregated::contract::down", async |context, server| {
        server.kill();
        server.available(context.cluster, false).await?;
        let namespaces: Api<Namespace> = Api::all(context.client.clone());
        let name = format!("{}-waits", context.namespace);
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        namespaces.create(&PostParams::default(), &namespace).await?;
        namespaces.delete(&name, &DeleteParams::default()).await?;
        wait::object(&namespaces, &name, "it waits for discovery", wait::LONG, |namespace| {
            let conditions = namespace
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let mut failed = conditions.filter(|found| found.type_ == "NamespaceDeletionDiscoveryFailure");
            let found = failed.any(|found| found.status == "True");
            found.then_some(()).ok_or_else(|| format!("{:?}", namespace.status))
        })
        .await?;
        server.run()?;
        server.available(context.cluster, true).await?;
        wait::gone(&namespaces, &name, wait::LONG).await?;
        context.cluster.kubectl(&["api-resources"]).map(drop)
    })
    .await
}
