//! A program that was taken over gains nothing: what each account of novasphere may not write, with the rights and the policies that the
//! installation gives it, and that its real writes pass. Nothing is written: all is a dry run.

use anyhow::{Context as _, Result, bail, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, TypeMeta},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_apiserver::{API_SERVICE, rbac as apiserver};
use novasphere_console::rbac as console;
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::{apply, as_person},
        cluster::Cluster,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
        workspace::apply_workspace,
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

mod places;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("controller::accounts::bounded", Needs::ControlPlane, bounded)]
}

/// Fewer would not be what was promised.
const REFUSED_LEAST: usize = 40;

/// How something is tried.
enum How {
    Create,
    /// A merge patch.
    Merge,
    /// A whole object at its resource version, with these fields set.
    Replace,
    /// The same for the status.
    ReplaceStatus,
    Delete,
}

/// One write of an account. `object` names what it is about, and holds what is written.
struct Write {
    what: &'static str,
    how: How,
    object: Value,
}

fn write(what: &'static str, how: How, object: Value) -> Write {
    Write { what, how, object }
}

/// The accounts, as the installation makes them.
struct Accounts {
    controller: Client,
    console: Client,
    apiserver: Client,
}

async fn bounded() -> Result<()> {
    // An APIService of this name is one of the cluster.
    let cluster = Cluster::control_plane("accounts", &["kubevirt"])?;
    let case = "controller::accounts::bounded";
    with_namespace(&cluster, case, PodSecurity::Privileged, async |context| {
        let (namespace, own) = (context.namespace.as_str(), console::NAMESPACE_RULES);
        let controller = Account::create(&cluster, namespace, "controller").await?;
        let gateway = [console::CLUSTER_RULES, console::PASSWORD_RULES].concat();
        let server = [&gateway, apiserver::CLUSTER_RULES].concat();
        let console = Account::with_rules(&cluster, namespace, "console", &gateway, own).await?;
        let apiserver = Account::with_rules(&cluster, namespace, "apiserver", &server, own).await?;
        let accounts = Accounts {
            controller: Client::try_from(controller.config(&cluster).await?)?,
            console: Client::try_from(console.config(&cluster).await?)?,
            apiserver: Client::try_from(apiserver.config(&cluster).await?)?,
        };
        let owner = present(context).await?;
        let mut refused = 0;
        for (client, who, writes) in [
            (
                &accounts.controller,
                "controller",
                both(both(desktops(&owner), privileged(&owner)), of_controller(&owner)),
            ),
            (&accounts.console, "console", of_gateway()),
            (&accounts.apiserver, "apiserver", both(of_gateway(), of_apiserver())),
            (&accounts.console, "console", both(of_console(), places::of_console())),
            (&accounts.apiserver, "apiserver", places::of_others()),
            (&accounts.controller, "controller", places::of_others()),
        ] {
            for write in writes {
                is_refused(context, client, &write)
                    .await
                    .with_context(|| format!("{who}: {}", write.what))?;
                refused += 1;
            }
        }
        ensure!(refused >= REFUSED_LEAST, "{refused} writes were tried");
        for (client, who, writes) in [
            (&accounts.controller, "controller", good_of_controller(&owner)),
            (
                &accounts.console,
                "console",
                both(good_of_gateway(), places::good_of_console()),
            ),
            (
                &accounts.apiserver,
                "apiserver",
                both(good_of_gateway(), good_of_apiserver()),
            ),
        ] {
            for write in writes {
                let tried = attempt(context, client, &write).await?;
                tried.map_err(|why| anyhow::anyhow!("{who} may not: {}: {why}", write.what))?;
            }
        }
        Ok(())
    })
    .await
}

fn both(first: Vec<Write>, second: Vec<Write>) -> Vec<Write> {
    first.into_iter().chain(second).collect()
}

