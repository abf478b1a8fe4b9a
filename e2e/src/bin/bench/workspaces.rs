//! A `VncWorkspace` on a real node beside the same Pod made by hand: how long until the desktop answers, and how many writes.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use novasphere_core::vnc_workspace::{home_name, secret_name};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::fixtures::{
    account::Account,
    audit::{Mark, Write},
    cluster::Cluster,
    desktop_image,
    namespace::{Context, PodSecurity, with_namespace},
    wait,
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    controller::Controller,
    settings::full_or_small,
    summary::{Figure, Summary, percentile},
};

const HOW: &str = "BENCH_PARTS=workspaces make bench";

/// Rounds; in each both sides are created, hibernate, wake and are deleted.
fn rounds() -> usize {
    full_or_small(20, 2)
}

/// Goal: how much later than the bare Pod a desktop answers, in ms.
const CREATE_GOAL: f64 = 150.0;

/// Goal: writes that make a workspace Ready.
const CREATE_WRITES_GOAL: f64 = 8.0;

/// Where desktops answer VNC (docs/desktop-image.md).
const PORT: u16 = 5901;

/// From a Pod's address to the first try: less than a container takes to start.
const ADDRESS_GRACE: Duration = Duration::from_millis(250);

/// Of a try to connect, and between two tries.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(50);
const TRY_INTERVAL: Duration = Duration::from_millis(2);

/// How long a change of one object takes at most, on a busy machine.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) async fn run(summary: &mut Summary) -> Result<()> {
    let cluster = Cluster::own_storage("bench-workspaces")?;
    let image = desktop_image::load(&cluster, "desktop")?;
    with_namespace(
        &cluster,
        "bench::workspaces",
        PodSecurity::Restricted,
        async |context| Box::pin(measure(context, &image, summary)).await,
    )
    .await
}

async fn measure(context: &Context<'_>, image: &str, summary: &mut Summary) -> Result<()> {
    let account = Account::create(context.cluster, &context.namespace, "controller").await?;
    let kubeconfig = context.output.join("controller.kubeconfig");
    fs::write(&kubeconfig, account.kubeconfig(context.cluster)?)?;
    let mut controller = Controller::start(&kubeconfig, Some(&context.namespace), "controller-workspaces.log")?;
    let bench = Bench {
        context,
        image,
        account,
    };
    // The first one waits for the controller, and brings the image's files into the page cache.
    let (_, template) = bench.workspace("first").await?;
    let mut runs = Runs::default();
    for run in 0..rounds() {
        controller.runs()?;
        let (workspace, bare) = (format!("workspace-{run}"), format!("bare-{run}"));
        // The sides take turns in being first, so that neither always has the quieter moment.
        if run % 2 == 0 {
            runs.workspaces.push(bench.workspace(&workspace).await?.0);
            runs.bare.push(bench.bare(&template, &bare).await?);
        } else {
            runs.bare.push(bench.bare(&template, &bare).await?);
            runs.workspaces.push(bench.workspace(&workspace).await?.0);
        }
    }
    controller.stop().await?;
    runs.tell(summary)
}

/// One life of one side.
#[derive(Debug, Default)]
struct Life {
    /// From the first request to the first bytes of RFB.
    create: Duration,
    wake: Duration,
    writes: Writes,
}

/// Those of the controller.
#[derive(Debug, Default)]
struct Writes {
    create: usize,
    hibernate: usize,
    wake: usize,
    delete: usize,
}

/// What the bare Pod is made from: what the controller made of the first workspace.
struct Template {
    pod: Pod,
    home: PersistentVolumeClaim,
    secret: Secret,
}

struct Bench<'a, 'b> {
    context: &'a Context<'b>,
    image: &'a str,
    account: Account,
}

