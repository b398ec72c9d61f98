//! Keeps file descriptors in reserve: clients must not take the last ones, which the webhook's connection and followed
//! files need.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

/// Reserved for the agent itself.
const RESERVE: u64 = 16;

/// Whether a new connection should wait. `any` is an open descriptor: its copy, closed at once, gets the lowest free
/// number.
pub fn are_scarce(any: &impl AsFd) -> bool {
    let Ok(limit) = limit() else { return false };
    match any.as_fd().try_clone_to_owned() {
        Ok(copy) => copy.as_raw_fd() as u64 + RESERVE >= limit,
        Err(_) => true,
    }
}

/// Closes standard input, of which `input` is the only other copy: writes to a pipe fail from then on. Returns the pipe
/// once more, with what was still written to it until then. An empty pipe takes the number of standard input, which no
/// other file should get.
pub fn leave_stdin(input: File) -> Option<File> {
    let found = input.metadata();
    let is_pipe = found.is_ok_and(|found| found.file_type().is_fifo());
    let open = |fd: RawFd, options: &mut OpenOptions| {
        let path = format!("/proc/self/fd/{fd}");
        options.custom_flags(libc::O_NONBLOCK).open(path).ok()
    };
    // Keeps what the pipe has, even if its writers end, and is no reader.
    let kept = is_pipe.then(|| open(input.as_raw_fd(), File::options().write(true)));
    drop(input);
    if let Ok((empty, _)) = io::pipe() {
        // SAFETY: the call takes two numbers, both of open descriptors. If it fails, standard input stays.
        unsafe {
            libc::dup2(empty.as_raw_fd(), libc::STDIN_FILENO);
        }
    }
    open(kept??.as_raw_fd(), File::options().read(true))
}

/// How many files a source may keep open, so that enough descriptors are left for everything else.
pub fn for_files() -> usize {
    let limit = limit().unwrap_or(1024);
    usize::try_from(limit / 2)
        .unwrap_or(usize::MAX)
        .clamp(16, 4096)
}

fn limit() -> io::Result<u64> {
    Ok(limits()?.rlim_cur)
}

fn limits() -> io::Result<libc::rlimit> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limits)
}

/// Raises the limit of open descriptors to the highest that this process may set. The usual 1,024 is that low only
/// for the sake of programs that use select(2).
pub fn raise_limit() {
    if let Ok(mut limits) = limits() {
        limits.rlim_cur = limits.rlim_max;
        // SAFETY: the pointer is to a live rlimit, which the call only reads. If it fails, the limit stays.
        unsafe {
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_usually_enough() {
        assert!(!super::are_scarce(&std::io::stderr()));
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        super::raise_limit();
        let limits = super::limits().unwrap();
        assert_eq!(limits.rlim_cur, limits.rlim_max);
    }
}
