//! A settled VmAccess costs no writes; making one costs few.

use anyhow::{Result, ensure};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::Duration;
use novasphere_e2e::{
    account::Account,
    audit::{self, Write},
    cluster::Cluster,
    controller::{InProcess, config_for},
    harness::{Case, Needs},
    kubevirt::{STAND_IN, StandIn},
    namespace::{Context, PodSecurity, with_namespace},
    wait,
};
use serde_json::json;

use crate::support::{self, echo_service, template};

/// Making one costs at most so many writes, beside those of KubeVirt.
const CREATE_WRITES: usize = 5;

/// So many resyncs of a settled object cost nothing.
const RESYNCS: u64 = 20;

/// The shortest interval that the controller takes.
const RESYNC: Duration = Duration::from_secs(1);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("settled::writes", Needs::ControlPlane, writes)]
}

async fn writes() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, "settled::writes", PodSecurity::Restricted, async |context| {
        let _kubevirt = StandIn::start(
            kube::Client::try_from(cluster.config(STAND_IN).await?)?,
            &context.namespace,
        );
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let config = ControllerConfig {
            resync_interval: RESYNC,
            ..config_for(&context.namespace)
        };
        let controller = InProcess::start_ready(context, &account, config).await?;

        let mark = context.cluster.audit().mark()?;
        let spec = json!({
            "virtualMachine": {"template": template()},
            "power": {"state": "Running"},
            "services": [echo_service()],
        });
        support::apply(context, "web", &spec).await?;
        support::ready_as(context, "web", "Running", wait::SHORT).await?;
        // Events may still be on their way: count when a resync has passed over.
        controller.reconciles_pass(2).await?;
        let made = by(context, &account, mark)?;
        ensure!(
            made.len() <= CREATE_WRITES,
            "{} writes for one VmAccess:{}",
            made.len(),
            audit::describe(&made)
        );

        let mark = context.cluster.audit().mark()?;
        controller.reconciles_pass(RESYNCS).await?;
        let resynced = by(context, &account, mark)?;
        ensure!(
            resynced.is_empty(),
            "{RESYNCS} resyncs of a settled VmAccess made {} writes:{}",
            resynced.len(),
            audit::describe(&resynced)
        );
        println!(
            "settled::writes: {} writes to make a VmAccess, 0 in {RESYNCS} resyncs",
            made.len()
        );
        controller.stop().await
    })
    .await
}

fn by(context: &Context<'_>, account: &Account, mark: audit::Mark) -> Result<Vec<Write>> {
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.user() == account.user() && !write.is_lease());
    Ok(writes)
}
