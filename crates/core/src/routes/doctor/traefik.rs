//! Traefik: its entry points, its class, and who else uses what is for routes alone.

use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::util::intstr::IntOrString};
use serde_json::Value;

use super::{
    super::{
        KEY_ROUTE_GATEWAY,
        gateway::{EntryPoint, TraefikGateway},
        inspection::TraefikInspection,
        object::RouteKind,
        pool::listed,
    },
    Examination, FindingReason, GatewayFinding, ReadOutcome,
    process::ProcessSettings,
    service::port_of,
};

/// The class of objects that Traefik reads where it is set to none: `shouldProcessIngress` in its `pkg/provider/kubernetes/crd`.
const OWN_CLASS: &str = "traefik";

/// The entry point of its API, which no route uses by default.
const INTERNAL_ENTRY_POINT: &str = "traefik";

/// A route of Traefik that novasphere did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRoute {
    /// Its kind, namespace and name.
    name: String,
    entry_points: Vec<String>,
    is_http: bool,
    has_tls: bool,
}

/// An entry point of Traefik, as its arguments or its API tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StaticEntryPoint {
    name: String,
    is_default: bool,
    /// Where it listens, such as `:5910`; `None` when only its name is known.
    address: Option<String>,
    /// Whether all HTTP on it has TLS.
    has_tls: bool,
}

impl OtherRoute {
    /// What is read of an `IngressRoute` or `IngressRouteTCP`; `None` for one of novasphere's own.
    #[must_use]
    pub fn of(kind: RouteKind, object: &Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let labels = object.pointer("/metadata/labels");
        if labels.is_some_and(|labels| labels.get(KEY_ROUTE_GATEWAY).is_some()) {
            return None;
        }
        let entry_points = object.pointer("/spec/entryPoints").and_then(Value::as_array);
        let entry_points = entry_points.into_iter().flatten().filter_map(Value::as_str);
        Some(Self {
            name: format!(
                "{} {}/{}",
                kind.kind(),
                text("/metadata/namespace"),
                text("/metadata/name")
            ),
            entry_points: entry_points.map(str::to_owned).collect(),
            is_http: kind == RouteKind::IngressRoute,
            has_tls: object.pointer("/spec/tls").is_some_and(Value::is_object),
        })
    }

    /// Whether a plain TCP route on the same entry point notices it.
    const fn is_in_the_way(&self) -> bool {
        self.has_tls || !self.is_http
    }
}

