//! The operating system: descriptors, signals between threads, and what the C library is asked for.

pub mod backoff;
pub mod descriptors;
pub mod exit;
pub mod glibc;
pub mod host;
pub mod latest_value;
pub mod poll;
pub mod shutdown;