/// Makes what is there before: objects of people, and some of novasphere's. Returns the owner reference of a workspace.
async fn present(context: &Context<'_>) -> Result<Value> {
    let desk = apply_workspace(context, "desk", "registry.example.com/desktop:1", &json!({})).await?;
    let uid = desk.metadata.uid.context("no UID")?;
    let owner = json!({"apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "name": "desk", "uid": uid, "controller": true});
    for object in [
        with(
            pod("theirs", &owner, &json!({})),
            "/metadata/ownerReferences",
            json!([]),
        ),
        pod("desk", &owner, &marks("desk")),
        secret("theirs", &json!({}), None),
        secret("desk-credentials", &marks("desk"), Some(&owner)),
        service("theirs", &json!({})),
        service("desk", &marks("desk")),
        claim("theirs", &json!({})),
        claim("desk-home", &marks("desk")),
        network_policy("theirs", &json!({})),
        machine("theirs", &json!({})),
        lease("novasphere-controller", "leader"),
        lease("somebodys", "somebody"),
        lease("novasphere-gateway-a", "a"),
        event("others", "other/controller"),
        session("open", &json!({})),
        session("over", &json!({"novasphere.io/made-for": "console"})),
    ] {
        let object = placed(context, &object);
        apply::<DynamicObject>(&context.client, Some(&context.namespace), object, &as_person().force()).await?;
    }
    let service = json!({"name": "api", "namespace": context.namespace});
    let api_service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API_SERVICE},
        "spec": {
            "group": "subresources.novasphere.io", "version": "v1alpha1", "groupPriorityMinimum": 1000, "versionPriority": 15,
            "service": service,
        },
    });
    apply::<DynamicObject>(&context.client, None, api_service, &as_person().force()).await?;
    let started = json!({
        "phase": "Ready", "startedAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-01T01:00:00Z", "targetUid": "1", "protocol": "vnc",
        "policy": policy("ViewOnly"), "grants": [grant("one", 2), grant("spent", 0)],
        "connections": [places::stream("old")], "viewers": 1, "resumes": [places::place("kept", "old")],
    });
    let over = json!({"phase": "Closed", "closedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00Z"});
    for (name, status) in [("open", started), ("over", over)] {
        let patch = Patch::Merge(json!({"status": status}));
        let sessions: Api<DynamicObject> = api(context, &context.client, &session(name, &json!({})))?;
        sessions.patch_status(name, &PatchParams::default(), &patch).await?;
    }
    Ok(owner)
}

/// Tries it until it is refused: the apiserver learns of policies a moment after they are made.
async fn is_refused(context: &Context<'_>, client: &Client, write: &Write) -> Result<()> {
    wait::until("it is refused", wait::SHORT, || async {
        let tried = attempt(context, client, write).await?;
        Ok(match tried {
            Err(_) => Seen::Done(()),
            Ok(()) => Seen::NotYet("it is allowed".to_owned()),
        })
    })
    .await
}

/// Tries it in a dry run. Returns the words of a refusal, by rights or by a policy; everything else is an error.
async fn attempt(context: &Context<'_>, client: &Client, write: &Write) -> Result<Result<(), String>> {
    let wanted = placed(context, &write.object);
    let target: Api<DynamicObject> = api(context, client, &write.object)?;
    let name = write
        .object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .context("no name")?;
    let creation = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let change = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let body = Patch::Merge(&wanted);
    let answer = match &write.how {
        How::Create => {
            let object: DynamicObject = serde_json::from_value(wanted)?;
            target.create(&creation, &object).await.map(drop)
        }
        How::Merge => target.patch(name, &change, &body).await.map(drop),
        How::Replace | How::ReplaceStatus => {
            let as_it_is: Api<DynamicObject> = api(context, &context.client, &write.object)?;
            let mut object = serde_json::to_value(as_it_is.get(name).await?)?;
            json_patch(&mut object, &wanted);
            let object: DynamicObject = serde_json::from_value(object)?;
            match write.how {
                How::Replace => target.replace(name, &creation, &object).await.map(drop),
                _ => target.replace_status(name, &creation, &object).await.map(drop),
            }
        }
        How::Delete => {
            let deletion = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            target.delete(name, &deletion).await.map(drop)
        }
    };
    match answer {
        Ok(()) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Err(status.message.clone())),
        Err(kube::Error::Api(status)) => bail!("it is neither allowed nor forbidden: {status:?}"),
        Err(error) => Err(error.into()),
    }
}

/// An event is in the namespace of what it is about.
fn placed(context: &Context<'_>, object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(about)) = object.get_mut("regarding") {
        about.insert("namespace".to_owned(), json!(context.namespace));
    }
    object
}

