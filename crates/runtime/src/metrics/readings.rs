//! Gauges that are read when somebody asks for them: what waits in queues, what caches hold, and when certificates end.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

/// What waits in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueReading {
    /// How many entries wait.
    pub depth: usize,
    /// For how long the oldest of them has waited; zero when none does.
    pub oldest: Duration,
}

type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What is read, each with its name.
type Named<N, T> = Mutex<Vec<(N, Read<T>)>>;

/// The queues and caches of the process. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Readings(Arc<Sources>);

#[derive(Default)]
struct Sources {
    queues: Named<&'static str, QueueReading>,
    caches: Named<String, usize>,
    certificates: Named<&'static str, Option<Timestamp>>,
}

impl Debug for Readings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Readings")
    }
}

impl Readings {
    pub(super) fn add_queue(&self, controller: &'static str, read: Read<QueueReading>) {
        self.0.queues.lock().push((controller, read));
    }

    pub(super) fn add_cache(&self, kind: String, read: Read<usize>) {
        self.0.caches.lock().push((kind, read));
    }

    pub(super) fn add_certificate(&self, name: &'static str, read: Read<Option<Timestamp>>) {
        self.0.certificates.lock().push((name, read));
    }
}

impl Sources {
    /// By kind. Roles of one process have caches of their own for the same kind.
    fn objects(&self) -> BTreeMap<String, usize> {
        let mut objects: BTreeMap<String, usize> = BTreeMap::new();
        for (kind, read) in self.caches.lock().iter() {
            *objects.entry(kind.clone()).or_default() += read();
        }
        objects
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let queues: Vec<_> = self
            .0
            .queues
            .lock()
            .iter()
            .map(|(name, read)| (*name, read()))
            .collect();
        let help = "Objects that wait to be reconciled";
        let mut depth = encoder.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
        for (controller, reading) in &queues {
            let value = i64::try_from(reading.depth).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(depth.encode_family(&[("controller", *controller)])?)?;
        }
        let help = "Time for which the oldest of them has waited";
        let unit = Some(&Unit::Seconds);
        let mut oldest = encoder.encode_descriptor("queue_oldest", help, unit, MetricType::Gauge)?;
        for (controller, reading) in &queues {
            let value = reading.oldest.as_secs_f64();
            ConstGauge::new(value).encode(oldest.encode_family(&[("controller", *controller)])?)?;
        }
        let help = "Objects in the watch caches of this process";
        let mut caches = encoder.encode_descriptor("cache_objects", help, None, MetricType::Gauge)?;
        for (kind, objects) in self.0.objects() {
            let value = i64::try_from(objects).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(caches.encode_family(&[("kind", kind.as_str())])?)?;
        }
        let ends: Vec<_> = self
            .0
            .certificates
            .lock()
            .iter()
            .filter_map(|(name, read)| Some((*name, read()?)))
            .collect();
        let help = "When the certificate that a server uses ends, in seconds since 1970";
        let mut certificates =
            encoder.encode_descriptor("certificate_expiry_timestamp", help, unit, MetricType::Gauge)?;
        for (name, end) in ends {
            ConstGauge::new(end.as_second()).encode(certificates.encode_family(&[("certificate", name)])?)?;
        }
        Ok(())
    }
}
