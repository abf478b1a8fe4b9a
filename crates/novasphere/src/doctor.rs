//! `novasphere doctor`: what is wrong with the surroundings of novasphere, looked at once.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use novasphere_controller::{DoctorOptions, examine_gateways};
use novasphere_core::routes::{
    doctor::{has_errors, json_report, text_report},
    gateway::RouteGateways,
};
use novasphere_runtime::{args::CommonArgs, client, config};

use crate::Configuration;

/// The exit code when it could not be looked at. 0 means that nothing hinders routes, 1 that something does.
const NOT_LOOKED_AT: u8 = 2;

/// How requests of the doctor name themselves.
const USER_AGENT_NAME: &str = "doctor";

/// What the doctor looks at.
#[derive(Clone, Debug, Subcommand)]
pub enum DoctorTopic {
    /// Compares the section `gateways` of the configuration with the cluster, and says what is wrong, where, and what to do. The exit code
    /// is 0 when nothing hinders routes, 1 when something does, and 2 when it could not be found out
    Gateways(DoctorArguments),
}

/// How the doctor looks.
#[derive(Args, Clone, Debug)]
pub struct DoctorArguments {
    /// How findings are written to standard output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ReportFormat,

    /// The controller's service account, whose rights are looked at; asking for those of another account needs the right to create
    /// `SubjectAccessReview`. Default: the rights of the account that runs this.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service_account)]
    pub account: Option<(String, String)>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A line for each, and a line that counts.
    #[default]
    Text,
    /// One JSON object with the list `findings`.
    Json,
}

fn service_account(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write NAMESPACE/NAME, such as novasphere-system/novasphere-controller".to_owned()),
    }
}

/// Looks, and writes what was found to standard output.
pub async fn run_doctor(common: &CommonArgs, topic: &DoctorTopic) -> ExitCode {
    let DoctorTopic::Gateways(arguments) = topic;
    match gateways(common, arguments).await {
        Ok((report, has_errors)) => {
            print!("{report}");
            ExitCode::from(u8::from(has_errors))
        }
        Err(error) => {
            eprintln!("novasphere: {error:#}");
            ExitCode::from(NOT_LOOKED_AT)
        }
    }
}

/// The report, and whether it has errors.
async fn gateways(common: &CommonArgs, arguments: &DoctorArguments) -> anyhow::Result<(String, bool)> {
    let configuration: Configuration = config::load_or_default(common.config.as_deref())?;
    configuration.check().map_err(anyhow::Error::msg)?;
    let kube_config = client::identified(common.kube_config().await?, USER_AGENT_NAME)?;
    let client = client::Builder::new(kube_config)?.build()?;
    let gateways = RouteGateways::from(configuration.gateways);
    let options = DoctorOptions {
        watch_namespace: configuration.controller.watch_namespace,
        account: arguments.account.clone(),
    };
    let findings = examine_gateways(&client, &gateways, &options)
        .await
        .context("cannot ask the cluster; check that kube-apiserver is reachable, and the kubeconfig")?;
    let report = match arguments.output {
        ReportFormat::Text => text_report(&findings, gateways.all().len()),
        ReportFormat::Json => json_report(&findings),
    };
    Ok((report, has_errors(&findings)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Invocation;

    fn parsed(arguments: &[&str]) -> DoctorArguments {
        let arguments = ["novasphere", "doctor", "gateways"]
            .into_iter()
            .chain(arguments.iter().copied());
        match Invocation::try_parse_from(arguments).unwrap() {
            Invocation::Doctor(_, DoctorTopic::Gateways(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_takes_a_format_and_an_account() {
        let usual = parsed(&[]);
        assert_eq!((usual.output, usual.account), (ReportFormat::Text, None));
        assert_eq!(parsed(&["-o", "json"]).output, ReportFormat::Json);
        let account = parsed(&["--account", "novasphere-system/novasphere-controller"]).account;
        let (namespace, name) = account.unwrap();
        assert_eq!(
            (namespace.as_str(), name.as_str()),
            ("novasphere-system", "novasphere-controller")
        );
    }

    #[test]
    fn an_account_without_its_namespace_is_refused() {
        for text in ["controller", "/controller", "a/", "a/b/c"] {
            assert!(service_account(text).unwrap_err().contains("NAMESPACE/NAME"), "{text}");
        }
        Invocation::try_parse_from(["novasphere", "doctor"]).unwrap_err();
        let role = Invocation::try_parse_from(["novasphere", "controller"]).unwrap();
        assert!(matches!(role, Invocation::Role(arguments) if arguments.role.name() == "controller"));
    }
}
