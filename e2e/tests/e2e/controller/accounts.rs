//! A program that was taken over gains nothing: what each account of novasphere may not write, with the rights and the policies that the
//! installation gives it, and that its real writes pass. Nothing is written: all is a dry run.

mod objects;
mod of_apiserver;
mod of_controller;
mod of_gateway;
mod of_routes;
mod of_uninstall;
mod places;

use anyhow::{Context as _, Result, bail, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, TypeMeta},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use novasphere_apiserver::{API_SERVICE, rbac as apiserver};
use novasphere_console::rbac as console;
use novasphere_controller::rbac as controller;
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

use self::{
    objects::{
        claim, event, grant, lease, machine, marks, network_policy, pod, policy, secret, service, session, with,
    },
    of_apiserver::{good_of_apiserver, of_apiserver},
    of_controller::{desktops, good_of_controller, of_controller, privileged},
    of_gateway::{good_of_gateway, of_console, of_gateway},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("controller::accounts::bounded", Needs::ControlPlane, bounded)]
}

/// Fewer would not be what was promised.
const REFUSED_LEAST: usize = 80;

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

impl Write {
    /// What it is, for those who read why the case failed.
    fn told(&self) -> String {
        let kind = self.object.get("kind").and_then(Value::as_str).unwrap_or_default();
        format!("{} ({kind})", self.what)
    }
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
    let cluster = Cluster::control_plane("accounts", &["kubevirt", "traefik", "kong", "gateway-api"])?;
    let case = "controller::accounts::bounded";
    with_namespace(&cluster, case, PodSecurity::Privileged, async |context| {
        let (namespace, own) = (context.namespace.as_str(), console::NAMESPACE_RULES);
        let routes = of_routes::kinds()?;
        let rules = of_routes::controller_rules();
        let controller =
            Account::with_rules(&cluster, namespace, "controller", &rules, controller::NAMESPACE_RULES).await?;
        let gateway = [console::CLUSTER_RULES, console::PASSWORD_RULES].concat();
        let server = [&gateway, apiserver::CLUSTER_RULES].concat();
        let console = Account::with_rules(&cluster, namespace, "console", &gateway, own).await?;
        let apiserver = Account::with_rules(&cluster, namespace, "apiserver", &server, own).await?;
        let accounts = Accounts {
            controller: Client::try_from(controller.config(&cluster).await?)?,
            console: Client::try_from(console.config(&cluster).await?)?,
            apiserver: Client::try_from(apiserver.config(&cluster).await?)?,
        };
        let (cluster_rules, own) = (
            controller::UNINSTALL_CLUSTER_RULES,
            controller::UNINSTALL_NAMESPACE_RULES,
        );
        let uninstall = Account::with_rules(&cluster, namespace, "uninstall", cluster_rules, own).await?;
        let uninstall = Client::try_from(uninstall.config(&cluster).await?)?;
        let owner = present(context, &routes).await?;
        let mut refused = of_uninstall::is_bounded(context, &uninstall).await?;
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
            (&accounts.controller, "controller", of_routes::of_controller(&routes)),
        ] {
            for write in writes {
                is_refused(context, client, &write)
                    .await
                    .with_context(|| format!("{who}: {}", write.told()))?;
                refused += 1;
            }
        }
        ensure!(refused >= REFUSED_LEAST, "{refused} writes were tried");
        for (client, who, writes) in [
            (&accounts.controller, "controller", good_of_controller(&owner)),
            (
                &accounts.controller,
                "controller",
                of_routes::good_of_controller(&routes),
            ),
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
                tried.map_err(|why| anyhow::anyhow!("{who} may not: {}: {why}", write.told()))?;
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
async fn present(context: &Context<'_>, routes: &[Value]) -> Result<Value> {
    let desk = apply_workspace(context, "desk", "registry.example.com/desktop:1", &json!({})).await?;
    let uid = desk.metadata.uid.context("no UID")?;
    let owner = json!({"apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "name": "desk", "uid": uid, "controller": true});
    let objects = [
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
    ];
    for object in objects.into_iter().chain(of_routes::present(routes)) {
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
