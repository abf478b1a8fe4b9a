//! Who reaches the installed programs, on a network that enforces NetworkPolicies.

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        desktop_image,
        install::{NAMESPACE, RELEASE},
        installed,
        namespace::{Context, PodSecurity, with_namespace},
        neighbour::{Attempt, NEIGHBOUR, address_of, start_neighbour, try_connections},
    },
    harness::{Case, Needs},
};
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("controller::network::enforced", Needs::Node, enforced)]
}

/// Health and metrics of each program.
const METRICS_PORT: u16 = 8080;

/// The programs, with the ports that everybody reaches: docs/security.md and docs/install.md.
const PROGRAMS: &[(&str, &[u16])] = &[("controller", &[]), ("console", &[8443, 5900]), ("apiserver", &[9443])];

async fn enforced() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let case = "controller::network::enforced";
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        start_neighbour(context, &desktop_image::load(cluster, "desktop")?).await?;
        try_connections(context, NEIGHBOUR, &attempts(context, false).await?).await?;
        // As docs/install.md has it for monitoring.
        let label = json!({"metadata": {"labels": {"novasphere.io/metrics": "true"}}});
        let namespaces: Api<Namespace> = Api::all(context.client.clone());
        namespaces
            .patch(&context.namespace, &PatchParams::default(), &Patch::Merge(label))
            .await?;
        try_connections(context, NEIGHBOUR, &attempts(context, true).await?).await?;
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(cluster, case, PodSecurity::Restricted, story)).await
}

/// Connections to all ports of all programs.
async fn attempts(context: &Context<'_>, is_monitoring: bool) -> Result<Vec<Attempt<'static>>> {
    let mut attempts = Vec::new();
    for (program, ports) in PROGRAMS {
        let labels = format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={program}");
        let pod = address_of(context, NAMESPACE, &labels).await?;
        attempts.extend(ports.iter().map(|port| (*program, (pod, *port).into(), true)));
        attempts.push((*program, (pod, METRICS_PORT).into(), is_monitoring));
    }
    Ok(attempts)
}
