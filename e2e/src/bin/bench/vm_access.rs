//! Many VmAccess objects with one Service each: time, writes, memory, and the start of a successor.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, Client, api::PostParams};
use novasphere_crd::VmAccess;
use novasphere_e2e::fixtures::{
    audit::{Mark, Write},
    cluster::Cluster,
    wait::{self, Seen},
};

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

/// A run with so many objects.
struct Run {
    count: u32,
    how: String,
}

impl Run {
    fn figure(&self, name: &str, value: f64, unit: &'static str) -> Figure {
        Figure::new(format!("{} VmAccess: {name}", self.count), value, unit, &self.how)
    }

    /// A figure with a goal for 10,000 objects.
    fn figure_at_most(&self, name: &str, value: f64, unit: &'static str, goal: f64) -> Figure {
        let figure = self.figure(name, value, unit);
        if self.count == 10_000 {
            figure.at_most(goal)
        } else {
            figure
        }
    }
}

pub(crate) async fn run(count: u32, summary: &mut Summary) -> Result<()> {
    let run = Run {
        count,
        how: format!("BENCH_SIZES={count} make bench"),
    };
    let cluster = Cluster::control_plane(&format!("bench-{count}"), &["kubevirt"])?;
    for part in STOPPED_PARTS {
        cluster.stop(part)?;
    }
    run.first(&cluster, summary).await?;
    run.successor(&cluster, summary).await
}

impl Run {
    /// Objects are created beside a controller.
    async fn first(&self, cluster: &Cluster, summary: &mut Summary) -> Result<()> {
        let count = self.count;
        let client = cluster.client().await?;
        let mark = cluster.audit().mark()?;
        let mut controller = Controller::start(&cluster.kubeconfig, None, &format!("controller-{count}.log"))?;

        let began = Instant::now();
        create(&client, count).await?;
        let created = began.elapsed();
        let writes = settle(cluster, mark, count, &mut controller).await?;
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
        let successor = Controller::start(&cluster.kubeconfig, None, &format!("controller-{count}-restarted.log"))?;
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

async fn create(client: &Client, count: u32) -> Result<()> {
    let api: Api<VmAccess> = Api::namespaced(client.clone(), "default");
    stream::iter(0..count)
        .map(|number| {
            let api = api.clone();
            async move {
                api.create(&PostParams::default(), &object(number)?)
                    .await
                    .map_err(anyhow::Error::from)
            }
        })
        .buffer_unordered(CLIENTS)
        .try_for_each(|_| async { Ok(()) })
        .await
}

fn object(number: u32) -> Result<VmAccess> {
    Ok(serde_json::from_value(serde_json::json!({
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
        },
    }))?)
}

/// Waits until all objects have their children and the controller writes nothing more; returns its writes.
async fn settle(cluster: &Cluster, mut mark: Mark, count: u32, controller: &mut Controller) -> Result<Vec<Write>> {
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
            let is_service = |write: &&Write| write.resource() == "services" && write.code() < 400;
            let services = writes.iter().filter(is_service).count();
            if services >= count as usize && last_change.elapsed() >= full_or_small(SETTLED_AFTER, SETTLED_AFTER / 5) {
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
