//! The cluster and people disturb the controller; it comes back to what is wanted.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::{VmAccess, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        apply::PERSON,
        cluster::Cluster,
        condition::{has, wait_for},
        controller::InProcess,
        event::wait_for_event,
        kubevirt::{KubeVirtStandIn, virtual_machines},
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::{apply_vm_access, echo_service, ready, ready_as, template},
        wait::{self, Seen},
        workspace_plane::apply_desk,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

const NAME: &str = "web";
const SERVICE: &str = "web-echo";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("controller::disruption::cluster", Needs::ControlPlane, cluster),
        Case::new("controller::disruption::edits", Needs::ControlPlane, edits),
        Case::new("controller::disruption::taken_names", Needs::ControlPlane, taken_names),
    ]
}

/// KubeVirt appears late, an object cannot be read, programs restart, watches
/// expire: one after the other, in a cluster of their own.
async fn cluster() -> Result<()> {
    let cluster = Cluster::control_plane("disruption", &[])?;
    with_namespace(
        &cluster,
        "controller::disruption::cluster",
        PodSecurity::Restricted,
        async |context| {
            let controller = InProcess::start_usual(context).await?;
            kubevirt_appears(context).await.context("KubeVirt appears")?;
            snapshots_appear(context).await.context("snapshots appear")?;
            undecodable(context).await.context("an object that cannot be read")?;
            restarts(context, &controller).await.context("restarts")?;
            controller.stop().await
        },
    )
    .await
}

fn running() -> Value {
    json!({
        "virtualMachine": {"template": template()},
        "power": {"state": "Running"},
        "services": [echo_service()],
    })
}

async fn kubevirt_appears(context: &Context<'_>) -> Result<()> {
    apply_vm_access(context, NAME, &running()).await?;
    wait_for::<VmAccess>(
        context,
        NAME,
        ("VirtualMachineReady", "False", "KubeVirtNotInstalled"),
        wait::SHORT,
    )
    .await?;
    wait_for::<VmAccess>(context, NAME, ("ServicesReady", "True"), wait::SHORT).await?;
    context.cluster.add_crds(&["kubevirt"])?;
    let _kubevirt = KubeVirtStandIn::start(context).await?;
    ready_as(context, NAME, "Running", wait::LONG).await?;
    Ok(())
}

/// A spec that asks for snapshots is refused at once where there are none, and works when there are.
async fn snapshots_appear(context: &Context<'_>) -> Result<()> {
    let saved = json!({"storage": {"storageClassName": "none", "reclaim": "Snapshot"}});
    apply_desk(context, "saved", &saved).await?;
    wait_for::<VncWorkspace>(context, "saved", ("StorageReady", "False", "InvalidSpec"), wait::SHORT).await?;
    context.cluster.add_crds(&["snapshot"])?;
    let found = ("StorageReady", "False", "StorageClassNotFound");
    wait_for::<VncWorkspace>(context, "saved", found, wait::LONG).await?;
    let workspaces: Api<VncWorkspace> = context.api();
    workspaces.delete("saved", &DeleteParams::default()).await?;
    wait::gone(&workspaces, "saved", wait::LONG).await
}

