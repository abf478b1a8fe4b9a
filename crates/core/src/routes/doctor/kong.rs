//! Kong: its listens and its class.

use super::{
    super::gateway::{EntryPoint, KongGateway},
    Examination, FindingReason, GatewayFinding, ReadOutcome,
    process::ProcessSettings,
};

/// Where Kong says on which ports it takes plain TCP and TLS.
const STREAM_LISTEN: &str = "KONG_STREAM_LISTEN";

impl Examination<'_> {
    pub(super) fn kong(&self, kong: &KongGateway) -> Vec<GatewayFinding> {
        let mut findings = Vec::new();
        if self.look.class == ReadOutcome::Missing {
            findings.push(self.warning(
                None,
                FindingReason::NotWatched,
                format!(
                    "the cluster has no IngressClass {}, so Kong's controller may watch another one; correct kong.ingressClass of the gateway \
                     in the configuration",
                    kong.ingress_class
                ),
            ));
        }
        match &self.look.pods {
            ReadOutcome::NotAsked => {}
            ReadOutcome::Failed(why) => {
                findings.push(self.not_checked(format!("the Pods of Kong cannot be read: {why}")));
            }
            ReadOutcome::Missing => findings.push(self.no_pods()),
            ReadOutcome::Found(pods) => match ProcessSettings::of(pods) {
                None => findings.push(self.no_pods()),
                Some(settings) => findings.extend(self.listens(&settings)),
            },
        }
        findings
    }

    /// No Pod answers.
    pub(super) fn no_pods(&self) -> GatewayFinding {
        self.error(
            None,
            FindingReason::GatewayNotRunning,
            "no Pod stands behind the gateway's Service, so nothing answers. Look at its Deployment, and at the Service's selector".to_owned(),
        )
    }

    fn listens(&self, settings: &ProcessSettings) -> Vec<GatewayFinding> {
        let Some(listens) = settings.variables.get(STREAM_LISTEN) else {
            return vec![self.not_checked(format!(
                "on which ports Kong takes TCP is not known: its Pods have no variable {STREAM_LISTEN}; look at its configuration"
            ))];
        };
        let pool = self.gateway.entry_points.iter().map(|entry_point| (entry_point, false));
        let tls = self.gateway.tls.iter().map(|entry_point| (entry_point, true));
        pool.chain(tls)
            .filter_map(|(entry_point, wants_tls)| self.listen(listens, entry_point, wants_tls))
            .collect()
    }

    fn listen(&self, listens: &str, entry_point: &EntryPoint, wants_tls: bool) -> Option<GatewayFinding> {
        let port = entry_point.listen_port();
        let place = Some(entry_point);
        let mut all = listens.split(',').map(str::split_whitespace);
        let found = all.find_map(|mut words| {
            let (_, number) = words.next()?.rsplit_once(':')?;
            let is_it = number.parse::<u16>().is_ok_and(|number| number == port);
            is_it.then(|| words.any(|word| word == "ssl"))
        });
        match (found, wants_tls) {
            (None, _) => Some(self.error(
                place,
                FindingReason::EntryPointNotFound,
                format!("Kong does not listen on {port}: {STREAM_LISTEN} is {listens:?}. Add it there, or set listenPort of the entry point"),
            )),
            (Some(true), false) => Some(self.error(
                place,
                FindingReason::WrongProtocol,
                format!("Kong expects TLS on {port}, so that clients whose server speaks first hang; take `ssl` out of {STREAM_LISTEN} there"),
            )),
            (Some(false), true) => Some(self.error(
                place,
                FindingReason::WrongProtocol,
                format!("Kong takes plain TCP on {port} and does not look for a host name; add `ssl` to it in {STREAM_LISTEN}"),
            )),
            (Some(_), _) => None,
        }
    }
}
