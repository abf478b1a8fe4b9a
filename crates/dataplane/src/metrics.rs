//! Metrics of the gateway. No label holds a session, unless that is switched on, and none ever a user or an address.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use novasphere_runtime::metrics::HttpMetrics;
use novasphere_wire::close::StreamEnd;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::{
    admission::{EntryRejected, HttpAnswer, Observer},
    limits::{ConnectionLimiter, LimitReached},
    registry::{Protocol, Stream, StreamNumber, Transport},
};

/// The metrics of this module as queries name them; histograms without the ending of their series. `docs/monitoring.md` has all.
pub const NAMES: [&str; 14] = [
    "novasphere_console_claim_duration_seconds",
    "novasphere_console_half_open",
    "novasphere_console_half_open_limit",
    "novasphere_console_handshakes_total",
    "novasphere_console_open_duration_seconds",
    "novasphere_console_received_bytes_total",
    "novasphere_console_refusals_total",
    "novasphere_console_sent_bytes_total",
    "novasphere_console_session_streams",
    "novasphere_console_streams",
    "novasphere_console_streams_closed_total",
    "novasphere_console_streams_opened_total",
    "novasphere_console_streams_resumed_total",
    "novasphere_console_wake_duration_seconds",
];

/// Upper bounds in seconds of a claim and of the way to a target: both are some requests within the cluster.
const OPEN_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// Upper bounds in seconds of a wake: a desktop takes some seconds, one whose image has to be pulled minutes.
const WAKE_BUCKETS: [f64; 10] = [0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Speaking {
    protocol: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Beginning {
    transport: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Opening {
    transport: &'static str,
    protocol: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ending {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refusing {
    transport: &'static str,
    reason: &'static str,
}

/// Counts what the gateway does. Clones share the counts.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    began: Family<Beginning, Counter>,
    opened: Family<Opening, Counter>,
    resumed: Family<Beginning, Counter>,
    closed: Family<Ending, Counter>,
    refused: Family<Refusing, Counter>,
    claims: Family<Beginning, Histogram, fn() -> Histogram>,
    target_opens: Family<Speaking, Histogram, fn() -> Histogram>,
    wakes: Histogram,
    http: HttpMetrics,
    carried: Arc<Carried>,
}

/// Read when somebody asks: streams count their own bytes.
#[derive(Debug)]
struct Carried {
    limiter: ConnectionLimiter,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    live: HashMap<StreamNumber, Stream>,
    /// Bytes of the streams that are over: to viewers, and from them.
    past: [u64; 2],
}

impl StreamMetrics {
    /// Makes the metrics of the gateway behind this gate and registers them; `http` is registered already.
    #[must_use]
    pub fn register(registry: &mut Registry, limiter: ConnectionLimiter, http: HttpMetrics) -> Self {
        let carried = Arc::new(Carried {
            limiter,
            streams: Mutex::default(),
        });
        let metrics = Self {
            began: Family::default(),
            opened: Family::default(),
            resumed: Family::default(),
            closed: Family::default(),
            refused: Family::default(),
            claims: Family::new_with_constructor(|| Histogram::new(OPEN_BUCKETS)),
            target_opens: Family::new_with_constructor(|| Histogram::new(OPEN_BUCKETS)),
            wakes: Histogram::new(WAKE_BUCKETS),
            http,
            carried,
        };
        let registry = registry.sub_registry_with_prefix("novasphere_console");
        registry.register("handshakes", "Handshakes begun", metrics.began.clone());
        registry.register("streams_opened", "Streams opened", metrics.opened.clone());
        registry.register(
            "streams_resumed",
            "Viewers who came back to their places without a token",
            metrics.resumed.clone(),
        );
        registry.register(
            "streams_closed",
            "Streams that ended, by reason",
            metrics.closed.clone(),
        );
        registry.register(
            "refusals",
            "Viewers who got no stream and connections dropped by a limit, by reason",
            metrics.refused.clone(),
        );
        metrics.register_durations(registry);
        registry.register_collector(Box::new(Arc::clone(&metrics.carried)));
        metrics
    }
}

impl StreamMetrics {
    fn register_durations(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "claim_duration",
            "Time in which a viewer was admitted, with the claim of a use of their token",
            Unit::Seconds,
            self.claims.clone(),
        );
        registry.register_with_unit(
            "open_duration",
            "Time from the admission of a viewer to the first word of their target, which ran already",
            Unit::Seconds,
            self.target_opens.clone(),
        );
        registry.register_with_unit(
            "wake_duration",
            "Time for which a viewer waited for a desktop that slept or started",
            Unit::Seconds,
            self.wakes.clone(),
        );
    }

    /// Registers a gauge for each session that has a stream. Its labels name sessions, so it is for installations with few.
    pub fn register_sessions(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("novasphere_console");
        registry.register_collector(Box::new(PerSession(Arc::clone(&self.carried))));
    }
}

/// The streams of each session.
#[derive(Debug)]
struct PerSession(Arc<Carried>);

impl Collector for PerSession {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts: BTreeMap<(String, String), i64> = BTreeMap::new();
        for stream in self.0.lock().live.values() {
            let session = &stream.info.session;
            *counts
                .entry((session.namespace.clone(), session.name.clone()))
                .or_default() += 1;
        }
        let mut metric =
            encoder.encode_descriptor("session_streams", "Streams of a session", None, MetricType::Gauge)?;
        for ((namespace, name), count) in counts {
            let labels = [("namespace", namespace), ("session", name)];
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl StreamMetrics {
    fn refuse(&self, transport: Transport, reason: &'static str) {
        let labels = Refusing {
            transport: transport.into(),
            reason,
        };
        self.refused.get_or_create(&labels).inc();
    }
}

impl Observer for StreamMetrics {
    fn on_answered(&self, answer: &HttpAnswer<'_>) {
        self.http
            .answered(answer.method, answer.route, answer.status, answer.took);
    }

    fn on_admitted(&self, transport: Transport, took: Duration) {
        let transport = transport.into();
        self.claims
            .get_or_create(&Beginning { transport })
            .observe(took.as_secs_f64());
    }

    fn on_target_opened(&self, protocol: Protocol, took: Duration) {
        let protocol = protocol.into();
        self.target_opens
            .get_or_create(&Speaking { protocol })
            .observe(took.as_secs_f64());
    }

    fn on_woken(&self, took: Duration) {
        self.wakes.observe(took.as_secs_f64());
    }

    fn on_attempt(&self, transport: Transport) {
        let transport = transport.into();
        self.began.get_or_create(&Beginning { transport }).inc();
    }

    fn on_resumed(&self, transport: Transport) {
        let transport = transport.into();
        self.resumed.get_or_create(&Beginning { transport }).inc();
    }

    fn on_dropped(&self, transport: Transport, limit: LimitReached) {
        self.refuse(transport, limit.reason());
    }

    fn on_opened(&self, stream: &Stream) {
        let labels = Opening {
            transport: stream.info.transport.into(),
            protocol: stream.info.protocol.into(),
        };
        self.opened.get_or_create(&labels).inc();
        self.carried.lock().live.insert(stream.number, stream.clone());
    }

    fn on_closed(&self, stream: &Stream, end: &StreamEnd) {
        self.closed
            .get_or_create(&Ending {
                reason: end.reason.reason(),
            })
            .inc();
        let mut streams = self.carried.lock();
        if let Some(stream) = streams.live.remove(&stream.number) {
            let [sent, received] = &mut streams.past;
            *sent += stream.counters.to_viewer();
            *received += stream.counters.from_viewer();
        }
    }

    fn on_rejected(&self, refused: &EntryRejected) {
        self.refuse(refused.transport, refused.counted_as);
    }
}

impl Carried {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock()
    }
}

impl Collector for Carried {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let streams = self.lock();
        let live = streams.live.len();
        let [mut sent, mut received] = streams.past;
        for stream in streams.live.values() {
            sent += stream.counters.to_viewer();
            received += stream.counters.from_viewer();
        }
        drop(streams);
        let mut gauge = |name: &str, help: &str, value: usize| {
            let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            value.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("streams", "Streams that are open", live)?;
        gauge(
            "half_open",
            "Connections that are not authenticated yet",
            self.limiter.half_open(),
        )?;
        gauge(
            "half_open_limit",
            "How many of them there may be; one more takes the place of an older one",
            self.limiter.limits().half_open,
        )?;
        let mut counter = |name: &str, help: &str, value: u64| {
            ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        counter("sent_bytes", "Bytes sent to viewers, without the transport's own", sent)?;
        counter(
            "received_bytes",
            "Bytes received from viewers, without the transport's own",
            received,
        )
    }
}

#[cfg(test)]
mod tests {
    use novasphere_wire::{
        close::{EndReason, StreamEnd},
        websocket::opening::OpeningError,
    };

    use super::*;
    use crate::{
        admission::ConnectionSlot,
        limits::Limits,
        registry::{Protocol, SessionId, StreamInfo},
    };

    #[test]
    fn bytes_are_seen_while_a_stream_runs_and_kept_when_it_is_over() {
        let mut registry = Registry::default();
        let limiter = ConnectionLimiter::new(Limits::default());
        let metrics = StreamMetrics::register(&mut registry, limiter, HttpMetrics::default());
        let text = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        let handle = crate::registry::Registry::default().open(StreamInfo {
            session: SessionId {
                namespace: "team".into(),
                name: "a".into(),
                uid: "u".into(),
            },
            connection: String::new(),
            user: "ann".into(),
            target: "VmAccess/web".into(),
            client: [192, 0, 2, 1].into(),
            transport: Transport::Rfb,
            protocol: Protocol::Vnc,
        });
        metrics.on_opened(handle.stream());
        handle.stream().counters.sent(70);
        handle.stream().counters.received(8);
        let during = text(&registry);
        for line in [
            "console_streams 1",
            "console_sent_bytes_total 70",
            "console_received_bytes_total 8",
        ] {
            assert!(during.contains(&format!("novasphere_{line}\n")), "{line}: {during}");
        }
        metrics.on_closed(handle.stream(), &EndReason::Idle.into());
        for reason in [EndReason::TokenRefused.reason(), OpeningError::Origin.reason()] {
            metrics.on_rejected(&EntryRejected {
                end: StreamEnd {
                    reason: EndReason::TokenRefused,
                    detail: Some(String::new()),
                },
                counted_as: reason,
                client: [192, 0, 2, 1].into(),
                transport: Transport::WebSocket,
                session: None,
                user: None,
                target: None,
                slot: ConnectionSlot::default(),
            });
        }
        metrics.on_attempt(Transport::Rfb);
        metrics.on_resumed(Transport::WebSocket);
        let took = Duration::from_millis(30);
        metrics.on_admitted(Transport::Rfb, took);
        metrics.on_target_opened(Protocol::Vnc, took);
        metrics.on_woken(took);
        metrics.on_dropped(Transport::Rfb, LimitReached::HalfOpenPerAddress);
        let after = text(&registry);
        for line in [
            "console_streams 0",
            "console_half_open 0",
            "console_half_open_limit 1024",
            "console_claim_duration_seconds_count{transport=\"Rfb\"} 1",
            "console_open_duration_seconds_bucket{le=\"0.05\",protocol=\"Vnc\"} 1",
            "console_wake_duration_seconds_sum 0.03",
            "console_sent_bytes_total 70",
            "console_streams_opened_total{transport=\"Rfb\",protocol=\"Vnc\"} 1",
            "console_streams_closed_total{reason=\"Idle\"} 1",
            "console_refusals_total{transport=\"WebSocket\",reason=\"TokenRefused\"} 1",
            "console_refusals_total{transport=\"WebSocket\",reason=\"OriginNotAllowed\"} 1",
            "console_refusals_total{transport=\"Rfb\",reason=\"HalfOpenPerAddressLimit\"} 1",
            "console_handshakes_total{transport=\"Rfb\"} 1",
            "console_streams_resumed_total{transport=\"WebSocket\"} 1",
        ] {
            assert!(after.contains(&format!("novasphere_{line}\n")), "{line}: {after}");
        }
        assert!(!after.contains("session_streams"), "{after}");
        let mut named = Registry::default();
        metrics.register_sessions(&mut named);
        metrics.on_opened(handle.stream());
        let named = text(&named);
        let line = "novasphere_console_session_streams{namespace=\"team\",session=\"a\"} 1";
        assert!(named.contains(line), "{named}");
        assert!(!after.contains("ann") && !after.contains("192.0.2.1"), "{after}");
        let all = format!("{after}{named}");
        let types = all.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut families: Vec<_> = types
            .map(|line| match line.strip_suffix(" counter") {
                Some(name) => format!("{name}_total"),
                None => line.split(' ').next().unwrap_or_default().to_owned(),
            })
            .collect();
        families.sort();
        assert_eq!(families, NAMES);
    }
}
