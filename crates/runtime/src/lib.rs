//! What every role of the `novasphere` program needs and no kind owns.
//!
//! Nothing here knows a kind of `novasphere.io`. A role puts these parts together: arguments and configuration ([`args`],
//! [`config`]), logs ([`telemetry`]), health and metrics ([`health`], [`admin`], [`metrics`]), background
//! tasks that have names ([`tasks`]), a server with certificate, limits and a slow end ([`serve`]), an end ([`shutdown`]), a client whose
//! writes need leadership ([`client`], [`lease`]), writes that happen only when something changes ([`apply`]), APIs that may
//! come and go ([`optional_api`]), a look at the cluster's version ([`kubernetes_version`]), watches that survive a bad object ([`watch`]), caches that know this process's own writes
//! ([`cache`], [`read_your_writes`]), what waits to be reconciled or is remembered of each object ([`queue`], [`backoff`],
//! [`per_object`]), certificates ([`tls`], [`ca`]),
//! room for many connections ([`open_files`]), shares of what is waited in ([`shares`]), what people see of it all ([`events`]), how a role's permissions are
//! written down ([`rbac`]), and which rights a user has ([`access`]).

pub mod access;
pub mod admin;
pub mod apply;
pub mod args;
pub mod backoff;
pub mod ca;
pub mod cache;
pub mod client;
pub mod config;
pub mod events;
pub mod health;
pub mod keyed_lock;
pub mod kubernetes_version;
pub mod lease;
pub mod metrics;
pub mod namespaced;
pub mod open_files;
pub mod optimistic;
pub mod optional_api;
pub mod per_object;
pub mod quantity;
pub mod queue;
pub mod rbac;
pub mod read_your_writes;
pub mod serve;
pub mod shares;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod untyped;
pub mod watch;
