//! The installed controller is killed in the middle of its work, again and again.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        installed,
        kubevirt::virtual_machines,
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::{apply_vm_access, ready, ready_as, sample, vm_access_is_gone},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::Value;

const NAME: &str = "guest";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("controller::killed::sigkill", Needs::Node, sigkill)]
}

async fn sigkill() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let _disturbing = installed::disturbing().await;
    with_namespace(
        cluster,
        "controller::killed::sigkill",
        PodSecurity::Privileged,
        async |context| {
            create(context).await.context("create")?;
            update(context).await.context("update")?;
            delete(context).await.context("delete")?;
            // The next test finds a controller that works.
            installed::leader(context).await.map(drop)
        },
    )
    .await
}

async fn create(context: &Context<'_>) -> Result<()> {
    let leader = installed::leader(context).await?;
    let machines = context.dynamic(&virtual_machines());
    apply_vm_access(context, NAME, &sample("Stopped", "Delete")?).await?;
    // As soon as the first child is seen, before the rest is done.
    wait::until("the first child exists", wait::SHORT, || async {
        Ok(Seen::some(machines.get_opt(NAME).await?.map(drop), "no machine"))
    })
    .await?;
    installed::kill_controller(&leader)?;
    ready_as(context, NAME, "Stopped", wait::LONG).await.map(drop)
}

async fn update(context: &Context<'_>) -> Result<()> {
    let services: Api<Service> = context.api();
    let mut fewer = sample("Stopped", "Delete")?;
    if let Some(services) = fewer.get_mut("services").and_then(Value::as_array_mut) {
        services.clear();
    }
    let leader = installed::leader(context).await?;
    apply_vm_access(context, NAME, &fewer).await?;
    installed::kill_controller(&leader)?;
    wait::until("the Services are gone", wait::LONG, || async {
        let left = services.list(&ListParams::default()).await?.items;
        Ok(Seen::some(
            left.is_empty().then_some(()),
            format!("{} are left", left.len()),
        ))
    })
    .await?;
    ready(context, NAME, wait::LONG).await.map(drop)
}

async fn delete(context: &Context<'_>) -> Result<()> {
    let machines = context.dynamic(&virtual_machines());
    let leader = installed::leader(context).await?;
    apply_vm_access(context, NAME, &sample("Stopped", "Orphan")?).await?;
    ready(context, NAME, wait::LONG).await?;
    context.api::<VmAccess>().delete(NAME, &DeleteParams::default()).await?;
    installed::kill_controller(&leader)?;
    vm_access_is_gone(context, NAME).await?;
    let machine = machines.get(NAME).await?;
    ensure!(
        machine.metadata.deletion_timestamp.is_none(),
        "the orphaned machine is being deleted"
    );
    machines.delete(NAME, &DeleteParams::default()).await?;
    wait::gone(&machines, NAME, wait::LONG).await
}
