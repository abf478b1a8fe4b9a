//! The values files of `config/gateway`, for the charts of the products themselves, agree with each other, with the routes beside them and with
//! `docs/gateways.md`. Those charts are not here, so nothing else reads the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::yaml::{self, at};

const TRAEFIK: &str = "config/gateway/traefik/values.yaml";
const K3S: &str = "config/gateway/traefik/k3s.yaml";
const KONG: &str = "config/gateway/kong/values.yaml";
const NGINX: &str = "config/gateway/nginx/ingress-nginx-values.yaml";
const TRAEFIK_ROUTES: &str = "config/gateway/traefik/routes/routes.yaml";
const KONG_ROUTES: &str = "config/gateway/kong/routes/routes.yaml";
const NGINX_ROUTES: &str = "config/gateway/nginx/routes/routes.yaml";
const PAGE: &str = "docs/gateways.md";

const FILES: [&str; 8] = [
    TRAEFIK,
    K3S,
    KONG,
    NGINX,
    TRAEFIK_ROUTES,
    KONG_ROUTES,
    NGINX_ROUTES,
    PAGE,
];

/// The entry point of stock VNC viewers, which leads to novasphere itself and is none of the pool.
const VNC_ENTRY_POINT: &str = "vnc";

/// The text of each file.
type Texts = BTreeMap<&'static str, String>;

/// Entry points for plain TCP, by name.
type EntryPoints = BTreeMap<String, u64>;

/// One line for each difference.
pub(crate) fn differing(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Texts::new();
    for file in FILES {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
        texts.insert(file, text);
    }
    compared(&texts)
}

fn compared(texts: &Texts) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let traefik = one(texts, TRAEFIK)?;
    let k3s = of_k3s(&one(texts, K3S)?, K3S)?;
    shared_keys(&k3s, &traefik, &mut found);
    let entry_points = entry_points(&traefik, TRAEFIK, &mut found);
    let kong = kong_ports(&one(texts, KONG)?, &mut found);
    traefik_routes(&all(texts, TRAEFIK_ROUTES)?, &traefik, &mut found);
    kong_routes(&all(texts, KONG_ROUTES)?, &kong, &mut found);
    nginx_ports(&one(texts, NGINX)?, &all(texts, NGINX_ROUTES)?, &mut found);
    page(&examples(text(texts, PAGE)?)?, &entry_points, &kong, &mut found)?;
    Ok(found)
}

fn text<'a>(texts: &'a Texts, file: &str) -> anyhow::Result<&'a str> {
    texts
        .get(file)
        .map(String::as_str)
        .with_context(|| format!("{file} was not read"))
}

/// The one document of a file.
fn one(texts: &Texts, file: &str) -> anyhow::Result<Value> {
    let value = yaml::parse(text(texts, file)?).with_context(|| format!("parse {file}"))?;
    if !value.is_object() {
        bail!("{file} has no values");
    }
    Ok(value)
}

/// Each document of a file.
fn all(texts: &Texts, file: &str) -> anyhow::Result<Vec<Value>> {
    serde_saphyr::from_multiple(text(texts, file)?).with_context(|| format!("parse {file}"))
}

/// The values inside a `HelmChartConfig` of K3s.
fn of_k3s(object: &Value, place: &str) -> anyhow::Result<Value> {
    if at(object, "/kind") != "HelmChartConfig" {
        bail!("{place}: the kind is {}, not HelmChartConfig", at(object, "/kind"));
    }
    let content = at(object, "/spec/valuesContent").as_str();
    let content = content.with_context(|| format!("{place}: spec.valuesContent is no text"))?;
    yaml::parse(content).with_context(|| format!("parse spec.valuesContent of {place}"))
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value, pointer: &str) -> Option<u64> {
    at(value, pointer).as_u64()
}

/// K3s' Traefik gets what any Traefik gets, and ports at least.
fn shared_keys(k3s: &Value, traefik: &Value, found: &mut Vec<String>) {
    for (key, value) in fields(k3s) {
        if traefik.get(key) != Some(value) {
            found.push(format!("{K3S}: {key} of valuesContent is not that of {TRAEFIK}"));
        }
    }
    for key in ["ports", "service"] {
        if k3s.get(key).is_none() {
            found.push(format!("{K3S}: valuesContent has no {key}, which {TRAEFIK} has"));
        }
    }
}

