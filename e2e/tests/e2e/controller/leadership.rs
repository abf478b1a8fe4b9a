//! Of two controllers one writes. A leader that was stopped past its lease does
//! not write when it goes on.

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, api::ListParams};
use novasphere_controller::config::{ControllerConfig, LeaderElectionConfig};
use novasphere_crd::{Duration, VmAccess};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        audit::{self, Mark, Write},
        cluster::Cluster,
        condition::has,
        controller::Child,
        kubevirt::KubeVirtStandIn,
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::{apply_vm_access, echo_service, template},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

const LEASE_SECONDS: u64 = 4;

/// How much longer than the lease a standby may take.
const TAKEOVER_GRACE: SignedDuration = SignedDuration::from_secs(2);

/// Enough work that the leader is in the middle of it when it is stopped.
const OBJECTS: usize = 40;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "controller::leadership::stopped_leader",
        Needs::ControlPlane,
        stopped_leader,
    )]
}

async fn stopped_leader() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "controller::leadership::stopped_leader",
        PodSecurity::Restricted,
        async |context| {
            let _kubevirt = KubeVirtStandIn::start(context).await?;
            let first = Account::create(cluster, &context.namespace, "first").await?;
            let second = Account::create(cluster, &context.namespace, "second").await?;
            let config = ControllerConfig {
                watch_namespace: Some(context.namespace.clone()),
                leader_election: LeaderElectionConfig {
                    lease_duration: Duration::from_secs(LEASE_SECONDS),
                    ..LeaderElectionConfig::default()
                },
                ..ControllerConfig::default()
            };
            let mark = cluster.audit().mark()?;
            let mut leader = Child::start(cluster, &first, &config, "first", &context.output)?;
            let lease = |write: &Write| write.is_lease() && write.code() < 300;
            first_write(context, mark, &first, "takes the lease", lease).await?;
            let _standby = Child::start(cluster, &second, &config, "second", &context.output)?;
            // It has looked at the lease when its watches have been refused nothing;
            // what shows that from outside is that it does not write.
            for number in 0..OBJECTS {
                let spec = json!({"virtualMachine": {"template": template()}, "services": [echo_service()]});
                apply_vm_access(context, &format!("vm-{number}"), &spec).await?;
            }
            let work = |write: &Write| !write.is_lease() && write.resource() == "services";
            first_write(context, mark, &first, "makes a Service", work).await?;

            leader.signal("STOP")?;
            let stopped = Timestamp::now();
            let taken = first_write(context, mark, &second, "takes the lease", lease).await?;
            let renewed = last_renewal(context, mark, &first)?;
            let took = taken.request_received_timestamp.duration_since(renewed);
            ensure!(
                took <= SignedDuration::from_secs(i64::try_from(LEASE_SECONDS)?) + TAKEOVER_GRACE,
                "the standby took over {took:#} after the last renewal, with a lease of {LEASE_SECONDS}s"
            );

            // More work for the old leader to find when it goes on.
            let spec = json!({"virtualMachine": {"template": template()}, "services": [echo_service()]});
            apply_vm_access(context, "late", &spec).await?;
            leader.signal("CONT")?;
            let code = leader.ended(wait::SHORT).await?;
            ensure!(
                code != 0,
                "a controller that has lost its lease ends with an error, so that it is started again"
            );
            all_ready(context).await?;
            only_before(context, mark, &first, stopped)?;
            println!(
                "controller::leadership::stopped_leader: the standby led {took:#} after the last renewal of a {LEASE_SECONDS} s lease"
            );
            Ok(())
        },
    )
    .await
}

async fn first_write(
    context: &Context<'_>,
    mark: Mark,
    account: &Account,
    what: &str,
    is_it: impl Fn(&Write) -> bool,
) -> Result<Write> {
    wait::until(format!("{} {what}", account.user()), wait::SHORT, || async {
        let writes = context.cluster.audit().since(mark)?;
        let found = writes
            .into_iter()
            .find(|write| write.user() == account.user() && is_it(write));
        Ok(Seen::some(found, "no such write in the audit log"))
    })
    .await
}

fn last_renewal(context: &Context<'_>, mark: Mark, account: &Account) -> Result<Timestamp> {
    let writes = context.cluster.audit().since(mark)?;
    let mut renewals = writes
        .iter()
        .filter(|write| write.user() == account.user() && write.is_lease() && write.code() < 300);
    Ok(renewals
        .next_back()
        .context("the leader never renewed")?
        .request_received_timestamp)
}

async fn all_ready(context: &Context<'_>) -> Result<()> {
    let api: Api<VmAccess> = context.api();
    wait::until("all objects are ready", wait::LONG, || async {
        let objects = api.list(&ListParams::default()).await?;
        let unready = objects.iter().find_map(|object| has(object, ("Ready", "True")).err());
        Ok(match unready {
            None if objects.items.len() == OBJECTS + 1 => Seen::Done(()),
            None => Seen::NotYet(format!("{} objects", objects.items.len())),
            Some(why) => Seen::NotYet(why),
        })
    })
    .await
}

/// Requests that were on the wire at the stop arrive right after it; nothing
/// else may come, and a lease may be asked for but not be had.
fn only_before(context: &Context<'_>, mark: Mark, account: &Account, stopped: Timestamp) -> Result<()> {
    const IN_FLIGHT_GRACE: SignedDuration = SignedDuration::from_secs(1);
    let mut late = context.cluster.audit().since(mark)?;
    late.retain(|write| {
        write.user() == account.user()
            && write.request_received_timestamp.duration_since(stopped) > IN_FLIGHT_GRACE
            && !(write.is_lease() && write.code() >= 300)
    });
    ensure!(
        late.is_empty(),
        "the old leader wrote after it had lost its lease:{}",
        audit::describe(&late)
    );
    Ok(())
}
