//! A `VncWorkspace` is deleted in each state that it can be in. Nothing is left but what `storage.reclaim` says, and no home goes before it
//! is saved.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::wait_for,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::workspace_is_gone,
        workspace_plane::{
            MISSING_IMAGE, NodeStandIn, apply_desk, ask_to_wake, class, provision, start_resyncing, unprovision,
        },
    },
    harness::{Case, Needs},
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use serde_json::json;

/// Holds a Pod that is deleted, as a kubelet does until its programs have ended.
const HOLD: &str = "novasphere.io/e2e-hold";

/// All workspaces of the case come up side by side, so what one waits for has the writes of 27 in front of it.
const TOGETHER_TIMEOUT: Duration = wait::LONG;

const RECLAIMS: [&str; 3] = ["Retain", "Delete", "Snapshot"];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "workspace::delete::every_state",
        Needs::ControlPlane,
        every_state,
    )]
}

/// How far a workspace has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Creating,
    Starting,
    Running,
    Hibernating,
    Hibernated,
    Waking,
    Snapshotting,
    Expired,
    Invalid,
}

const STATES: [State; 9] = [
    State::Creating,
    State::Starting,
    State::Running,
    State::Hibernating,
    State::Hibernated,
    State::Waking,
    State::Snapshotting,
    State::Expired,
    State::Invalid,
];

/// A workspace of the test.
#[derive(Clone, Debug)]
struct Desk {
    name: String,
    state: State,
    reclaim: &'static str,
}

impl Desk {
    fn all() -> Vec<Self> {
        let all = STATES
            .into_iter()
            .flat_map(|state| RECLAIMS.map(|reclaim| (state, reclaim)));
        all.map(|(state, reclaim)| Self {
            name: format!("{state:?}-{reclaim}").to_lowercase(),
            state,
            reclaim,
        })
        .collect()
    }

    fn home(&self) -> String {
        format!("{}-home", self.name)
    }
}

async fn every_state() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "workspace::delete::every_state",
        PodSecurity::Restricted,
        async |context| {
            let desks = Desk::all();
            let names: Vec<_> = desks.iter().map(|desk| desk.name.clone()).collect();
            provision(context, &names).await?;
            let stand_in = NodeStandIn::start(context, true).await?;
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let controller = start_resyncing(context, &account).await?;

            try_join_all(desks.iter().map(|desk| bring(context, desk))).await?;
            let workspaces: Api<VncWorkspace> = context.api();
            for desk in &desks {
                workspaces
                    .delete(&desk.name, &DeleteParams::default())
                    .await
                    .with_context(|| format!("delete {desk:?}"))?;
            }
            held_back(context, &desks).await?;
            try_join_all(desks.iter().map(|desk| let_go(context, desk))).await?;
            stand_in.release_snapshots();
            try_join_all(desks.iter().map(|desk| workspace_is_gone(context, &desk.name))).await?;
            is_left(context, &desks).await?;
            // Who has a home deleted with the workspace does not wait for snapshots that were wanted before.
            let unsaved = stand_in.unsaved();
            let kept: Vec<_> = desks
                .iter()
                .filter(|desk| desk.reclaim != "Delete")
                .map(Desk::home)
                .collect();
            let lost: Vec<_> = unsaved.iter().filter(|claim| kept.contains(claim)).collect();
            ensure!(lost.is_empty(), "homes went before they were saved: {lost:?}");
            println!(
                "workspace::delete::every_state: {} workspaces in {} states",
                desks.len(),
                STATES.len()
            );
            controller.stop().await?;
            unprovision(context, &names).await
        },
    )
    .await
}

/// Brings a workspace into its state.
async fn bring(context: &Context<'_>, desk: &Desk) -> Result<()> {
    let name = desk.name.as_str();
    let backs_up = matches!(desk.state, State::Snapshotting | State::Expired);
    let mut spec = json!({
        "storage": {"storageClassName": class(context), "reclaim": desk.reclaim},
        "backup": {"onHibernate": backs_up},
    });
    if desk.state == State::Starting
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("image".to_owned(), json!(MISSING_IMAGE));
    }
    apply_desk(context, name, &spec).await?;
    if desk.state == State::Creating {
        return Ok(());
    }
    if desk.state == State::Starting {
        wait::object(&context.api::<Pod>(), name, "made", TOGETHER_TIMEOUT, |_| Ok(())).await?;
        return wait_for::<VncWorkspace>(context, name, ("StorageReady", "True", "Bound"), TOGETHER_TIMEOUT)
            .await
            .map(drop);
    }
    wait_for::<VncWorkspace>(context, name, ("Ready", "True", "Running"), TOGETHER_TIMEOUT).await?;
    wait_for::<VncWorkspace>(context, name, ("StorageReady", "True", "Bound"), TOGETHER_TIMEOUT).await?;
    let asleep = json!({"lifecycle": {"state": "Hibernated"}});
    match desk.state {
        State::Creating | State::Starting | State::Running => {}
        State::Hibernating => {
            hold(context, name, &[HOLD]).await?;
            change::<VncWorkspace>(context, name, &asleep).await?;
            wait::object(&context.api::<Pod>(), name, "it ends", TOGETHER_TIMEOUT, |pod: &Pod| {
                let ends = pod.metadata.deletion_timestamp.as_ref();
                ends.map(drop).ok_or_else(|| "it does not".to_owned())
            })
            .await?;
        }
        State::Hibernated | State::Waking => {
            change::<VncWorkspace>(context, name, &asleep).await?;
            wait_for::<VncWorkspace>(context, name, ("Hibernated", "True", "Asked"), TOGETHER_TIMEOUT).await?;
            wait::gone(&context.api::<Pod>(), name, TOGETHER_TIMEOUT).await?;
            if desk.state == State::Waking {
                ask_to_wake(context, name).await?;
            }
        }
        State::Snapshotting => {
            change::<VncWorkspace>(context, name, &asleep).await?;
            snapshot_of(context, desk).await?;
        }
        State::Expired => {
            change::<VncWorkspace>(context, name, &json!({"lifecycle": {"maxLifetime": "1s"}})).await?;
            wait_for::<VncWorkspace>(
                context,
                name,
                ("StorageReady", "False", "TakingSnapshot"),
                TOGETHER_TIMEOUT,
            )
            .await?;
        }
        State::Invalid => {
            let weak = json!({"podOverrides": {"spec": {"hostNetwork": true}}});
            change::<VncWorkspace>(context, name, &weak).await?;
            wait_for::<VncWorkspace>(context, name, ("PodReady", "False", "InvalidSpec"), TOGETHER_TIMEOUT).await?;
        }
    }
    Ok(())
}

