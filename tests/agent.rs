//! The built binary, driven from outside against a scripted webhook: one file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;
