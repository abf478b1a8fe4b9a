//! Tasks of the repository: `cargo xtask generate` writes every generated file,
//! the other tasks check what a compiler does not.

mod artifacts;
mod charts;
mod compare_renders;
mod crds;
mod files;
mod function_lengths;
mod gateway_values;
mod headings;
mod helm;
mod imports;
mod index;
mod kustomize;
mod links;
mod metric_labels;
mod named_tests;
mod program;
mod rbac;
mod reference;
mod rest;
mod roles;
mod samples;
mod source_map;
mod tested_versions;
mod translations;
mod type_names;
mod values;
mod versions;
mod workflows;
mod write_door;
mod yaml;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::helm::Helm;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the novasphere repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write CRDs, RBAC, chart parts, the manifests of config/ and reference pages
    Generate {
        /// Write nothing; name each stale file and end with status 1
        #[arg(long)]
        check: bool,
        /// Program that renders the chart [default: the one that target/novacluster builds]
        #[arg(long, env = "HELM")]
        helm: Option<PathBuf>,
    },
    /// Check that relative links of Markdown files name files and their headings, that source map and index are complete, that tests that are named exist,
    /// that versions agree, and that translations have the same commands and links
    Links,
    /// Check that no crate imports what the map of crates forbids, that type names are unique, that labels of metrics are known, that writes are
    /// counted, and that functions fit a screen
    Structure,
    /// Check that the files for CI services call targets and scripts that exist, and that the one for GitLab has known keywords
    Workflows,
    /// Check that the values files of config/gateway, for the charts of the products themselves, agree with each other, with the routes beside them and
    /// with docs/gateways.md
    GatewayValues,
    /// Compare the objects of the chart with those of config/
    ///
    /// Both files hold YAML documents, as `helm template` and `kubectl kustomize` print them.
    CompareRenders {
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
        Task::Generate { check, helm } => {
            let files = artifacts::all(&root, &Helm::find(&root, helm.as_deref())?)?;
            if *check {
                artifacts::stale(&root, &files)?
            } else {
                artifacts::write(&root, &files)?;
                Vec::new()
            }
        }
        Task::Structure => [
            imports::forbidden(&root)?,
            type_names::ambiguous(&root)?,
            metric_labels::unknown(&root)?,
            write_door::beside(&root)?,
            function_lengths::too_long(&root)?,
        ]
        .concat(),
        Task::Links => [
            links::broken(&root)?,
            source_map::missing_folders(&root)?,
            named_tests::missing(&root)?,
            versions::differing(&root)?,
            tested_versions::unsaid(&root)?,
            translations::differing(&root)?,
            index::unlisted(&root)?,
        ]
        .concat(),
        Task::GatewayValues => gateway_values::differing(&root)?,
        Task::Workflows => workflows::wrong(&root)?,
        Task::CompareRenders { helm, kustomize } => compare_renders::differences(helm, kustomize)?,
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
