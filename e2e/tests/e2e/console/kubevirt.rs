//! Consoles of real guests through a real KubeVirt: a viewer who loses one learns why, and a serial console comes back by itself
//! after a restart of KubeVirt's own parts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, PostParams},
};
use novasphere_crd::{ConsoleSession, SessionPhase, VmAccess};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        apply::change,
        cluster::Cluster,
        condition::wait_for,
        console::ANN,
        console_session::{Grant, TARGET, apply_session, connections, grant_token, open_session, session_is, status},
        console_socket::{ConsoleSocket, Entry, KUBEVIRT_SUBPROTOCOL},
        gateway::Gateway,
        install::{NAMESPACE, RELEASE},
        installed,
        kubevirt::{text_at, virtual_machine_instances, virtual_machines},
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{self, Security, Transport as _},
        rights::{MACHINE_SCREENS, MACHINE_SERIALS, SESSION_TOKENS, VM_CONSOLES, allow},
        serial_console::SerialConsole,
        users::{refused_token, request_token},
        vm_access::{self, apply_vm_access, ready_as},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

/// A run that no machine made, and who may have tokens and see no screen.
const ALONE: &str = "alone";
const BOB: &str = "bob";

/// How long a token of these tests is good.
const WINDOW: Duration = Duration::from_mins(2);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("console::kubevirt::ends", Needs::Node, ends)]
}

async fn ends() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "console::kubevirt::ends",
        PodSecurity::Privileged,
        async |context| {
            guest(context).await.context("the guest boots")?;
            allow(context, ANN, VM_CONSOLES, &["get", "update"]).await?;
            let account = Account::installed(NAMESPACE, &format!("{RELEASE}-console"));
            let gateway = Gateway::start(context, &account, "e2e").await?;
            // Only novasphere's aggregated API may write who has a token.
            let api = Account::installed(NAMESPACE, &format!("{RELEASE}-apiserver"));
            let client = Client::try_from(api.config(cluster).await?)?;
            let scene = Scene {
                context,
                gateway,
                sessions: Api::namespaced(client, &context.namespace),
            };
            scene.taken_by_others().await.context("taken by others")?;
            scene.restarts().await.context("restarts")?;
            scene.stopped().await.context("stopped")?;
            scene.run_alone().await.context("a run without a machine")?;
            scene.deleted().await.context("deleted")
        },
    )
    .await
}

async fn guest(context: &Context<'_>) -> Result<()> {
    let spec = json!({
        "virtualMachine": {"template": vm_access::template()},
        "power": {"state": "Running"},
        "console": {"takeover": "Replace", "maxConcurrentSessions": 50},
    });
    apply_vm_access(context, TARGET, &spec).await?;
    ready_as(context, TARGET, "Running", wait::LONG).await?;
    let mut console = SerialConsole::open(&context.client, &context.namespace, TARGET).await?;
    console.ask("echo sum=$((40 + 2))", "sum=42", wait::LONG).await
}

struct Scene<'a, 'b> {
    context: &'a Context<'b>,
    gateway: Gateway,
    /// As novasphere.
    sessions: Api<ConsoleSession>,
}

impl Scene<'_, '_> {
    async fn token(&self, name: &str, protocol: &str, takeover: &str) -> Result<String> {
        let spec = json!({"protocol": protocol, "takeover": takeover, "duration": "1h"});
        open_session(self.context, name, spec).await?;
        self.token_of(name).await
    }

    async fn token_of(&self, session: &str) -> Result<String> {
        grant_token(&self.sessions, session, Grant::to(ANN).within(WINDOW)).await
    }

    /// A shell of the guest.
    async fn serial(&self, name: &str) -> Result<ConsoleSocket> {
        let token = self.token(name, "serial", "Refuse").await?;
        let mut viewer = ConsoleSocket::open(self.gateway.http, &token).await?;
        shell(&mut viewer).await?;
        Ok(viewer)
    }

