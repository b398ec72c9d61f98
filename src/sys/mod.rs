//! The operating system, and what threads share: files, locks, descriptors, signals, time and randomness.

pub mod atomic_file;
pub mod backoff;
pub mod code;
pub mod descriptors;
pub mod epoll;
pub mod exit;
pub mod glibc;
pub mod host;
pub mod lock;
pub mod lookup;
pub mod owner;
pub mod poll;
pub mod random;
pub mod shortage;
pub mod shutdown;
pub mod tcp;
pub mod thread;
