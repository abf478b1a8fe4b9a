//! The arguments and the configuration file of the `novasphere` program.

use clap::{CommandFactory, Parser, Subcommand};
use novasphere_apiserver::config::ApiserverConfig;
use novasphere_console::config::ConsoleConfig;
use novasphere_controller::config::ControllerConfig;
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::args::CommonArgs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes access to virtual machines and desktops a Kubernetes object.
#[derive(Debug, Parser)]
#[command(name = "novasphere", version, about)]
pub struct Arguments {
    /// What every role takes.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Name of this process among its replicas, as it stands in the lease and in events. Default: the host's name, which in
    /// a Pod is the Pod's name.
    #[arg(long, env = "NOVASPHERE_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,

    /// The part of novasphere to run.
    #[command(subcommand)]
    pub role: Role,
}

/// A part of novasphere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Role {
    /// Reconciles VmAccess, ConsoleSession and VncWorkspace objects. One replica writes, the others stand by.
    Controller,
    /// Carries consoles to browsers and stock VNC viewers. All replicas serve.
    Console,
    /// Serves the aggregated API: consoles and their tokens through kube-apiserver. All replicas serve.
    Apiserver,
    /// Runs all roles in one process: for a small installation or a machine with a kubeconfig.
    All,
}

impl Role {
    /// Whether the role `controller` runs in the process.
    #[must_use]
    pub const fn has_controller(self) -> bool {
        matches!(self, Self::Controller | Self::All)
    }

    /// Whether the role `console` runs in the process.
    #[must_use]
    pub const fn has_console(self) -> bool {
        matches!(self, Self::Console | Self::All)
    }

    /// Whether the role `apiserver` runs in the process.
    #[must_use]
    pub const fn has_apiserver(self) -> bool {
        matches!(self, Self::Apiserver | Self::All)
    }

    /// Whether the process carries streams, by whichever role.
    #[must_use]
    pub const fn carries_streams(self) -> bool {
        self.has_console() || self.has_apiserver()
    }
}

/// The configuration file: one section per role.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Configuration {
    /// The addresses under which viewers reach novasphere.
    pub endpoints: Endpoints,
    /// The role `controller`.
    pub controller: ControllerConfig,
    /// The role `console`.
    pub console: ConsoleConfig,
    /// The role `apiserver`. It takes `watchNamespace`, `auditLog`, `metricsPerSession` and `drainGrace` from `console`.
    pub apiserver: ApiserverConfig,
}

/// The command line as clap sees it, for the generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn an_empty_configuration_has_the_defaults() {
        let configuration: Configuration = novasphere_runtime::config::parse("{}", "test").unwrap();
        assert_eq!(configuration.controller.concurrency, 8);
        assert!(configuration.controller.leader_election.enabled);
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_its_line() {
        let error =
            novasphere_runtime::config::parse::<Configuration>("controller:\n  concurency: 8\n", "test").unwrap_err();
        assert!(error.to_string().contains("concurency"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
