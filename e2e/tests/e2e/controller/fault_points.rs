//! The controller dies before and after every write of a create, an update and
//! a delete. Its successor brings the same end state.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use novasphere_crd::{ConsoleSession, VmAccess};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        cluster::Cluster,
        condition::has,
        controller::InProcess,
        cut_points::{self, EndState, Outcome, carried_out, collect, every_cut},
        fault::{Cut, Fault},
        kubevirt::{KubeVirtStandIn, virtual_machine_instances, virtual_machines},
        namespace::{Context, PodSecurity, with_namespace},
        vm_access::{apply_vm_access, template},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

const NAME: &str = "web";

const SESSION: &str = "view";

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, change: Change| {
        let test = format!("controller::fault_points::{name}");
        let title = test.clone();
        Case::new(&title, Needs::ControlPlane, move || async move {
            let leaves_nothing = matches!(change, Change::Delete("Delete"));
            every_cut(&test, leaves_nothing, |cut| run(&test, change, cut)).await
        })
    };
    vec![
        case("create", Change::Create),
        case("update", Change::Update),
        case("delete", Change::Delete("Delete")),
        case("delete_orphan", Change::Delete("Orphan")),
        case("session_ready", Change::Session(SessionStep::Ready)),
        case("session_closed", Change::Session(SessionStep::Closed)),
        case("session_removed", Change::Session(SessionStep::Removed)),
    ]
}

/// What a person asks for.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A new VmAccess.
    Create,
    /// Another size, state and set of services of an existing one.
    Update,
    /// No VmAccess any more; what becomes of its machine is the deletion policy.
    Delete(&'static str),
    /// A ConsoleSession of a VmAccess that is ready.
    Session(SessionStep),
}

/// How far a ConsoleSession is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionStep {
    /// It is made, and ready.
    Ready,
    /// It is revoked, and over.
    Closed,
    /// It is revoked, and its time to be kept is over at once.
    Removed,
}

/// One run in a namespace of its own.
async fn run(test: &str, change: Change, cut: Option<Cut>) -> Result<Outcome> {
    let cluster = Cluster::plane()?;
    let mut result = None;
    with_namespace(cluster, test, PodSecurity::Restricted, async |context| {
        let _kubevirt = KubeVirtStandIn::start(context).await?;
        let account = Account::create(cluster, &context.namespace, "controller").await?;
        if !matches!(change, Change::Create) {
            apply_base(context, change).await?;
            let fault = Fault::new(None);
            let controller = cut_points::start(context, &account, &fault).await?;
            settled(context, Change::Create, &controller, &fault).await?;
            if let Change::Session(step @ (SessionStep::Closed | SessionStep::Removed)) = change {
                make_session(context, step).await?;
                settled(context, Change::Session(SessionStep::Ready), &controller, &fault).await?;
            }
            controller.stop().await?;
        }
        ask_for(context, change).await?;
        let what = format!("{change:?}");
        let wanted = async || is_as_wanted(context, change).await;
        if let Some(writes) = carried_out(context, &account, cut, &what, wanted).await? {
            result = Some((end_state(context).await?, writes));
        }
        Ok(())
    })
    .await
    .with_context(|| format!("{change:?}, {cut:?}"))?;
    Ok(result)
}

async fn settled(context: &Context<'_>, change: Change, controller: &InProcess, fault: &Fault) -> Result<()> {
    let wanted = async || is_as_wanted(context, change).await;
    cut_points::settled(&format!("{change:?}"), controller, fault, wanted).await
}

async fn apply_base(context: &Context<'_>, change: Change) -> Result<()> {
    let policy = match change {
        Change::Delete(policy) => policy,
        Change::Create | Change::Update | Change::Session(_) => "Delete",
    };
    let spec = json!({
        "virtualMachine": {"template": template(), "deletionPolicy": policy},
        "power": {"state": "Running"},
        "services": [service("ssh", 22), service("web", 8080)],
    });
    apply_vm_access(context, NAME, &spec).await.map(drop)
}

fn service(name: &str, port: u16) -> Value {
    json!({"name": name, "ports": [{"name": name, "port": port}]})
}

