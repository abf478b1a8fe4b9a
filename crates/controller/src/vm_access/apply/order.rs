//! The order in which Services are applied when node ports move between them.
//!
//! kube-apiserver gives a node port to one Service of the cluster, so the Service that gives it up goes first. Of two that exchange
//! theirs, one has to be without for a moment.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt;
use novasphere_core::{
    service_ports::{node_port, ports},
    vm_access::build::PreparedService,
};

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step<'a> {
    /// This live Service gives these node ports up.
    Free(&'a Service, BTreeSet<u16>),
    /// This one is applied.
    Apply(&'a PreparedService),
}

/// All of `prepared`, in an order in which each finds its node ports free as far as Services of ours in `live` have them. Without
/// such moves that is the order of the spec.
pub(super) fn order<'a>(prepared: &'a [PreparedService], live: &'a [Arc<Service>]) -> Vec<Step<'a>> {
    let mut waiting: Vec<_> = prepared.iter().map(|prepared| Waiting::new(prepared, live)).collect();
    let wanted: BTreeSet<u16> = waiting.iter().flat_map(|service| service.wanted.clone()).collect();
    let mut steps: Vec<_> = waiting
        .iter_mut()
        .filter_map(|service| service.release(&(&service.kept & &wanted)))
        .collect();
    while !waiting.is_empty() {
        match waiting.iter().position(|service| blocker(&waiting, service).is_none()) {
            Some(free) => steps.push(Step::Apply(waiting.remove(free).prepared)),
            None => steps.extend(break_circle(&mut waiting, &wanted)),
        }
    }
    steps
}

/// A Service that is not applied yet.
struct Waiting<'a> {
    prepared: &'a PreparedService,
    live: Option<&'a Service>,
    /// The node ports that it asks for by number.
    wanted: BTreeSet<u16>,
    /// Those that it has and does not ask for.
    spare: BTreeSet<u16>,
    /// Those of `spare` that stay with it when it is applied: the apiserver keeps the number of a port of the same name for which
    /// none is asked (`patchAllocatedValues` in kubernetes/kubernetes `pkg/registry/core/service/storage/storage.go`).
    kept: BTreeSet<u16>,
}

impl<'a> Waiting<'a> {
    fn new(prepared: &'a PreparedService, live: &'a [Arc<Service>]) -> Self {
        let desired = &prepared.service;
        let mut live = live.iter().map(AsRef::as_ref);
        let live =
            live.find(|live| live.name_any() == desired.name_any() && live.metadata.deletion_timestamp.is_none());
        let wanted = node_ports(ports(desired));
        let has = live.map(ports).unwrap_or_default();
        let is_on_nodes = desired.spec.as_ref().and_then(|spec| spec.type_.as_deref()) != Some("ClusterIP");
        let same_name = |port: &&ServicePort| {
            is_on_nodes
                && ports(desired)
                    .iter()
                    .any(|wanted| wanted.name == port.name && wanted.node_port.is_none())
        };
        let spare = &node_ports(has) - &wanted;
        let kept = &node_ports(has.iter().filter(same_name)) & &spare;
        Self {
            prepared,
            live,
            wanted,
            spare,
            kept,
        }
    }

    fn release(&mut self, node_ports: &BTreeSet<u16>) -> Option<Step<'a>> {
        let live = self.live.filter(|_| !node_ports.is_empty())?;
        self.spare = &self.spare - node_ports;
        Some(Step::Free(live, node_ports.clone()))
    }
}

/// Which of those that wait has a node port that `service` asks for.
fn blocker(waiting: &[Waiting<'_>], service: &Waiting<'_>) -> Option<usize> {
    waiting
        .iter()
        .position(|other| !other.spare.is_disjoint(&service.wanted))
}

/// All wait for another one. Following that far enough leads into a circle.
fn break_circle<'a>(waiting: &mut [Waiting<'a>], wanted: &BTreeSet<u16>) -> Option<Step<'a>> {
    let next = |at: usize| waiting.get(at).and_then(|service| blocker(waiting, service));
    let member = (0..waiting.len()).try_fold(0, |at, _| next(at))?;
    let service = waiting.get_mut(member)?;
    let asked_for = &service.spare & wanted;
    service.release(&asked_for)
}

fn node_ports<'a>(ports: impl IntoIterator<Item = &'a ServicePort>) -> BTreeSet<u16> {
    ports.into_iter().filter_map(node_port).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, node_ports: &[Option<i32>]) -> Service {
        let port = |(number, node_port): (usize, &Option<i32>)| json!({"name": format!("p{number}"), "port": number + 1, "nodePort": node_port});
        let ports: Vec<_> = node_ports.iter().enumerate().map(port).collect();
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports}}))
            .unwrap()
    }

    /// In words: `a` is applied, `-a[30001]` gives a port up.
    fn words(desired: &[(&str, &[Option<i32>])], live: &[(&str, &[Option<i32>])]) -> String {
        let prepared: Vec<_> = desired
            .iter()
            .map(|(name, ports)| PreparedService {
                name: (*name).to_owned(),
                service: service(name, ports),
            })
            .collect();
        let live: Vec<_> = live
            .iter()
            .map(|(name, ports)| Arc::new(service(name, ports)))
            .collect();
        let word = |step: Step<'_>| match step {
            Step::Apply(prepared) => prepared.name.clone(),
            Step::Free(live, ports) => format!("-{}{:?}", live.name_any(), Vec::from_iter(ports)),
        };
        order(&prepared, &live)
            .into_iter()
            .map(word)
            .collect::<Vec<_>>()
            .join(" ")
    }

    const A: Option<i32> = Some(30001);
    const B: Option<i32> = Some(30002);
    const C: Option<i32> = Some(30003);

    #[test]
    fn what_does_not_move_keeps_the_order_of_the_spec() {
        assert_eq!(words(&[("x", &[A]), ("y", &[None])], &[]), "x y");
        assert_eq!(
            words(&[("x", &[A]), ("y", &[None])], &[("x", &[A]), ("y", &[B])]),
            "x y"
        );
        assert_eq!(words(&[("x", &[A]), ("y", &[B])], &[("x", &[C]), ("y", &[B])]), "x y");
    }

    #[test]
    fn the_service_that_gives_a_port_up_goes_first() {
        assert_eq!(words(&[("x", &[B]), ("y", &[C])], &[("x", &[A]), ("y", &[B])]), "y x");
        assert_eq!(
            words(&[("x", &[B]), ("y", &[C]), ("z", &[None])], &[("y", &[B]), ("z", &[C])]),
            "-z[30003] y x z"
        );
    }

    #[test]
    fn a_port_that_the_apiserver_would_keep_is_taken_off() {
        assert_eq!(words(&[("x", &[A]), ("y", &[None])], &[("y", &[A])]), "-y[30001] x y");
    }

    #[test]
    fn one_of_a_circle_is_without_for_a_moment() {
        assert_eq!(
            words(&[("x", &[B]), ("y", &[A])], &[("x", &[A]), ("y", &[B])]),
            "-x[30001] y x"
        );
        assert_eq!(
            words(&[("w", &[A]), ("x", &[C]), ("y", &[B])], &[("x", &[A, B]), ("y", &[C])]),
            "-x[30001, 30002] w y x"
        );
        assert_eq!(
            words(
                &[("x", &[B]), ("y", &[C]), ("z", &[A])],
                &[("x", &[A]), ("y", &[B]), ("z", &[C])]
            ),
            "-x[30001] z y x"
        );
    }
}
