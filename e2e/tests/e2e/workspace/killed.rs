//! A controller is killed in the middle of what it does for a desktop on a real node. The next one finishes it, and nothing is left
//! over or made twice.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use novasphere_core::vnc_workspace as names;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::wait_for,
        controller::{Child, config_for},
        desktop_image,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::{CSI, apply_workspace, desktop_answers, has_home, workspace_is_gone, write_home},
    },
    harness::{Case, Needs},
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use novasphere_runtime::namespaced::Namespaced;
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("workspace::killed::sigkill", Needs::Node, sigkill)]
}

const DAVE: &str = "dave";

/// The controllers of this case, one after the other. Each is killed by SIGKILL when the next is started.
struct Controllers<'a> {
    context: &'a Context<'a>,
    account: Account,
    running: Option<Child>,
    started: usize,
}

impl Controllers<'_> {
    fn next(&mut self) -> Result<()> {
        drop(self.running.take());
        self.started += 1;
        let instance = format!("controller-{}", self.started);
        let config = config_for(&self.context.namespace);
        let child = Child::start(
            self.context.cluster,
            &self.account,
            &config,
            &instance,
            &self.context.output,
        )?;
        self.running = Some(child);
        Ok(())
    }

    /// Kills it as soon as an object is as wanted, and starts the next.
    async fn kill_when<K: Namespaced>(&mut self, what: &str, name: &str, is_wanted: impl Fn(&K) -> bool) -> Result<()> {
        let objects: Api<K> = self.context.api();
        wait::until(what, wait::LONG, || async {
            let all = objects.list(&ListParams::default()).await?.items;
            let found = all
                .iter()
                .any(|object| object.name_any().starts_with(name) && is_wanted(object));
            Ok(Seen::some(found.then_some(()), format!("{} objects", all.len())))
        })
        .await?;
        self.next()
    }
}

/// On a cluster of its own: the installed controller of the shared one would do the work of the one that is killed.
async fn sigkill() -> Result<()> {
    let cluster = Cluster::own_storage("killed")?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(&cluster, "desktop")?;
        let account = Account::create(&cluster, &context.namespace, "controller").await?;
        let mut controllers = Controllers {
            context,
            account,
            running: None,
            started: 0,
        };
        controllers.next()?;
        create(context, &mut controllers, &image).await.context("create")?;
        hibernate(context, &mut controllers).await.context("hibernate")?;
        wake(context, &mut controllers).await.context("wake")?;
        delete(context, &mut controllers).await.context("delete")?;
        println!("workspace::killed::sigkill: {} controllers killed", controllers.started);
        Ok(())
    };
    let case = "workspace::killed::sigkill";
    Box::pin(with_namespace(&cluster, case, PodSecurity::Restricted, story)).await
}

async fn create(context: &Context<'_>, controllers: &mut Controllers<'_>, image: &str) -> Result<()> {
    let spec = json!({
        "storage": {"storageClassName": CSI, "size": "1Gi", "reclaim": "Snapshot"},
        "backup": {"onHibernate": true},
    });
    apply_workspace(context, DAVE, image, &spec).await?;
    controllers.kill_when::<Secret>("the Secret", DAVE, |_| true).await?;
    controllers
        .kill_when::<PersistentVolumeClaim>("the home", DAVE, |_| true)
        .await?;
    controllers.kill_when::<Pod>("the Pod", DAVE, |_| true).await?;
    desktop_answers(context, DAVE).await?;
    write_home(context, DAVE, "note", "kept")?;
    one_of_each(context, 1, 0).await
}

async fn hibernate(context: &Context<'_>, controllers: &mut Controllers<'_>) -> Result<()> {
    change::<VncWorkspace>(context, DAVE, &json!({"lifecycle": {"state": "Hibernated"}})).await?;
    let ends = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    controllers.kill_when::<Pod>("the Pod ends", DAVE, ends).await?;
    controllers
        .kill_when::<VolumeSnapshot>("the snapshot", DAVE, |_| true)
        .await?;
    wait_for::<VncWorkspace>(context, DAVE, ("Ready", "True", "Hibernated"), wait::LONG).await?;
    saved(context, 1).await?;
    one_of_each(context, 0, 1).await
}

async fn wake(context: &Context<'_>, controllers: &mut Controllers<'_>) -> Result<()> {
    change::<VncWorkspace>(context, DAVE, &json!({"lifecycle": {"state": "Running"}})).await?;
    controllers.kill_when::<Pod>("the Pod", DAVE, |_| true).await?;
    desktop_answers(context, DAVE).await?;
    has_home(context, DAVE, "note", "kept")?;
    one_of_each(context, 1, 1).await
}

async fn delete(context: &Context<'_>, controllers: &mut Controllers<'_>) -> Result<()> {
    context
        .api::<VncWorkspace>()
        .delete(DAVE, &DeleteParams::default())
        .await?;
    let ends = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    controllers.kill_when::<Pod>("the Pod ends", DAVE, ends).await?;
    wait::until("a second snapshot", wait::LONG, || async {
        let all = context
            .api::<VolumeSnapshot>()
            .list(&ListParams::default())
            .await?
            .items
            .len();
        Ok(Seen::some((all > 1).then_some(()), format!("{all} snapshots")))
    })
    .await?;
    controllers.next()?;
    workspace_is_gone(context, DAVE).await?;
    wait::gone(
        &context.api::<PersistentVolumeClaim>(),
        &names::home_name(DAVE),
        wait::LONG,
    )
    .await?;
    saved(context, 2).await
}

/// Waits until all snapshots are ready, and checks their number.
async fn saved(context: &Context<'_>, count: usize) -> Result<()> {
    let all = wait::until("all snapshots are ready", wait::LONG, || async {
        let all = context
            .api::<VolumeSnapshot>()
            .list(&ListParams::default())
            .await?
            .items;
        let ready = all.iter().filter(|snapshot| snapshot.is_ready()).count();
        Ok(Seen::some(
            (ready == all.len()).then_some(ready),
            format!("{ready} of {}", all.len()),
        ))
    })
    .await?;
    ensure!(all == count, "{all} snapshots, not {count}");
    Ok(())
}

/// Checks that the namespace has what one workspace needs, once.
async fn one_of_each(context: &Context<'_>, pods: usize, snapshots: usize) -> Result<()> {
    let found = [
        count::<Pod>(context).await?,
        count::<VolumeSnapshot>(context).await?,
        count::<PersistentVolumeClaim>(context).await?,
        count::<Secret>(context).await?,
        count::<NetworkPolicy>(context).await?,
        count::<Service>(context).await?,
    ];
    let wanted = [pods, snapshots, 1, 1, 1, 1];
    ensure!(
        found == wanted,
        "Pods, snapshots, claims, Secrets, policies and Services are {found:?}, not {wanted:?}"
    );
    Ok(())
}

async fn count<K: Namespaced>(context: &Context<'_>) -> Result<usize> {
    Ok(context.api::<K>().list(&ListParams::default()).await?.items.len())
}
