//! Command-line arguments that all roles share.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::client::ClientError;

/// How log lines are written to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for log collectors.
    #[default]
    Json,
    /// Plain lines, for people.
    Text,
}

/// Arguments that every role takes. Each may be given by its environment variable instead; the argument wins.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Path of the YAML configuration file. Without it every setting has its default.
    #[arg(long, env = "NOVASPHERE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Format of the log lines on standard error.
    #[arg(long, env = "NOVASPHERE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Which log lines are written, as directives of tracing's `EnvFilter`, such as `info,novasphere_controller=debug`.
    #[arg(
        long,
        env = "NOVASPHERE_LOG_FILTER",
        default_value = "info",
        value_name = "DIRECTIVES"
    )]
    pub log_filter: String,

    /// Address on which `/livez`, `/readyz` and `/metrics` are served over plain HTTP.
    #[arg(
        long,
        env = "NOVASPHERE_ADMIN_ADDRESS",
        default_value = "0.0.0.0:8080",
        value_name = "IP:PORT"
    )]
    pub admin_address: SocketAddr,

    /// Base URL of an OpenTelemetry collector to which traces are sent by OTLP (HTTP with protobuf), such as `http://collector:4318`.
    /// Without it: the variable `OTEL_EXPORTER_OTLP_ENDPOINT`; without that no traces are sent.
    #[arg(long, env = "NOVASPHERE_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Path of a kubeconfig. Without it: the variable KUBECONFIG, then ~/.kube/config, then the Pod's service account.
    #[arg(long, env = "NOVASPHERE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig. Without it: the kubeconfig's current context.
    #[arg(long, env = "NOVASPHERE_KUBE_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
}

impl CommonArgs {
    /// The collector of traces, from the argument or from OpenTelemetry's own variable.
    #[must_use]
    pub fn otlp_endpoint(&self) -> Option<String> {
        let standard = || std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
        let endpoint = self.otlp_endpoint.clone().or_else(standard);
        endpoint.filter(|endpoint| !endpoint.is_empty())
    }

    /// Where the cluster is and who we are there.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the named kubeconfig or context cannot be read, or none is found.
    pub async fn kube_config(&self) -> Result<kube::Config, ClientError> {
        crate::client::kube_config(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        common: CommonArgs,
    }

    #[test]
    fn defaults_are_those_of_a_pod() {
        let common = Program::try_parse_from(["novasphere"]).unwrap().common;
        assert_eq!(
            (common.log_format, common.log_filter.as_str()),
            (LogFormat::Json, "info")
        );
        assert_eq!(common.admin_address.to_string(), "0.0.0.0:8080");
        assert_eq!((common.config, common.kubeconfig, common.context), (None, None, None));
    }

    #[test]
    fn every_argument_has_a_variable_of_ours() {
        for argument in Program::command().get_arguments() {
            let variable = argument.get_env().unwrap().to_str().unwrap();
            assert!(variable.starts_with("NOVASPHERE_"), "{variable}");
        }
    }
}