    /// The screen of the guest.
    async fn screen(&self, name: &str) -> Result<ConsoleSocket> {
        let token = self.token(name, "vnc", "Refuse").await?;
        let mut viewer = ConsoleSocket::open(self.gateway.http, &token).await?;
        rfb::handshake(&mut viewer, Security::None).await?;
        Ok(viewer)
    }

    async fn closes(&self, viewer: &mut ConsoleSocket, code: u16, word: &str) -> Result<()> {
        let end = viewer.closed(wait::SHORT).await?;
        ensure!(end == (code, word.to_owned()), "closed with {end:?}, not {code} {word}");
        Ok(())
    }

    /// By other viewers of ours and by others' viewers.
    async fn taken_by_others(&self) -> Result<()> {
        let mut first = self.serial("serial-1").await?;
        let token = self.token("serial-2", "serial", "Refuse").await?;
        let mut second = ConsoleSocket::open(self.gateway.http, &token).await?;
        let entry = second.entry().await?;
        ensure!(entry == Entry::Closed(4024, "InUse".into()), "{entry:?}");
        shell(&mut first).await.context("the first goes on")?;
        let token = self.token("serial-3", "serial", "Replace").await?;
        let mut third = ConsoleSocket::open(self.gateway.http, &token).await?;
        self.closes(&mut first, 4007, "Replaced").await?;
        shell(&mut third).await?;
        let mut foreign = SerialConsole::open(&self.context.client, &self.context.namespace, TARGET).await?;
        self.closes(&mut third, 4007, "Replaced").await?;
        foreign.ask("echo sum=$((40 + 3))", "sum=43", wait::SHORT).await?;
        drop(foreign);

        let mut first = self.screen("vnc-1").await?;
        let foreign = wait::until("a foreign viewer takes the screen", wait::SHORT, || async {
            Ok(Seen::Done(virtctl_vnc(self.context).await?))
        })
        .await?;
        self.closes(&mut first, 4007, "Replaced").await?;
        let token = self.token("vnc-2", "vnc", "Refuse").await?;
        let mut second = ConsoleSocket::open(self.gateway.http, &token).await?;
        let entry = second.entry().await?;
        ensure!(entry == Entry::Closed(4024, "InUse".into()), "{entry:?}");
        drop(foreign);
        Ok(())
    }

    /// Of virt-handler, which holds the sockets, and of virt-api, through which they pass.
    async fn restarts(&self) -> Result<()> {
        let _disturbing = installed::disturbing().await;
        let mut viewer = self.serial("restarts").await?;
        let mut screen = self.screen("restarts-vnc").await?;
        for part in ["virt-handler", "virt-api"] {
            let of_part = format!("kubevirt.io={part}");
            // Without time to end: a virt-api that is asked to stop keeps its consoles until its successor answers, and then nothing tells
            // this from another viewer (docs/console.md).
            let grace_period = if part == "virt-api" {
                "--grace-period=1"
            } else {
                "--grace-period=-1"
            };
            self.context.cluster.kubectl(&[
                "--namespace",
                "kubevirt",
                "delete",
                "pods",
                "--selector",
                &of_part,
                grace_period,
                "--wait=false",
            ])?;
            viewer
                .read_until("*** The console is back. ***", Duration::from_mins(2))
                .await
                .with_context(|| format!("after a restart of {part}"))?;
            shell(&mut viewer).await?;
            if part == "virt-handler" {
                // Nobody took it and the machine runs; a screen is not opened again by the gateway.
                self.closes(&mut screen, 4021, "TargetDisconnected").await?;
            }
            let kind = if part == "virt-handler" {
                "daemonset"
            } else {
                "deployment"
            };
            self.context.cluster.kubectl(&[
                "--namespace",
                "kubevirt",
                "rollout",
                "status",
                &format!("{kind}/{part}"),
                "--timeout=180s",
            ])?;
        }
        viewer.leave().await
    }

    async fn stopped(&self) -> Result<()> {
        connections(self.context, "restarts", 0).await?;
        let (mut serial, mut screen) = (self.serial("stop-serial").await?, self.screen("stop-vnc").await?);
        let power =
            async |state: &str| change::<VmAccess>(self.context, TARGET, &json!({"power": {"state": state}})).await;
        power("Stopped").await?;
        self.closes(&mut serial, 4020, "TargetStopped").await?;
        self.closes(&mut screen, 4020, "TargetStopped").await?;
        power("Running").await?;
        ready_as(self.context, TARGET, "Running", wait::LONG).await?;
        Ok(())
    }