async fn undecodable(context: &Context<'_>) -> Result<()> {
    let _kubevirt = KubeVirtStandIn::start(context).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let name = "vmaccesses.novasphere.io";
    let strict = crds.get(name).await?;
    let mut loose = strict.clone();
    for version in &mut loose.spec.versions {
        version.schema = Some(serde_json::from_value(json!({"openAPIV3Schema": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        }}))?);
        // They point at fields of the schema that is gone.
        version.selectable_fields = None;
    }
    crds.replace(name, &PostParams::default(), &loose).await?;
    let bad = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": "unreadable"},
        "spec": {"virtualMachine": {"name": 5}},
    });
    let objects = context.dynamic(&kube::discovery::ApiResource::erase::<VmAccess>(&()));
    wait::until("the apiserver takes the unreadable object", wait::SHORT, || async {
        objects
            .patch("unreadable", &PatchParams::apply(PERSON), &Patch::Apply(&bad))
            .await?;
        Ok(Seen::Done(()))
    })
    .await?;
    let mut back = crds.get(name).await?;
    back.spec = strict.spec;
    crds.replace(name, &PostParams::default(), &back).await?;

    wait::until("a condition on the unreadable object", wait::SHORT, || async {
        let object = objects.get("unreadable").await?;
        let conditions = object
            .data
            .pointer("/status/conditions")
            .map(ToString::to_string)
            .unwrap_or_default();
        let is_told = conditions.contains(r#""type":"Ready""#) && conditions.contains("Correct the field");
        Ok(Seen::some(is_told.then_some(()), conditions))
    })
    .await?;
    wait_for_event(context, "unreadable", "type=Warning", "").await?;

    // Others go on, in both directions.
    apply_vm_access(context, "other", &running()).await?;
    ready(context, "other", wait::SHORT).await?;
    objects.delete("unreadable", &DeleteParams::default()).await?;
    wait::gone(&objects, "unreadable", wait::SHORT).await?;
    context
        .api::<VmAccess>()
        .delete("other", &DeleteParams::default())
        .await?;
    wait::gone(&context.api::<VmAccess>(), "other", wait::SHORT).await
}