/// The ports of Traefik for plain TCP. Each is the same on its Pods and on its Service, as novasphere is told one number.
fn entry_points(traefik: &Value, place: &str, found: &mut Vec<String>) -> EntryPoints {
    let mut entry_points = EntryPoints::new();
    for (name, port) in fields(at(traefik, "/ports")) {
        if at(port, "/protocol") != "TCP" {
            continue;
        }
        let exposed = number(port, "/exposedPort");
        if exposed.is_none() || exposed != number(port, "/port") {
            found.push(format!(
                "{place}: port and exposedPort of {name} are not the same number"
            ));
        }
        if at(port, "/expose/default") != true {
            found.push(format!(
                "{place}: {name} is not in Traefik's Service; set expose.default to true"
            ));
        }
        entry_points.insert(name.clone(), exposed.unwrap_or_default());
    }
    entry_points
}

/// The ports of Kong for plain TCP.
fn kong_ports(kong: &Value, found: &mut Vec<String>) -> BTreeSet<u64> {
    let mut ports = BTreeSet::new();
    for port in items(at(kong, "/proxy/stream")) {
        let listens = number(port, "/containerPort");
        if listens.is_none() || listens != number(port, "/servicePort") {
            found.push(format!(
                "{KONG}: containerPort and servicePort of {port} are not the same number"
            ));
        }
        ports.extend(listens);
    }
    ports
}

/// The routes to novasphere itself name entry points that there are.
fn traefik_routes(routes: &[Value], traefik: &Value, found: &mut Vec<String>) {
    let mut named = 0;
    for entry_point in routes.iter().flat_map(|route| items(at(route, "/spec/entryPoints"))) {
        named += 1;
        let is_there = entry_point
            .as_str()
            .is_some_and(|name| at(traefik, "/ports").get(name).is_some());
        if !is_there {
            found.push(format!("{TRAEFIK_ROUTES}: {entry_point} is no port of {TRAEFIK}"));
        }
    }
    if named == 0 {
        found.push(format!("{TRAEFIK_ROUTES} names no entry point"));
    }
}

/// The same for Kong, which looks for a route by its number.
fn kong_routes(routes: &[Value], ports: &BTreeSet<u64>, found: &mut Vec<String>) {
    let plain = routes.iter().filter(|route| at(route, "/kind") == "TCPIngress");
    let mut named = 0;
    for rule in plain.flat_map(|route| items(at(route, "/spec/rules"))) {
        named += 1;
        if number(rule, "/port").is_none_or(|port| !ports.contains(&port)) {
            found.push(format!("{KONG_ROUTES}: {} is no port of {KONG}", at(rule, "/port")));
        }
    }
    if named == 0 {
        found.push(format!("{KONG_ROUTES} has no TCPIngress"));
    }
}

/// ingress-nginx is led to a port of the Service that its routes have, and sends the PROXY protocol there.
fn nginx_ports(nginx: &Value, routes: &[Value], found: &mut Vec<String>) {
    let mut known = BTreeSet::new();
    for service in routes.iter().filter(|route| at(route, "/kind") == "Service") {
        let part = |pointer| at(service, pointer).as_str().unwrap_or_default();
        let (namespace, name) = (part("/metadata/namespace"), part("/metadata/name"));
        for port in items(at(service, "/spec/ports")) {
            known.insert(format!("{namespace}/{name}:{}::PROXY", at(port, "/port")));
        }
    }
    let mut named = 0;
    for (port, target) in fields(at(nginx, "/tcp")) {
        named += 1;
        if target.as_str().is_none_or(|target| !known.contains(target)) {
            found.push(format!(
                "{NGINX}: {target}, for port {port}, is no Service with a port of {NGINX_ROUTES}"
            ));
        }
    }
    if named == 0 {
        found.push(format!("{NGINX} has no port for VNC viewers"));
    }
}

/// The blocks of YAML of a page, in lists as well.
fn examples(page: &str) -> anyhow::Result<Vec<Value>> {
    let mut examples = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        let content = line.trim_start();
        match &mut block {
            None if content == "```yaml" => block = Some((line.len() - content.len(), String::new())),
            None => {}
            Some((_, text)) if content == "```" => {
                let parsed: Vec<Value> = serde_saphyr::from_multiple(text)
                    .with_context(|| format!("parse the YAML of {PAGE} that ends at line {}", number + 1))?;
                examples.extend(parsed);
                block = None;
            }
            Some((indent, text)) => {
                text.push_str(line.get(*indent..).unwrap_or_default());
                text.push('\n');
            }
        }
    }
    Ok(examples)
}

