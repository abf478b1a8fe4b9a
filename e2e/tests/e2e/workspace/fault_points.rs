//! The controller dies before and after every write of what a `VncWorkspace` goes through. Its successor brings the same end state,
//! and no home goes before it is saved.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use novasphere_core::vnc_workspace::build::TEMPLATE_HASH_ANNOTATION;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::has,
        cut_points::{self, EndState, Outcome, carried_out, collect, every_cut},
        fault::{Cut, Fault},
        namespace::{Context, PodSecurity, with_namespace},
        workspace_plane::{NodeStandIn, apply_desk, ask_to_wake, class, is_running, provision, unprovision},
    },
    harness::{Case, Needs},
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use serde_json::{Value, json};

const NAME: &str = "alice";

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, step: Step| {
        let test = format!("workspace::fault_points::{name}");
        let title = test.clone();
        Case::new(&title, Needs::ControlPlane, move || async move {
            let leaves_nothing = step == Step::Delete("Delete");
            every_cut(&test, leaves_nothing, |cut| Box::pin(run(&test, step, cut))).await
        })
    };
    vec![
        case("create", Step::Create),
        case("resize", Step::Resize),
        case("hibernate", Step::Hibernate),
        case("wake", Step::Wake),
        case("expire", Step::Expire),
        case("delete", Step::Delete("Delete")),
        case("delete_retain", Step::Delete("Retain")),
        case("delete_snapshot", Step::Delete("Snapshot")),
    ]
}

/// What happens to a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is made, with the finalizer that saves its home.
    Create,
    /// It gets other resources, in place.
    Resize,
    /// It goes to sleep, and a snapshot is taken.
    Hibernate,
    /// Somebody connects to it while it sleeps.
    Wake,
    /// Its time is over; its home is saved, and goes.
    Expire,
    /// It is deleted, with this reclaim policy.
    Delete(&'static str),
}

impl Step {
    /// What a person asks for before it.
    fn base(self, context: &Context<'_>) -> Value {
        let reclaim = match self {
            Self::Create | Self::Expire => "Snapshot",
            Self::Delete(reclaim) => reclaim,
            Self::Resize | Self::Hibernate | Self::Wake => "Retain",
        };
        let mut spec = json!({
            "storage": {"storageClassName": class(context), "reclaim": reclaim},
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "backup": {"onHibernate": true},
        });
        if self == Self::Wake
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("lifecycle".to_owned(), json!({"state": "Hibernated"}));
        }
        spec
    }
}

/// One run in a namespace of its own.
async fn run(test: &str, step: Step, cut: Option<Cut>) -> Result<Outcome> {
    let cluster = Cluster::plane()?;
    let mut result = None;
    with_namespace(cluster, test, PodSecurity::Restricted, async |context| {
        let stand_in = NodeStandIn::start(context, false).await?;
        let homes = [NAME.to_owned()];
        provision(context, &homes).await?;
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        if step != Step::Create {
            apply_desk(context, NAME, &step.base(context)).await?;
            let fault = Fault::new(None);
            let controller = cut_points::start(context, &account, &fault).await?;
            let wanted = async || is_as_before(context, step).await;
            cut_points::settled("the time before", &controller, &fault, wanted).await?;
            controller.stop().await?;
        }
        ask_for(context, step).await?;
        let wanted = async || is_as_wanted(context, step).await;
        if let Some(writes) = carried_out(context, &account, cut, &format!("{step:?}"), wanted).await? {
            let unsaved = stand_in.unsaved();
            ensure!(unsaved.is_empty(), "homes went before they were saved: {unsaved:?}");
            result = Some((end_state(context).await?, writes));
        }
        unprovision(context, &homes).await
    })
    .await
    .with_context(|| format!("{step:?}, {cut:?}"))?;
    Ok(result)
}

async fn ask_for(context: &Context<'_>, step: Step) -> Result<()> {
    match step {
        Step::Create => apply_desk(context, NAME, &step.base(context)).await.map(drop),
        Step::Resize => {
            let resources = json!({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}});
            change::<VncWorkspace>(context, NAME, &json!({ "resources": resources }))
                .await
                .map(drop)
        }
        Step::Hibernate => {
            let asleep = json!({"lifecycle": {"state": "Hibernated"}});
            change::<VncWorkspace>(context, NAME, &asleep).await.map(drop)
        }
        Step::Wake => ask_to_wake(context, NAME).await,
        Step::Expire => {
            let over = json!({"lifecycle": {"maxLifetime": "1s"}});
            change::<VncWorkspace>(context, NAME, &over).await.map(drop)
        }
        Step::Delete(_) => {
            let workspaces = context.api::<VncWorkspace>();
            workspaces.delete(NAME, &DeleteParams::default()).await?;
            Ok(())
        }
    }
}

