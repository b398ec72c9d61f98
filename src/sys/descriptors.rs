//! Descriptors are shared: those who connect to the agent must not take the last ones, which the
//! webhook's connection and followed files need.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Entry free for the agent itself.
const RESERVE: u64 = 16;

/// Whether another connection should wait. `any` is an open descriptor, copied for a moment: the
/// copy gets the lowest free number.
pub fn are_scarce(any: &impl AsFd) -> bool {
    let Ok(limit) = limit() else { return false };
    match any.as_fd().try_clone_to_owned() {
        Ok(copy) => copy.as_raw_fd() as u64 + RESERVE >= limit,
        Err(_) => true,
    }
}

fn limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_enough_usually() {
        assert!(!super::are_scarce(&std::io::stderr()));
    }
}
