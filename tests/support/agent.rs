//! The built binary as a child process: how it is started, what it logs, how it ends.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use super::cgroup::Cgroup;
use super::process::Process;
use super::wait::{PATIENCE, eventually, poll};

/// How long an agent may take to end before [`Agent::wait`] kills it.
const TIME_TO_END: Duration = Duration::from_secs(60);

/// The built agent.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_s3-audit-webhook");

/// A user and group without rights.
pub(crate) const NOBODY: u32 = 65534;

/// Names the state directory.
pub(crate) const STATE_DIR: &str = "S3_AUDIT_WEBHOOK_STATE_DIR";

/// A running agent.
pub(crate) struct Agent {
    process: Process,
    stdout: Output,
    stderr: Output,
    _state_dir: Option<TempDir>,
}

/// An agent that has not been started yet.
pub(crate) struct AgentCommand {
    command: Command,
    input: Option<Vec<u8>>,
    state_dir: Option<TempDir>,
}

impl AgentCommand {
    /// Runs `program` without any setting from this process's own environment. Its stdin is a pipe.
    pub(crate) fn of(program: &str) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if is_setting(&name) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped());
        Self {
            command,
            input: None,
            state_dir: None,
        }
    }

    fn with_state_dir(self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        AgentCommand {
            state_dir: Some(dir),
            ..self.env(STATE_DIR, &path)
        }
    }

    /// `--endpoint URL`
    pub(crate) fn endpoint(self, url: &str) -> Self {
        self.arg("--endpoint").arg(url)
    }

    /// `--auth-token TOKEN`
    pub(crate) fn token(self, token: &str) -> Self {
        self.arg("--auth-token").arg(token)
    }

    /// `--source SOURCE`
    pub(crate) fn source(self, source: &str) -> Self {
        self.arg("--source").arg(source)
    }

    /// One more argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this directory.
    pub(crate) fn in_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Removes an environment variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Takes its stdin from here, a file or `Stdio::null()`, instead of the pipe.
    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Writes these bytes to its stdin, then closes it.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Lets its user have this many threads, if that is not root.
    pub(crate) fn limit_threads(self, count: u64) -> Self {
        self.limit(libc::RLIMIT_NPROC, count)
    }

    /// Lets it have descriptors below this number.
    pub(crate) fn limit_descriptors(self, count: u64) -> Self {
        self.limit(libc::RLIMIT_NOFILE, count)
    }

    fn limit(mut self, resource: libc::__rlimit_resource_t, count: u64) -> Self {
        let limit = libc::rlimit {
            rlim_cur: count,
            rlim_max: count,
        };
        let set_limit = move || match unsafe { libc::setrlimit(resource, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: setrlimit is allowed between fork and exec.
        unsafe { self.command.pre_exec(set_limit) };
        self
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn spawn(self) -> Agent {
        self.try_spawn().unwrap()
    }

    /// Starts it as a user without rights. `None`, and the reason is printed, where there is no way to that.
    pub(crate) fn spawn_as_nobody(mut self) -> Option<Agent> {
        // SAFETY: it only tells a number.
        if unsafe { libc::geteuid() } == 0 {
            self.command.uid(NOBODY).gid(NOBODY);
        }
        if let Some(dir) = &self.state_dir {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let agent = self.try_spawn();
        let skipped = |error| eprintln!("skipped: can't be started as another user: {error}");
        agent.map_err(skipped).ok()
    }

    fn try_spawn(mut self) -> io::Result<Agent> {
        let mut process =
            Process::start(self.command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let child = &mut process.child;
        if let Some(bytes) = self.input {
            let mut stdin = child
                .stdin
                .take()
                .expect("input() goes to the pipe that stdin() has replaced");
            // In a thread, since the pipe may be shorter than the input. An agent that ends early leaves some unread.
            thread::spawn(move || {
                let _ = stdin.write_all(&bytes);
            });
        }
        Ok(Agent {
            stdout: Output::of(child.stdout.take().unwrap()),
            stderr: Output::of(child.stderr.take().unwrap()),
            process,
            _state_dir: self.state_dir,
        })
    }

    /// Starts it, closes its stdin once the input is written, and waits for its end.
    #[track_caller]
    pub(crate) fn run(self) -> Ended {
        let mut agent = self.spawn();
        agent.close_stdin();
        agent.wait()
    }
}

impl Agent {
    /// The built binary, which still needs its arguments. It has a state directory of its own, so that no test writes
    /// to the host's.
    pub(crate) fn command() -> AgentCommand {
        AgentCommand::of(BINARY).with_state_dir()
    }

    /// The same in a memory cgroup, from the start.
    pub(crate) fn command_in(cgroup: &Cgroup) -> AgentCommand {
        let enter = r#"echo $$ >"$0" && exec "$@""#;
        let shell = AgentCommand::of("sh").args(["-c", enter]);
        let processes = cgroup.processes();
        shell.arg(processes).arg(BINARY).with_state_dir()
    }

    /// The same with this named pipe as its stdin, which nobody else can read. Of the usual one, a process that another
    /// test forks has a copy for a moment.
    pub(crate) fn command_at(pipe: &Path) -> AgentCommand {
        let shell = AgentCommand::of("sh").args(["-c", r#"exec "$@" <"$0""#]);
        let shell = shell.stdin(Stdio::null()).arg(pipe);
        shell.arg(BINARY).with_state_dir()
    }

    /// Everything that it has logged so far, in whole lines.
    pub(crate) fn log(&self) -> String {
        self.stderr.text()
    }

    /// Everything that it has printed to stdout so far, in whole lines.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits for a line with this text, from the first line on, and returns the line.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_nth_log(1, text)
    }

    /// Waits for the `n`th line with this text, and returns the line.
    #[track_caller]
    pub(crate) fn wait_for_nth_log(&self, n: usize, text: &str) -> String {
        let found = poll(PATIENCE, || {
            // Looked at before the log, since the line may be the last one before the end.
            let ended = self.stderr.ended();
            let line = self
                .log()
                .lines()
                .filter(|line| line.contains(text))
                .nth(n - 1)
                .map(str::to_owned);
            (line.is_some() || ended).then_some(line)
        });
        match found {
            Some(Some(line)) => line,
            Some(None) => panic!(
                "the agent has ended without line {n} with {text:?}; its log:\n{}",
                self.log()
            ),
            None => panic!(
                "not within {PATIENCE:?}: line {n} with {text:?}; the log:\n{}",
                self.log()
            ),
        }
    }

    /// The pipe to its stdin. Panics if that was closed or was not a pipe.
    #[track_caller]
    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.process
            .child
            .stdin
            .as_mut()
            .expect("stdin is an open pipe")
    }

    /// The pipe to its stdin, for a thread that writes more than fits into the pipe.
    #[track_caller]
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.process
            .child
            .stdin
            .take()
            .expect("stdin is an open pipe")
    }

    /// Closes the pipe to its stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.process.child.stdin = None;
    }

    /// Waits for its end, whatever the reason. If that takes more than a minute, it is killed, and the test has failed.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let Some(status) = poll(TIME_TO_END, || self.process.try_wait()) else {
            panic!(
                "the agent still runs after {TIME_TO_END:?}; its log:\n{}",
                self.log()
            );
        };
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        Ended {
            code: status.code(),
            log: self.log(),
            stdout: self.stdout.bytes(),
        }
    }
}

