//! Processes of Pods, as the machine that runs the node sees them.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

/// The processes of a Pod whose program has this name.
///
/// # Errors
/// When /proc cannot be read.
pub fn processes(pod_uid: &str, program: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes end while this reads.
        let Ok(groups) = fs::read_to_string(entry.path().join("cgroup")) else {
            continue;
        };
        let Ok(command) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        // The kubelet names the group of a Pod after its UID.
        if groups.contains(&format!("pod{pod_uid}")) && command.trim() == program {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The first process of a Pod's container, when its program has this name.
///
/// # Errors
/// When there is none.
pub fn first_process(pod_uid: &str, program: &str) -> Result<u32> {
    let found = processes(pod_uid, program)?;
    let first = found.into_iter().find(|pid| is_first(*pid));
    first.with_context(|| format!("{program} is the first process of no container of the Pod {pod_uid}"))
}

/// Whether a process of this machine is the first of its container.
fn is_first(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        status
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1"))
    })
}

/// Sends a signal, such as `TERM`, to a process.
///
/// # Errors
/// When it has ended.
pub fn signal(pid: u32, signal: &str) -> Result<()> {
    let status = Command::new("kill").args(["-s", signal, &pid.to_string()]).status()?;
    ensure!(status.success(), "kill {pid}: {status}");
    Ok(())
}

/// Sends SIGKILL to the processes of a Pod whose program has this name.
///
/// # Errors
/// When there are none.
pub fn kill(pod_uid: &str, program: &str) -> Result<()> {
    let processes = processes(pod_uid, program)?;
    ensure!(!processes.is_empty(), "the Pod {pod_uid} has no process {program}");
    for pid in processes {
        signal(pid, "KILL")?;
    }
    Ok(())
}
