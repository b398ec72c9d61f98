//! A memory cgroup (version 1 or 2), like that of a container in Kubernetes: a process that takes more is killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::wait::eventually;

/// It is removed when dropped; its processes must have ended by then.
pub(crate) struct Cgroup {
    directory: PathBuf,
    peak: &'static str,
}

impl Cgroup {
    /// A cgroup whose processes may take this many bytes together.
    ///
    /// # Errors
    /// The reason why there can be none here.
    pub(crate) fn with_memory(bytes: usize) -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("s3-audit-webhook-test-{}-{number}", std::process::id());
        let versions = [
            (
                "memory/",
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
            ),
            ("", "memory.max", "memory.peak"),
        ];
        let mut why = io::Error::from(io::ErrorKind::NotFound);
        for (mount, limit, peak) in versions {
            let directory = Path::new("/sys/fs/cgroup").join(mount).join(&name);
            match fs::create_dir(&directory) {
                Ok(()) => {
                    let cgroup = Cgroup { directory, peak };
                    // The file must exist: otherwise the controller is missing.
                    let limit = cgroup.directory.join(limit);
                    let written =
                        fs::metadata(&limit).and_then(|_| fs::write(limit, bytes.to_string()));
                    return written.map(|()| cgroup);
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// The file that adds a process when its id is written to it.
    pub(crate) fn processes(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// The most bytes that were in use, if that is known.
    pub(crate) fn peak(&self) -> Option<usize> {
        let peak = fs::read_to_string(self.directory.join(self.peak)).ok()?;
        peak.trim().parse().ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        eventually("the cgroup is removed", || {
            fs::remove_dir(&self.directory).ok()
        });
    }
}
