//! The roles of the program, as a table: command line, readiness gates, ports, configuration section and permissions follow from
//! it, here, in `xtask` and so in the chart and in `config/`.

use clap::{ArgMatches, Command, FromArgMatches, Subcommand, error::ErrorKind};
use novasphere_api::rbac as api;
use novasphere_apiserver::rbac as apiserver;
use novasphere_console::rbac as console;
use novasphere_controller::rbac as controller;
use novasphere_runtime::{
    health::ReadinessGate,
    rbac::{BuiltInRole, RoleRules},
};

/// A part of novasphere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reconciles the custom resources.
    Controller,
    /// Carries consoles to browsers and stock viewers.
    Console,
    /// Serves the aggregated API.
    Apiserver,
    /// Serves REST with login.
    Api,
}

/// A row of [`ROLES`].
#[derive(Clone, Copy, Debug)]
pub struct RoleSpec {
    /// The role.
    pub role: Role,
    /// Its name: subcommand, section of the configuration file and of the chart's values, and component label.
    pub name: &'static str,
    /// What it does, for the command line.
    pub about: &'static str,
    /// Whether it carries streams, so that its process is a gateway: it has the settings of the section `gateway`, and may read VNC
    /// passwords.
    pub carries_streams: bool,
    /// Whether the chart has a value `<name>.enabled`.
    pub is_optional: bool,
    /// The readiness gates that it opens.
    pub gates: &'static [ReadinessGate],
    /// Its ports beside that of health and metrics.
    pub ports: &'static [RolePort],
    /// What it may do in Kubernetes.
    pub rules: RoleRules,
}

/// A port of a role's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolePort {
    /// Its name.
    pub name: &'static str,
    /// The setting of the configuration file that names the address.
    pub setting: &'static [&'static str],
}

/// All roles, in the order of the command line's help. A row here, a section of the configuration, one of the chart's `values.yaml`
/// and the Services of the role itself are all that a new role needs beside its own logic.
pub const ROLES: &[RoleSpec] = &[
    RoleSpec {
        role: Role::Controller,
        name: "controller",
        about: "Reconciles VmAccess, ConsoleSession and VncWorkspace objects. One replica writes, the others stand by",
        carries_streams: false,
        is_optional: false,
        gates: &[ReadinessGate::ControllerCaches],
        ports: &[],
        rules: RoleRules {
            source: "crates/controller/src/rbac.rs",
            cluster: &[controller::CLUSTER_RULES],
            namespace: &[controller::NAMESPACE_RULES],
            built_in: &[],
        },
    },
    RoleSpec {
        role: Role::Console,
        name: "console",
        about: "Carries consoles to browsers and stock VNC viewers. All replicas serve",
        carries_streams: true,
        is_optional: true,
        gates: &[ReadinessGate::Sessions, ReadinessGate::ConsoleListeners],
        ports: &[
            RolePort {
                name: "web",
                setting: &["console", "http", "address"],
            },
            RolePort {
                name: "vnc",
                setting: &["console", "vnc", "address"],
            },
        ],
        rules: RoleRules {
            source: "crates/console/src/rbac.rs",
            cluster: &[console::CLUSTER_RULES],
            namespace: &[console::NAMESPACE_RULES],
            built_in: &[],
        },
    },
    RoleSpec {
        role: Role::Apiserver,
        name: "apiserver",
        about: "Serves the aggregated API: consoles and their tokens through kube-apiserver. All replicas serve",
        carries_streams: true,
        is_optional: true,
        gates: &[
            ReadinessGate::Sessions,
            ReadinessGate::ApiListener,
            ReadinessGate::FrontProxy,
        ],
        ports: &[RolePort {
            name: "api",
            setting: &["apiserver", "address"],
        }],
        rules: RoleRules {
            source: "crates/apiserver/src/rbac.rs and crates/console/src/rbac.rs",
            cluster: &[console::CLUSTER_RULES, apiserver::CLUSTER_RULES],
            namespace: &[console::NAMESPACE_RULES],
            built_in: &[BuiltInRole {
                name: apiserver::AUTHENTICATION_READER,
                namespace: "kube-system",
                suffix: "authentication-reader",
            }],
        },
    },
    RoleSpec {
        role: Role::Api,
        name: "api",
        about: "Serves REST with login, for people without a kubeconfig and for scripts. All replicas serve",
        carries_streams: false,
        is_optional: true,
        gates: &[ReadinessGate::RestListener],
        ports: &[RolePort {
            name: "rest",
            setting: &["api", "address"],
        }],
        rules: RoleRules {
            source: "crates/api/src/rbac.rs",
            cluster: &[api::CLUSTER_RULES],
            namespace: &[api::NAMESPACE_RULES],
            built_in: &[],
        },
    },
];

