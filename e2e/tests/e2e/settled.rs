//! A settled VmAccess costs no writes; making one costs few.

use anyhow::{Result, ensure};
use novasphere_controller::config::{ControllerConfig, LeaderElectionConfig};
use novasphere_crd::Duration;
use novasphere_e2e::{
    account::Account,
    audit::{self, Write},
    cluster::Cluster,
    controller::InProcess,
    fault::Fault,
    harness::{Case, Needs},
    kubevirt::{STAND_IN, StandIn},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
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
            watch_namespace: Some(context.namespace.clone()),
            resync_interval: RESYNC,
            leader_election: LeaderElectionConfig {
                enabled: false,
                ..LeaderElectionConfig::default()
            },
            ..ControllerConfig::default()
        };
        let log = context.output.join("controller.log");
        let controller = InProcess::start(cluster, &account, config, &Fault::new(None), &log).await?;
        controller.ready().await?;

        let mark = context.cluster.audit().mark()?;
        let spec = json!({
            "virtualMachine": {"template": template()},
            "power": {"state": "Running"},
            "services": [echo_service()],
        });
        support::apply(context, "web", &spec).await?;
        support::ready_as(context, "web", "Running", wait::SHORT).await?;
        // Events may still be on their way: count when a resync has passed over.
        reconciles_pass(&controller, 2).await?;
        let made = by(context, &account, mark)?;
        ensure!(
            made.len() <= CREATE_WRITES,
            "{} writes for one VmAccess:{}",
            made.len(),
            audit::describe(&made)
        );

        let mark = context.cluster.audit().mark()?;
        reconciles_pass(&controller, RESYNCS).await?;
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

/// Waits for so many more reconciles; there is one object, so each is a resync.
async fn reconciles_pass(controller: &InProcess, count: u64) -> Result<()> {
    let wanted = controller.reconciles()? + count;
    wait::until(format!("{count} more reconciles"), wait::SHORT, || async {
        let done = controller.reconciles()?;
        Ok(Seen::some(
            (done >= wanted).then_some(()),
            format!("{done} of {wanted}"),
        ))
    })
    .await
}
