//! The desktop images keep their contract (docs/desktop-image.md) on a real node, under Pod Security `restricted`.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    ResourceExt,
    api::{Api, PostParams},
};
use novasphere_e2e::{
    fixtures::{
        browser::Colour,
        cluster::Cluster,
        desktop::{Screen, write_password_file},
        desktop_image,
        namespace::{Context, PodSecurity, with_namespace},
        pod,
        program::Program,
        ssh::{Keys, Ssh},
        vnc,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workspace::image::desktop", Needs::Node, || {
            keeps_contract("workspace::image::desktop", "desktop", "xterm", "/home/user/workspace")
        }),
        Case::new("workspace::image::desktop_ide", Needs::Node, || {
            keeps_contract(
                "workspace::image::desktop_ide",
                "desktop-ide",
                "geany",
                "/data/the home",
            )
        }),
    ]
}

/// The password: all of it must count, so it has the eight characters that do.
const PASSWORD: &str = "K7pq2Zx9";

const VNC_PORT: u16 = 5901;
const SSH_PORT: u16 = 2222;

/// Not the defaults, so that they are seen to be read.
const WIDTH: u16 = 1000;
const HEIGHT: u16 = 700;

/// What nothing but the desktop itself is painted with: images/desktop/files/etc/novasphere/jwmrc.
const BACKGROUND: Colour = [0x2e, 0x4a, 0x62];

/// What the windows of both variants leave of 700,000 pixels: about 50,000 below those of the editor.
const LEAST_PIXELS: usize = 20_000;

/// The longest time from SIGTERM to the end, on a machine that has time for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How often that is tried on one that has not.
const STOP_ATTEMPTS_LIMIT: i32 = 3;

/// `terminationGracePeriodSeconds` of a desktop's Pod: never longer.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

const POD: &str = "desktop";

/// Twice as many as an X server has keycodes.
const CHARACTERS: u32 = 500;

/// Between two characters. A keycode is used again when all have been used, so programs have to follow within some 100 of them.
const TYPING_INTERVAL: Duration = Duration::from_millis(40);

/// The left one (X11/keysymdef.h).
const CONTROL: u32 = 0xffe3;

/// `program` is one that the session of this variant runs, `home` where the volume is mounted.
async fn keeps_contract(
    case: &'static str,
    variant: &'static str,
    program: &'static str,
    home: &'static str,
) -> Result<()> {
    let cluster = Cluster::shared()?;
    with_namespace(cluster, case, PodSecurity::Restricted, async |context| {
        let image = desktop_image::load(cluster, variant)?;
        let keys = Keys::make(&context.output, &["host", "person", "stranger"])?;
        let started = Instant::now();
        make(context, &image, &keys, home).await?;
        let address = ready(context, 0).await?;
        println!("{case}: created to ready in {} ms", started.elapsed().as_millis());

        only_the_password_opens(address).await.context("VNC")?;
        shows_itself(context, address).await.context("TigerVNC's viewer")?;
        let host = keys.public("host")?;
        let ssh = Ssh::new(&context.output, (address, SSH_PORT).into(), &host, keys.file("person"))?;
        only_the_key_opens(&ssh, &keys, home).context("SSH")?;
        speaks_the_language(&ssh).context("language, time zone, keyboard")?;
        typed_files_stay_home(&ssh, address).await.context("the home")?;
        if variant == "desktop" {
            every_character_arrives(&ssh, address).await.context("characters")?;
            pinyin_becomes_characters(&ssh, address)
                .await
                .context("the input method")?;
        }
        is_confined(context).context("confinement")?;
        keeps_the_password(context).context("the password")?;
        comes_back(context, program).await.context("the session")?;
        ends_in_time(context, case).await.context("SIGTERM")
    })
    .await
}

async fn make(context: &Context<'_>, image: &str, keys: &Keys, home: &str) -> Result<()> {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": POD},
        "stringData": {
            "vnc-password": PASSWORD,
            "ssh_host_ed25519_key": keys.private("host")?,
            "authorized_keys": keys.public("person")?,
        },
    }))?;
    context.api().create(&PostParams::default(), &secret).await?;
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": POD}, "spec": spec(image, home)}))?;
    context.api().create(&PostParams::default(), &pod).await?;
    Ok(())
}

