//! What the tests on a real cluster and the benchmark share: [`fixtures`], and the harness that runs the cases.

#![allow(
    clippy::missing_errors_doc,
    reason = "a fixture fails when what it asks for is refused or does not come in time, and the error says which"
)]

pub mod fixtures;
pub mod harness;