async fn restarts(context: &Context<'_>, controller: &InProcess) -> Result<()> {
    let _kubevirt = KubeVirtStandIn::start(context).await?;
    for (round, parts) in [["kube-apiserver"].as_slice(), &["etcd"], &["etcd", "kube-apiserver"]]
        .iter()
        .enumerate()
    {
        // The watches of our kinds fall behind these writes, so that a new watch
        // cache of the apiserver does not reach back to where they were.
        let maps: Api<ConfigMap> = context.api();
        for number in 0..5 {
            let map =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{round}-{number}")}});
            maps.create(&PostParams::default(), &serde_json::from_value(map)?)
                .await?;
        }
        for part in *parts {
            context.cluster.restart(part)?;
        }
        // What happened meanwhile has to be found: an edit, a deletion, a new wish.
        let services: Api<Service> = context.api();
        wait::until("the apiserver lets a person delete a Service", wait::SHORT, || async {
            match services.delete(SERVICE, &DeleteParams::default()).await {
                Ok(_) => Ok(Seen::Done(())),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Seen::Done(())),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        let mut wanted = running();
        let further = json!({"name": format!("more-{round}"), "ports": [{"name": "web", "port": 8080}]});
        if let Some(services) = wanted.get_mut("services").and_then(Value::as_array_mut) {
            services.push(further);
        }
        apply_vm_access(context, NAME, &wanted).await?;
        ready(context, NAME, wait::LONG)
            .await
            .with_context(|| format!("after {parts:?}"))?;
        exactly_services(context, &[SERVICE, &format!("{NAME}-more-{round}")]).await?;
    }
    let log = std::fs::read_to_string(context.output.join("controller.log"))?;
    ensure!(
        log.contains("too old resource version") || log.contains("Expired"),
        "no watch of the controller has expired (410), so that was not tested"
    );
    ensure!(
        controller.counter("novasphere_watch_errors_total")? > 0,
        "broken watches are not counted"
    );
    Ok(())
}

async fn exactly_services(context: &Context<'_>, wanted: &[&str]) -> Result<()> {
    let services: Api<Service> = context.api();
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    wait::until(format!("exactly the Services {wanted:?}"), wait::SHORT, || async {
        let mut names: Vec<_> = services
            .list(&ListParams::default())
            .await?
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        names.sort_unstable();
        Ok(Seen::some((names == wanted).then_some(()), format!("{names:?}")))
    })
    .await
}

/// What a person does to a child, and where the controller's wish is seen.
struct Edit {
    what: &'static str,
    machine: bool,
    /// A JSON merge patch, or `None` to delete the object.
    patch: Option<Value>,
}

fn edits_of_children() -> Vec<Edit> {
    let service = |what, patch| Edit {
        what,
        machine: false,
        patch: Some(patch),
    };
    let machine = |what, patch| Edit {
        what,
        machine: true,
        patch: Some(patch),
    };
    let no_labels = json!({"metadata": {"labels": null}});
    let no_owner = json!({"metadata": {"ownerReferences": null}});
    vec![
        service(
            "its ports",
            json!({"spec": {"ports": [{"name": "echo", "port": 1, "targetPort": 1}]}}),
        ),
        service(
            "a further port",
            json!({"spec": {"ports": [{"name": "echo", "port": 7777}, {"name": "more", "port": 22}]}}),
        ),
        service("its selector", json!({"spec": {"selector": {"app": "other"}}})),
        service(
            "a further selector",
            json!({"spec": {"selector": {"vmi.kubevirt.io/id": "other"}}}),
        ),
        service("its type", json!({"spec": {"type": "NodePort"}})),
        service("its labels", no_labels.clone()),
        service("its owner", no_owner.clone()),
        Edit {
            what: "the Service",
            machine: false,
            patch: None,
        },
        machine(
            "its memory",
            json!({"spec": {"template": {"spec": {"domain": {"memory": {"guest": "64Mi"}}}}}}),
        ),
        machine("its power", json!({"spec": {"runStrategy": "Halted"}})),
        machine(
            "its disks",
            json!({"spec": {"template": {"spec": {"domain": {"devices": {"disks": []}}, "volumes": []}}}}),
        ),
        machine("its labels", no_labels),
        machine("its owner", no_owner),
        Edit {
            what: "the VirtualMachine",
            machine: true,
            patch: None,
        },
    ]
}

async fn edits() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "controller::disruption::edits",
        PodSecurity::Restricted,
        async |context| {
            let _kubevirt = KubeVirtStandIn::start(context).await?;
            let controller = InProcess::start_usual(context).await?;
            apply_vm_access(context, NAME, &running()).await?;
            ready_as(context, NAME, "Running", wait::SHORT).await?;
            let services = context.dynamic(&kube::discovery::ApiResource::erase::<Service>(&()));
            let machines = context.dynamic(&virtual_machines());
            for edit in edits_of_children() {
                let (api, name) = if edit.machine {
                    (&machines, NAME)
                } else {
                    (&services, SERVICE)
                };
                let before = managed_part(&api.get(name).await?);
                match &edit.patch {
                    Some(patch) => {
                        let edited = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
                        ensure!(
                            managed_part(&edited) != before,
                            "the edit of {} changed nothing",
                            edit.what
                        );
                    }
                    None => drop(api.delete(name, &DeleteParams::default()).await?),
                }
                wait::object(
                    api,
                    name,
                    format!("a person changed {}; it is put right", edit.what),
                    wait::SHORT,
                    |object| {
                        let now = managed_part(object);
                        if now == before {
                            Ok(())
                        } else {
                            Err(format!("wanted {before}, got {now}"))
                        }
                    },
                )
                .await?;
                ready(context, NAME, wait::SHORT).await.with_context(|| edit.what)?;
            }
            others_keep_what_is_theirs(context).await?;
            status_is_written_again(context).await?;
            controller.stop().await
        },
    )
    .await
}

/// What the controller answers for in a child.
fn managed_part(object: &kube::api::DynamicObject) -> Value {
    let mut spec = object.data.get("spec").cloned().unwrap_or_default();
    if let Some(spec) = spec.as_object_mut() {
        // The apiserver's own, new with each new object.
        for field in ["clusterIP", "clusterIPs"] {
            spec.remove(field);
        }
    }
    json!({
        "spec": spec,
        "labels": object.metadata.labels,
        "owners": object.metadata.owner_references,
    })
}

