//! Routes through a real Traefik: to desktops of two tenants and to a port of a guest, by the installed controller.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use novasphere_crd::{RouteStatus, VmAccess, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        apply::{apply, as_person, change},
        cluster::Cluster,
        condition::{message, wait_for},
        desktop_image, doctor, installed,
        namespace::{Context, PodSecurity, with_namespace},
        traefik,
        vm_access::{GUEST_PORT, apply_vm_access, echo_service, template},
        vnc,
        wait::{self, Seen},
        workspace::{apply_workspace, delete_workspace, lets_in, password},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, routes)]
}

const CASE: &str = "vm_access::traefik::routes";

/// The desktops of both tenants, and their routes, have one name.
const NAME: &str = "web";

/// Of a connection that neither says anything nor ends.
const SILENCE: &[u8] = b"(silence)";

/// How long a connection that is let in may take to its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(3);

async fn routes() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    traefik::start(cluster).await?;
    let story = async |one: &Context<'_>| {
        with_namespace(cluster, CASE, PodSecurity::Restricted, async |two| {
            two_tenants(one, two).await.context("two tenants")?;
            only_listed_clients(one).await.context("source ranges")?;
            a_guest(one).await.context("a guest")?;
            passed_on(one, two).await.context("an entry point is passed on")?;
            doctor(one).await.context("the doctor")?;
            for context in [one, two] {
                delete_workspace(context, NAME).await?;
            }
            Ok(())
        })
        .await
    };
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Privileged, story)).await
}

fn route(rule: &Value) -> Value {
    let mut route = json!({"name": NAME, "port": "Vnc"});
    if let (Some(route), Some(rule)) = (route.as_object_mut(), rule.as_object()) {
        route.extend(rule.clone());
    }
    json!({ "routes": [route] })
}

async fn routes_ready(context: &Context<'_>, bound: Duration) -> Result<RouteStatus> {
    let object: VncWorkspace = wait_for(context, NAME, ("RoutesReady", "True", "AllReady"), bound).await?;
    let status = object.status.context("no status")?;
    status.routes.into_iter().next().context("no status of the route")
}

fn address(route: &RouteStatus) -> Result<SocketAddr> {
    Ok(route.address.as_ref().context("the route has no address")?.parse()?)
}

/// Two desktops with the same names in two namespaces: each route leads to its own, and RFB, whose server speaks first, comes through.
async fn two_tenants(one: &Context<'_>, two: &Context<'_>) -> Result<()> {
    let image = desktop_image::load(one.cluster, "desktop")?;
    for context in [one, two] {
        apply_workspace(context, NAME, &image, &route(&json!({"tcp": {}}))).await?;
    }
    let (first, second) = (
        routes_ready(one, wait::LONG).await?,
        routes_ready(two, wait::LONG).await?,
    );
    ensure!(first.entry_point != second.entry_point, "{first:?} {second:?}");
    for (context, route) in [(one, &first), (two, &second)] {
        let own = password(context, NAME).await?;
        wait_for::<VncWorkspace>(context, NAME, ("Ready", "True", "Running"), wait::LONG).await?;
        lets_in(address(route)?, &own).await.context("its own desktop")?;
    }
    vnc::refuses(address(&first)?, &password(two, NAME).await?).await
}

/// A client that is not listed is cut off before the desktop says anything, and let in again when it is listed.
async fn only_listed_clients(context: &Context<'_>) -> Result<()> {
    let at = address(&routes_ready(context, wait::SHORT).await?)?;
    let limited = |range: &str| route(&json!({"tcp": {}, "allowedSourceRanges": [range]}));
    change::<VncWorkspace>(context, NAME, &limited("192.0.2.0/24")).await?;
    wait::until("a client that is not listed is cut off", wait::SHORT, || async {
        let seen = first_bytes(at).await?;
        Ok(Seen::some(seen.is_empty().then_some(()), format!("it gets {seen:?}")))
    })
    .await?;
    change::<VncWorkspace>(context, NAME, &limited("10.0.0.0/8")).await?;
    wait::until("a client that is listed is let in", wait::SHORT, || async {
        let seen = first_bytes(at).await?;
        Ok(Seen::some(
            seen.starts_with(b"RFB ").then_some(()),
            format!("it gets {seen:?}"),
        ))
    })
    .await
}

/// What comes first; nothing when the connection is closed before, and [`SILENCE`] when it stays open.
async fn first_bytes(at: SocketAddr) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await?;
    let mut bytes = vec![0; 64];
    let read = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.read(&mut bytes)).await;
    let Ok(read) = read else {
        return Ok(SILENCE.to_vec());
    };
    // A reset is an end as well.
    bytes.truncate(read.unwrap_or_default());
    Ok(bytes)
}