impl Process {
    /// Waits until it has opened everything that it needs from the start: its last thread runs.
    #[track_caller]
    pub(crate) fn wait_until_running(&self) {
        eventually("the thread for signals", || {
            self.has_thread("signals").then_some(())
        });
    }
}

impl Deref for Agent {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for Agent {
    /// What a failed test needs to be understood.
    fn drop(&mut self) {
        if thread::panicking() {
            let ended = self.process.try_wait();
            eprintln!("the agent ({ended:?}) had logged:\n{}", self.log());
        }
    }
}

/// What is left of an agent that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none if it was ended by a signal.
    pub(crate) code: Option<i32>,
    /// Everything that it logged.
    pub(crate) log: String,
    /// Everything that it wrote to stdout.
    pub(crate) stdout: Vec<u8>,
}

impl Ended {
    /// The balance in the last line of the log.
    #[track_caller]
    pub(crate) fn balance(&self) -> Balance {
        let last = self.log.lines().last().unwrap_or_default();
        Balance::parse(last)
            .unwrap_or_else(|| panic!("the log does not end with a balance:\n{}", self.log))
    }

    /// How many events it says it has redelivered, in the last line of the log.
    #[track_caller]
    pub(crate) fn redelivered(&self) -> u64 {
        let last = self.log.lines().last().unwrap_or_default();
        let count = last
            .split(", ")
            .find_map(|part| part.strip_prefix("redelivered "));
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// The balance of an agent that must have ended successfully, with nothing unaccounted for.
    #[track_caller]
    pub(crate) fn done(&self) -> Balance {
        assert_eq!(self.code, Some(0), "{}", self.log);
        let balance = self.balance();
        balance.holds();
        assert_eq!(balance.left, 0, "{balance:?}");
        balance
    }
}

/// What became of all events, according to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) received: u64,
    pub(crate) recovered: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    /// The dropped ones by reason: `buffer full`.
    pub(crate) by_reason: BTreeMap<String, u64>,
    pub(crate) rejected: u64,
    /// Not sent because of a rule.
    pub(crate) filtered: u64,
    pub(crate) left: u64,
}