async fn hold(context: &Context<'_>, name: &str, finalizers: &[&str]) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let pods: Api<Pod> = context.api();
    pods.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn let_go(context: &Context<'_>, desk: &Desk) -> Result<()> {
    if desk.state == State::Hibernating {
        hold(context, &desk.name, &[]).await?;
    }
    Ok(())
}

async fn snapshot_of(context: &Context<'_>, desk: &Desk) -> Result<VolumeSnapshot> {
    let snapshots: Api<VolumeSnapshot> = context.api();
    wait::until(format!("a snapshot of {}", desk.name), TOGETHER_TIMEOUT, || async {
        let mut all = snapshots.list(&ListParams::default()).await?.items;
        all.retain(|snapshot| source(snapshot) == Some(desk.home()));
        Ok(Seen::some(all.pop(), "there is none"))
    })
    .await
}

fn source(snapshot: &VolumeSnapshot) -> Option<String> {
    let spec = snapshot.spec.as_ref()?;
    spec.source.persistent_volume_claim_name.clone()
}

/// As long as no snapshot is ready, those that need one stay, with their homes; and one whose Pod still ends.
async fn held_back(context: &Context<'_>, desks: &[Desk]) -> Result<()> {
    let saved = desks
        .iter()
        .filter(|desk| desk.reclaim == "Snapshot" && desk.state != State::Creating);
    for desk in saved.clone().filter(|desk| desk.state != State::Hibernating) {
        snapshot_of(context, desk).await?;
    }
    for desk in saved {
        let claim = context.api::<PersistentVolumeClaim>().get(&desk.home()).await?;
        ensure!(claim.metadata.deletion_timestamp.is_none(), "{desk:?} lost its home");
        let workspace = context.api::<VncWorkspace>().get(&desk.name).await?;
        ensure!(
            workspace.metadata.deletion_timestamp.is_some(),
            "{desk:?} is not being deleted"
        );
    }
    Ok(())
}

/// Only what the reclaim policies say is left.
async fn is_left(context: &Context<'_>, desks: &[Desk]) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = context.api();
    // One that was deleted before its home was made has none.
    let retained = desks.iter().filter(|desk| desk.reclaim == "Retain");
    let certain: BTreeSet<_> = retained
        .clone()
        .filter(|desk| desk.state != State::Creating)
        .map(Desk::home)
        .collect();
    let possible: BTreeSet<_> = retained.map(Desk::home).collect();
    wait::until(
        "only homes that are retained are left",
        Duration::from_mins(2),
        || async {
            let left = claims.list(&ListParams::default()).await?.items;
            let left: BTreeSet<_> = left.iter().map(ResourceExt::name_any).collect();
            let is_right = left.is_subset(&possible) && left.is_superset(&certain);
            Ok(Seen::some(is_right.then_some(()), format!("{left:?}")))
        },
    )
    .await?;
    for desk in desks
        .iter()
        .filter(|desk| desk.reclaim == "Snapshot" && desk.state != State::Creating)
    {
        let snapshot = snapshot_of(context, desk).await?;
        ensure!(snapshot.is_ready(), "{desk:?}: its snapshot is not ready");
    }
    wait::until("nothing else is left", wait::LONG, || async {
        let all = ListParams::default();
        let others = [
            context.api::<Pod>().list_metadata(&all).await?.items.len(),
            context.api::<Service>().list_metadata(&all).await?.items.len(),
            context.api::<NetworkPolicy>().list_metadata(&all).await?.items.len(),
            context.api::<Secret>().list_metadata(&all).await?.items.len(),
        ];
        Ok(Seen::some(
            (others == [0; 4]).then_some(()),
            format!("left over: {others:?}"),
        ))
    })
    .await
}
