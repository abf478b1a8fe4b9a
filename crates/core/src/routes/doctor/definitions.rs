//! Whether the cluster serves what a gateway reads.

use super::{
    super::{
        build::install_advice,
        gateway::{GatewayKind, RouteGateway},
        object::{RouteKind, ServedRouteApis},
    },
    Examination, FindingReason, GatewayFinding,
};

impl Examination<'_> {
    pub(super) fn definitions(&self, kind: GatewayKind<'_>) -> Vec<GatewayFinding> {
        let apis = self.surroundings.apis;
        let needed = needed(self.gateway, kind, apis);
        let missing: Vec<_> = needed
            .into_iter()
            .filter(|needed| !apis.contains_key(needed))
            .map(RouteKind::kind)
            .collect();
        if missing.is_empty() {
            return Vec::new();
        }
        vec![self.error(
            None,
            FindingReason::GatewayNotInstalled,
            format!(
                "the cluster does not serve {}, which this gateway reads: {}",
                missing.join(", "),
                install_advice(kind)
            ),
        )]
    }
}

/// The kinds that routes of this gateway may need, as it is configured.
fn needed(gateway: &RouteGateway, kind: GatewayKind<'_>, apis: &ServedRouteApis) -> Vec<RouteKind> {
    let (has_tcp, has_tls) = (!gateway.entry_points.is_empty(), gateway.tls.is_some());
    let has_http = gateway.http.is_some() || gateway.https.is_some();
    let when = |is_needed: bool, kinds: &'static [RouteKind]| if is_needed { kinds } else { &[] };
    let routes = |tcp: &'static [RouteKind], tls: &'static [RouteKind], http: &'static [RouteKind]| {
        [when(has_tcp, tcp), when(has_tls, tls), when(has_http, http)].concat()
    };
    let mut kinds = match kind {
        GatewayKind::Traefik(_) => {
            let tcp = &[RouteKind::IngressRouteTcp, RouteKind::MiddlewareTcp];
            routes(tcp, tcp, &[RouteKind::IngressRoute, RouteKind::Middleware])
        }
        GatewayKind::Kong(kong) if kong.gateway.is_some() && !apis.contains_key(&RouteKind::TcpIngress) => {
            routes(&[RouteKind::TcpRoute], &[RouteKind::TlsRoute], &[RouteKind::KongPlugin])
        }
        GatewayKind::Kong(_) => {
            let tcp = &[RouteKind::TcpIngress, RouteKind::KongPlugin];
            routes(tcp, tcp, &[RouteKind::KongPlugin])
        }
        GatewayKind::GatewayApi(_) => routes(&[RouteKind::TcpRoute], &[RouteKind::TlsRoute], &[RouteKind::HttpRoute]),
    };
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
