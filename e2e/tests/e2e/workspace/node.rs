//! A person's desktop on a real node, by the installed controller: it answers, keeps its home through sleep and death, and is
//! confined.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use novasphere_core::vnc_workspace::{self as names, KEY_ROTATE, PASSWORD_KEY};
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    fixtures::{
        apply::change,
        cluster::Cluster,
        condition::has,
        desktop_image, installed,
        namespace::{Context, PodSecurity, with_namespace},
        paths, pod,
        ssh::{Keys, Ssh},
        vnc,
        wait::{self, Seen},
        workspace::{
            credential, delete_workspace, desktop_answers, endpoint, exec, has_home, hibernate, home, lets_in,
            password, ssh,
        },
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("workspace::node::desktop", Needs::Node, desktop)]
}

const CASE: &str = "workspace::node::desktop";

/// The name in the sample.
const ALICE: &str = "alice";

/// How long the kubelet may take to carry an annotation of a Pod into its file: its period of 1 minute and half of it more, which it
/// adds at random (kubernetes/kubernetes `pkg/kubelet/pod_workers.go`, workerResyncIntervalJitterFactor).
const KEYS_TIMEOUT: Duration = Duration::from_mins(2);

async fn desktop() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let image = desktop_image::load(cluster, "desktop")?;
        let keys = Keys::make(&context.output, &["person", "next"])?;
        let workspace = make(context, &image, &keys).await?;
        only_the_password_opens(context, &workspace).await.context("VNC")?;
        let ssh = ssh(context, &workspace, &keys.file("person")).await?;
        home_is_kept_asleep(context, &ssh).await.context("sleep")?;
        is_confined(context).await.context("confinement")?;
        comes_back(context).await.context("death")?;
        keys_change_without_a_new_pod(context, &ssh, &keys)
            .await
            .context("authorized keys")?;
        password_changes(context).await.context("rotation")?;
        delete_workspace(context, ALICE).await?;
        // Retained, as nothing else was asked for.
        let claims: Api<PersistentVolumeClaim> = context.api();
        let kept = home(context, &names::home_name(ALICE)).await?;
        ensure!(kept.metadata.deletion_timestamp.is_none(), "the home goes");
        claims.delete(&kept.name_any(), &DeleteParams::default()).await?;
        wait::gone(&claims, &kept.name_any(), wait::SHORT).await
    };
    Box::pin(with_namespace(cluster, CASE, PodSecurity::Restricted, story)).await
}

/// The sample with the image of this tree, and one that SSH lets in.
fn sample(image: &str, keys: &Keys) -> Result<Value> {
    let file = paths::repository()?.join("config/samples/vncworkspace.yaml");
    let mut sample: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
    let spec = sample.get_mut("spec").and_then(Value::as_object_mut);
    let spec = spec.context("the sample has no spec")?;
    spec.insert("image".to_owned(), json!(image));
    spec.insert("ssh".to_owned(), json!({"authorizedKeys": [keys.public("person")?]}));
    Ok(sample)
}

/// Applies the sample as the guide says, and waits for it.
async fn make(context: &Context<'_>, image: &str, keys: &Keys) -> Result<VncWorkspace> {
    let file = context.output.join("sample.json");
    std::fs::write(&file, serde_json::to_string(&sample(image, keys)?)?)?;
    let file = file.to_str().context("the path is not UTF-8")?;
    let _quiet = installed::undisturbed().await;
    let namespace = &context.namespace;
    let begun = Instant::now();
    context
        .cluster
        .kubectl(&["--namespace", namespace, "apply", "--filename", file])?;
    let name = format!("vncworkspace/{ALICE}");
    context.cluster.kubectl(&[
        "--namespace",
        namespace,
        "wait",
        "--for=condition=Ready",
        "--timeout=240s",
        &name,
    ])?;
    println!("{CASE}: `kubectl apply` to Ready in {} ms", begun.elapsed().as_millis());
    desktop_answers(context, ALICE).await
}

async fn only_the_password_opens(context: &Context<'_>, workspace: &VncWorkspace) -> Result<()> {
    let address = endpoint(workspace, names::VNC_PORT)?;
    let viewer = lets_in(address, &password(context, ALICE).await?).await?;
    // The sample's.
    ensure!(
        (viewer.width, viewer.height) == (1600, 900),
        "the screen has {:?} pixels",
        (viewer.width, viewer.height)
    );
    vnc::refuses(address, "wrong").await
}

