//! Many people and scripts ask for the same workspaces at once, and again after they were deleted.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        cluster::Cluster,
        condition::has,
        controller::{Child, config_for},
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace_plane::{NodeStandIn, apply_desk},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

/// Requests to make a workspace.
const REQUESTS: usize = 1000;

/// Requests at a time.
const CONCURRENCY: usize = 50;

/// Workspaces that they ask for.
const NAMES: usize = 100;

/// Times that all are made and deleted again, to see whether memory stays.
const WAVES: usize = 2;

/// What the controller may have more after the last wave than after the first: what the allocator keeps. A workspace that was not
/// forgotten would take more than 50 KiB, so that all of them take 15 MiB.
const GROWTH_BYTES: u64 = 8 << 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "workspace::crowd::one_of_each",
        Needs::ControlPlane,
        one_of_each,
    )]
}

async fn one_of_each() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, "workspace::crowd::one_of_each", PodSecurity::Restricted, async |context| {
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        let config = config_for(&context.namespace);
        let controller = Child::start(cluster, &account, &config, "controller", &context.output)?;
        let _kubelet = NodeStandIn::start(context, false).await?;
        let began = Instant::now();
        let ports = wave(context, REQUESTS).await?;
        let took = began.elapsed();
        gone(context).await?;
        let first = controller.resident()?;
        let mut after = vec![first];
        for _ in 0..WAVES {
            wave(context, NAMES).await?;
            gone(context).await?;
            after.push(controller.resident()?);
        }
        let mebibytes: Vec<_> = after.iter().map(|bytes| bytes >> 20).collect();
        println!(
            "workspace::crowd::one_of_each: {REQUESTS} requests, {NAMES} workspaces with {ports} different ports after {took:.1?}; MiB of \
             memory after each wave: {mebibytes:?}"
        );
        let last = after.last().copied().unwrap_or_default();
        ensure!(last <= first + GROWTH_BYTES, "memory grows from wave to wave: {mebibytes:?} MiB");
        Ok(())
    })
    .await
}

/// Asks for all workspaces by this number of requests, and waits until there is one of each. Returns the number of ports on nodes.
async fn wave(context: &Context<'_>, requests: usize) -> Result<usize> {
    let spec = json!({
        "service": {"type": "NodePort"},
        "storage": {"storageClassName": "none", "reclaim": "Delete"},
        "ssh": {"authorizedKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice"]},
    });
    let requests = (0..requests).map(|request| ask(context, request, &spec));
    stream::iter(requests)
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<()>>()
        .await?;
    let workspaces: Api<VncWorkspace> = context.api();
    wait::until("every desktop answers", wait::LONG, || async {
        let all = workspaces.list(&ListParams::default()).await?.items;
        let running = all
            .iter()
            .filter(|workspace| has(*workspace, ("PodReady", "True", "Running")).is_ok());
        let running = running.count();
        Ok(Seen::some(
            (running == NAMES).then_some(()),
            format!("{running} of {NAMES}"),
        ))
    })
    .await?;
    let counts = counts(context).await?;
    ensure!(counts == [NAMES; 5], "not one of each: {counts:?}");
    let services = context.api::<Service>().list(&ListParams::default()).await?.items;
    let specs = services.iter().filter_map(|service| service.spec.as_ref());
    let ports = specs
        .flat_map(|spec| spec.ports.iter().flatten())
        .filter_map(|port| port.node_port);
    let ports: Vec<i32> = ports.collect();
    let different: BTreeSet<_> = ports.iter().collect();
    ensure!(
        ports.len() == 2 * NAMES && different.len() == ports.len(),
        "{} ports, {} different",
        ports.len(),
        different.len()
    );
    Ok(ports.len())
}

async fn ask(context: &Context<'_>, request: usize, spec: &Value) -> Result<()> {
    apply_desk(context, &format!("w{}", request % NAMES), spec)
        .await
        .map(drop)
}

/// Deletes all workspaces, and waits until nothing of them is left.
async fn gone(context: &Context<'_>) -> Result<()> {
    let workspaces: Api<VncWorkspace> = context.api();
    let all = ListParams::default();
    workspaces.delete_collection(&DeleteParams::default(), &all).await?;
    wait::until("nothing is left", wait::LONG, || async {
        let workspaces = workspaces.list_metadata(&all).await?.items.len();
        let counts = counts(context).await?;
        let is_gone = workspaces == 0 && counts == [0; 5];
        Ok(Seen::some(
            is_gone.then_some(()),
            format!("{workspaces} workspaces, {counts:?}"),
        ))
    })
    .await
}

async fn counts(context: &Context<'_>) -> Result<[usize; 5]> {
    let all = ListParams::default();
    Ok([
        context.api::<Service>().list_metadata(&all).await?.items.len(),
        context.api::<Pod>().list_metadata(&all).await?.items.len(),
        context
            .api::<PersistentVolumeClaim>()
            .list_metadata(&all)
            .await?
            .items
            .len(),
        context.api::<NetworkPolicy>().list_metadata(&all).await?.items.len(),
        context.api::<Secret>().list_metadata(&all).await?.items.len(),
    ])
}
