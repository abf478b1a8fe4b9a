//! `novasphere prepare-uninstall`: what has to be done before an installation is removed.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use novasphere_controller::{UninstallOptions, prepare_uninstall};
use novasphere_runtime::{args::CommonArgs, client};

/// How its requests name themselves.
const USER_AGENT_NAME: &str = "uninstall";

/// What is about to be removed.
#[derive(Args, Clone, Debug)]
pub struct UninstallArguments {
    /// The namespace of the installation.
    #[arg(long, value_name = "NAMESPACE", default_value = "novasphere-system")]
    pub namespace: String,

    /// The Deployment of the controller.
    #[arg(long, value_name = "NAME", default_value = "novasphere-controller")]
    pub deployment: String,

    /// The one namespace that the controller watches. Default: all.
    #[arg(long, value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// How many seconds each of these may take: the deletion of workspaces that has begun, and the controller's end.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// Prepares it, and says on standard output what was done. The exit code is 0 when the installation can be removed, and 1 when it cannot yet.
pub async fn run_uninstall(common: &CommonArgs, arguments: UninstallArguments) -> ExitCode {
    match prepare(common, arguments).await {
        Ok(()) => {
            println!("novasphere can be removed now");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("novasphere: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn prepare(common: &CommonArgs, arguments: UninstallArguments) -> anyhow::Result<()> {
    let kube_config = client::identified(common.kube_config().await?, USER_AGENT_NAME)?;
    let client = client::Builder::new(kube_config)?.build()?;
    let options = UninstallOptions {
        namespace: arguments.namespace,
        deployment: arguments.deployment,
        watch_namespace: arguments.watch_namespace,
        timeout: Duration::from_secs(arguments.timeout),
    };
    prepare_uninstall(&client, &options, &|line| println!("{line}")).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Invocation;

    fn parsed(arguments: &[&str]) -> UninstallArguments {
        let arguments = ["novasphere", "prepare-uninstall"]
            .into_iter()
            .chain(arguments.iter().copied());
        match Invocation::try_parse_from(arguments).unwrap() {
            Invocation::PrepareUninstall(_, arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_chart() {
        let usual = parsed(&[]);
        assert_eq!(usual.namespace, "novasphere-system");
        assert_eq!(usual.deployment, "novasphere-controller");
        assert_eq!((usual.watch_namespace, usual.timeout), (None, 60));
        let own = parsed(&["--watch-namespace", "team", "--timeout", "5"]);
        assert_eq!((own.watch_namespace.as_deref(), own.timeout), (Some("team"), 5));
        Invocation::try_parse_from(["novasphere", "prepare-uninstall", "--timeout", "0"]).unwrap_err();
    }
}