impl Examination<'_> {
    pub(super) fn traefik(&self, traefik: &TraefikGateway) -> Vec<GatewayFinding> {
        let mut findings = Vec::new();
        let settings = match &self.look.pods {
            ReadOutcome::Found(pods) => ProcessSettings::of(pods),
            ReadOutcome::NotAsked | ReadOutcome::Missing | ReadOutcome::Failed(_) => None,
        };
        findings.extend(self.unread_pods());
        if let ReadOutcome::Failed(why) = &self.look.api {
            findings.push(self.warning(
                None,
                FindingReason::NotChecked,
                format!("Traefik's API does not answer: {why}. Correct traefik.apiUrl of the gateway in the configuration, or let it through"),
            ));
        }
        let inspection = self.look.api.found();
        // A file takes the place of all arguments.
        let settings = settings.filter(|settings| settings.flag("configfile").is_none());
        let known = settings.as_ref().map(of_arguments).filter(|known| !known.is_empty());
        // What runs counts before what it was started with.
        let entry_points = inspection
            .map(|inspection| of_api(inspection, known.as_deref()))
            .or(known);
        if let Some(settings) = &settings {
            findings.extend(self.providers(settings, traefik));
        }
        if let Some(entry_points) = &entry_points {
            findings.extend(self.entry_points(entry_points));
            findings.extend(self.target_ports(entry_points, settings.as_ref()));
        } else if self.look.pods.found().is_some() {
            findings.push(self.not_checked(
                "the entry points of Traefik are not among the arguments of its Pods; set traefik.apiUrl of the gateway in the configuration to \
                 have its API asked"
                    .to_owned(),
            ));
        }
        if let Some(inspection) = inspection {
            findings.extend(self.routers(inspection));
        }
        findings.extend(self.others(entry_points.as_deref()));
        findings
    }

    fn unread_pods(&self) -> Option<GatewayFinding> {
        match &self.look.pods {
            ReadOutcome::Failed(why) => Some(self.not_checked(format!("the Pods of Traefik cannot be read: {why}"))),
            ReadOutcome::Missing => Some(self.no_pods()),
            ReadOutcome::NotAsked | ReadOutcome::Found(_) => None,
        }
    }

    fn entry_points(&self, known: &[StaticEntryPoint]) -> Vec<GatewayFinding> {
        let mut findings: Vec<_> = self
            .gateway
            .ports()
            .filter_map(|entry_point| self.entry_point(entry_point, known))
            .collect();
        let pool = &self.gateway.entry_points;
        for entry_point in pool {
            let is_default = find(known, entry_point).is_some_and(|found| found.is_default);
            findings.extend(is_default.then(|| {
                self.error(
                    Some(entry_point),
                    FindingReason::EntryPointShared,
                    format!(
                        "{} is a default entry point of Traefik, so all routes of anybody that name none use it too; take asDefault away from it",
                        entry_point.name
                    ),
                )
            }));
        }
        if !has_default(known) && !pool.is_empty() {
            findings.push(self.warning(
                None,
                FindingReason::NoDefaultEntryPoint,
                format!(
                    "no entry point of Traefik is a default one, so every route of anybody that names none uses {} too, and one with TLS there \
                     makes VNC and SSH clients hang. Set asDefault: true on the entry points for HTTP, such as web and websecure",
                    listed(pool.iter().map(|entry_point| entry_point.name.as_str()))
                ),
            ));
        }
        findings
    }

    /// Whether Traefik has it, for TCP.
    fn entry_point(&self, entry_point: &EntryPoint, known: &[StaticEntryPoint]) -> Option<GatewayFinding> {
        let Some(found) = find(known, entry_point) else {
            return Some(self.error(
                Some(entry_point),
                FindingReason::EntryPointNotFound,
                format!(
                    "Traefik has no entry point {}; it has {}. Add it there (ports of its chart), or correct the controller's configuration",
                    entry_point.name,
                    listed(known.iter().map(|entry_point| entry_point.name.as_str()))
                ),
            ));
        };
        let is_udp = found.address.as_ref().is_some_and(|address| address.ends_with("/udp"));
        if is_udp {
            return Some(self.error(
                Some(entry_point),
                FindingReason::WrongProtocol,
                format!(
                    "the entry point {} of Traefik is of UDP; make it one of TCP",
                    entry_point.name
                ),
            ));
        }
        let is_in_pool = self.gateway.entry_points.contains(entry_point);
        (is_in_pool && found.has_tls).then(|| {
            self.warning(
                Some(entry_point),
                FindingReason::WrongProtocol,
                format!(
                    "all HTTP on the entry point {} of Traefik has TLS (http.tls), and one such route makes VNC and SSH clients hang; take it away",
                    entry_point.name
                ),
            )
        })
    }

    /// Whether the Service's port leads to the entry point of its name.
    fn target_ports(&self, known: &[StaticEntryPoint], settings: Option<&ProcessSettings>) -> Vec<GatewayFinding> {
        let service = self.look.source.found().cloned();
        let Some(Ok(service)) = service.map(serde_json::from_value::<Service>) else {
            return Vec::new();
        };
        let wrong = |entry_point: &EntryPoint| {
            let port = port_of(&service, entry_point)?;
            let target = match &port.target_port {
                None => entry_point.port,
                Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
                Some(IntOrString::String(name)) => *settings?.ports.get(name)?,
            };
            let address = find(known, entry_point)?.address.as_deref()?;
            let listens = listen_port(address)?;
            (listens != target).then(|| {
                self.error(
                    Some(entry_point),
                    FindingReason::EntryPointNotFound,
                    format!(
                        "the port {} of the gateway's Service leads to {target}, and the entry point {} of Traefik listens on {listens}. Correct \
                         one of the two",
                        entry_point.port, entry_point.name
                    ),
                )
            })
        };
        self.gateway.ports().filter_map(wrong).collect()
    }

    /// What Traefik reads.
    fn providers(&self, settings: &ProcessSettings, traefik: &TraefikGateway) -> Vec<GatewayFinding> {
        let flag = |name: &str| {
            let value = settings.flag(&format!("providers.kubernetescrd{name}"));
            value.filter(|value| !value.is_empty())
        };
        let is_known = settings.flags().any(|(flag, _)| starts_with(flag, "entrypoints."));
        let has_provider = settings
            .flags()
            .any(|(flag, _)| starts_with(flag, "providers.kubernetescrd"));
        if !has_provider || flag("") == Some("false") {
            return is_known
                .then(|| {
                    self.error(
                        None,
                        FindingReason::NotWatched,
                        "Traefik is not set to read its own kinds, so it knows no route; give it --providers.kubernetescrd".to_owned(),
                    )
                })
                .into_iter()
                .collect();
        }
        let mut findings = Vec::new();
        let (watched, written) = (flag(".ingressclass"), traefik.ingress_class.as_deref());
        let is_read = match (watched, written) {
            (Some(watched), written) => written == Some(watched),
            (None, written) => written.is_none_or(|class| class == OWN_CLASS),
        };
        if !is_read {
            findings.push(self.error(
                None,
                FindingReason::NotWatched,
                format!(
                    "Traefik reads objects of {}, and the routes of this gateway get {}; correct traefik.ingressClass of the gateway in the \
                     configuration",
                    watched.map_or_else(|| "no class or traefik".to_owned(), |class| format!("the class {class}")),
                    written.map_or_else(|| "none".to_owned(), |class| format!("the class {class}"))
                ),
            ));
        }
        for (name, what) in [(".namespaces", "namespaces"), (".labelselector", "labels")] {
            if let Some(value) = flag(name) {
                findings.push(self.warning(
                    None,
                    FindingReason::NotWatched,
                    format!("Traefik reads objects of these {what} alone: {value}. Routes of others are not set up"),
                ));
            }
        }
        findings
    }

    /// What Traefik has put on entry points of the pool.
    fn routers(&self, inspection: &TraefikInspection) -> Vec<GatewayFinding> {
        let in_the_way = |entry_point: &EntryPoint| {
            let routers: Vec<_> = inspection.routers_on(&entry_point.name).collect();
            let with_tls: Vec<_> = routers
                .iter()
                .filter(|(_, has_tls)| *has_tls)
                .map(|(name, _)| *name)
                .collect();
            if !with_tls.is_empty() {
                return Some(self.with_tls(Some(entry_point), &with_tls));
            }
            (routers.len() > 1).then(|| {
                self.error(
                    Some(entry_point),
                    FindingReason::EntryPointShared,
                    format!(
                        "{} use the entry point {}, and any of them gets its connections; leave one alone there",
                        listed(routers.iter().map(|(name, _)| *name)),
                        entry_point.name
                    ),
                )
            })
        };
        self.gateway.entry_points.iter().filter_map(in_the_way).collect()
    }

    /// Routes that somebody else wrote for entry points of the pool, or for none.
    fn others(&self, known: Option<&[StaticEntryPoint]>) -> Vec<GatewayFinding> {
        let others = match &self.look.others {
            ReadOutcome::Found(others) => others,
            ReadOutcome::Failed(why) => {
                return vec![self.not_checked(format!("routes of others cannot be read: {why}"))];
            }
            ReadOutcome::NotAsked | ReadOutcome::Missing => return Vec::new(),
        };
        let on = |entry_point: &EntryPoint| {
            let here = others.iter().filter(|other| other.is_in_the_way());
            let here = here.filter(|other| other.entry_points.iter().any(|name| is_named(name, &entry_point.name)));
            let names: Vec<_> = here.map(|other| other.name.as_str()).collect();
            (!names.is_empty()).then(|| {
                self.error(
                    Some(entry_point),
                    FindingReason::EntryPointShared,
                    format!(
                        "{} name the entry point {}, which is for routes of novasphere alone; give them another one",
                        listed(names.into_iter()),
                        entry_point.name
                    ),
                )
            })
        };
        let mut findings: Vec<_> = self.gateway.entry_points.iter().filter_map(on).collect();
        if known.is_some_and(|known| !has_default(known)) && !self.gateway.entry_points.is_empty() {
            let everywhere = others
                .iter()
                .filter(|other| other.entry_points.is_empty() && other.is_in_the_way());
            let names: Vec<_> = everywhere.map(|other| other.name.as_str()).collect();
            if !names.is_empty() {
                findings.push(self.with_tls(None, &names));
            }
        }
        findings
    }

    fn with_tls(&self, entry_point: Option<&EntryPoint>, names: &[&str]) -> GatewayFinding {
        let place = entry_point.map_or("all entry points of the pool", |entry_point| entry_point.name.as_str());
        self.error(
            entry_point,
            FindingReason::EntryPointShared,
            format!(
                "{} are on {place}, so that VNC and SSH clients hang or reach the wrong server. Name entryPoints in them; with asDefault: true on \
                 the entry points for HTTP, routes that name none keep off the others",
                listed(names.iter().copied())
            ),
        )
    }
}