/// All that Pod Security `restricted` asks for, and more: no token, a read-only root.
fn spec(image: &str, home: &str) -> Value {
    let secret = |items: Value| json!({"secretName": POD, "defaultMode": 0o440, "items": items});
    let memory = json!({"medium": "Memory"});
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "desktop",
            "image": image,
            "imagePullPolicy": "Never",
            "env": [
                {"name": "HOME", "value": home},
                {"name": "DISPLAY_WIDTH", "value": WIDTH.to_string()},
                {"name": "DISPLAY_HEIGHT", "value": HEIGHT.to_string()},
                {"name": "DISPLAY_DEPTH", "value": "24"},
                {"name": "LANG", "value": "zh_CN.UTF-8"},
                {"name": "TZ", "value": "Asia/Shanghai"},
                {"name": "KEYBOARD_LAYOUT", "value": "de(nodeadkeys)"},
            ],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "readinessProbe": {"exec": {"command": ["/usr/bin/novasphere-probe"]}, "periodSeconds": 1, "timeoutSeconds": 10},
            "volumeMounts": [
                {"name": "credentials", "mountPath": "/run/novasphere/credentials", "readOnly": true},
                {"name": "ssh", "mountPath": "/run/novasphere/ssh", "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "run", "mountPath": "/run/user"},
                {"name": "home", "mountPath": home},
            ],
        }],
        "volumes": [
            {"name": "credentials", "secret": secret(json!([{"key": "vnc-password", "path": "vnc-password"}]))},
            {"name": "ssh", "secret": secret(json!([
                {"key": "ssh_host_ed25519_key", "path": "ssh_host_ed25519_key"},
                {"key": "authorized_keys", "path": "authorized_keys"},
            ]))},
            {"name": "tmp", "emptyDir": memory},
            {"name": "run", "emptyDir": memory},
            {"name": "home", "emptyDir": {}},
        ],
    })
}

/// Waits until the probe says that the desktop answers, after this number of restarts.
async fn ready(context: &Context<'_>, restarts: i32) -> Result<Ipv4Addr> {
    let pods: Api<Pod> = context.api();
    let what = format!("ready after {restarts} restarts");
    let pod = wait::object(&pods, POD, what, wait::SHORT, |pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let found = statuses.and_then(|statuses| statuses.first());
        let good = found.is_some_and(|status| status.ready && status.restart_count == restarts);
        good.then_some(()).ok_or_else(|| format!("{found:?}"))
    })
    .await?;
    let address = pod
        .status
        .and_then(|status| status.pod_ip)
        .context("the Pod has no address")?;
    Ok(address.parse()?)
}

async fn only_the_password_opens(address: Ipv4Addr) -> Result<()> {
    let address = (address, VNC_PORT).into();
    let viewer = vnc::open(address, PASSWORD).await?;
    ensure!(
        (viewer.width, viewer.height) == (WIDTH, HEIGHT),
        "the screen has {:?} pixels",
        (viewer.width, viewer.height)
    );
    for wrong in ["", "wrong", "K7pq2Zx8"] {
        vnc::refuses(address, wrong).await?;
    }
    Ok(())
}

/// Debian's `TigerVNC` shows the desktop.
async fn shows_itself(context: &Context<'_>, address: Ipv4Addr) -> Result<()> {
    let screen = Screen::start(&context.output, "screen").await?;
    let file = context.output.join("viewer.password");
    write_password_file(&file, PASSWORD)?;
    let file = file.to_str().context("the path is not UTF-8")?;
    let server = format!("{address}::{VNC_PORT}");
    let _viewer = Program::start(
        "xtigervncviewer",
        &["-SecurityTypes", "VncAuth", "-PasswordFile", file, &server],
        &[("DISPLAY", screen.display.as_str())],
        &context.output.join("viewer.log"),
    )?;
    let shown = screen.shows(BACKGROUND, LEAST_PIXELS, wait::SHORT).await;
    screen.screenshot(&context.output.join("picture.ppm"))?;
    shown
}

fn only_the_key_opens(ssh: &Ssh, keys: &Keys, home: &str) -> Result<()> {
    let who = ssh.command("id --user; id --group; pwd; echo $DISPLAY; echo $HOME")?;
    ensure!(who == format!("1000\n1000\n{home}\n:1\n{home}\n"), "{who}");
    // What asks for the home of the user and not for HOME.
    let user = ssh.command("cd ~user && pwd -P")?;
    ensure!(user.trim_end() == home, "the user's home is {user}");
    let directory = ssh.sftp_directory()?;
    ensure!(directory == home, "sftp begins in {directory}");
    ssh.refuses(&keys.file("stranger"), "user")?;
    ssh.refuses(&keys.file("person"), "root")
}