/// A file is written over SSH; the desktop sleeps, nothing runs, and when it wakes the file is there.
async fn home_is_kept_asleep(context: &Context<'_>, ssh: &Ssh) -> Result<()> {
    ssh.command("echo kept >note; sync")?;
    let sleeping = hibernate(context, ALICE).await?;
    has(&sleeping, ("Ready", "True", "Hibernated")).map_err(anyhow::Error::msg)?;
    let claim = home(context, &names::home_name(ALICE)).await?;
    let phase = claim.status.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Bound"), "the home is {phase:?}");

    let password = password(context, ALICE).await?;
    let _quiet = installed::undisturbed().await;
    let begun = Instant::now();
    change::<VncWorkspace>(context, ALICE, &json!({"lifecycle": {"state": "Running"}})).await?;
    let address = endpoint(&sleeping, names::VNC_PORT)?;
    lets_in(address, &password).await?;
    println!(
        "{CASE}: asked to wake to a viewer let in: {} ms",
        begun.elapsed().as_millis()
    );
    desktop_answers(context, ALICE).await?;
    has_home(context, ALICE, "note", "kept\n")
}

async fn is_confined(context: &Context<'_>) -> Result<()> {
    let pod = context.api::<Pod>().get(ALICE).await?;
    let object = serde_json::to_value(&pod)?;
    let at = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    for (pointer, wanted) in [
        ("/spec/automountServiceAccountToken", json!(false)),
        ("/spec/securityContext/runAsNonRoot", json!(true)),
        ("/spec/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/spec/containers/0/securityContext/capabilities/drop", json!(["ALL"])),
        (
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
            json!(false),
        ),
    ] {
        ensure!(at(pointer) == wanted, "{pointer} is {}", at(pointer));
    }
    // What the kernel says of it.
    let status = exec(
        context,
        ALICE,
        "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/1/status | tr '\\t' ' '; touch /x 2>&1; ls /run/secrets 2>&1; true",
    )?;
    let none = "0000000000000000";
    let expected = format!(
        "Uid: 1000 1000 1000 1000\nCapEff: {none}\nCapBnd: {none}\nNoNewPrivs: 1\nSeccomp: 2\n\
         touch: cannot touch '/x': Read-only file system\nls: cannot access '/run/secrets': No such file or directory\n"
    );
    ensure!(status == expected, "{status}");
    no_secret_leaks(context, &object).await
}

/// No credential is in the Pod's object, a process's environment or arguments, a log, an event or the workspace.
async fn no_secret_leaks(context: &Context<'_>, pod: &Value) -> Result<()> {
    let host_key = credential(context, ALICE, "ssh_host_ed25519_key").await?;
    // A line of its middle: the first and the last are the same in every key.
    let host_key = host_key.lines().nth(2).context("the host key has no lines")?.to_owned();
    let namespace = &context.namespace;
    // The shell that looks does not have it in its own arguments.
    let processes = exec(
        context,
        ALICE,
        "for part in environ cmdline; do cat /proc/[0-9]*/$part 2>/dev/null | tr '\\0' '\\n'; done; true",
    )?;
    ensure!(processes.contains("DISPLAY_WIDTH"), "the environment was not read");
    let said = [
        pod.to_string(),
        processes,
        context.cluster.kubectl(&["--namespace", namespace, "logs", ALICE])?,
        context.cluster.kubectl(&[
            "--namespace",
            namespace,
            "get",
            "events,vncworkspaces",
            "--output",
            "json",
        ])?,
        context.cluster.kubectl(&[
            "--namespace",
            novasphere_e2e::fixtures::install::NAMESPACE,
            "logs",
            "--selector=app.kubernetes.io/component=controller",
            "--tail=-1",
        ])?,
    ];
    for secret in [password(context, ALICE).await?, host_key] {
        let found = said.iter().position(|text| text.contains(&secret));
        ensure!(
            found.is_none(),
            "a credential is in the Pod, a process, the desktop's log, an object or the controller's log (0 to 4): {found:?}"
        );
    }
    Ok(())
}