/// A port of a guest, whose server speaks first too.
async fn a_guest(context: &Context<'_>) -> Result<()> {
    let spec = json!({
        "virtualMachine": {"template": template()},
        "power": {"state": "Running"},
        "services": [echo_service()],
        "routes": [{"name": "echo", "service": "echo", "port": GUEST_PORT, "tcp": {}}],
    });
    apply_vm_access(context, "guest", &spec).await?;
    let object: VmAccess = wait_for(context, "guest", ("Ready", "True"), wait::LONG).await?;
    let status = object.status.context("no status")?;
    let at = address(status.routes.first().context("no status of the route")?)?;
    wait::until("the guest answers by its route", wait::SHORT, || async {
        let line = first_bytes(at).await?;
        let line = String::from_utf8_lossy(&line).into_owned();
        Ok(Seen::some((line.trim() == "tiny-guest guest").then_some(()), line))
    })
    .await?;
    let objects = context.api::<VmAccess>();
    objects.delete("guest", &DeleteParams::background()).await?;
    wait::gone(&objects, "guest", wait::LONG).await
}

/// Who asks for an entry point that somebody has is told who, and gets it when it is given up; then Traefik knows the former route no more.
async fn passed_on(one: &Context<'_>, two: &Context<'_>) -> Result<()> {
    let has = routes_ready(one, wait::SHORT).await?;
    let entry_point = has.entry_point.clone().context("no entry point")?;
    traefik::carries(one.cluster, &entry_point, 1).await?;
    let wish = route(&json!({"tcp": {"entryPoint": entry_point}}));
    change::<VncWorkspace>(two, NAME, &wish).await?;
    let waits: VncWorkspace = wait_for(two, NAME, ("RoutesReady", "False", "EntryPointInUse"), wait::SHORT).await?;
    let words = message(&waits, "RoutesReady");
    ensure!(
        words.contains(&format!("VncWorkspace {}/{NAME} has it", one.namespace)),
        "{words}"
    );
    let none = Patch::Merge(json!({"spec": {"routes": []}}));
    one.api::<VncWorkspace>()
        .patch(NAME, &PatchParams::default(), &none)
        .await?;
    wait_for::<VncWorkspace>(one, NAME, ("RoutesReady", "True", "NoRoutes"), wait::SHORT).await?;
    let gets = routes_ready(two, wait::SHORT).await?;
    ensure!(gets.entry_point.as_ref() == Some(&entry_point), "{gets:?}");
    traefik::carries(two.cluster, &entry_point, 1).await?;
    lets_in(address(&gets)?, &password(two, NAME).await?).await.map(drop)?;
    let none = Patch::Merge(json!({"spec": {"routes": []}}));
    two.api::<VncWorkspace>()
        .patch(NAME, &PatchParams::default(), &none)
        .await?;
    traefik::carries(two.cluster, &entry_point, 0).await
}

/// With the rights that the chart gives, the doctor has nothing to say against the gateway, until somebody takes an entry point of its pool
/// for a route with TLS: then VNC and SSH clients there would hang, without a line in any log.
async fn doctor(context: &Context<'_>) -> Result<()> {
    let _undisturbed = installed::undisturbed().await;
    let (code, errors) = doctor::errors(context.cluster)?;
    ensure!(code == Some(0) && errors.is_empty(), "{code:?} {errors:?}");
    let entry_point = traefik::ENTRY_POINTS.last().context("no entry points")?.0;
    let stray = json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "stray"},
        "spec": {
            "entryPoints": [entry_point], "tls": {},
            "routes": [{"kind": "Rule", "match": "Host(`stray.example.org`)", "services": [{"name": "stray", "port": 80}]}],
        },
    });
    apply::<DynamicObject>(&context.client, Some(&context.namespace), stray, &as_person()).await?;
    let (code, errors) = doctor::errors(context.cluster)?;
    let wanted = format!("{} EntryPointShared {entry_point}", traefik::GATEWAY);
    ensure!(code == Some(1) && errors == [wanted], "{code:?} {errors:?}");
    let kind = GroupVersionKind::gvk("traefik.io", "v1alpha1", "IngressRoute");
    let strays: Api<DynamicObject> = context.dynamic(&ApiResource::from_gvk_with_plural(&kind, "ingressroutes"));
    strays.delete("stray", &DeleteParams::default()).await?;
    Ok(())
}
