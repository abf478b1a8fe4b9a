//! The arguments, the configuration file and the table of roles of the `novasphere` program.

mod gateway;
mod role;

use clap::{CommandFactory, Parser};
use novasphere_apiserver::config::ApiserverConfig;
use novasphere_console::config::ConsoleConfig;
use novasphere_controller::config::ControllerConfig;
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::args::CommonArgs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    gateway::{GatewayConfig, GatewaySettings, SetTwice},
    role::{ROLES, Role, RolePort, RoleSelection, RoleSpec},
};

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
    pub role: RoleSelection,
}

/// The configuration file: a section for each role, and those that several roles share.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Configuration {
    /// The addresses under which viewers reach novasphere.
    pub endpoints: Endpoints,
    /// What carries streams: the roles `console` and `apiserver`.
    pub gateway: GatewayConfig,
    /// The role `controller`.
    pub controller: ControllerConfig,
    /// The role `console`.
    pub console: ConsoleConfig,
    /// The role `apiserver`.
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
