//! A log that nobody reads: a full pipe, as a hung journal or a stopped terminal are, has no effect on anything but the log.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::delivery::numbered;
use super::source_http::free_address;
use super::support::{Answer, BINARY, Metrics, Process, STATE_DIR, Webhook, eventually};

/// What an end may take beyond `--shutdown-timeout`: the agent gives itself 1 s, a loaded machine gets more. An end that
/// waits for the log never comes.
const GRACE: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_millis(300);

/// An agent whose log goes into a pipe that nobody reads.
struct Unread {
    agent: Process,
    log: PipeReader,
    _dir: TempDir,
}

impl Unread {
    /// Its log is full from the first line on.
    fn start(hook: &Webhook, timeout: Duration, arguments: &[&str]) -> Self {
        let (log, write) = std::io::pipe().unwrap();
        fill(&write);
        let dir = tempfile::tempdir().unwrap();
        let timeout = format!("--shutdown-timeout={}ms", timeout.as_millis());
        let mut command = Command::new(BINARY);
        command
            .args([
                "run",
                "--auth-token=x",
                "--batch-age=0",
                "--backoff-min=5ms",
                "--backoff-max=50ms",
                &timeout,
            ])
            .args(["--endpoint", &hook.url()])
            .args(arguments)
            .env_clear()
            .env(STATE_DIR, dir.path())
            .stdin(Stdio::piped())
            .stderr(write);
        let agent = Process::start(&mut command).unwrap();
        // Before that a signal ends it at once.
        agent.wait_until_running();
        Unread {
            agent,
            log,
            _dir: dir,
        }
    }

    fn feed(&mut self, lines: &[String]) {
        let stdin = self.agent.child.stdin.as_mut().unwrap();
        stdin
            .write_all(format!("{}\n", lines.join("\n")).as_bytes())
            .unwrap();
    }

    fn signal(&self) {
        self.agent.signal(libc::SIGTERM);
    }

    /// Signals it twice: once more when it has seen the first signal, since two at once would be one. The same signal
    /// would be no second request so soon.
    fn signal_twice(&self) {
        const READER: &str = "src-stdin";
        assert!(self.agent.has_thread(READER));
        self.signal();
        eventually("it reads no more", || {
            (!self.agent.has_thread(READER)).then_some(())
        });
        self.agent.signal(libc::SIGINT);
    }

    /// Waits for its end, which must come within this time.
    #[track_caller]
    fn ends_within(&mut self, limit: Duration) {
        let began = Instant::now();
        let status = eventually("the agent ends", || self.agent.try_wait());
        let took = began.elapsed();
        assert!(status.success(), "{status}");
        assert!(took < limit, "{took:?}");
    }
}

/// Fills a pipe to its last byte.
fn fill(pipe: &std::io::PipeWriter) {
    let fd = pipe.as_raw_fd();
    // SAFETY: these change flags of a descriptor that is open, and no memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    let set = |flags: libc::c_int| assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }, 0);
    set(flags | libc::O_NONBLOCK);
    let mut pipe = pipe;
    while pipe.write(b"\n").is_ok() {}
    set(flags);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (hook, status) = (Webhook::start(), free_address());
    let at = status.to_string();
    let mut unread = Unread::start(
        &hook,
        TIMEOUT,
        &["--report-interval=10ms", "--status-listen", &at],
    );
    unread.feed(&numbered(0..10));
    hook.wait_for_events(10);
    // An outage, losses, and its end: all have lines.
    hook.always(Answer::status(503));
    unread.feed(&["nonsense".to_owned()]);
    unread.feed(&numbered(10..20));
    eventually("the webhook is seen to fail", || {
        (Metrics::at(status).value("webhook_up") == 0).then_some(())
    });
    hook.always(Answer::ok());
    hook.wait_for_events(20);
    eventually("the webhook is seen to work", || {
        (Metrics::at(status).value("webhook_up") == 1).then_some(())
    });
    unread.signal();
    unread.ends_within(GRACE);
}