/// A merge patch (RFC 7386), as far as these tests need one.
fn json_patch(object: &mut Value, change: &Value) {
    match (object, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, value) in changes {
                if value.is_null() {
                    fields.remove(key);
                } else {
                    json_patch(fields.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (object, change) => *object = change.clone(),
    }
}

fn api(context: &Context<'_>, client: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let types: TypeMeta = serde_json::from_value(object.clone())?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    if types.kind == "APIService" {
        return Ok(Api::all_with(client.clone(), &resource));
    }
    let elsewhere = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let namespace = elsewhere.unwrap_or(&context.namespace);
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// The labels of what novasphere makes.
fn marks(name: &str) -> Value {
    json!({"app.kubernetes.io/managed-by": "novasphere", "novasphere.io/owner-uid": "1", "novasphere.io/workspace": name})
}

fn pod(name: &str, owner: &Value, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "desktop", "image": "registry.example.com/desktop:1", "ports": [{"containerPort": 5901}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    })
}

fn secret(name: &str, labels: &Value, owner: Option<&Value>) -> Value {
    let owners: Vec<&Value> = owner.into_iter().collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels, "ownerReferences": owners}, "type": "Opaque"})
}

fn service(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"name": "vnc", "port": 5900}]},
    })
}

fn claim(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

fn network_policy(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "labels": labels},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    })
}

fn machine(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "labels": labels},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
    })
}

fn lease(name: &str, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    })
}

fn event(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": controller, "reportingInstance": "x", "action": "Connect",
        "reason": "Granted", "type": "Normal", "note": "bob got a token", "regarding": {"kind": "ConsoleSession", "name": "open"},
    })
}

/// All that can change of an event: that it happened again.
fn repeated() -> Value {
    let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "others"}, "series": series})
}

fn session(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "ConsoleSession", "metadata": {"name": name, "labels": labels},
        "spec": {"targetRef": {"name": "web"}},
    })
}

fn policy(input: &str) -> Value {
    json!({
        "duration": "1h", "maxViewers": 1, "takeover": "Refuse", "input": input, "clipboard": "None", "power": false, "resize": false,
        "native": true,
    })
}

fn grant(id: &str, uses: u32) -> Value {
    json!({
        "id": id, "sha256": "0".repeat(64), "user": "ann", "issuedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:10:00Z",
        "usesLeft": uses,
    })
}

/// The object with one field set. The last part of the path is the field's name; an array is appended to.
fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap_or_default();
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => items.push(value),
        _ => {}
    }
    object
}

/// Pods that the controller may not make or delete.
fn desktops(owner: &Value) -> Vec<Write> {
    let none = json!({});
    let desk = || pod("desk-2", &desk_2(owner), &marks("desk-2"));
    let container = "/spec/containers/0/securityContext";
    let token = json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let host = json!({"name": "h", "hostPath": {"path": "/"}});
    vec![
        write(
            "a Pod without a mark",
            How::Create,
            with(desk(), "/metadata/labels", none.clone()),
        ),
        write(
            "a Pod of nobody",
            How::Create,
            with(desk(), "/metadata/ownerReferences", json!([])),
        ),
        write(
            "a Pod of another name",
            How::Create,
            with(desk(), "/metadata/name", json!("other")),
        ),
        write("hostPath", How::Create, with(desk(), "/spec/volumes/-", host)),
        write("a token", How::Create, with(desk(), "/spec/volumes/-", token)),
        write(
            "the account's token",
            How::Create,
            with(desk(), "/spec/automountServiceAccountToken", json!(true)),
        ),
        write(
            "no seccomp",
            How::Create,
            with(
                desk(),
                "/spec/securityContext/seccompProfile",
                json!({"type": "Unconfined"}),
            ),
        ),
        write(
            "a port of the node",
            How::Create,
            with(
                desk(),
                "/spec/containers/0/ports",
                json!([{"containerPort": 1, "hostPort": 1}]),
            ),
        ),
        write(
            "a system priority",
            How::Create,
            with(desk(), "/spec/priorityClassName", json!("system-node-critical")),
        ),
        write(
            "a sysctl",
            How::Create,
            with(
                desk(),
                "/spec/securityContext/sysctls",
                json!([{"name": "kernel.msgmax", "value": "1"}]),
            ),
        ),
        write(
            "root",
            How::Create,
            with(desk(), "/spec/securityContext/runAsUser", json!(0)),
        ),
        write(
            "root of a container",
            How::Create,
            with(desk(), &format!("{container}/runAsUser"), json!(0)),
        ),
        write(
            "maybe root",
            How::Create,
            with(desk(), "/spec/securityContext/runAsNonRoot", json!(false)),
        ),
        write(
            "a privileged first container",
            How::Create,
            with(
                desk(),
                "/spec/initContainers",
                json!([{
                    "name": "i", "image": "i", "securityContext": {"privileged": true},
                }]),
            ),
        ),
        write(
            "a Pod in kube-system",
            How::Create,
            with(desk(), "/metadata/namespace", json!("kube-system")),
        ),
        write("another's Pod, deleted", How::Delete, pod("theirs", owner, &none)),
    ]
}

