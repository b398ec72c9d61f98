//! The parts of `s3-audit-webhook`, as a library for its program, tests, fuzz targets and benchmarks.
//!
//! Rooms by the way of an event; `ARCHITECTURE.md` shows it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub use s3_audit_framer as framer;

pub mod agent;
pub mod buffer;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod rules;
pub mod source;
pub mod state;
pub mod sys;
pub mod telemetry;
pub mod text;
pub mod trail;
pub mod webhook;

/// How many cases a property test tries: as many as usual, or `PROPTEST_CASES`.
#[cfg(test)]
fn cases(usual: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES");
    let cases = cases.ok().and_then(|cases| cases.parse().ok());
    proptest::test_runner::Config::with_cases(cases.unwrap_or(usual))
}
