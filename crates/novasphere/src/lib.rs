//! The arguments, the configuration file and the table of roles of the `novasphere` program.

mod doctor;
mod gateway;
mod reload;
mod role;
mod uninstall;
mod user;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use novasphere_api::config::ApiConfig;
use novasphere_apiserver::config::ApiserverConfig;
use novasphere_check::CheckArguments;
use novasphere_console::config::ConsoleConfig;
use novasphere_controller::config::ControllerConfig;
use novasphere_core::{
    console_session::endpoints::Endpoints,
    routes::gateway::{RouteGateway, RouteGateways},
};
use novasphere_runtime::args::CommonArgs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    doctor::{DoctorArguments, DoctorTopic, ReportFormat, run_doctor},
    gateway::{GatewayConfig, GatewaySettings, SetTwice},
    reload::follow_gateways,
    role::{ROLES, Role, RolePort, RoleSelection, RoleSpec},
    uninstall::{UninstallArguments, run_uninstall},
    user::{UserCommand, run_user},
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
    /// The gateways of the cluster, such as Traefik, that carry the `routes` of objects; the role `controller` writes what they read. A change
    /// of this section is used without a restart. Default: none. At most 32.
    #[schemars(length(max = 32))]
    pub gateways: Vec<RouteGateway>,
    /// The role `controller`.
    pub controller: ControllerConfig,
    /// The role `console`.
    pub console: ConsoleConfig,
    /// The role `apiserver`.
    pub apiserver: ApiserverConfig,
    /// The role `api`.
    pub api: ApiConfig,
}

impl Configuration {
    /// Whether every role can start with it: what a setting's type does not say. The chart refuses the same when it is installed
    /// (`templates/_checks.tpl` and `values.schema.json`); `hack/bad-values` has examples of all.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self) -> Result<(), String> {
        self.controller.check()?;
        RouteGateways::from(self.gateways.clone()).check()?;
        self.console.check(&self.endpoints)?;
        self.apiserver.check()?;
        self.api.check()
    }
}

/// What is asked for on the command line.
#[derive(Debug)]
pub enum Invocation {
    /// To run as a part of novasphere.
    Role(Arguments),
    /// To look whether an installation works. Of what every role takes, it needs the way to the cluster.
    CheckConsole(CommonArgs, CheckArguments),
    /// To look what is wrong around it. Of what every role takes, that needs the configuration and the way to the cluster.
    Doctor(CommonArgs, DoctorTopic),
    /// To make, change and list local users of the REST API. Of what every role takes, it needs the way to the cluster.
    User(CommonArgs, UserCommand),
    /// To get an installation ready to be removed. Of what every role takes, it needs the way to the cluster.
    PrepareUninstall(CommonArgs, UninstallArguments),
}

/// Subcommands that are no roles.
const CHECK_CONSOLE: &str = "check-console";
const CHECK_CONSOLE_ABOUT: &str =
    "Looks whether an installation works, up to the screen of a console that it opens: what `helm test` runs";
const PREPARE_UNINSTALL: &str = "prepare-uninstall";
const PREPARE_UNINSTALL_ABOUT: &str = "Gets an installation ready to be removed, so that nothing waits for a controller that is gone: stops the \
                                       controller, and takes its finalizer off workspaces. `helm uninstall` runs it";
const USER: &str = "user";
const USER_ABOUT: &str = "Makes, changes, lists and removes local users of the REST API";
const DOCTOR: &str = "doctor";
const DOCTOR_ABOUT: &str = "Says what is wrong with the surroundings of novasphere, where, and what to do";