/// Pods with something of the node, or with privileges.
fn privileged(owner: &Value) -> Vec<Write> {
    let desk = || pod("desk-2", &desk_2(owner), &marks("desk-2"));
    let container = "/spec/containers/0/securityContext";
    let mut all = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        all.push(write(
            "the node's own",
            How::Create,
            with(desk(), &format!("/spec/{field}"), json!(true)),
        ));
    }
    for (field, value) in [
        ("privileged", json!(true)),
        ("allowPrivilegeEscalation", json!(true)),
        ("capabilities", json!({"add": ["SYS_ADMIN"]})),
    ] {
        // The apiserver takes no privileged container that may not escalate.
        let pod = with(desk(), &format!("{container}/allowPrivilegeEscalation"), json!(true));
        all.push(write(
            "privileges of a container",
            How::Create,
            with(pod, &format!("{container}/{field}"), value),
        ));
    }
    all
}

/// What else it may not.
fn of_controller(owner: &Value) -> Vec<Write> {
    let none = json!({});
    let for_account = |type_: &str| {
        let credentials = with(secret("x-credentials", &marks("x"), Some(owner)), "/type", json!(type_));
        with(
            credentials,
            "/metadata/annotations",
            json!({"kubernetes.io/service-account.name": "default"}),
        )
    };
    vec![
        write(
            "a Secret without a mark",
            How::Create,
            secret("x-credentials", &none, Some(owner)),
        ),
        write(
            "a Secret of nobody",
            How::Create,
            secret("x-credentials", &marks("x"), None),
        ),
        write(
            "a Secret that gets a token",
            How::Create,
            for_account("kubernetes.io/service-account-token"),
        ),
        write("a Secret that names an account", How::Create, for_account("Opaque")),
        write(
            "another's Secret",
            How::Merge,
            secret("theirs", &marks("x"), Some(owner)),
        ),
        write(
            "the authority",
            How::Merge,
            secret("novasphere-ca", &marks("x"), Some(owner)),
        ),
        write("a Service without a mark", How::Create, service("x", &none)),
        write("another's Service", How::Merge, service("theirs", &marks("x"))),
        write("another's Service, deleted", How::Delete, service("theirs", &none)),
        write("a claim without a mark", How::Create, claim("x", &none)),
        write("another's claim, deleted", How::Delete, claim("theirs", &none)),
        write(
            "a NetworkPolicy without a mark",
            How::Create,
            network_policy("x", &none),
        ),
        write(
            "another's NetworkPolicy, deleted",
            How::Delete,
            network_policy("theirs", &none),
        ),
        write("a machine without a mark", How::Create, machine("x", &none)),
        write("another's machine", How::Merge, machine("theirs", &marks("x"))),
        write("another's machine, deleted", How::Delete, machine("theirs", &none)),
        write(
            "a lease of another program",
            How::Create,
            lease("kube-scheduler", "evil"),
        ),
        write(
            "a lease of a gateway",
            How::Create,
            lease("novasphere-gateway-b", "evil"),
        ),
        write("another's lease, deleted", How::Delete, lease("somebodys", "evil")),
        write(
            "the leader's lease, deleted",
            How::Delete,
            lease("novasphere-controller", "evil"),
        ),
        write("a session that is open, deleted", How::Delete, session("open", &none)),
        write(
            "the spec of a workspace",
            How::Merge,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "metadata": {"name": "desk"}, "spec": {"image": "evil"},
            }),
        ),
        write(
            "the labels of a workspace",
            How::Merge,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "metadata": {"name": "desk", "labels": {"evil": "yes"}},
            }),
        ),
        write(
            "a grant",
            How::ReplaceStatus,
            with(session("open", &none), "/status", json!({"grants": [grant("two", 1)]})),
        ),
        write("an event of another program", How::Create, event("x", "kubelet")),
        write("another's event", How::Merge, repeated()),
    ]
}