async fn is_as_before(context: &Context<'_>, step: Step) -> Result<Result<(), String>> {
    let Some(workspace) = context.api::<VncWorkspace>().get_opt(NAME).await? else {
        return Ok(Err("the workspace does not exist".to_owned()));
    };
    Ok(match step {
        Step::Wake => is_asleep(&workspace),
        _ => is_running(&workspace),
    })
}

async fn is_as_wanted(context: &Context<'_>, step: Step) -> Result<Result<(), String>> {
    let workspace = context.api::<VncWorkspace>().get_opt(NAME).await?;
    Ok(match (step, workspace) {
        (Step::Create | Step::Wake, Some(workspace)) => is_running(&workspace),
        (Step::Resize, Some(workspace)) => match is_running(&workspace) {
            Ok(()) => is_resized(context).await?,
            not_yet => not_yet,
        },
        (Step::Hibernate, Some(workspace)) => is_asleep(&workspace).and_then(|()| is_saved(&workspace)),
        (Step::Create | Step::Resize | Step::Hibernate | Step::Wake, None) => Err("the workspace is gone".to_owned()),
        (Step::Expire | Step::Delete(_), Some(_)) => Err("the workspace exists".to_owned()),
        (Step::Expire | Step::Delete(_), None) => {
            let left = end_state(context).await?;
            let stays = match step {
                Step::Delete("Retain") => "PersistentVolumeClaim/",
                Step::Delete("Delete") => "nothing",
                _ => "VolumeSnapshot/",
            };
            let other = left.keys().find(|name| !name.starts_with(stays));
            other.map_or(Ok(()), |name| Err(format!("{name} is still there")))
        }
    })
}

fn is_asleep(workspace: &VncWorkspace) -> Result<(), String> {
    has(workspace, ("Hibernated", "True", "Asked"))
        .and_then(|()| has(workspace, ("Ready", "True", "Hibernated")))
        .and_then(|()| has(workspace, ("StorageReady", "True", "Bound")))
}

fn is_saved(workspace: &VncWorkspace) -> Result<(), String> {
    let snapshots = workspace.status.iter().flat_map(|status| &status.snapshots);
    let ready = snapshots.filter(|snapshot| snapshot.ready_to_use).count();
    if ready == 1 {
        Ok(())
    } else {
        Err(format!("{ready} snapshots are ready"))
    }
}

async fn is_resized(context: &Context<'_>) -> Result<Result<(), String>> {
    let pod = context.api::<Pod>().get(NAME).await?;
    let resources = serde_json::to_value(pod.spec.iter().flat_map(|spec| &spec.containers).next())?;
    let has = resources
        .pointer("/resources/limits/memory")
        .cloned()
        .unwrap_or_default();
    Ok(if has == json!("4Gi") {
        Ok(())
    } else {
        Err(format!("the limit is {has}"))
    })
}

async fn end_state(context: &Context<'_>) -> Result<EndState> {
    let mut state = EndState::new();
    collect(&mut state, "VncWorkspace", &context.api::<VncWorkspace>(), context).await?;
    collect(&mut state, "Pod", &context.api::<Pod>(), context).await?;
    collect(&mut state, "Service", &context.api::<Service>(), context).await?;
    collect(&mut state, "NetworkPolicy", &context.api::<NetworkPolicy>(), context).await?;
    let claims = context.api::<PersistentVolumeClaim>();
    collect(&mut state, "PersistentVolumeClaim", &claims, context).await?;
    collect(&mut state, "VolumeSnapshot", &context.api::<VolumeSnapshot>(), context).await?;
    let secrets = context.api::<Secret>();
    collect(&mut state, "Secret", &secrets, context).await?;
    // The names of snapshots have the UID of the workspace in them.
    let snapshots = context
        .api::<VolumeSnapshot>()
        .list_metadata(&ListParams::default())
        .await?;
    let mut text = serde_json::to_string(&state)?;
    // What a Pod was made from has the UID of its Secret in it. The rest of that is the Pod's spec, which is compared whole.
    let pods = context.api::<Pod>().list_metadata(&ListParams::default()).await?;
    for hash in pods
        .iter()
        .filter_map(|pod| pod.annotations().get(TEMPLATE_HASH_ANNOTATION))
    {
        text = text.replace(hash, "TEMPLATE");
    }
    for (number, snapshot) in snapshots.items.iter().enumerate() {
        text = text.replace(&snapshot.name_any(), &format!("SNAPSHOT-{number}"));
    }
    Ok(serde_json::from_str(&text)?)
}
