//! Addresses that a load balancer or a gateway has, in an order of their own.
//!
//! K3s' load balancer lists its nodes in another order after each of its changes, and others do alike. A status that follows that order changes
//! with it, and says nothing new.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

/// The addresses that a load balancer has given a Service, in order.
#[must_use]
pub fn addresses(service: &Service) -> Vec<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all = balancer
        .and_then(|balancer| balancer.ingress.as_ref())
        .into_iter()
        .flatten();
    sorted(all.filter_map(|ingress| ingress.ip.clone().or_else(|| ingress.hostname.clone())))
}

/// Addresses in order: IPv4, then IPv6, then names.
#[must_use]
pub fn sorted(addresses: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = addresses.collect();
    all.sort_by_cached_key(|text| {
        let address = text.parse::<IpAddr>().ok();
        (address.is_none(), address, text.clone())
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_of_the_addresses_and_not_of_the_list() {
        let mut all = [
            "b.example.org",
            "2001:db8::1",
            "192.0.2.20",
            "192.0.2.3",
            "a.example.org",
        ];
        for _ in 0..all.len() {
            all.rotate_left(1);
            assert_eq!(
                sorted(all.iter().map(|text| (*text).to_owned())),
                [
                    "192.0.2.3",
                    "192.0.2.20",
                    "2001:db8::1",
                    "a.example.org",
                    "b.example.org"
                ]
            );
        }
    }
}