/// The owner reference of another workspace, which need not exist.
fn desk_2(owner: &Value) -> Value {
    with(owner.clone(), "/name", json!("desk-2"))
}

/// What no gateway may.
fn of_gateway() -> Vec<Write> {
    let none = json!({});
    let named = |name: &str| secret(name, &none, None);
    let annotated = with(
        named("novasphere-ca"),
        "/metadata/annotations",
        json!({"kubernetes.io/service-account.name": "default"}),
    );
    let status = |change: Value| with(session("open", &none), "/status", change);
    vec![
        write("a Secret", How::Create, named("x")),
        write("the authority, created", How::Create, named("novasphere-ca")),
        write(
            "another's Secret",
            How::Replace,
            with(named("theirs"), "/stringData", json!({"a": "b"})),
        ),
        write("the authority with an account", How::Replace, annotated),
        write("the authority, deleted", How::Delete, named("novasphere-ca")),
        write(
            "a Pod",
            How::Create,
            pod(
                "x",
                &json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"}),
                &none,
            ),
        ),
        write(
            "another's Pod, deleted",
            How::Delete,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"}}),
        ),
        write("a Service", How::Create, service("x", &none)),
        write("the leader's lease", How::Merge, lease("novasphere-controller", "evil")),
        write(
            "the leader's lease, deleted",
            How::Delete,
            lease("novasphere-controller", "evil"),
        ),
        write("another's lease", How::Merge, lease("somebodys", "evil")),
        write("another's lease, deleted", How::Delete, lease("somebodys", "evil")),
        write(
            "a lease of another program",
            How::Create,
            lease("kube-scheduler", "evil"),
        ),
        write("a session that is open, deleted", How::Delete, session("open", &none)),
        write(
            "the spec of a session",
            How::Merge,
            with(session("open", &none), "/spec", json!({"revoked": true})),
        ),
        write(
            "the policy of a session",
            How::ReplaceStatus,
            status(json!({"policy": policy("Control")})),
        ),
        write(
            "the target of a session",
            How::ReplaceStatus,
            status(json!({"targetUid": "2"})),
        ),
        write(
            "the start of a session",
            How::ReplaceStatus,
            status(json!({"startedAt": "2026-01-01T00:30:00Z"})),
        ),
        write(
            "the expiry of a session",
            How::ReplaceStatus,
            status(json!({"expiresAt": "2126-01-01T00:30:00Z"})),
        ),
        write(
            "no start of a session",
            How::ReplaceStatus,
            status(json!({"startedAt": null})),
        ),
        write(
            "a session that is over",
            How::ReplaceStatus,
            with(session("over", &none), "/status", json!({"closedAt": null})),
        ),
        write(
            "a token of one that is over",
            How::ReplaceStatus,
            with(session("over", &none), "/status", json!({"grants": [grant("x", 1)]})),
        ),
        write("an event of another program", How::Create, event("x", "kubelet")),
        write("another's event", How::Merge, repeated()),
    ]
}

/// What the gateway for browsers and viewers may not.
fn of_console() -> Vec<Write> {
    let none = json!({});
    let grants = |grants: Value| with(session("open", &none), "/status", json!({"grants": grants}));
    let other = with(grant("one", 2), "/user", json!("system:admin"));
    vec![
        write(
            "a token",
            How::ReplaceStatus,
            grants(json!([grant("one", 2), grant("two", 1)])),
        ),
        write(
            "more uses of a token",
            How::ReplaceStatus,
            grants(json!([grant("one", 3)])),
        ),
        write("a token's user", How::ReplaceStatus, grants(json!([other]))),
        write(
            "a session",
            How::Create,
            session("x", &json!({"novasphere.io/made-for": "console"})),
        ),
        write("an APIService", How::Merge, api_service(&json!({"caBundle": "YQ=="}))),
    ]
}

fn api_service(spec: &Value) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API_SERVICE}, "spec": spec})
}