    /// A `VirtualMachineInstance` that nothing made but a person: the right is KubeVirt's own, and the session ends with the run.
    async fn run_alone(&self) -> Result<()> {
        let instances = self.context.dynamic(&virtual_machine_instances());
        let machine = self.context.dynamic(&virtual_machines()).get(TARGET).await?;
        let instance: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": ALONE},
            "spec": machine.data.pointer("/spec/template/spec"),
        }))?;
        instances.create(&PostParams::default(), &instance).await?;
        wait::object(&instances, ALONE, "it runs", wait::LONG, |instance| {
            match text_at(instance, "/status/phase") {
                "Running" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await?;

        let spec = json!({"targetRef": {"kind": "VirtualMachine", "name": ALONE}});
        apply_session(self.context, "alone-as-machine", spec).await?;
        let wanted = ("Ready", "False", "TargetNotFound");
        let refused: ConsoleSession = wait_for(self.context, "alone-as-machine", wanted, wait::SHORT).await?;
        let conditions = &status(&refused)?.conditions;
        ensure!(
            conditions
                .iter()
                .any(|condition| condition.message.contains("set kind to VirtualMachineInstance")),
            "{conditions:?}"
        );

        let spec = json!({"targetRef": {"kind": "VirtualMachineInstance", "name": ALONE}, "protocol": "vnc"});
        open_session(self.context, ALONE, spec).await?;
        for user in [ANN, BOB] {
            allow(self.context, user, SESSION_TOKENS, &["create"]).await?;
        }
        allow(self.context, ANN, MACHINE_SCREENS, &["get"]).await?;
        let said = refused_token(self.context, BOB, ALONE).await?;
        ensure!(
            said.contains("virtualmachineinstances/vnc") && said.contains(BOB),
            "{said}"
        );
        let token = request_token(self.context, ANN, ALONE).await?;
        let mut viewer = ConsoleSocket::open(self.gateway.http, &token.token).await?;
        rfb::handshake(&mut viewer, Security::None).await?;
        instances.delete(ALONE, &DeleteParams::default()).await?;
        self.closes(&mut viewer, 4004, "TargetGone").await?;
        session_is(self.context, ALONE, SessionPhase::Closed).await?;
        Ok(())
    }

    /// The session is of the machine itself, which is deleted.
    async fn deleted(&self) -> Result<()> {
        let spec = json!({
            "targetRef": {"kind": "VirtualMachine", "name": TARGET}, "protocol": "vnc",
        });
        for resource in [MACHINE_SCREENS, MACHINE_SERIALS] {
            allow(self.context, ANN, resource, &["get"]).await?;
        }
        open_session(self.context, "machine", spec).await?;
        let token = self.token_of("machine").await?;
        let mut viewer = ConsoleSocket::open(self.gateway.http, &token).await?;
        rfb::handshake(&mut viewer, Security::None).await?;
        let machines = self.context.dynamic(&virtual_machines());
        machines.delete(TARGET, &DeleteParams::default()).await?;
        self.closes(&mut viewer, 4004, "TargetGone").await?;
        session_is(self.context, "machine", SessionPhase::Closed).await?;
        Ok(())
    }
}

/// The guest's shell answers.
async fn shell(viewer: &mut ConsoleSocket) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..20 {
        viewer.send(b"echo sum=$((40 + 2))\n").await?;
        last = viewer.read_until("sum=42", Duration::from_secs(3)).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Takes the screen as `virtctl vnc` does: the viewer who has it is thrown out.
async fn virtctl_vnc(context: &Context<'_>) -> Result<ConsoleSocket> {
    let path = format!(
        "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachineinstances/{TARGET}/vnc",
        context.namespace
    );
    ConsoleSocket::connect(&context.client, &path, KUBEVIRT_SUBPROTOCOL).await
}