impl Bench<'_, '_> {
    /// One life of a workspace, and what it was made of.
    async fn workspace(&self, name: &str) -> Result<(Life, Template)> {
        let api: Api<VncWorkspace> = self.context.api();
        let object = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VncWorkspace",
            "metadata": {"name": name},
            "spec": {
                "user": "bench",
                "image": self.image,
                "display": {"width": 640, "height": 480},
                "storage": {"reclaim": "Delete"},
            },
        }))?;
        let mut mark = self.context.cluster.audit().mark()?;
        let create = self
            .timed(name, async {
                api.create(&PostParams::default(), &object).await?;
                Ok(())
            })
            .await
            .context("create")?;
        self.status_is(name, "Running").await?;
        let mut writes = Writes {
            create: self.writes(&mut mark)?,
            ..Writes::default()
        };
        let template = self.template(name).await?;

        self.state(name, "Hibernated").await?;
        wait::gone(&self.context.api::<Pod>(), name, CHANGE_TIMEOUT).await?;
        self.status_is(name, "Hibernated").await?;
        writes.hibernate = self.writes(&mut mark)?;

        let wake = self.timed(name, self.state(name, "Running")).await.context("wake")?;
        self.status_is(name, "Running").await?;
        writes.wake = self.writes(&mut mark)?;

        api.delete(name, &DeleteParams::default()).await?;
        wait::gone(&api, name, CHANGE_TIMEOUT).await?;
        wait::gone(&self.context.api::<Pod>(), name, CHANGE_TIMEOUT).await?;
        writes.delete = self.writes(&mut mark)?;
        Ok((Life { create, wake, writes }, template))
    }

    /// The same of a Pod with its home and its Secret, made by hand.
    async fn bare(&self, template: &Template, name: &str) -> Result<Life> {
        let pods: Api<Pod> = self.context.api();
        let homes: Api<PersistentVolumeClaim> = self.context.api();
        let secrets: Api<Secret> = self.context.api();
        let (pod, home, secret) = template.named(name)?;
        let parameters = PostParams::default();
        let create = self
            .timed(name, async {
                secrets.create(&parameters, &secret).await?;
                homes.create(&parameters, &home).await?;
                pods.create(&parameters, &pod).await?;
                Ok(())
            })
            .await
            .context("create")?;
        self.end(&pods, name).await?;
        let wake = self
            .timed(name, async {
                pods.create(&parameters, &pod).await?;
                Ok(())
            })
            .await
            .context("wake")?;
        self.end(&pods, name).await?;
        self.end(&homes, &home_name(name)).await?;
        self.end(&secrets, &secret_name(name)).await?;
        Ok(Life {
            create,
            wake,
            writes: Writes::default(),
        })
    }

    async fn end<K>(&self, api: &Api<K>, name: &str) -> Result<()>
    where
        K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        api.delete(name, &DeleteParams::default()).await?;
        wait::gone(api, name, CHANGE_TIMEOUT).await
    }

    /// The time from the start of `request` until the desktop of the Pod that it makes says that it speaks RFB.
    ///
    /// Both sides are asked at their Pod's address, so that no Service is in the way. The address is taken from the node's files,
    /// because the Pod's status has it late: the kubelet looks at its containers once a second, and a desktop that is up just
    /// before that would seem to be faster by up to that time.
    async fn timed(&self, name: &str, request: impl Future<Output = Result<()>>) -> Result<Duration> {
        let before = self.addresses()?;
        let began = Instant::now();
        let answered = async {
            request.await?;
            let address = loop {
                if let Some(address) = self.addresses()?.difference(&before).next() {
                    break *address;
                }
                tokio::time::sleep(TRY_INTERVAL).await;
            };
            // A SYN to an address that is not yet set up is lost, and repeated after a second.
            tokio::time::sleep(ADDRESS_GRACE).await;
            while greeting(address).await.is_err() {
                tokio::time::sleep(TRY_INTERVAL).await;
            }
            Ok(began.elapsed())
        };
        timeout(CHANGE_TIMEOUT, answered)
            .await
            .with_context(|| format!("{name} does not answer within {} s", CHANGE_TIMEOUT.as_secs()))?
    }

    /// The addresses of all Pods of the node, as its network plug-in writes them down.
    fn addresses(&self) -> Result<BTreeSet<IpAddr>> {
        let folder = self.context.cluster.kubeconfig.with_file_name("run/cni/novacluster");
        let files = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        let mut addresses = BTreeSet::new();
        for file in files {
            // It also has a lock there.
            addresses.extend(file?.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok()));
        }
        Ok(addresses)
    }

    async fn state(&self, name: &str, state: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"lifecycle": {"state": state}}}));
        let api: Api<VncWorkspace> = self.context.api();
        api.patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until `Ready` is true for this reason.
    async fn status_is(&self, name: &str, reason: &str) -> Result<()> {
        let api: Api<VncWorkspace> = self.context.api();
        wait::object(&api, name, reason, CHANGE_TIMEOUT, |object| {
            let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions.find(|condition| condition.type_ == "Ready");
            let is = ready.is_some_and(|ready| {
                ready.status == "True"
                    && ready.reason == reason
                    && ready.observed_generation == object.metadata.generation
            });
            if is { Ok(()) } else { Err(format!("{ready:?}")) }
        })
        .await
        .map(drop)
    }

    /// The writes of the controller since the mark, which is moved, events included.
    fn writes(&self, mark: &mut Mark) -> Result<usize> {
        let mut writes: Vec<Write> = self.context.cluster.audit().next(mark)?;
        writes.retain(|write| write.user() == self.account.user() && !write.is_lease());
        if let Some(refused) = writes.iter().find(|write| write.code() >= 400) {
            eprintln!("a write was refused: {refused}");
        }
        Ok(writes.len())
    }

    async fn template(&self, name: &str) -> Result<Template> {
        Ok(Template {
            pod: self.context.api::<Pod>().get(name).await?,
            home: self
                .context
                .api::<PersistentVolumeClaim>()
                .get(&home_name(name))
                .await?,
            secret: self.context.api::<Secret>().get(&secret_name(name)).await?,
        })
    }
}

