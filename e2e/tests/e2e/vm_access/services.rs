//! What a `VmAccess` says about its Services reaches them, is put back, and costs nothing then.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::Duration;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        audit,
        cluster::Cluster,
        controller::{InProcess, config_for},
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::apply_vm_access,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "vm_access::services::settings",
        Needs::ControlPlane,
        settings,
    )]
}

/// kube-apiserver fills in what is not said, and refuses what does not fit together; it knows better than a unit test.
async fn settings() -> Result<()> {
    let cluster = Cluster::plane()?;
    let story = async |context: &Context<'_>| {
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let config = ControllerConfig {
            resync_interval: Duration::from_secs(1),
            ..config_for(&context.namespace)
        };
        let controller = InProcess::start_ready(context, &account, config).await?;
        let local = json!({
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local",
            "loadBalancerClass": "example.org/internal",
            "sessionAffinity": "ClientIP",
            "sessionAffinityTimeout": "2h",
            "ipFamilies": ["IPv4"],
            "annotations": {"example.org/pool": "a"},
        });
        let made = json!({
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local",
            "loadBalancerClass": "example.org/internal",
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7200}},
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": ["IPv4"],
        });
        asked_for(context, &local).await?;
        comes(context, &made).await?;

        let services: Api<Service> = context.api();
        let edit = json!({"spec": {"externalTrafficPolicy": "Cluster", "sessionAffinity": "None"}});
        services
            .patch("web-media", &PatchParams::default(), &Patch::Merge(edit))
            .await?;
        comes(context, &made).await?;
        costs_nothing(context, &controller, &account).await?;

        // Back to the least that can be said: what was asked for goes away.
        asked_for(context, &json!({})).await?;
        let plain = json!({
            "type": "ClusterIP", "externalTrafficPolicy": null, "internalTrafficPolicy": "Cluster", "loadBalancerClass": null,
            "sessionAffinity": "None", "sessionAffinityConfig": null,
        });
        comes(context, &plain).await?;
        costs_nothing(context, &controller, &account).await?;
        controller.stop().await
    };
    let case = "vm_access::services::settings";
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// Asks for a Service with these settings, more ports than a machine usually has, and one of SCTP.
async fn asked_for(context: &Context<'_>, settings: &Value) -> Result<()> {
    let mut ports: Vec<_> = (0..31)
        .map(|number| json!({"name": format!("p{number}"), "port": 20_000 + number}))
        .collect();
    ports.push(json!({"name": "signalling", "port": 36_412, "protocol": "SCTP"}));
    let mut service = json!({"name": "media", "ports": ports});
    if let (Some(service), Some(settings)) = (service.as_object_mut(), settings.as_object()) {
        service.extend(settings.clone());
    }
    let spec = json!({"virtualMachine": {"name": "no-such-machine"}, "services": [service]});
    apply_vm_access(context, "web", &spec).await.map(drop)
}

/// Waits until the Service has these fields; null stands for one that is not there.
async fn comes(context: &Context<'_>, wanted: &Value) -> Result<()> {
    let services: Api<Service> = context.api();
    wait::until("the Service is as it is wanted", wait::SHORT, || async {
        let Some(live) = services.get_opt("web-media").await? else {
            return Ok(Seen::some(None, "there is none".to_owned()));
        };
        let spec = serde_json::to_value(&live.spec)?;
        let has = |(field, value): (&String, &Value)| spec.get(field).unwrap_or(&Value::Null) == value;
        let ports = spec.get("ports").and_then(Value::as_array).map_or(0, Vec::len);
        let is_as_wanted = wanted.as_object().is_some_and(|wanted| wanted.iter().all(has)) && ports == 32;
        Ok(Seen::some(is_as_wanted.then_some(()), spec.to_string()))
    })
    .await
}

async fn costs_nothing(context: &Context<'_>, controller: &InProcess, account: &Account) -> Result<()> {
    controller.reconciles_pass(2).await?;
    let mark = context.cluster.audit().mark()?;
    controller.reconciles_pass(3).await?;
    let writes = context.cluster.audit().by(&account.user(), mark)?;
    ensure!(
        writes.is_empty(),
        "a settled VmAccess made {} writes:{}",
        writes.len(),
        audit::describe(&writes)
    );
    Ok(())
}