/// What is typed in the desktop's terminal becomes a file that SSH sees.
async fn typed_files_stay_home(ssh: &Ssh, address: Ipv4Addr) -> Result<()> {
    let address = (address, VNC_PORT).into();
    vnc::type_in_terminal(address, PASSWORD, "echo typed >typed", async || {
        let typed = ssh.command("cat typed 2>&1 || true")?;
        Ok(Seen::some((typed == "typed\n").then_some(()), typed))
    })
    .await
}

/// The variables for these are heeded, also by SSH.
fn speaks_the_language(ssh: &Ssh) -> Result<()> {
    let said = ssh.command("locale charmap; date --date 2026-01-01 '+%A %z'; setxkbmap -query | tr -s ' '")?;
    for part in ["UTF-8\n星期四 +0800\n", "layout: de\n", "variant: nodeadkeys\n"] {
        ensure!(said.contains(part), "{said}");
    }
    Ok(())
}

/// More characters than a keyboard has keys, as a stock viewer sends what its input method composed. The terminal has the keyboard.
async fn every_character_arrives(ssh: &Ssh, address: Ipv4Addr) -> Result<()> {
    // No character of it comes twice, but for ASCII in between.
    let han = (0x4e00..0x4e00 + CHARACTERS).filter_map(char::from_u32);
    let mut text: String = han
        .flat_map(|character| [Some(character), (u32::from(character) % 7 == 0).then_some('a')])
        .flatten()
        .collect();
    text.push_str("ößéЖ한あ😀");
    let mut viewer = vnc::open((address, VNC_PORT).into(), PASSWORD).await?;
    viewer.type_text("\ncat >characters\n", Duration::ZERO).await?;
    for character in text.chars() {
        // X11/keysymdef.h: Latin-1 as it is, all others by their Unicode number.
        let code = u32::from(character);
        let key = if code < 0x100 { code } else { 0x0100_0000 + code };
        for down in [true, false] {
            viewer.key(down, key).await?;
        }
        tokio::time::sleep(TYPING_INTERVAL).await;
    }
    viewer.type_text("\n", Duration::ZERO).await?;
    let arrived = wait::until("what was typed", wait::SHORT, || async {
        let typed = ssh.command("cat characters 2>&1 || true")?;
        Ok(Seen::some(typed.ends_with('\n').then(|| typed.clone()), typed))
    })
    .await?;
    ends_input(&mut viewer).await?;
    let missing: String = text.chars().filter(|character| !arrived.contains(*character)).collect();
    ensure!(missing.is_empty(), "these characters do not arrive: {missing}");
    ensure!(arrived.trim_end() == text, "in another order: {arrived}");
    Ok(())
}

/// What is typed as pinyin, with the desktop's own input method switched on by Ctrl and Space. It may still be loading its words.
async fn pinyin_becomes_characters(ssh: &Ssh, address: Ipv4Addr) -> Result<()> {
    let mut viewer = vnc::open((address, VNC_PORT).into(), PASSWORD).await?;
    let mut seen = String::new();
    for patience in [1, 1, 2, 2, 4, 4, 8, 8, 16, 16].map(Duration::from_secs) {
        viewer.type_text("\ncat >pinyin\n", Duration::ZERO).await?;
        chord(&mut viewer, u32::from(b' ')).await?;
        viewer.type_text("nihao", patience / 10).await?;
        tokio::time::sleep(patience / 2).await;
        viewer.type_text(" ", patience / 2).await?;
        chord(&mut viewer, u32::from(b' ')).await?;
        viewer.type_text("\n", Duration::ZERO).await?;
        let arrived = wait::until("what was composed", patience, || async {
            let typed = ssh.command("cat pinyin 2>&1 || true")?;
            Ok(Seen::some((typed == "你好\n").then_some(()), typed))
        })
        .await;
        ends_input(&mut viewer).await?;
        match arrived {
            Ok(()) => return Ok(()),
            Err(error) => seen = format!("{error:#}"),
        }
        // An input method that came up between the two chords has taken the second one alone, and is on now.
        chord(&mut viewer, u32::from(b' ')).await?;
    }
    bail!("{seen}")
}

/// Ends what reads from the terminal, at the beginning of a line.
async fn ends_input(viewer: &mut vnc::DesktopViewer) -> Result<()> {
    chord(viewer, u32::from(b'd')).await
}

/// Presses Ctrl and a key.
async fn chord(viewer: &mut vnc::DesktopViewer, key: u32) -> Result<()> {
    for (down, key) in [(true, CONTROL), (true, key), (false, key), (false, CONTROL)] {
        viewer.key(down, key).await?;
    }
    Ok(())
}

