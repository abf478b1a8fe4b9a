//! The image of the program and what it costs to run it: the image's size, and for each role the time from its start until it is ready
//! and its memory while nothing happens.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use novasphere_e2e::fixtures::{
    cluster::{self, Cluster},
    controller::program,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    process::{self, Process, free_port},
    settings::{self, full_or_small},
    summary::{Figure, Summary, percentile},
};

const HOW: &str = "BENCH_PARTS=image make bench";

const ROLES: [&str; 3] = ["controller", "console", "apiserver"];

/// Goals of the project.
const IMAGE_GOAL_MEGABYTES: f64 = 40.0;
const READY_GOAL_MILLISECONDS: f64 = 500.0;
const IDLE_GOAL_MEGABYTES: f64 = 25.0;

/// How often each role is started.
fn starts() -> usize {
    full_or_small(10, 2)
}

/// Until memory is looked at: a controller leads by then, after one that was killed.
const IDLE_PERIOD: Duration = Duration::from_secs(20);

/// Of a start, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Between two questions whether a role is ready. Short beside what is measured.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

pub(crate) async fn run(summary: &mut Summary) -> Result<()> {
    size(summary).context("the image")?;
    let cluster = Cluster::control_plane("bench-image", &["kubevirt"])?;
    for role in ROLES {
        start(&cluster, role, summary).await.with_context(|| role.to_owned())?;
    }
    Ok(())
}

/// The image as `make dist` packs it.
fn size(summary: &mut Summary) -> Result<()> {
    let archive = settings::output()?.join("novasphere.tar");
    let made = Command::new(cluster::program()?)
        .args(["image", "--image", "localhost/novasphere:bench", "--binary"])
        .arg(program()?)
        .arg("--out")
        .arg(&archive)
        .output()
        .context("start novacluster image")?;
    ensure!(
        made.status.success(),
        "novacluster image: {}",
        String::from_utf8_lossy(&made.stderr).trim()
    );
    let packed = archive.with_extension("tar.gz");
    let status = Command::new("gzip")
        .args([full_or_small("--best", "--fast"), "--no-name"])
        .stdin(File::open(&archive)?)
        .stdout(File::create(&packed)?)
        .status()
        .context("start gzip")?;
    ensure!(status.success(), "gzip: {status}");
    for (name, path, goal) in [
        ("image of novasphere, compressed", &packed, Some(IMAGE_GOAL_MEGABYTES)),
        ("image of novasphere", &archive, None),
    ] {
        let megabytes = bytes(path)? / 1e6;
        let figure = Figure::new(name, megabytes, "MB", HOW);
        summary.add(match goal {
            Some(goal) => figure.at_most(goal),
            None => figure,
        });
        fs::remove_file(path)?;
    }
    Ok(())
}

fn bytes(path: &Path) -> Result<f64> {
    let kibibytes = u32::try_from(fs::metadata(path)?.len().div_ceil(1024))?;
    Ok(f64::from(kibibytes) * 1024.0)
}

/// Starts a role again and again; the last one stays until nothing happens any more.
async fn start(cluster: &Cluster, role: &str, summary: &mut Summary) -> Result<()> {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..starts() {
        // The one before is killed first: its ports are not taken from the next.
        drop(last.take());
        let began = Instant::now();
        let (mut process, admin) = spawn(&cluster.kubeconfig, role)?;
        let ready = timeout(READY_TIMEOUT, ready(&mut process, admin)).await;
        ready.with_context(|| format!("not ready within {} s", READY_TIMEOUT.as_secs()))??;
        times.push(began.elapsed());
        last = Some(process);
    }
    let last = last.context("it was started")?;
    sleep(full_or_small(IDLE_PERIOD, IDLE_PERIOD / 10)).await;
    let figure = |name: &str, value, unit| Figure::new(format!("{role}: {name}"), value, unit, HOW);
    summary.add(figure("start to ready p50", percentile(times, 50)?, "ms").at_most(READY_GOAL_MILLISECONDS));
    let resident = process::resident(last.id())? / 1e6;
    summary.add(figure("memory when nothing happens", resident, "MB RSS").at_most(IDLE_GOAL_MEGABYTES));
    Ok(())
}

/// The process, and the port where it says whether it is ready.
fn spawn(kubeconfig: &Path, role: &str) -> Result<(Process, u16)> {
    let output = settings::output()?;
    let (configuration, log) = (output.join("image.yaml"), output.join(format!("image-{role}.log")));
    let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
    let settings = json!({
        "console": {"http": {"address": address()?}, "vnc": {"address": address()?}},
        "apiserver": {"address": address()?},
    });
    fs::write(&configuration, settings.to_string())?;
    let admin = free_port()?;
    let child = Command::new(program()?)
        .arg(role)
        .env("NOVASPHERE_CONFIG", &configuration)
        .env("NOVASPHERE_KUBECONFIG", kubeconfig)
        .env("NOVASPHERE_ADMIN_ADDRESS", format!("127.0.0.1:{admin}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log)?)
        .spawn()
        .context("start novasphere")?;
    Ok((Process(child), admin))
}

async fn ready(process: &mut Process, admin: u16) -> Result<()> {
    loop {
        if let Some(status) = process.0.try_wait()? {
            bail!("it ended, {status}: see its log in {}", settings::output()?.display());
        }
        // It does not listen at once.
        if is_ready(admin).await.unwrap_or_default() {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn is_ready(admin: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", admin)).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split(' ').nth(1) == Some("200"))
}