/// Annotations and labels of other programs are not fought.
async fn others_keep_what_is_theirs(context: &Context<'_>) -> Result<()> {
    let services: Api<Service> = context.api();
    let patch =
        json!({"metadata": {"annotations": {"example.org/note": "mine"}, "labels": {"example.org/mine": "yes"}}});
    services
        .patch(SERVICE, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    // A change of ours passes over it.
    let mut spec = running();
    if let Some(ports) = spec.pointer_mut("/services/0/ports/0") {
        *ports = json!({"name": "echo", "port": 7000, "targetPort": 7777});
    }
    apply_vm_access(context, NAME, &spec).await?;
    let service = wait::object(&services, SERVICE, "it has the new port", wait::SHORT, |service| {
        let port = service
            .spec
            .as_ref()
            .and_then(|spec| spec.ports.as_ref()?.first().map(|port| port.port));
        if port == Some(7000) {
            Ok(())
        } else {
            Err(format!("{port:?}"))
        }
    })
    .await?;
    ensure!(
        service
            .annotations()
            .get("example.org/note")
            .is_some_and(|note| note == "mine"),
        "the note is gone"
    );
    ensure!(service.labels().contains_key("example.org/mine"), "the label is gone");
    Ok(())
}

async fn status_is_written_again(context: &Context<'_>) -> Result<()> {
    let objects: Api<VmAccess> = context.api();
    let before = ready(context, NAME, wait::SHORT).await?;
    let wiped = json!({"status": null});
    objects
        .patch_status(NAME, &PatchParams::default(), &Patch::Merge(wiped))
        .await?;
    let after = ready(context, NAME, wait::SHORT).await?;
    let shown = |object: &VmAccess| {
        object
            .status
            .as_ref()
            .map(|status| (status.services.clone(), status.virtual_machine.clone()))
    };
    ensure!(shown(&before) == shown(&after), "the status is not what it was");
    Ok(())
}

/// Objects that somebody else made under a name that we need stay untouched; a
/// condition says so, and it goes on when they go.
async fn taken_names() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "controller::disruption::taken_names",
        PodSecurity::Restricted,
        async |context| {
            let _kubevirt = KubeVirtStandIn::start(context).await?;
            let services: Api<Service> = context.api();
            let theirs = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": SERVICE},
                "spec": {"ports": [{"name": "theirs", "port": 1}]},
            });
            services
                .create(&PostParams::default(), &serde_json::from_value(theirs)?)
                .await?;
            let machines = context.dynamic(&virtual_machines());
            let machine = json!({
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
                "metadata": {"name": NAME},
                "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
            });
            machines
                .create(&PostParams::default(), &serde_json::from_value(machine)?)
                .await?;
            let versions = (
                services.get(SERVICE).await?.resource_version(),
                machines.get(NAME).await?.metadata.generation,
            );

            let controller = InProcess::start_usual(context).await?;
            apply_vm_access(context, NAME, &running()).await?;
            wait_for::<VmAccess>(context, NAME, ("ServicesReady", "False", "ServiceTaken"), wait::SHORT).await?;
            let object = wait_for::<VmAccess>(
                context,
                NAME,
                ("VirtualMachineReady", "False", "VirtualMachineTaken"),
                wait::SHORT,
            )
            .await?;
            has(&object, ("Ready", "False")).map_err(anyhow::Error::msg)?;
            wait_for_event(context, NAME, "type=Warning", "").await?;
            let now = (
                services.get(SERVICE).await?.resource_version(),
                machines.get(NAME).await?.metadata.generation,
            );
            ensure!(versions == now, "the objects of somebody else were changed");

            services.delete(SERVICE, &DeleteParams::default()).await?;
            machines.delete(NAME, &DeleteParams::default()).await?;
            ready_as(context, NAME, "Running", wait::SHORT).await?;
            controller.stop().await
        },
    )
    .await
}
