//! A settled VmAccess costs no writes, and making one costs few.

use anyhow::{Result, ensure};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::Duration;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        audit,
        cluster::Cluster,
        controller::{InProcess, config_for},
        kubevirt::KubeVirtStandIn,
        namespace::{PodSecurity, with_namespace},
        vm_access::{apply_vm_access, echo_service, ready_as, template},
        wait,
    },
    harness::{Case, Needs},
};
use serde_json::json;

/// Writes of the controller to make one, beside those of KubeVirt.
const CREATE_WRITES_LIMIT: usize = 5;

/// Resyncs of a settled object that cost nothing.
const RESYNCS: u64 = 20;

/// The shortest interval that the controller takes.
const RESYNC_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("vm_access::settled::writes", Needs::ControlPlane, writes)]
}

async fn writes() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "vm_access::settled::writes",
        PodSecurity::Restricted,
        async |context| {
            let _kubevirt = KubeVirtStandIn::start(context).await?;
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let config = ControllerConfig {
                resync_interval: RESYNC_INTERVAL,
                ..config_for(&context.namespace)
            };
            let controller = InProcess::start_ready(context, &account, config).await?;

            let mark = context.cluster.audit().mark()?;
            let spec = json!({
                "virtualMachine": {"template": template()},
                "power": {"state": "Running"},
                "services": [echo_service()],
            });
            apply_vm_access(context, "web", &spec).await?;
            ready_as(context, "web", "Running", wait::SHORT).await?;
            // Events may still be on their way: count when a resync has passed over.
            controller.reconciles_pass(2).await?;
            let made = context.cluster.audit().by(&account.user(), mark)?;
            ensure!(
                made.len() <= CREATE_WRITES_LIMIT,
                "{} writes for one VmAccess:{}",
                made.len(),
                audit::describe(&made)
            );

            let mark = context.cluster.audit().mark()?;
            controller.reconciles_pass(RESYNCS).await?;
            let resynced = context.cluster.audit().by(&account.user(), mark)?;
            ensure!(
                resynced.is_empty(),
                "{RESYNCS} resyncs of a settled VmAccess made {} writes:{}",
                resynced.len(),
                audit::describe(&resynced)
            );
            println!(
                "vm_access::settled::writes: {} writes to make a VmAccess, 0 in {RESYNCS} resyncs",
                made.len()
            );
            controller.stop().await
        },
    )
    .await
}
