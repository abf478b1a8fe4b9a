//! Many VmAccess objects with one Service each, and with a route each: time, writes, memory, and the start of a successor.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use novasphere_crd::VmAccess;
use novasphere_e2e::fixtures::{
    audit::{Mark, Write},
    cluster::Cluster,
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::{
    controller::Controller,
    settings::full_or_small,
    summary::{Figure, Summary},
};

/// Requests of the load at the same time.
const CLIENTS: usize = 4;

/// The controller is settled when it has written nothing for this long.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// Between two readings of the audit log.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Of each wait: 10,000 objects take about 6 minutes beside other builds.
const WAIT_TIMEOUT: Duration = Duration::from_mins(30);

/// Parts of the cluster that are stopped, because the controller does not need them. The first writes two more objects for each Service.
const STOPPED_PARTS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// Goals of the project for 10,000 objects.
const RESIDENT_GOAL: f64 = 150.0;
const RESTART_GOAL: f64 = 30.0;

/// What each object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Children {
    /// A virtual machine and a Service.
    Services,
    /// Beside them a route through Traefik, by a host name.
    ServicesAndRoutes,
}

/// The namespace of the objects, and of the Service of the gateway.
const NAMESPACE: &str = "default";

impl Children {
    /// What is waited for: each object has one of it, and it is made last.
    const fn last_resource(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::ServicesAndRoutes => "ingressroutes",
        }
    }

    /// The section `gateways` of the controller's configuration.
    fn gateways(self) -> Value {
        match self {
            Self::Services => json!([]),
            Self::ServicesAndRoutes => json!([{
                "name": "edge",
                "traefik": {"namespace": NAMESPACE, "service": "traefik"},
                "https": {"name": "websecure", "port": 443},
                "allowedHosts": ["*.bench.example.org"],
            }]),
        }
    }

    /// Definitions of others that the cluster has.
    const fn definitions(self) -> &'static [&'static str] {
        match self {
            Self::Services => &["kubevirt"],
            Self::ServicesAndRoutes => &["kubevirt", "traefik"],
        }
    }

    fn object(self, number: u32) -> Result<VmAccess> {
        let routes = match self {
            Self::Services => json!([]),
            Self::ServicesAndRoutes => json!([{
                "name": "web", "service": "ssh", "port": 22, "http": {"host": format!("vm-{number}.bench.example.org")},
            }]),
        };
        Ok(serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VmAccess",
            "metadata": {"name": format!("vm-{number}")},
            "spec": {
                "virtualMachine": {"template": {
                    "cpu": {"cores": 1},
                    "memory": "128Mi",
                    "rootDisk": {"containerDisk": {"image": "bench.invalid/guest:v1"}},
                }},
                "power": {"state": "Stopped"},
                "services": [{"name": "ssh", "ports": [{"name": "ssh", "port": 22}]}],
                "routes": routes,
            },
        }))?)
    }
}

/// A run with so many objects.
struct Run {
    count: u32,
    children: Children,
    how: String,
}

impl Run {
    fn figure(&self, name: &str, value: f64, unit: &'static str) -> Figure {
        let with = match self.children {
            Children::Services => "",
            Children::ServicesAndRoutes => " with a route each",
        };
        Figure::new(format!("{} VmAccess{with}: {name}", self.count), value, unit, &self.how)
    }

    /// A figure with a goal for 10,000 objects.
    fn figure_at_most(&self, name: &str, value: f64, unit: &'static str, goal: f64) -> Figure {
        let figure = self.figure(name, value, unit);
        if self.count == 10_000 && self.children == Children::Services {
            figure.at_most(goal)
        } else {
            figure
        }
    }

    fn start(&self, cluster: &Cluster, start: &str) -> Result<Controller> {
        let log = format!("controller-{}-{:?}-{start}.log", self.count, self.children);
        Controller::start_with(&cluster.kubeconfig, None, &self.children.gateways(), &log)
    }
}

pub(crate) async fn run(count: u32, children: Children, summary: &mut Summary) -> Result<()> {
    let run = Run {
        count,
        children,
        how: format!("BENCH_PARTS=vm-access BENCH_SIZES={count} make bench"),
    };
    let kind = match children {
        Children::Services => "",
        Children::ServicesAndRoutes => "routes-",
    };
    let cluster = Cluster::control_plane(&format!("bench-{kind}{count}"), children.definitions())?;
    for part in STOPPED_PARTS {
        cluster.stop(part)?;
    }
    if children == Children::ServicesAndRoutes {
        gateway(&cluster).await?;
    }
    run.first(&cluster, summary).await?;
    run.successor(&cluster, summary).await
}

