//! Node ports move from one Service of a `VmAccess` to another without a write that is refused.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt, api::ListParams};
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
        "vm_access::node_ports::exchanged",
        Needs::ControlPlane,
        exchanged,
    )]
}

/// Services by name, each with the node port that is asked for.
type Wanted<'a> = &'a [(&'a str, Option<u16>)];

/// kube-apiserver gives a node port to one Service, and knows better than a unit test when it takes one back.
async fn exchanged() -> Result<()> {
    const A: u16 = 31_801;
    const B: u16 = 31_802;
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "vm_access::node_ports::exchanged",
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
            let mut refused = context.cluster.audit().by(&account.user(), mark)?;
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
    let services: Vec<_> = wanted.iter().map(on_node).collect();
    let spec = json!({"virtualMachine": {"name": "no-such-machine"}, "services": services});
    apply_vm_access(context, "web", &spec).await?;
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
