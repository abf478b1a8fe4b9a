//! Renders the chart. Helm is the one that `novacluster` builds at a pinned version, or one that is named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::files::{self, Files};

/// The chart, relative to the root of the repository.
pub(crate) const CHART: &str = "charts/novasphere";

/// The release and the namespace that `config/` installs.
pub(crate) const RELEASE: &str = "novasphere";
pub(crate) const NAMESPACE: &str = "novasphere-system";

/// The oldest Kubernetes that the chart allows. Helm assumes a version of its own when it is not given one.
const KUBE_VERSION: &str = "1.33.0";

const NOVACLUSTER: &str = "target/novacluster";

/// The host of routes that people change to their own.
const EXAMPLE_HOST: &str = "vms.example.com";

/// The routes of one kind of gateway to novasphere itself.
pub(crate) struct OwnRoutes {
    /// Below `config/gateway`.
    pub(crate) folder: &'static str,
    /// The value of the chart's `routes.gateway`.
    gateway: &'static str,
    /// What the product needs.
    settings: &'static str,
    templates: &'static [&'static str],
}

const PLAIN: &str = "config.console.http.plain=true";
const SERVICE: &str = "templates/gateway/service.yaml";

/// Those of all products.
pub(crate) const OWN_ROUTES: &[OwnRoutes] = &[
    OwnRoutes {
        folder: "traefik",
        gateway: "traefik",
        settings: "config.console.http.plain=false",
        templates: &[SERVICE, "templates/gateway/traefik.yaml"],
    },
    OwnRoutes {
        folder: "kong",
        gateway: "kong",
        settings: PLAIN,
        templates: &[
            SERVICE,
            "templates/gateway/kong.yaml",
            "templates/gateway/kong-vnc.yaml",
        ],
    },
    OwnRoutes {
        folder: "gateway-api",
        gateway: "gatewayApi",
        settings: "config.console.http.plain=true,routes.gatewayApi.gateway=novasphere",
        templates: &[SERVICE, "templates/gateway/gateway-api.yaml"],
    },
    OwnRoutes {
        folder: "nginx",
        gateway: "nginx",
        settings: PLAIN,
        templates: &[SERVICE, "templates/gateway/nginx.yaml"],
    },
];

/// The program `helm`.
pub(crate) struct Helm(PathBuf);

impl Helm {
    /// The program at `named`, or else the one of the test bed, which is built when the cache has none.
    pub(crate) fn find(root: &Path, named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(named) = named {
            return Ok(Self(named.to_owned()));
        }
        let novacluster = root.join(NOVACLUSTER);
        if !novacluster.exists() {
            bail!(
                "config/ is rendered by helm, and {NOVACLUSTER} is missing: run `make {NOVACLUSTER}` first, or set HELM to a helm 3"
            );
        }
        let folder = output(Command::new(novacluster).args(["tool-path", "helm"]))?;
        Ok(Self(Path::new(folder.trim()).join("helm")))
    }

    /// The chart with default values and all optional parts but the CRDs and the routes of a gateway, as `generated` will make it: what is in
    /// the working tree may be older.
    pub(crate) fn template(&self, root: &Path, generated: &Files) -> anyhow::Result<String> {
        const SETTINGS: &str =
            "crds.install=false,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true";
        self.render(root, generated, &["--set", SETTINGS])
    }

    /// The routes of a gateway to novasphere itself, for a host of the documentation.
    pub(crate) fn template_routes(&self, root: &Path, generated: &Files, routes: &OwnRoutes) -> anyhow::Result<String> {
        let settings = format!("routes.gateway={},routes.host={EXAMPLE_HOST}", routes.gateway);
        let mut arguments = vec!["--set", settings.as_str(), "--set", routes.settings];
        for template in routes.templates.iter().copied() {
            arguments.extend(["--show-only", template]);
        }
        self.render(root, generated, &arguments)
    }

    fn render(&self, root: &Path, generated: &Files, arguments: &[&str]) -> anyhow::Result<String> {
        let folder = tempfile::tempdir().context("make a folder for the chart")?;
        let chart = folder.path().join("chart");
        for path in files::walk(&root.join(CHART))? {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            if !files::is_marked(&text) {
                put(&chart.join(path.strip_prefix(root.join(CHART))?), &text)?;
            }
        }
        for (path, text) in generated {
            if let Ok(path) = path.strip_prefix(CHART) {
                put(&chart.join(path), text)?;
            }
        }
        let mut command = Command::new(&self.0);
        command
            .args(["template", RELEASE])
            .arg(&chart)
            // Hooks are Helm's own: the tests, and what runs before an uninstallation.
            .args(["--namespace", NAMESPACE, "--kube-version", KUBE_VERSION, "--no-hooks"])
            .args(arguments);
        // Settings and plug-ins of the user change nothing.
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, folder.path().join(home));
        }
        output(&mut command)
    }
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed what is not UTF-8"))
}