/// What the aggregated API may not.
fn of_apiserver() -> Vec<Write> {
    let none = json!({});
    let labelled = with(api_service(&none), "/metadata/labels", json!({"a": "b"}));
    vec![
        write("a session for people", How::Create, session("x", &none)),
        write(
            "the APIService elsewhere",
            How::Merge,
            api_service(&json!({"service": {"name": "evil"}})),
        ),
        write(
            "the APIService unchecked",
            How::Merge,
            api_service(&json!({"insecureSkipTLSVerify": true})),
        ),
        write(
            "the APIService first",
            How::Merge,
            api_service(&json!({"groupPriorityMinimum": 20_000})),
        ),
        write("the labels of the APIService", How::Merge, labelled),
        write("the APIService, deleted", How::Delete, api_service(&none)),
    ]
}

fn good_of_controller(owner: &Value) -> Vec<Write> {
    let annotated = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "desk", "annotations": {"a": "b"}}});
    vec![
        write(
            "a desktop",
            How::Create,
            pod("desk-2", &desk_2(owner), &marks("desk-2")),
        ),
        write("its annotations", How::Merge, annotated),
        write("a desktop, deleted", How::Delete, pod("desk", owner, &json!({}))),
        write(
            "credentials",
            How::Create,
            secret("x-credentials", &marks("x"), Some(owner)),
        ),
        write(
            "credentials again",
            How::Merge,
            secret("desk-credentials", &marks("desk"), Some(owner)),
        ),
        write("a Service", How::Create, service("x", &marks("x"))),
        write(
            "a Service that lost its label",
            How::Merge,
            service("desk", &json!({"app.kubernetes.io/managed-by": null})),
        ),
        write("a Service, deleted", How::Delete, service("desk", &json!({}))),
        write("a home", How::Create, claim("x-home", &marks("x"))),
        write(
            "a home that was taken over",
            How::Merge,
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "theirs", "labels": marks("x")},
            }),
        ),
        write("a home, deleted", How::Delete, claim("desk-home", &json!({}))),
        write("a NetworkPolicy", How::Create, network_policy("x", &marks("x"))),
        write("a machine", How::Create, machine("x", &marks("x"))),
        write(
            "a dead gateway's lease, deleted",
            How::Delete,
            lease("novasphere-gateway-a", "a"),
        ),
        write(
            "a session that is over, deleted",
            How::Delete,
            session("over", &json!({})),
        ),
        write(
            "a finalizer",
            How::Merge,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace",
                "metadata": {"name": "desk", "finalizers": ["novasphere.io/home"]},
            }),
        ),
        write("an event", How::Create, event("x", "novasphere/vmaccess")),
    ]
}

fn good_of_gateway() -> Vec<Write> {
    let none = json!({});
    let authority = with(secret("novasphere-ca", &none, None), "/data", json!({"ca.crt": "YQ=="}));
    let used = json!({"grants": [grant("one", 1)], "viewers": 1});
    vec![
        write("the authority", How::Replace, authority),
        write("its lease", How::Merge, lease("novasphere-gateway-a", "a")),
        write("its lease, deleted", How::Delete, lease("novasphere-gateway-a", "a")),
        write(
            "a use of a token",
            How::ReplaceStatus,
            with(session("open", &none), "/status", used),
        ),
        write(
            "the end of a session",
            How::ReplaceStatus,
            with(
                session("open", &none),
                "/status",
                json!({
                    "phase": "Closed", "closedAt": "2026-01-01T00:30:00Z", "grants": null, "resumes": null,
                }),
            ),
        ),
        write("an event", How::Create, event("x", "novasphere/console")),
    ]
}

fn good_of_apiserver() -> Vec<Write> {
    let none = json!({});
    let both = json!({"grants": [grant("one", 2), grant("two", 1)]});
    vec![
        write(
            "a token",
            How::ReplaceStatus,
            with(session("open", &none), "/status", both),
        ),
        write(
            "a session for a connection",
            How::Create,
            session("x", &json!({"novasphere.io/made-for": "console"})),
        ),
        write(
            "a place for whom kube-apiserver knows",
            How::ReplaceStatus,
            places::of_user(),
        ),
        write("its end", How::Delete, session("over", &none)),
        write("the bundle", How::Merge, api_service(&json!({"caBundle": "YQ=="}))),
    ]
}
