//! A child process: the agent of a story, or a program that is measured. What it uses of the host is read from /proc.

use std::fs;
use std::io;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A child; it is killed if nobody waits for its end.
pub(crate) struct Process {
    pub(crate) child: Child,
    cpu_before: f64,
    peak: Option<JoinHandle<f64>>,
    /// When it was started.
    pub(crate) started: Instant,
}

/// What a process had used by its end.
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Its peak memory in MiB, if that was watched.
    pub(crate) peak: f64,
    /// Whether it ended with exit code 0, or by a signal that it does not handle.
    pub(crate) success: bool,
}

impl Process {
    /// Starts the command.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let cpu_before = cpu_of_children();
        let started = Instant::now();
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        Ok(Self {
            child,
            cpu_before,
            peak: None,
            started,
        })
    }

    /// Starts the command, and follows the peak of its memory. Only one process at a time, or their CPU seconds can't
    /// be told apart.
    pub(crate) fn measure(command: &mut Command) -> io::Result<Self> {
        let mut process = Self::start(command)?;
        let id = process.id();
        process.peak = Some(thread::spawn(move || watch(id)));
        Ok(process)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, such as `libc::SIGTERM`.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill() touches no memory. The child has not been waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// kill -9; it has ended when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn usage(mut self) -> io::Result<Usage> {
        let status = self.child.wait()?;
        let peak = self.peak.take().map(JoinHandle::join);
        Ok(Usage {
            cpu: cpu_of_children() - self.cpu_before,
            peak: peak.and_then(Result::ok).unwrap_or_default(),
            success: status.success() || status.signal() == Some(libc::SIGTERM),
        })
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_alive(&self) -> bool {
        self.memory("VmRSS").is_some()
    }

    /// A memory figure in MiB, such as `VmRSS` or `VmHWM`; `None` once the process has ended.
    pub(crate) fn memory(&self, figure: &str) -> Option<f64> {
        memory(self.id(), figure)
    }

    /// Resident memory.
    pub(crate) fn resident_kib(&self) -> usize {
        status(self.id(), "VmRSS").unwrap()
    }

    /// The peak of its memory so far.
    pub(crate) fn peak_kib(&self) -> usize {
        status(self.id(), "VmHWM").unwrap()
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        status(self.id(), "Threads").unwrap()
    }

    /// Its threads, as directories of /proc.
    pub(crate) fn tasks(&self) -> io::Result<Vec<PathBuf>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id()))?;
        tasks.map(|task| Ok(task?.path())).collect()
    }

    /// The descriptors that it has open.
    pub(crate) fn descriptors(&self) -> Vec<PathBuf> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        open.flatten().map(|open| open.path()).collect()
    }

    /// How far it has read this file; none if it does not have it open.
    pub(crate) fn offset(&self, path: &Path) -> Option<u64> {
        let path = path.canonicalize().ok()?;
        let mut open = self.descriptors().into_iter();
        let open = open.find(|open| fs::read_link(open).is_ok_and(|to| to == path))?;
        let info = format!("/proc/{}/fdinfo", self.id());
        let info = fs::read_to_string(Path::new(&info).join(open.file_name()?)).ok()?;
        let mut offsets = info.lines().filter_map(|line| line.strip_prefix("pos:"));
        offsets.next()?.trim().parse().ok()
    }

    /// Leaves it this many more descriptors, as `prlimit --nofile` does. Returns the limit.
    pub(crate) fn leave_descriptors(&self, count: usize) -> u64 {
        // The limit applies to their numbers. One that is about to be closed would be counted as room for one more.
        let mut open = self.descriptors();
        open.retain(|open| !is_passing(open));
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
        let open: Vec<_> = open.iter().filter_map(number).collect();
        let limit = libc::rlimit {
            rlim_cur: (0..).filter(|n| !open.contains(n)).nth(count).unwrap(),
            rlim_max: 1000,
        };
        let (set, old) = (&raw const limit, std::ptr::null_mut());
        // SAFETY: the kernel reads `limit` and writes nothing.
        let done = unsafe { libc::prlimit(self.pid(), libc::RLIMIT_NOFILE, set, old) };
        assert_eq!(done, 0);
        limit.rlim_cur
    }

    /// Seconds on a CPU so far, and how often its threads have waited for something, for all threads together.
    pub(crate) fn activity(&self) -> io::Result<(f64, u64)> {
        let (mut seconds, mut waits) = (0.0, 0);
        for task in self.tasks()? {
            seconds += seconds_of(&task)?;
            let status = fs::read_to_string(task.join("status"))?;
            waits += figure(&status, "voluntary_ctxt_switches").unwrap_or_default() as u64;
        }
        Ok((seconds, waits))
    }

    /// Its threads with this name.
    fn named(&self, thread: &str) -> Vec<PathBuf> {
        let mut tasks = self.tasks().unwrap();
        tasks.retain(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread)
        });
        tasks
    }

    /// Whether it has a thread with this name.
    pub(crate) fn has_thread(&self, thread: &str) -> bool {
        !self.named(thread).is_empty()
    }

    /// Seconds on a CPU so far of its threads with this name.
    pub(crate) fn seconds_of(&self, thread: &str) -> f64 {
        let tasks = self.named(thread).into_iter();
        tasks.map(|task| seconds_of(&task).unwrap()).sum()
    }

    /// The CPU seconds that its start took, once nothing more happens: all its threads wait.
    pub(crate) fn settled(&self) -> io::Result<f64> {
        // What a start does shows nowhere else.
        thread::sleep(Duration::from_millis(500));
        Ok(self.activity()?.0)
    }

    fn pid(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.id()).unwrap()
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
        // The kernel announces no new peak.
        thread::sleep(Duration::from_millis(5));
    }
    peak
}

fn memory(id: u32, name: &str) -> Option<f64> {
    status(id, name).map(|kibibytes| kibibytes as f64 / 1024.0)
}

/// A number of `/proc/ID/status`; memory is in KiB.
fn status(id: u32, name: &str) -> Option<usize> {
    figure(
        &fs::read_to_string(format!("/proc/{id}/status")).ok()?,
        name,
    )
}

/// Whether this descriptor is one that is closed in a moment: of a file or directory that is being written, or of /proc.
fn is_passing(open: &Path) -> bool {
    let Ok(to) = fs::read_link(open) else {
        return true;
    };
    to.starts_with("/proc") || to.is_dir() || to.extension().is_some_and(|end| end == "new")
}

fn figure(status: &str, name: &str) -> Option<usize> {
    let mut values = status
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Seconds on a CPU so far of a thread, a directory of /proc.
fn seconds_of(task: &Path) -> io::Result<f64> {
    let scheduled = fs::read_to_string(task.join("schedstat"))?;
    let nanoseconds = scheduled.split(' ').next().map(str::parse::<f64>);
    Ok(nanoseconds.and_then(Result::ok).unwrap_or_default() / 1e9)
}

/// Raises this process's limit of open descriptors to the highest that it may set, and returns that.
pub(crate) fn raise_descriptor_limit() -> usize {
    s3_audit_webhook::sys::descriptors::raise_limit();
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(done, 0);
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// The CPU seconds of all children that have ended and were waited for.
fn cpu_of_children() -> f64 {
    // SAFETY: a rusage is plain numbers, for which zero is a value, and the pointer is to a live one.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
