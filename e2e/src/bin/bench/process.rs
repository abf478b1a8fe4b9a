//! Processes that are measured: what they use, and our own as they are started.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// A process, killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program again as another process, and returns it with the first line that it prints. It ends when its standard
/// input ends, so at the latest with this process.
pub(crate) fn start_self(arguments: &[&str]) -> Result<(Process, String)> {
    use std::io::BufRead;
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no standard output")?;
    let process = Process(child);
    let mut line = String::new();
    std::io::BufReader::new(output).read_line(&mut line)?;
    let line = line.trim().to_owned();
    anyhow::ensure!(!line.is_empty(), "bench {} ended at its start", arguments.join(" "));
    Ok((process, line))
}

/// Returns when standard input ends.
pub(crate) async fn parent_gone() {
    // Blocking, in a thread of its own: reading standard input is that in any case.
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
}

/// Resident memory in bytes.
pub(crate) fn resident(process: u32) -> Result<f64> {
    kibibytes(&fs::read_to_string(format!("/proc/{process}/status"))?, "VmRSS:")
}

/// The most resident memory so far in bytes.
pub(crate) fn peak(process: u32) -> Result<f64> {
    kibibytes(&fs::read_to_string(format!("/proc/{process}/status"))?, "VmHWM:")
}

/// Resident memory of a process and its descendants in bytes, where what several share is counted once.
pub(crate) fn proportional(process: u32) -> Result<f64> {
    let of = |process: &u32| -> Result<f64> {
        match fs::read_to_string(format!("/proc/{process}/smaps_rollup")) {
            Ok(text) => kibibytes(&text, "Pss:"),
            // A child that has ended holds no memory, and has no such file.
            Err(_) => Ok(0.0),
        }
    };
    tree(process)?.iter().map(of).sum()
}

fn kibibytes(text: &str, name: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in /proc"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// CPU time that a process and its living descendants have used, user and system, in seconds.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let of = |process: &u32| {
        // Fields 14 and 15 of proc(5) stat, in ticks of which Linux shows 100 a second; the name before them may hold spaces.
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("unexpected /proc stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("unexpected /proc stat")?.parse()?) };
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    };
    tree(process)?.iter().map(of).sum()
}

/// A process and its descendants.
fn tree(process: u32) -> Result<Vec<u32>> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        next += 1;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread may end while this looks.
            let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    Ok(found)
}

/// What `/proc/loadavg` says: a figure from a busy machine is to be read as such.
pub(crate) fn load_average() -> String {
    fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A TCP port of loopback that is free now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
