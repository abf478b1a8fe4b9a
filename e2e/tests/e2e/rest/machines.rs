//! Machines by REST: what each of several people sees, and their power.

use anyhow::{Result, ensure};
use http::Method;
use kube::Api;
use novasphere_crd::VmAccess;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        controller::InProcess,
        kubevirt::KubeVirtStandIn,
        namespace::{Context, PodSecurity, with_namespace},
        rest::{RestAnswer, RestApi, add_user},
        rights::{GroupResource, allow},
        vm_access::{apply_vm_access, ready_as, template},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

const PASSWORD: &str = "correct horse battery staple";

const VM_ACCESSES: GroupResource = ("novasphere.io", "vmaccesses");

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("rest::machines::list", Needs::ControlPlane, list),
        Case::new("rest::machines::power", Needs::ControlPlane, power),
        Case::new("rest::machines::services", Needs::ControlPlane, services),
    ]
}

/// Ann may change machines, Ben may look, Cem may do nothing.
async fn with_people<F>(test: &str, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Context<'_>, &RestApi, People) -> Result<()>,
{
    with_namespace(Cluster::plane()?, test, PodSecurity::Restricted, async |context| {
        let users = ["novasphere:ann", "novasphere:ben", "novasphere:cem"];
        RestApi::prepare(context, &users, &[]).await?;
        allow(
            context,
            users[0],
            VM_ACCESSES,
            &["get", "list", "patch", "create", "delete"],
        )
        .await?;
        allow(context, users[1], VM_ACCESSES, &["get", "list"]).await?;
        for user in ["ann", "ben", "cem"] {
            add_user(context, user, PASSWORD, &[])?;
        }
        let api = RestApi::start(context, "rest-1", json!({})).await?;
        let token = async |user: &str| {
            let login = api.login(user, PASSWORD).await?;
            anyhow::Ok(login.text("/data/token").to_owned())
        };
        let people = People {
            ann: token("ann").await?,
            ben: token("ben").await?,
            cem: token("cem").await?,
        };
        body(context, &api, people).await
    })
    .await
}

/// Their session tokens.
struct People {
    ann: String,
    ben: String,
    cem: String,
}

/// Pages, filters and order; what a person may not see is not in the list, not counted, and not told from what is not there.
async fn list() -> Result<()> {
    with_people("rest::machines::list", async |context, api, people| {
        for name in ["web-1", "web-2", "db-1"] {
            let spec = json!({"virtualMachine": {"name": name}});
            apply_vm_access(context, name, &spec).await?;
        }
        let all = seen(api, &people.ben, "/vms", 3).await?;
        ensure!(all.at("/data/pages") == &json!(1), "{all:?}");
        let row = all.at("/data/list/0");
        for member in ["id", "name", "namespace", "status", "createTime", "createAt"] {
            ensure!(
                !row.get(member).is_none_or(serde_json::Value::is_null),
                "{member}: {row}"
            );
        }
        let page = api
            .get("/vms?page=2&pageSize=2&sortBy=name&sortOrder=asc", &people.ben)
            .await?
            .is(200)?;
        ensure!(
            page.text("/data/list/0/name") == "web-2" && page.at("/data/pages") == &json!(2),
            "{page:?}"
        );
        let like = api.get("/vms?nameLike=WEB", &people.ben).await?.is(200)?;
        ensure!(like.at("/data/total") == &json!(2), "{like:?}");
        for bad in [
            "/vms?page=0",
            "/vms?pageSize=201",
            "/vms?sortBy=x",
            "/vms?x=1",
            "/vms?page=1&page=2",
        ] {
            api.get(bad, &people.ben).await?.is(40003)?;
        }

        let none = api.get("/vms", &people.cem).await?.is(200)?;
        ensure!(none.at("/data/total") == &json!(0), "{none:?}");
        let id = all.text("/data/list/0/id");
        let hidden = api.get(&format!("/vms/{id}"), &people.cem).await?.is(40401)?;
        let absent = api.get("/vms/team.nothing", &people.cem).await?.is(40401)?;
        ensure!(
            hidden.text("/message") == absent.text("/message"),
            "{hidden:?} {absent:?}"
        );
        api.get("/vms/..%2Fx", &people.ben).await?.is(40004)?;

        let detail = api.get(&format!("/vms/{id}"), &people.ben).await?.is(200)?;
        ensure!(detail.text("/data/basicInfo/id") == id, "{detail:?}");
        for member in ["networkInfo", "storageInfo", "consoleInfo", "eventInfo", "actions"] {
            ensure!(!detail.at(&format!("/data/{member}")).is_null(), "{member}: {detail:?}");
        }
        let by_name = format!("/vms/{}.web-1", context.namespace);
        api.get(&by_name, &people.ben).await?.is(200)?;

        // What has not changed is not sent again.
        let tag = detail
            .headers
            .get("etag")
            .and_then(|tag| tag.to_str().ok())
            .unwrap_or_default();
        let bearer = format!("Bearer {}", people.ben);
        let headers = [("authorization", bearer.as_str()), ("if-none-match", tag)];
        let again = api.send(Method::GET, &format!("/vms/{id}"), &headers, None).await?;
        ensure!(again.status == 304 && again.body.is_null(), "{again:?}");
        Ok(())
    })
    .await
}

/// A machine is stopped, started and restarted; each time a task says how it goes. Who may only look is refused.
async fn power() -> Result<()> {
    with_people("rest::machines::power", async |context, api, people| {
        let _kubevirt = KubeVirtStandIn::start(context).await?;
        let _controller = InProcess::start_usual(context).await?;
        let spec = json!({"virtualMachine": {"template": template()}, "power": {"state": "Running"}});
        apply_vm_access(context, "web", &spec).await?;
        ready_as(context, "web", "Running", wait::LONG).await?;
        let rows = seen(api, &people.ann, "/vms?status=running", 1).await?;
        let id = rows.text("/data/list/0/id").to_owned();
        api.post(&format!("/vms/{id}/stop"), &people.ben, &json!({}))
            .await?
            .is(40301)?;
        api.post(&format!("/vms/{id}/stop"), &people.cem, &json!({}))
            .await?
            .is(40401)?;
        api.post(&format!("/vms/{id}/stop"), &people.ann, &json!({"x": 1}))
            .await?
            .is(40002)?;
        for operation in ["stop", "start"] {
            let begun = api
                .post(&format!("/vms/{id}/{operation}"), &people.ann, &json!({}))
                .await?
                .is(200)?;
            let task = begun.text("/data/taskId").to_owned();
            wait::until(format!("{operation} succeeds"), wait::LONG, || async {
                let report = api.get(&format!("/tasks/{task}"), &people.ann).await?.is(200)?;
                ensure!(report.text("/data/status") != "failed", "{report:?}");
                let is_done = report.text("/data/status") == "success" && report.at("/data/progress") == &json!(100);
                Ok(Seen::some(is_done.then_some(()), report.body))
            })
            .await?;
            api.get(&format!("/tasks/{task}"), &people.cem).await?.is(40401)?;
        }
        // A restart is KubeVirt's to do, which the stand-in does not: see rest::guest.
        api.post(&format!("/vms/{id}/restart"), &people.ann, &json!({}))
            .await?
            .is(200)?;
        let objects: Api<VmAccess> = context.api();
        let power = objects.get("web").await?.spec.power;
        ensure!(
            power.is_some_and(|power| power.restarted_at.is_some()),
            "no restart is asked for"
        );

        let batch = json!({"operation": "stop", "ids": [id, "team.nothing"]});
        let results = api.post("/vms/batch", &people.ann, &batch).await?.is(200)?;
        ensure!(results.at("/data/0/code") == &json!(200), "{results:?}");
        ensure!(results.at("/data/1/code") == &json!(40401), "{results:?}");
        let lines = api.audit()?;
        let powered = lines
            .iter()
            .filter(|line| line.get("event") == Some(&json!("PowerRequested")));
        ensure!(powered.count() == 4, "{lines:?}");
        Ok(())
    })
    .await
}

/// A Service is made, listed and deleted; one that is declared elsewhere is left alone.
async fn services() -> Result<()> {
    with_people("rest::machines::services", async |context, api, people| {
        let spec = json!({"virtualMachine": {"name": "web"}, "services": [
            {"name": "ssh", "ports": [{"name": "ssh", "port": 22}]}]});
        apply_vm_access(context, "web", &spec).await?;
        let rows = seen(api, &people.ann, "/vms", 1).await?;
        let path = format!("/vms/{}", rows.text("/data/list/0/id"));
        let wanted =
            json!({"serviceType": "NodePort", "serviceName": "http", "ports": [{"port": 8080, "targetPort": 80}]});
        api.post(&format!("{path}/access-service"), &people.ben, &wanted)
            .await?
            .is(40301)?;
        let made = api
            .post(&format!("{path}/access-service"), &people.ann, &wanted)
            .await?
            .is(200)?;
        ensure!(
            made.text("/data/serviceId") == "http" && made.text("/data/serviceType") == "NodePort",
            "{made:?}"
        );
        api.post(
            &format!("{path}/access-service"),
            &people.ann,
            &json!({"serviceType": "X", "ports": []}),
        )
        .await?
        .is(40003)?;
        let listed = api
            .get(&format!("{path}/access-services"), &people.ben)
            .await?
            .is(200)?;
        ensure!(listed.at("/data/1/ports/0/targetPort") == &json!(80), "{listed:?}");
        api.delete(&format!("{path}/access-services/ssh"), &people.ann)
            .await?
            .is(40901)?;
        for _ in 0..2 {
            api.delete(&format!("{path}/access-services/http"), &people.ann)
                .await?
                .is(200)?;
        }
        let objects: Api<VmAccess> = context.api();
        let left: Vec<String> = objects
            .get("web")
            .await?
            .spec
            .services
            .into_iter()
            .map(|service| service.name)
            .collect();
        ensure!(left == ["ssh"], "{left:?}");
        Ok(())
    })
    .await
}

/// Waits until a list has this many rows: the API learns by a watch what was just made.
async fn seen(api: &RestApi, token: &str, path: &str, total: u64) -> Result<RestAnswer> {
    wait::until(format!("{path} has {total}"), wait::SHORT, || async {
        let answer = api.get(path, token).await?.is(200)?;
        let is_there = answer.at("/data/total") == &json!(total);
        let text = answer.body.to_string();
        Ok(Seen::some(is_there.then_some(answer), text))
    })
    .await
}