/// The subcommand for several roles in one process: those that need no Secrets of the installation's.
const ALL: &str = "all";
const ALL_ABOUT: &str =
    "Runs controller, console and apiserver in one process: for a small installation or a machine with a kubeconfig";

/// The roles that a process runs: the subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleSelection {
    /// One of them.
    One(Role),
    /// All of them but `api`, which keeps logins in Secrets that the installation makes.
    All,
}

impl RoleSelection {
    /// The selection of a subcommand.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == ALL {
            return Some(Self::All);
        }
        let spec = ROLES.iter().find(|spec| spec.name == name)?;
        Some(Self::One(spec.role))
    }

    /// The subcommand.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => ALL,
            Self::One(_) => self.specs().map(|spec| spec.name).next().unwrap_or_default(),
        }
    }

    /// The rows of the roles that run.
    pub fn specs(self) -> impl Iterator<Item = &'static RoleSpec> {
        ROLES.iter().filter(move |spec| self.has(spec.role))
    }

    /// Whether a role runs.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        match self {
            Self::All => role != Role::Api,
            Self::One(selected) => selected == role,
        }
    }

    /// Whether the process carries streams, by any role.
    #[must_use]
    pub fn carries_streams(self) -> bool {
        self.specs().any(|spec| spec.carries_streams)
    }
}

impl Subcommand for RoleSelection {
    fn augment_subcommands(command: Command) -> Command {
        let roles = ROLES.iter().map(|spec| Command::new(spec.name).about(spec.about));
        command
            .subcommands(roles)
            .subcommand(Command::new(ALL).about(ALL_ABOUT))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Self::named(name).is_some()
    }
}

impl FromArgMatches for RoleSelection {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let selected = matches.subcommand_name().and_then(Self::named);
        selected.ok_or_else(|| clap::Error::raw(ErrorKind::MissingSubcommand, "name a role, or all"))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::{Arguments, Configuration};

    #[test]
    fn a_role_is_started_by_its_name_and_all_by_all() {
        for spec in ROLES {
            let arguments = Arguments::try_parse_from(["novasphere", spec.name]).unwrap();
            assert_eq!(arguments.role, RoleSelection::One(spec.role));
            assert_eq!(arguments.role.name(), spec.name);
        }
        let all = Arguments::try_parse_from(["novasphere", "all"]).unwrap().role;
        assert_eq!(all.specs().count(), ROLES.len() - 1);
        Arguments::try_parse_from(["novasphere"]).unwrap_err();
        Arguments::try_parse_from(["novasphere", "web"]).unwrap_err();
    }

    /// RBAC cannot bound what kind of Secret an account creates. Gateways need to create none; the controller does, so an admission
    /// policy holds it (`templates/admission/secrets.yaml`).
    #[test]
    fn no_account_can_make_a_secret_that_gets_a_token_and_read_it() {
        let able = |spec: &&RoleSpec| {
            // The installation binds them to gateways, in every namespace by default.
            let passwords: &[_] = if spec.carries_streams {
                console::PASSWORD_RULES
            } else {
                &[]
            };
            spec.rules.could_take_tokens(passwords)
        };
        let able: Vec<&str> = ROLES.iter().filter(able).map(|spec| spec.name).collect();
        assert_eq!(able, ["controller"]);
        let policy = include_str!("../../../config/admission/secrets.yaml");
        for account in able {
            assert!(
                policy.contains(&format!("novasphere-system:novasphere-{account}'")),
                "{account}: {policy}"
            );
        }
        assert!(policy.contains("kubernetes.io/service-account.name"), "{policy}");
    }

    #[test]
    fn every_row_is_of_another_role_and_has_a_section_and_gates() {
        let schema = novasphere_runtime::config::schema::<Configuration>();
        let names: BTreeSet<_> = ROLES.iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), ROLES.len());
        for spec in ROLES {
            assert!(schema["properties"].get(spec.name).is_some(), "{}", spec.name);
            assert!(!spec.gates.is_empty(), "{}", spec.name);
            assert_eq!(
                spec.carries_streams,
                spec.gates.contains(&ReadinessGate::Sessions),
                "{}",
                spec.name
            );
        }
    }
}