/// The Pod is deleted without any grace, then the desktop's programs are killed in it. It comes back with its home.
async fn comes_back(context: &Context<'_>) -> Result<()> {
    let pods: Api<Pod> = context.api();
    let before = pods.get(ALICE).await?.uid();
    let at_once = DeleteParams::default().grace_period(0);
    let begun = Instant::now();
    pods.delete(ALICE, &at_once).await?;
    let after = ready_pod(context, |pod| pod.uid() != before).await?;
    println!(
        "{CASE}: Pod killed to the next one ready: {} ms",
        begun.elapsed().as_millis()
    );
    has_home(context, ALICE, "note", "kept\n")?;

    let uid = after.uid().context("the Pod has no UID")?;
    for restarts in [1, 2] {
        if restarts == 1 {
            pod::kill(&uid, "Xtigervnc")?;
        } else {
            // The kernel keeps 15 characters of a name.
            pod::signal(pod::first_process(&uid, "novasphere-desk")?, "KILL")?;
        }
        let again = ready_pod(context, |pod| restarts_of(pod) >= restarts).await;
        let again = again.with_context(|| format!("killed for the {restarts}. time"))?;
        ensure!(again.uid().as_deref() == Some(&uid), "it is another Pod");
        let workspace = desktop_answers(context, ALICE).await?;
        lets_in(endpoint(&workspace, names::VNC_PORT)?, &password(context, ALICE).await?).await?;
        has_home(context, ALICE, "note", "kept\n")?;
    }
    Ok(())
}

fn restarts_of(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

/// Waits for a Pod that is ready and as wanted.
async fn ready_pod(context: &Context<'_>, is_wanted: impl Fn(&Pod) -> bool) -> Result<Pod> {
    let pods: Api<Pod> = context.api();
    wait::object(&pods, ALICE, "ready", wait::LONG, |pod: &Pod| {
        let ready = novasphere_core::vnc_workspace::failure::is_ready(pod);
        (ready && is_wanted(pod))
            .then_some(())
            .ok_or_else(|| format!("ready {ready}, {} restarts", restarts_of(pod)))
    })
    .await
}

/// Who may enter by SSH changes while the desktop runs.
async fn keys_change_without_a_new_pod(context: &Context<'_>, ssh: &Ssh, keys: &Keys) -> Result<()> {
    let pods: Api<Pod> = context.api();
    let before = pods.get(ALICE).await?.uid();
    ssh.refuses(&keys.file("next"), "user")?;
    change::<VncWorkspace>(
        context,
        ALICE,
        &json!({"ssh": {"authorizedKeys": [keys.public("next")?]}}),
    )
    .await?;
    let begun = Instant::now();
    wait::until("the new key enters", KEYS_TIMEOUT, || async {
        let output = ssh.run(&keys.file("next"), "user", "true")?;
        Ok(Seen::some(
            output.status.success().then_some(()),
            String::from_utf8_lossy(&output.stderr),
        ))
    })
    .await?;
    println!(
        "{CASE}: a changed list of keys in force after {} ms",
        begun.elapsed().as_millis()
    );
    ssh.refuses(&keys.file("person"), "user")?;
    ensure!(pods.get(ALICE).await?.uid() == before, "it is another Pod");
    Ok(())
}

/// The annotation makes a new password; the old one opens nothing any more.
async fn password_changes(context: &Context<'_>) -> Result<()> {
    let old = password(context, ALICE).await?;
    let pod = context.api::<Pod>().get(ALICE).await?;
    let rotate = Patch::Merge(json!({"metadata": {"annotations": {KEY_ROTATE: "once"}}}));
    let workspaces: Api<VncWorkspace> = context.api();
    workspaces.patch(ALICE, &PatchParams::default(), &rotate).await?;
    ready_pod(context, |now| now.uid() != pod.uid()).await?;
    let new = credential(context, ALICE, PASSWORD_KEY).await?;
    ensure!(new != old, "the password is the old one");
    let workspace = desktop_answers(context, ALICE).await?;
    let address = endpoint(&workspace, names::VNC_PORT)?;
    lets_in(address, &new).await?;
    vnc::refuses(address, &old).await?;
    has_home(context, ALICE, "note", "kept\n")
}
