//! What the agent's process uses of the host, according to /proc, and how it gets less.

use std::fs;
use std::path::PathBuf;

use super::{Agent, eventually};

impl Agent {
    /// Resident memory.
    pub(crate) fn resident_kib(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The peak of its memory so far.
    pub(crate) fn peak_kib(&self) -> usize {
        self.status("VmHWM:")
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// The descriptors that it has open.
    pub(crate) fn descriptors(&self) -> Vec<PathBuf> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        open.flatten().map(|open| open.path()).collect()
    }

    /// Waits until it has opened everything that it needs from the start: its last thread runs.
    #[track_caller]
    pub(crate) fn wait_until_running(&self) {
        eventually("the thread for signals", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
            let mut names = tasks
                .flatten()
                .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
            names.any(|name| name.trim() == "signals").then_some(())
        });
    }

    /// Leaves it this many more descriptors, as `prlimit --nofile` does.
    pub(crate) fn leave_descriptors(&self, count: usize) {
        // The limit applies to their numbers.
        let open = self.descriptors();
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
        let open: Vec<_> = open.iter().filter_map(number).collect();
        let limit = libc::rlimit {
            rlim_cur: (0..).filter(|n| !open.contains(n)).nth(count).unwrap(),
            rlim_max: 1000,
        };
        let id = libc::pid_t::try_from(self.id()).unwrap();
        // SAFETY: the kernel reads `limit` and writes nothing.
        let done = unsafe {
            libc::prlimit(
                id,
                libc::RLIMIT_NOFILE,
                &raw const limit,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(done, 0);
    }

    /// A number in its status file.
    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let number = value.and_then(|value| value.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }
}
