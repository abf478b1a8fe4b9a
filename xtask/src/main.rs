//! Tasks of the repository: `cargo xtask generate` writes every generated file,
//! the other tasks check what a compiler does not.

mod artifacts;
mod charts;
mod crds;
mod links;
mod manager;
mod program;
mod rbac;
mod reference;
mod same_objects;
mod samples;
mod source_map;
mod yaml;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the novasphere repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write CRDs, RBAC, manifests, chart parts and reference pages
    Generate {
        /// Write nothing; name each stale file and end with status 1
        #[arg(long)]
        check: bool,
    },
    /// Check that relative links of Markdown files lead somewhere, and that the source map is whole
    Links,
    /// Compare the objects of the chart with those of config/
    ///
    /// Both files hold YAML documents, as `helm template` and `kubectl kustomize` print them.
    SameObjects {
        /// Output of `helm template`
        helm: PathBuf,
        /// Output of `kubectl kustomize`
        kustomize: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<ExitCode> {
    let root = repository()?;
    let complaints = match task {
        Task::Generate { check: true } => artifacts::stale(&root, &artifacts::all(&root)?)?,
        Task::Generate { check: false } => {
            artifacts::write(&root, &artifacts::all(&root)?)?;
            Vec::new()
        }
        Task::Links => [links::broken(&root)?, source_map::gaps(&root)?].concat(),
        Task::SameObjects { helm, kustomize } => same_objects::differences(helm, kustomize)?,
    };
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    Ok(if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The root of the repository: the folder above this crate or, without cargo,
/// the first one from here upwards that has a lock file.
fn repository() -> anyhow::Result<PathBuf> {
    if let Some(manifest) = std::env::var_os("CARGO_MANIFEST_DIR") {
        let crate_folder = PathBuf::from(manifest);
        return crate_folder
            .parent()
            .map(Path::to_path_buf)
            .context("xtask has no parent folder");
    }
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.map(Path::to_path_buf).context("run this inside the repository")
}
