//! A settled VmAccess costs no writes; making one costs few, and changing one none that are refused.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt, api::ListParams};
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
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::support::{self, echo_service, template};

/// Making one costs at most so many writes, beside those of KubeVirt.
const CREATE_WRITES: usize = 5;

/// So many resyncs of a settled object cost nothing.
const RESYNCS: u64 = 20;

/// The shortest interval that the controller takes.
const RESYNC: Duration = Duration::from_secs(1);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("settled::writes", Needs::ControlPlane, writes),
        Case::new("settled::node_ports_move", Needs::ControlPlane, node_ports_move),
    ]
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

/// Services by name, each with the node port that is asked for.
type Wanted<'a> = &'a [(&'a str, Option<u16>)];

/// kube-apiserver gives a node port to one Service, and knows better than a unit test when it takes one back.
async fn node_ports_move() -> Result<()> {
    const A: u16 = 31_801;
    const B: u16 = 31_802;
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "settled::node_ports_move",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = InProcess::start_ready(context, &account, config_for(&context.namespace)).await?;
            services(context, &[("x", Some(A)), ("y", Some(B))]).await?;
            let mark = context.cluster.audit().mark()?;
            let steps: [(&str, Wanted<'_>); 4] = [
                ("exchanged", &[("x", Some(B)), ("y", Some(A))]),
                ("renamed", &[("z", Some(B)), ("y", Some(A))]),
                (
                    "given to a new one by one that takes any",
                    &[("z", None), ("y", Some(A)), ("w", Some(B))],
                ),
                ("moved along", &[("w", Some(A)), ("y", None)]),
            ];
            for (what, wanted) in steps {
                services(context, wanted).await.map_err(|error| error.context(what))?;
            }
            let mut refused = by(context, &account, mark)?;
            refused.retain(|write| write.resource() == "services" && write.code() >= 400);
            ensure!(refused.is_empty(), "refused:{}", audit::describe(&refused));
            controller.stop().await
        },
    )
    .await
}

/// Asks for these Services with these node ports, and waits until there are these and no others.
async fn services(context: &Context<'_>, wanted: Wanted<'_>) -> Result<()> {
    let on_node = |(name, node_port): &(&str, Option<u16>)| -> Value {
        let port = match node_port {
            Some(node_port) => json!({"name": "ssh", "port": 22, "nodePort": node_port}),
            None => json!({"name": "ssh", "port": 22}),
        };
        json!({"name": name, "type": "NodePort", "ports": [port]})
    };
    let wishes: Vec<_> = wanted.iter().map(on_node).collect();
    let spec = json!({"virtualMachine": {"name": "no-such-machine"}, "services": wishes});
    support::apply(context, "web", &spec).await?;
    let api: Api<Service> = context.api();
    wait::until("the Services have their node ports", wait::SHORT, || async {
        let live = api.list(&ListParams::default()).await?;
        let has = |(name, node_port): &(&str, Option<u16>)| {
            let service = live.iter().find(|service| service.name_any() == format!("web-{name}"));
            let port = service.and_then(|service| service.spec.as_ref()?.ports.as_ref()?.first()?.node_port);
            port.is_some_and(|port| node_port.is_none_or(|wanted| port == i32::from(wanted)))
        };
        let all = live.items.len() == wanted.len() && wanted.iter().all(has);
        Ok(Seen::some(
            all.then_some(()),
            format!(
                "{:?}",
                live.items.iter().map(|service| &service.spec).collect::<Vec<_>>()
            ),
        ))
    })
    .await
}

fn by(context: &Context<'_>, account: &Account, mark: audit::Mark) -> Result<Vec<Write>> {
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.user() == account.user() && !write.is_lease());
    Ok(writes)
}
