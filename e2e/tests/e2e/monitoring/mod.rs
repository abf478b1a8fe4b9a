//! What people see of an installed novasphere in Prometheus and Grafana.

pub(crate) mod queries;