impl Balance {
    /// Reads `… stopped: received 5, delivered 2, dropped 3 (buffer full 2, malformed 1), rejected 1, filtered 1,
    /// buffered 0`. What is 0 may be missing.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("stopped: received ")?;
        let (received, rest) = rest.split_once(", delivered ")?;
        let (received, recovered) = received
            .split_once(", recovered ")
            .unwrap_or((received, "0"));
        let (delivered, rest) = rest.split_once(", dropped ")?;
        let (dropped, rest) = rest.rsplit_once(", buffered ")?;
        let (dropped, filtered) = dropped.split_once(", filtered ").unwrap_or((dropped, "0"));
        let (dropped, rejected) = dropped.split_once(", rejected ").unwrap_or((dropped, "0"));
        // What follows is not part of the balance.
        let left = rest.split(", ").next()?;
        let (dropped, reasons) = match dropped.split_once(" (") {
            Some((dropped, reasons)) => (dropped, reasons.strip_suffix(')')?.split(", ").collect()),
            None => (dropped, Vec::new()),
        };
        let by_reason = reasons.into_iter().map(|reason| {
            let (reason, count) = reason.rsplit_once(' ')?;
            Some((reason.to_owned(), count.parse().ok()?))
        });
        Some(Self {
            received: received.parse().ok()?,
            recovered: recovered.parse().ok()?,
            delivered: delivered.parse().ok()?,
            dropped: dropped.parse().ok()?,
            by_reason: by_reason.collect::<Option<_>>()?,
            rejected: rejected.parse().ok()?,
            filtered: filtered.parse().ok()?,
            left: left.parse().ok()?,
        })
    }

    /// Asserts that no event is unaccounted for.
    #[track_caller]
    pub(crate) fn holds(&self) {
        assert_eq!(
            self.received + self.recovered,
            self.delivered + self.dropped + self.rejected + self.filtered + self.left,
            "the balance does not hold: {self:?}"
        );
        assert_eq!(
            self.dropped,
            self.by_reason.values().sum::<u64>(),
            "the reasons do not add up: {self:?}"
        );
    }
}

/// What a child writes to one of its pipes, read by a thread for as long as it writes.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            // In whole lines, so that no test sees half of one.
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                collected.lock().unwrap().append(&mut line);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn wait_for_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Whether this variable would change what the agent does: its settings, proxies, where trusted roots are looked up,
/// and whether it is a service.
fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    name.starts_with("S3_AUDIT_WEBHOOK_")
        || [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NOTIFY_SOCKET",
            "JOURNAL_STREAM",
        ]
        .contains(&name.as_str())
}
