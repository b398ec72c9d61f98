//! A child process and what it costs.

use std::fs;
use std::io;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A child; it is killed if nobody waits for its end.
pub(crate) struct Process {
    child: Child,
    cpu_before: f64,
    peak: Option<JoinHandle<f64>>,
    /// When it was started.
    pub(crate) started: Instant,
}

/// What a process had used by its end.
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Its peak memory, in MiB.
    pub(crate) peak: f64,
    /// Whether it ended with exit code 0, or by a signal that it does not handle.
    pub(crate) success: bool,
}

impl Process {
    /// Starts the command. Only one process at a time, or their CPU seconds can't be told apart.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let cpu_before = cpu_of_children();
        let started = Instant::now();
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        let id = child.id();
        Ok(Self {
            child,
            cpu_before,
            peak: Some(thread::spawn(move || watch(id))),
            started,
        })
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        // SAFETY: kill takes no pointers, and the id stays this child's until it is waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_alive(&self) -> bool {
        self.memory("VmRSS").is_some()
    }

    /// A memory figure in MiB, such as `VmRSS` or `VmHWM`; `None` once the process has ended.
    pub(crate) fn memory(&self, figure: &str) -> Option<f64> {
        memory(self.child.id(), figure)
    }

    /// Seconds on a CPU so far, and how often its threads have waited for something, for all threads together.
    pub(crate) fn activity(&self) -> io::Result<(f64, u64)> {
        let (mut seconds, mut waits) = (0.0, 0);
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            let scheduled = fs::read_to_string(task.join("schedstat"))?;
            let nanoseconds = scheduled.split(' ').next().map(str::parse::<f64>);
            seconds += nanoseconds.and_then(Result::ok).unwrap_or_default() / 1e9;
            let status = fs::read_to_string(task.join("status"))?;
            let waited = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            waits += waited
                .and_then(|count| count.trim().parse::<u64>().ok())
                .unwrap_or_default();
        }
        Ok((seconds, waits))
    }

    /// The CPU seconds that its start took, once it has started.
    pub(crate) fn settled(&self) -> io::Result<f64> {
        thread::sleep(Duration::from_millis(500));
        Ok(self.activity()?.0)
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> io::Result<Usage> {
        let status = self.child.wait()?;
        let peak = self.peak.take().map(JoinHandle::join);
        Ok(Usage {
            cpu: cpu_of_children() - self.cpu_before,
            peak: peak.and_then(Result::ok).unwrap_or_default(),
            success: status.success() || status.signal() == Some(libc::SIGTERM),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither call affects a child that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows the peak of a process's memory to its end. The peak in its rusage is of no use: it starts from the memory of
/// the parent, which holds every body.
fn watch(id: u32) -> f64 {
    let mut peak = 0.0;
    while let Some(now) = memory(id, "VmHWM") {
        peak = now;
        thread::sleep(Duration::from_millis(5));
    }
    peak
}

/// A figure of `/proc/ID/status` in MiB.
fn memory(id: u32, figure: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(figure))?;
    let kibibytes = line.split_ascii_whitespace().nth(1)?;
    Some(kibibytes.parse::<f64>().ok()? / 1024.0)
}

/// The CPU seconds of all children that have ended and were waited for.
fn cpu_of_children() -> f64 {
    // SAFETY: a rusage is plain numbers, for which zero is a value, and the pointer is to a live
    // one.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