#[test]
fn the_end_comes_in_time_in_every_phase() {
    let (down, hanging) = (Webhook::start(), Webhook::start());
    down.stop();
    hanging.always(Answer::hang());
    let ends = |hook, wait| {
        let mut unread = Unread::start(hook, TIMEOUT, &[wait, "--buffer-events=5"]);
        unread.feed(&numbered(0..20));
        // Nothing shows how far it is, since nobody reads its log.
        thread::sleep(Duration::from_millis(200));
        unread.signal();
        unread.ends_within(GRACE);
    };
    thread::scope(|scope| {
        for hook in [&down, &hanging] {
            for wait in ["--when-full=wait", "--when-full=drop"] {
                scope.spawn(move || ends(hook, wait));
            }
        }
    });
    let hook = Webhook::start();
    let mut unread = Unread::start(&hook, TIMEOUT, &[]);
    drop(unread.agent.child.stdin.take());
    unread.ends_within(GRACE);
}

#[test]
fn a_second_signal_ends_at_once() {
    let hook = Webhook::start();
    hook.always(Answer::hang());
    let mut unread = Unread::start(&hook, Duration::from_secs(3600), &[]);
    unread.feed(&numbered(0..10));
    hook.wait_for_requests(1);
    unread.signal_twice();
    unread.ends_within(GRACE);
}

#[test]
fn a_second_signal_does_not_wait_for_the_last_lines() {
    let hook = Webhook::start();
    // Nothing is buffered, so that the first signal is followed by the last writes at once: these have 5 s.
    let at_once = || {
        let mut unread = Unread::start(&hook, Duration::from_secs(3600), &[]);
        unread.feed(&numbered(0..1));
        hook.wait_for_requests(1);
        unread.signal_twice();
        let signalled = Instant::now();
        unread.ends_within(GRACE);
        signalled.elapsed() < Duration::from_secs(1)
    };
    // A loaded machine may take longer now and then.
    assert!((0..5).any(|_| at_once()));
}

#[test]
fn lines_that_were_lost_are_counted_when_the_log_works_again() {
    // Some hundred bytes a millisecond, for 256 KiB of them; a loaded machine takes longer.
    let are_counted = [6, 15, 40].into_iter().any(|seconds| {
        let lost = lost_while_blocked(Duration::from_secs(seconds));
        lost.is_some_and(|lines| lines > 100)
    });
    assert!(are_counted);
}

/// How many lines the log says that it has lost, when it is read after this time in which nobody did. The rest of it is as it
/// would have been.
fn lost_while_blocked(time: Duration) -> Option<u64> {
    let hook = Webhook::start();
    hook.always(Answer::status(503));
    let mut unread = Unread::start(&hook, TIMEOUT, &["--report-interval=1ms"]);
    unread.feed(&numbered(0..10));
    // The time in which lines are lost.
    thread::sleep(time);
    hook.always(Answer::ok());
    hook.wait_for_events(10);
    let log = BufReader::new(unread.log.try_clone().unwrap());
    let reader = thread::spawn(move || {
        let lines = log.lines().map_while(Result::ok);
        lines
            .filter(|line| !line.is_empty())
            .collect::<Vec<String>>()
    });
    // A log that works again says so before the end.
    thread::sleep(Duration::from_millis(100));
    unread.signal();
    unread.ends_within(GRACE);
    let lines = reader.join().unwrap();
    let place = |text: &str| lines.iter().position(|line| line.contains(text));
    let lost = place(" log lines were lost while standard error was blocked or failing");
    let ends = place("stopped: received 10, delivered 10, dropped 0");
    let started = place("started: ");
    assert!(
        started.is_some() && started < lost.or(ends) && lost < ends,
        "{lines:?}"
    );
    let count = lines[lost?].split_whitespace().nth(2)?;
    count.parse().ok()
}

#[test]
fn a_log_that_may_not_grow_any_more_stops_nothing() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let log = dir.path().join("log");
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--auth-token=x", "--batch-age=0"])
        .args(["--endpoint", &hook.url()])
        .env_clear()
        .env(STATE_DIR, dir.path())
        .stdin(Stdio::piped())
        .stderr(File::create(&log).unwrap());
    // Less than the first line.
    let limit = libc::rlimit {
        rlim_cur: 40,
        rlim_max: 40,
    };
    let set_limit = move || match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: setrlimit is allowed between fork and exec.
    unsafe { command.pre_exec(set_limit) };
    let mut agent = Process::start(&mut command).unwrap();
    let mut stdin = agent.child.stdin.take().unwrap();
    writeln!(stdin, "{}", numbered(0..10).join("\n")).unwrap();
    hook.wait_for_events(10);
    drop(stdin);
    let status = eventually("the agent ends", || agent.try_wait());
    assert!(status.success(), "{status}");
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 40);
}