/// What the page says of ports is in the values files.
fn page(
    examples: &[Value],
    entry_points: &EntryPoints,
    kong: &BTreeSet<u64>,
    found: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut pool = entry_points.clone();
    pool.remove(VNC_ENTRY_POINT);
    let (mut pools, mut gateways) = (0, 0);
    for example in examples {
        if at(example, "/kind") == "HelmChartConfig" {
            let mut said = self::entry_points(&of_k3s(example, PAGE)?, PAGE, found);
            said.remove(VNC_ENTRY_POINT);
            pools += 1;
            if said != pool {
                found.push(format!(
                    "{PAGE}: the pool of K3s' Traefik is {said:?}, and {TRAEFIK} has {pool:?}"
                ));
            }
        }
        let inner = at(example, "/config/gateways");
        for gateway in items(inner).chain(items(at(example, "/gateways"))) {
            gateways += 1;
            for point in items(at(gateway, "/entryPoints")) {
                let (name, port) = (at(point, "/name").as_str().unwrap_or_default(), number(point, "/port"));
                let is_there = match (gateway.get("traefik"), gateway.get("kong")) {
                    (Some(_), _) => port.is_some() && pool.get(name).copied() == port,
                    (_, Some(_)) => port.is_some_and(|port| kong.contains(&port)),
                    _ => true,
                };
                if !is_there {
                    found.push(format!(
                        "{PAGE}: {point} of gateway {} is in no values file",
                        at(gateway, "/name")
                    ));
                }
            }
        }
    }
    if pools == 0 || gateways == 0 {
        found.push(format!(
            "{PAGE} has {pools} examples for K3s and {gateways} gateways; the values files are compared with both"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let read = |file| (file, fs::read_to_string(root.join(file)).unwrap());
        FILES.into_iter().map(read).collect()
    }

    /// The complaints when this text of a file is another one.
    fn changed(file: &'static str, from: &str, to: &str) -> String {
        let mut texts = texts();
        let text = texts.get_mut(file).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        *text = text.replacen(from, to, 1);
        compared(&texts).unwrap().join("\n")
    }

    #[test]
    fn the_files_of_the_tree_agree() {
        assert_eq!(compared(&texts()).unwrap(), [""; 0]);
    }

    #[test]
    fn each_file_is_looked_at() {
        for (file, from, to, complaint) in [
            (
                TRAEFIK,
                "exposedPort: 5911",
                "exposedPort: 5912",
                "of tcp-1 are not the same",
            ),
            (TRAEFIK, "  vnc:\n", "  rfb:\n", "\"vnc\" is no port"),
            (
                K3S,
                "exposedPort: 5900",
                "exposedPort: 5901",
                "ports of valuesContent is not",
            ),
            (
                K3S,
                "externalTrafficPolicy: Local",
                "externalTrafficPolicy: Cluster",
                "service of valuesContent",
            ),
            (KONG, "containerPort: 5900", "containerPort: 5901", "is no port of"),
            (
                KONG,
                "servicePort: 5910",
                "servicePort: 5920",
                "are not the same number",
            ),
            (KONG_ROUTES, "- port: 5900", "- port: 5999", "5999 is no port"),
            (NGINX, "5900::PROXY", "5901::PROXY", "is no Service"),
            (
                NGINX_ROUTES,
                "name: novasphere-console-route",
                "name: other",
                "is no Service",
            ),
            (PAGE, "exposedPort: 5910", "exposedPort: 5920", "the pool of K3s"),
            (
                PAGE,
                "{name: tcp-1, port: 5911}",
                "{name: tcp-1, port: 5912}",
                "is in no values file",
            ),
        ] {
            let found = changed(file, from, to);
            assert!(found.contains(complaint), "{file}, {from}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_an_error() {
        let mut texts = texts();
        texts.insert(NGINX, "controller: [".to_owned());
        assert!(compared(&texts).unwrap_err().to_string().contains(NGINX));
    }
}