/// A shell's output in the container.
fn exec(context: &Context<'_>, script: &str) -> Result<String> {
    let arguments = ["--namespace", &context.namespace, "exec", POD, "--", "sh", "-c", script];
    context.cluster.kubectl(&arguments)
}

fn is_confined(context: &Context<'_>) -> Result<()> {
    let denied = exec(
        context,
        "touch /x /etc/x /usr/x 2>&1; ls -d /x /etc/x /usr/x 2>/dev/null; true",
    )?;
    ensure!(denied.matches("Read-only file system").count() == 3, "{denied}");
    let status = exec(
        context,
        "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/1/status | tr '\\t' ' '",
    )?;
    let none = "0000000000000000";
    ensure!(
        status == format!("CapEff: {none}\nCapBnd: {none}\nNoNewPrivs: 1\nSeccomp: 2\n"),
        "{status}"
    );
    let raised = exec(context, "find / -xdev -type f -perm /6000 2>/dev/null; true")?;
    ensure!(raised.is_empty(), "programs that change the user: {raised}");
    let keys = exec(context, "find /etc/ssh -name 'ssh_host_*'")?;
    ensure!(keys.is_empty(), "host keys that are the same everywhere: {keys}");
    let packages =
        "for p in $(dpkg-query -W -f '${Package}\\n'); do [ -e /usr/share/doc/$p/copyright ] || echo $p; done";
    let unlicensed = exec(context, packages)?;
    ensure!(unlicensed.is_empty(), "packages without their licence: {unlicensed}");
    Ok(())
}

/// It is in no environment, argument or log of the container.
fn keeps_the_password(context: &Context<'_>) -> Result<()> {
    // The shell that looks does not have it in its own arguments.
    let processes = exec(
        context,
        "for part in environ cmdline; do cat /proc/[0-9]*/$part 2>/dev/null; done; true",
    )?;
    ensure!(processes.contains("DISPLAY_WIDTH"), "the environment was not read");
    ensure!(
        !processes.contains(PASSWORD),
        "a process has it in its environment or arguments"
    );
    let logs = context
        .cluster
        .kubectl(&["--namespace", &context.namespace, "logs", POD])?;
    ensure!(!logs.contains(PASSWORD), "the log has it");
    Ok(())
}

/// What the session runs is started again when it ends.
async fn comes_back(context: &Context<'_>, program: &str) -> Result<()> {
    for program in ["jwm", "xterm", "sshd", program] {
        let find = format!("pgrep -x -o {program} || true");
        let before = wait::until(format!("{program} runs"), wait::SHORT, || async {
            let now = exec(context, &find)?;
            Ok(Seen::some((!now.is_empty()).then_some(now), "it does not"))
        })
        .await?;
        exec(context, &format!("kill -KILL {before}"))?;
        wait::until(format!("{program} is back"), wait::SHORT, || async {
            let now = exec(context, &find)?;
            Ok(Seen::some((!now.is_empty() && now != before).then_some(()), now))
        })
        .await?;
    }
    Ok(())
}

/// The contract is about the desktop, and what else this machine does only adds to its time: the fastest of a few ends counts.
async fn ends_in_time(context: &Context<'_>, case: &str) -> Result<()> {
    let mut fastest = Duration::MAX;
    for restarts in 1..=STOP_ATTEMPTS_LIMIT {
        let took = ends(context).await?;
        println!("{case}: SIGTERM to the end in {} ms", took.as_millis());
        // What the container before left in its volumes does not keep the next one from starting.
        ready(context, restarts).await?;
        fastest = fastest.min(took);
        if fastest < STOP_TIMEOUT {
            return Ok(());
        }
    }
    bail!(
        "the fastest of {STOP_ATTEMPTS_LIMIT} ends took {} ms",
        fastest.as_millis()
    )
}

/// Sends SIGTERM to the first process of the container and measures until the kernel has ended all of it.
async fn ends(context: &Context<'_>) -> Result<Duration> {
    let pod = context.api::<Pod>().get(POD).await?;
    let uid = pod.uid().context("the Pod has no UID")?;
    // The kernel keeps 15 characters of a name.
    let first = pod::first_process(&uid, "novasphere-desk")?;
    let process = PathBuf::from(format!("/proc/{first}"));
    let sent = Instant::now();
    pod::signal(first, "TERM")?;
    // Much shorter than what is measured; the first process goes after all the others.
    while process.exists() {
        ensure!(sent.elapsed() < wait::SHORT, "it does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = sent.elapsed();
    ensure!(
        took < GRACE_PERIOD,
        "the kubelet would kill it: it took {} ms",
        took.as_millis()
    );
    Ok(took)
}