async fn ask_for(context: &Context<'_>, change: Change) -> Result<()> {
    match change {
        Change::Create => apply_base(context, change).await,
        Change::Update => {
            let mut template = template();
            if let Some(template) = template.as_object_mut() {
                template.insert("memory".to_owned(), json!("256Mi"));
            }
            let spec = json!({
                "virtualMachine": {"template": template, "deletionPolicy": "Delete"},
                "power": {"state": "Stopped"},
                // One goes, one changes, one comes.
                "services": [service("web", 8081), service("rdp", 3389)],
            });
            apply_vm_access(context, NAME, &spec).await.map(drop)
        }
        Change::Delete(_) => {
            context.api::<VmAccess>().delete(NAME, &DeleteParams::default()).await?;
            Ok(())
        }
        Change::Session(SessionStep::Ready) => make_session(context, SessionStep::Ready).await,
        Change::Session(SessionStep::Closed | SessionStep::Removed) => {
            let sessions: Api<ConsoleSession> = context.api();
            let revoke = Patch::Merge(json!({"spec": {"revoked": true}}));
            sessions.patch(SESSION, &PatchParams::default(), &revoke).await?;
            Ok(())
        }
    }
}

async fn make_session(context: &Context<'_>, step: SessionStep) -> Result<()> {
    let kept = if step == SessionStep::Removed { "0s" } else { "1h" };
    let session = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "ConsoleSession",
        "metadata": {"name": SESSION},
        "spec": {"targetRef": {"name": NAME}, "ttlAfterFinished": kept},
    });
    let sessions: Api<ConsoleSession> = context.api();
    sessions
        .create(&PostParams::default(), &serde_json::from_value(session)?)
        .await?;
    Ok(())
}

async fn is_as_wanted(context: &Context<'_>, change: Change) -> Result<Result<(), String>> {
    if let Change::Session(step) = change {
        let session = context.api::<ConsoleSession>().get_opt(SESSION).await?;
        return Ok(match (step, session) {
            (SessionStep::Ready, Some(session)) => has(&session, ("Ready", "True", "Open")),
            (SessionStep::Closed, Some(session)) => has(&session, ("Closed", "True", "Revoked")),
            (SessionStep::Removed, None) => Ok(()),
            (SessionStep::Removed, Some(_)) => Err("the session exists".to_owned()),
            (SessionStep::Ready | SessionStep::Closed, None) => Err("the session does not exist".to_owned()),
        });
    }
    let object = context.api::<VmAccess>().get_opt(NAME).await?;
    match (change, object) {
        (Change::Create, Some(object)) => Ok(has(&object, ("VirtualMachineReady", "True", "Running"))
            .and_then(|()| has(&object, ("Ready", "True")))
            .and_then(|()| tells_details(&object))),
        (Change::Update, Some(object)) => {
            Ok(has(&object, ("VirtualMachineReady", "True", "Stopped")).and_then(|()| has(&object, ("Ready", "True"))))
        }
        (Change::Delete(_), Some(_)) => Ok(Err("the VmAccess exists".to_owned())),
        (Change::Session(_), Some(_)) => Ok(Ok(())),
        (Change::Create | Change::Update | Change::Session(_), None) => {
            Ok(Err("the VmAccess does not exist".to_owned()))
        }
        (Change::Delete(policy), None) => {
            let state = end_state(context).await?;
            let left = state
                .iter()
                .find(|(_, object)| policy == "Delete" || belongs_to_vm_access(object));
            Ok(left.map_or(Ok(()), |(name, _)| Err(format!("{name} is still there"))))
        }
    }
}

/// Where the machine runs and its addresses: they may follow a status that says "Running" by some seconds.
fn tells_details(object: &VmAccess) -> Result<(), String> {
    let machine = object
        .status
        .as_ref()
        .and_then(|status| status.virtual_machine.as_ref());
    let tells = machine.is_some_and(|machine| machine.node_name.is_some() && !machine.interfaces.is_empty());
    tells
        .then_some(())
        .ok_or_else(|| "the status has no node or address".to_owned())
}

fn belongs_to_vm_access(object: &Value) -> bool {
    object
        .pointer("/metadata/ownerReferences")
        .is_some_and(|owners| owners.to_string().contains("VmAccess"))
}

async fn end_state(context: &Context<'_>) -> Result<EndState> {
    let mut state = EndState::new();
    collect(&mut state, "VmAccess", &context.api::<VmAccess>(), context).await?;
    collect(&mut state, "ConsoleSession", &context.api::<ConsoleSession>(), context).await?;
    collect(&mut state, "Service", &context.api::<Service>(), context).await?;
    collect(
        &mut state,
        "VirtualMachine",
        &context.dynamic(&virtual_machines()),
        context,
    )
    .await?;
    collect(
        &mut state,
        "VirtualMachineInstance",
        &context.dynamic(&virtual_machine_instances()),
        context,
    )
    .await?;
    Ok(state)
}