/// Those of its arguments: `--entrypoints.<name>.address=:<port>`.
fn of_arguments(settings: &ProcessSettings) -> Vec<StaticEntryPoint> {
    let mut found: Vec<StaticEntryPoint> = Vec::new();
    for (flag, value) in settings.flags() {
        let Some(rest) = flag
            .get("entrypoints.".len()..)
            .filter(|_| starts_with(flag, "entrypoints."))
        else {
            continue;
        };
        let Some((name, setting)) = rest.split_once('.') else {
            continue;
        };
        let place = found.iter().position(|known| is_named(&known.name, name));
        let index = place.unwrap_or(found.len());
        if place.is_none() {
            found.push(StaticEntryPoint {
                name: name.to_owned(),
                ..StaticEntryPoint::default()
            });
        }
        let Some(entry_point) = found.get_mut(index) else {
            continue;
        };
        match setting.to_ascii_lowercase().as_str() {
            "address" => entry_point.address = Some(value.to_ascii_lowercase()),
            "asdefault" => entry_point.is_default = value.eq_ignore_ascii_case("true"),
            "http.tls" => entry_point.has_tls = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
    }
    found
}

/// Those of its API, with what its arguments say more.
fn of_api(inspection: &TraefikInspection, known: Option<&[StaticEntryPoint]>) -> Vec<StaticEntryPoint> {
    let known = known.unwrap_or_default();
    let entry_point = |(name, is_default): (&str, bool)| {
        let more = known.iter().find(|known| is_named(&known.name, name)).cloned();
        StaticEntryPoint {
            name: name.to_owned(),
            is_default,
            ..more.unwrap_or_default()
        }
    };
    inspection.entry_points().map(entry_point).collect()
}

fn find<'a>(known: &'a [StaticEntryPoint], entry_point: &EntryPoint) -> Option<&'a StaticEntryPoint> {
    known.iter().find(|known| is_named(&known.name, &entry_point.name))
}

/// Traefik writes the names of its arguments in lower case.
fn is_named(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn has_default(known: &[StaticEntryPoint]) -> bool {
    known
        .iter()
        .any(|entry_point| entry_point.is_default && entry_point.name != INTERNAL_ENTRY_POINT)
}

fn starts_with(flag: &str, prefix: &str) -> bool {
    flag.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The port of `:5910`, `0.0.0.0:5910` or `[::]:5910/tcp`.
fn listen_port(address: &str) -> Option<u16> {
    let address = address.split('/').next()?;
    address.rsplit_once(':')?.1.parse().ok()
}
