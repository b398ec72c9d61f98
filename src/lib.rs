//! The parts of `s3-audit-webhook`, as a library for its program, tests, fuzz targets and benchmarks.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod framer;
pub mod json;