impl Template {
    /// The same objects under other names, without what the cluster has added.
    fn named(&self, name: &str) -> Result<(Pod, PersistentVolumeClaim, Secret)> {
        let before = self.pod.name_any();
        let metadata = |name: String| ObjectMeta {
            name: Some(name),
            ..ObjectMeta::default()
        };
        let mut spec = serde_json::to_value(self.pod.spec.as_ref().context("the Pod has no spec")?)?;
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("nodeName");
        }
        rename(&mut spec, &home_name(&before), &home_name(name));
        rename(&mut spec, &secret_name(&before), &secret_name(name));
        let mut home = self.home.spec.clone().context("the home has no spec")?;
        home.volume_name = None;
        let pod = Pod {
            metadata: metadata(name.to_owned()),
            spec: Some(serde_json::from_value(spec)?),
            status: None,
        };
        let home = PersistentVolumeClaim {
            metadata: metadata(home_name(name)),
            spec: Some(home),
            status: None,
        };
        let secret = Secret {
            metadata: metadata(secret_name(name)),
            ..self.secret.clone()
        };
        Ok((pod, home, secret))
    }
}

/// Puts a name in place of another one wherever it stands alone.
fn rename(value: &mut Value, before: &str, after: &str) {
    match value {
        Value::String(text) if text == before => after.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, before, after)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, before, after)),
        _ => {}
    }
}

/// Reads the first bytes that an RFB server says.
async fn greeting(address: IpAddr) -> Result<()> {
    let mut stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((address, PORT))).await??;
    let mut version = [0; 12];
    stream.read_exact(&mut version).await?;
    ensure!(version.starts_with(b"RFB "), "not RFB: {version:?}");
    Ok(())
}

#[derive(Default)]
struct Runs {
    workspaces: Vec<Life>,
    bare: Vec<Life>,
}

impl Runs {
    fn tell(&self, summary: &mut Summary) -> Result<()> {
        for (name, of, goal) in [
            (
                "create",
                (|life: &Life| life.create) as fn(&Life) -> Duration,
                Some(CREATE_GOAL),
            ),
            ("wake", |life| life.wake, None),
        ] {
            for part in [50, 99] {
                let at = |lives: &[Life]| percentile(lives.iter().map(of).collect(), part);
                let (ours, bare) = (at(&self.workspaces)?, at(&self.bare)?);
                let figure = |text: &str, value| {
                    Figure::new(
                        format!("VncWorkspace: {name} to first RFB answer p{part}{text}"),
                        value,
                        "ms",
                        HOW,
                    )
                };
                summary.add(figure(", against a bare Pod", ours).against(bare));
                let longer = figure(", longer than a bare Pod", ours - bare);
                summary.add(match goal {
                    Some(goal) if part == 50 => longer.at_most(goal),
                    _ => longer,
                });
            }
        }
        let most = |name: &str, of: fn(&Writes) -> usize| {
            let most = self
                .workspaces
                .iter()
                .map(|life| of(&life.writes))
                .max()
                .unwrap_or_default();
            let most = u32::try_from(most).map_or(f64::NAN, f64::from);
            Figure::new(
                format!(
                    "VncWorkspace: writes of the controller, {name}, the most of {} runs",
                    self.workspaces.len()
                ),
                most,
                "writes",
                HOW,
            )
        };
        summary.add(most("create to Ready", |writes| writes.create).at_most(CREATE_WRITES_GOAL));
        summary.add(most("hibernate", |writes| writes.hibernate));
        summary.add(most("wake to Ready", |writes| writes.wake));
        summary.add(most("delete", |writes| writes.delete));
        Ok(())
    }
}