impl Invocation {
    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or the text that it asks for, such as the help.
    pub fn try_parse_from<I, T>(line: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let matches = command().try_get_matches_from(line)?;
        let parsed = match matches.subcommand() {
            Some((CHECK_CONSOLE, check)) => CommonArgs::from_arg_matches(&matches).and_then(|common| {
                CheckArguments::from_arg_matches(check).map(|check| Self::CheckConsole(common, check))
            }),
            Some((PREPARE_UNINSTALL, uninstall)) => CommonArgs::from_arg_matches(&matches).and_then(|common| {
                UninstallArguments::from_arg_matches(uninstall)
                    .map(|arguments| Self::PrepareUninstall(common, arguments))
            }),
            Some((USER, user)) => CommonArgs::from_arg_matches(&matches)
                .and_then(|common| UserCommand::from_arg_matches(user).map(|command| Self::User(common, command))),
            Some((DOCTOR, doctor)) => CommonArgs::from_arg_matches(&matches)
                .and_then(|common| DoctorTopic::from_arg_matches(doctor).map(|topic| Self::Doctor(common, topic))),
            _ => Arguments::from_arg_matches(&matches).map(Self::Role),
        };
        parsed.map_err(|error| error.format(&mut command()))
    }
}

/// The command line as clap sees it, also for the generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    let check = CheckArguments::augment_args(clap::Command::new(CHECK_CONSOLE));
    let uninstall = UninstallArguments::augment_args(clap::Command::new(PREPARE_UNINSTALL));
    let doctor = DoctorTopic::augment_subcommands(clap::Command::new(DOCTOR));
    let doctor = doctor.subcommand_required(true).arg_required_else_help(true);
    let user = UserCommand::augment_subcommands(clap::Command::new(USER));
    let user = user.subcommand_required(true).arg_required_else_help(true);
    Arguments::command()
        .subcommand(check.about(CHECK_CONSOLE_ABOUT))
        .subcommand(uninstall.about(PREPARE_UNINSTALL_ABOUT))
        .subcommand(doctor.about(DOCTOR_ABOUT))
        .subcommand(user.about(USER_ABOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_check_is_no_role() {
        let line = [
            "novasphere",
            "--kubeconfig",
            "/k",
            "check-console",
            "--url",
            "http://a.example.com",
        ];
        let Invocation::CheckConsole(common, check) = Invocation::try_parse_from(line).unwrap() else {
            panic!("{line:?} is a role");
        };
        assert_eq!(common.kubeconfig.unwrap().to_str(), Some("/k"));
        assert_eq!(check.url.host(), Some("a.example.com"));
        Invocation::try_parse_from(["novasphere", "check-console"]).unwrap_err();
        let role = Invocation::try_parse_from(["novasphere", "console"]).unwrap();
        assert!(matches!(role, Invocation::Role(arguments) if arguments.role.name() == "console"));
    }

    #[test]
    fn an_empty_configuration_has_the_defaults() {
        let configuration: Configuration = novasphere_runtime::config::parse("{}", "test").unwrap();
        assert_eq!(configuration.controller.concurrency, 8);
        assert!(configuration.controller.leader_election.enabled);
    }

    /// The values of `hack/bad-values`: `make test-manifests` shows that the chart refuses each of them as well.
    #[test]
    fn bad_values_are_refused() {
        let table = include_str!("../../../hack/bad-values");
        let rows = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut tried = 0;
        for row in rows {
            let (path, value) = row.split_once(' ').unwrap();
            let text = path
                .rsplit('.')
                .fold(value.to_owned(), |inner, key| format!("{{{key}: {inner}}}"));
            let read = novasphere_runtime::config::parse::<Configuration>(&text, "test");
            let refused = match read {
                Err(error) => error.to_string(),
                Ok(configuration) => {
                    let settings = configuration.gateway_settings().map_err(|error| error.to_string());
                    let checked = settings.and_then(|_| configuration.check());
                    checked.err().unwrap_or_default()
                }
            };
            assert!(!refused.is_empty(), "{row} is taken");
            tried += 1;
        }
        assert!(tried > 30, "{tried}");
        Configuration::default().check().unwrap();
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_its_line() {
        let error =
            novasphere_runtime::config::parse::<Configuration>("controller:\n  concurency: 8\n", "test").unwrap_err();
        assert!(error.to_string().contains("concurency"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