/// The Service of a gateway that does not run, with an address.
async fn gateway(cluster: &Cluster) -> Result<()> {
    let services: Api<Service> = Api::namespaced(cluster.client().await?, NAMESPACE);
    let service = json!({
        "metadata": {"name": "traefik"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "websecure", "port": 443}]},
    });
    services
        .create(&PostParams::default(), &serde_json::from_value(service)?)
        .await?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    services
        .patch_status("traefik", &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

impl Run {
    /// Objects are created beside a controller.
    async fn first(&self, cluster: &Cluster, summary: &mut Summary) -> Result<()> {
        let count = self.count;
        let client = cluster.client().await?;
        let mark = cluster.audit().mark()?;
        let mut controller = self.start(cluster, "first")?;

        let began = Instant::now();
        create(&client, count, self.children).await?;
        let created = began.elapsed();
        let writes = settle(cluster, mark, self, &mut controller).await?;
        let first = writes
            .first()
            .context("the controller wrote nothing")?
            .request_received_timestamp;
        let last = writes
            .last()
            .context("the controller wrote nothing")?
            .request_received_timestamp;
        let settled = last.duration_since(first).as_secs_f64();
        summary.add(self.figure("creating them took the load", created.as_secs_f64(), "s"));
        summary.add(self.figure("first to last write of the controller", settled, "s"));
        summary.add(self.figure(
            "writes of the controller per object",
            per_object(writes.len(), count),
            "writes",
        ));
        // On a busy machine the API server lets some time out; the controller tries them again.
        let refused = writes.iter().filter(|write| write.code() >= 400);
        summary.add(self.figure(
            "writes of the controller that failed",
            per_object(refused.count(), 1),
            "writes",
        ));
        summary.add(self.figure("CPU of the controller until settled", controller.cpu_seconds()?, "s"));
        summary.add(self.figure_at_most(
            "memory of the controller when settled",
            controller.resident_megabytes()?,
            "MB RSS",
            RESIDENT_GOAL,
        ));
        controller.stop().await
    }

    /// Another controller takes over what is settled.
    async fn successor(&self, cluster: &Cluster, summary: &mut Summary) -> Result<()> {
        let count = self.count;
        let mark = cluster.audit().mark()?;
        let began = Instant::now();
        let successor = self.start(cluster, "restarted")?;
        wait::until(
            "every object to be reconciled by the successor",
            WAIT_TIMEOUT,
            || async {
                let reconciles = successor.reconciles().await?;
                Ok(if reconciles >= u64::from(count) {
                    Seen::Done(())
                } else {
                    Seen::NotYet(format!("{reconciles} reconciles"))
                })
            },
        )
        .await?;
        summary.add(self.figure_at_most(
            "start of a successor until all are settled",
            began.elapsed().as_secs_f64(),
            "s",
            RESTART_GOAL,
        ));
        summary.add(self.figure(
            "most memory that the successor ever had",
            successor.peak_megabytes()?,
            "MB RSS",
        ));
        summary.add(self.figure_at_most(
            "memory of the successor when settled",
            successor.resident_megabytes()?,
            "MB RSS",
            RESIDENT_GOAL,
        ));
        let writes = controller_writes(cluster.audit().since(mark)?);
        summary.add(
            self.figure("writes of the successor", per_object(writes.len(), 1), "writes")
                .at_most(0.0),
        );
        successor.stop().await
    }
}

async fn create(client: &Client, count: u32, children: Children) -> Result<()> {
    let api: Api<VmAccess> = Api::namespaced(client.clone(), NAMESPACE);
    stream::iter(0..count)
        .map(|number| {
            let api = api.clone();
            async move {
                api.create(&PostParams::default(), &children.object(number)?)
                    .await
                    .map_err(anyhow::Error::from)
            }
        })
        .buffer_unordered(CLIENTS)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// Waits until all objects have their children and the controller writes nothing more; returns its writes.
async fn settle(cluster: &Cluster, mut mark: Mark, run: &Run, controller: &mut Controller) -> Result<Vec<Write>> {
    let (count, resource) = (run.count as usize, run.children.last_resource());
    let mut looks = tokio::time::interval(POLL_INTERVAL);
    let (mut writes, mut last_change) = (Vec::new(), Instant::now());
    let settled = async {
        loop {
            looks.tick().await;
            controller.runs()?;
            let new = controller_writes(cluster.audit().next(&mut mark)?);
            if !new.is_empty() {
                last_change = Instant::now();
            }
            writes.extend(new);
            let is_last = |write: &&Write| write.resource() == resource && write.code() < 400;
            let made = writes.iter().filter(is_last).count();
            if made >= count && last_change.elapsed() >= full_or_small(SETTLED_AFTER, SETTLED_AFTER / 5) {
                return Ok(writes);
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, settled)
        .await
        .context("the controller did not settle in time")?
}

/// Those about objects: the leader's lease is written all the time, and has a field manager of ours as well.
fn controller_writes(writes: Vec<Write>) -> Vec<Write> {
    let own = |write: &Write| {
        !write.is_lease()
            && write
                .field_manager()
                .is_some_and(|manager| manager.starts_with("novasphere/"))
    };
    writes.into_iter().filter(own).collect()
}

fn per_object(writes: usize, count: u32) -> f64 {
    u32::try_from(writes).map_or(f64::MAX, f64::from) / f64::from(count)
}
