//! The screen of a real guest: through the gateway, and by the same request made to kube-apiserver directly.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::{Api, api::PostParams};
use novasphere_console::rbac;
use novasphere_crd::VmAccess;
use novasphere_e2e::fixtures::{
    account::Account,
    cluster::Cluster,
    console_socket::{ConsoleSocket, KUBEVIRT_SUBPROTOCOL},
    gateway::Gateway,
    namespace::{Context, PodSecurity, with_namespace},
    rfb::{Security, Viewer},
    serial_console::SerialConsole,
    wait::{self, Seen},
};
use serde_json::json;

use crate::{
    controller::Controller,
    process,
    sessions::{self, TARGET},
    settings::full_or_small,
    summary::{Figure, Summary, percentile},
};

const HOW: &str = "BENCH_PARTS=kubevirt make bench";

/// How often the screen is opened by each side.
fn rounds() -> usize {
    full_or_small(10, 1)
}

/// Requests for one pixel in each of these.
fn pixels() -> usize {
    full_or_small(40, 4)
}

/// Requests for the whole screen in each of these.
fn pictures() -> usize {
    full_or_small(20, 2)
}

/// The test bed's guest (docs/testbed.md).
const GUEST_IMAGE: &str = "tb.local/tiny-guest:v1";

pub(crate) async fn run(summary: &mut Summary) -> Result<()> {
    let cluster = Cluster::own_kubevirt("bench-kubevirt")?;
    with_namespace(&cluster, "bench::kubevirt", PodSecurity::Privileged, async |context| {
        measure(context, summary).await
    })
    .await
}

async fn measure(context: &Context<'_>, summary: &mut Summary) -> Result<()> {
    let cluster = context.cluster;
    let account = Account::create(cluster, &context.namespace, "controller").await?;
    let kubeconfig = context.output.join("controller.kubeconfig");
    std::fs::write(&kubeconfig, account.kubeconfig(cluster)?)?;
    let controller = Controller::start(&kubeconfig, Some(&context.namespace), "controller-kubevirt.log")?;
    let (cluster_rules, rules) = (rbac::CLUSTER_RULES, rbac::NAMESPACE_RULES);
    let account = Account::with_rules(cluster, &context.namespace, "console", cluster_rules, rules).await?;
    guest(context).await.context("the guest")?;
    sessions::allow_control(context).await?;
    let gateway = Gateway::start(context, &account, "bench").await?;
    let tokens = sessions::sessions(context, 1, u32::try_from(rounds())? * TRIES_LIMIT).await?;
    let token = tokens.into_iter().next().context("no token")?;
    let bench = Bench {
        context,
        gateway,
        token,
    };
    let (mut direct, mut ours) = (Side::default(), Side::default());
    for run in 0..rounds() {
        // KubeVirt lets go of a screen slowly, so the second of two viewers may wait for the first.
        for through_gateway in [run % 2 == 0, run % 2 != 0] {
            let side = if through_gateway { &mut ours } else { &mut direct };
            let looked = bench.look(through_gateway, side).await;
            looked.with_context(|| format!("through the gateway: {through_gateway}"))?;
        }
    }
    drop(bench);
    controller.stop().await?;
    tell(&direct, &ours, summary)
}

/// Tries of one opening: a screen that was just left is not free at once.
const TRIES_LIMIT: u32 = 20;

/// A booted guest that is reached through KubeVirt alone.
async fn guest(context: &Context<'_>) -> Result<()> {
    let object = serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": TARGET},
        "spec": {
            "virtualMachine": {"template": {
                "memory": "128Mi",
                "rootDisk": {"containerDisk": {"image": GUEST_IMAGE, "imagePullPolicy": "Never"}},
                "terminationGracePeriod": "5s",
            }},
            "power": {"state": "Running"},
        },
    }))?;
    let api: Api<VmAccess> = context.api();
    api.create(&PostParams::default(), &object).await?;
    let mut console = wait::until("the guest to run", wait::LONG, || async {
        let console = SerialConsole::open(&context.client, &context.namespace, TARGET).await?;
        Ok(Seen::Done(console))
    })
    .await?;
    console.ask("echo sum=$((40 + 2))", "sum=42", wait::LONG).await
}

/// What was measured of one way to the screen.
#[derive(Default)]
struct Side {
    first_picture: Vec<Duration>,
    pixel: Vec<Duration>,
    picture: Vec<Duration>,
    bytes: usize,
    /// Of the gateway while whole pictures came, in seconds.
    cpu: f64,
}

struct Bench<'a, 'b> {
    context: &'a Context<'b>,
    gateway: Gateway,
    token: String,
}

impl Bench<'_, '_> {
    async fn look(&self, through_gateway: bool, side: &mut Side) -> Result<()> {
        let mut tries = 0;
        let (mut viewer, first) = loop {
            let began = Instant::now();
            match self.first_picture(through_gateway).await {
                Ok(viewer) => break (viewer, began.elapsed()),
                Err(error) if tries == TRIES_LIMIT => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        side.first_picture.push(first);
        for _ in 0..pixels() {
            let began = Instant::now();
            viewer.part(1, 1).await?;
            side.pixel.push(began.elapsed());
        }
        let cpu = process::cpu_seconds(self.gateway.id()?)?;
        for _ in 0..pictures() {
            let began = Instant::now();
            side.bytes += viewer.picture().await?.len();
            side.picture.push(began.elapsed());
        }
        side.cpu += process::cpu_seconds(self.gateway.id()?)? - cpu;
        viewer.stream.leave().await
    }

    async fn first_picture(&self, through_gateway: bool) -> Result<Viewer<ConsoleSocket>> {
        let stream = if through_gateway {
            ConsoleSocket::open_by_url(self.gateway.http, &self.token).await?
        } else {
            let path = format!(
                "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachineinstances/{TARGET}/vnc?preserveSession=true",
                self.context.namespace
            );
            ConsoleSocket::connect(&self.context.client, &path, KUBEVIRT_SUBPROTOCOL).await?
        };
        let mut viewer = Viewer::enter(stream, Security::None).await?;
        if viewer.picture().await?.is_empty() {
            bail!("the picture is empty");
        }
        Ok(viewer)
    }
}

fn tell(direct: &Side, ours: &Side, summary: &mut Summary) -> Result<()> {
    let figure = |name: &str, value, unit| Figure::new(format!("screen through KubeVirt: {name}"), value, unit, HOW);
    let mut compare = |name: &str, of: fn(&Side) -> &Vec<Duration>, parts: &[usize]| -> Result<()> {
        for part in parts {
            let (ours, direct) = (
                percentile(of(ours).clone(), *part)?,
                percentile(of(direct).clone(), *part)?,
            );
            summary.add(figure(&format!("{name} p{part}, against without gateway"), ours, "ms").against(direct));
        }
        Ok(())
    };
    compare("opening to first picture", |side| &side.first_picture, &[50])?;
    compare("asking for a pixel to its arrival", |side| &side.pixel, &[50, 99])?;
    compare(
        "asking for the whole picture to its arrival",
        |side| &side.picture,
        &[50, 99],
    )?;
    let gibibytes = u32::try_from(ours.bytes >> 10).map_or(f64::NAN, f64::from) / f64::from(1 << 20);
    summary.add(figure(
        "CPU of the gateway for whole pictures, TLS to kube-apiserver",
        ours.cpu / gibibytes,
        "CPU s per GiB",
    ));
    Ok(())
}
