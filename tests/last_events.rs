//! What writers that go on writing while the agent ends have written: all of it is counted, or the last lines say that
//! some is not.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use super::delivery::{start, start_at};
use super::source_http::free_address;
use super::support::{self, Agent, Answer, Balance, Client, Webhook, eventually};

/// The line before the last one, if some events are in no count.
const CUT_OFF: &str = "the agent ended before it had read all that was written";
const WRITERS: usize = 6;
/// The agent may fail to be complete so often: a host that gives it no time is not its fault.
const ROUNDS: usize = 4;

/// A way to end.
struct End {
    /// What the webhook answers.
    status: u16,
    options: &'static [&'static str],
    /// A second signal follows the first.
    is_at_once: bool,
}

const fn end(status: u16, options: &'static [&'static str]) -> End {
    End {
        status,
        options,
        is_at_once: false,
    }
}

const ENDS: [End; 6] = [
    end(503, &["--when-full=wait", "--shutdown-timeout=300ms"]),
    end(503, &["--when-full=drop", "--shutdown-timeout=300ms"]),
    end(
        503,
        &[
            "--when-full=wait",
            "--shutdown-timeout=300ms",
            "--spool-bytes=1MiB",
        ],
    ),
    end(200, &["--when-full=drop", "--shutdown-timeout=0"]),
    end(200, &["--when-full=wait", "--shutdown-timeout=1m"]),
    End {
        is_at_once: true,
        ..end(503, &["--when-full=wait", "--shutdown-timeout=1h"])
    },
];

/// Rules that match nothing: they only keep the agent from being faster than its writers.
const SLOW: [&str; 9] = [
    "--redact=s3",
    "--exclude=a.b=*z*",
    "--exclude=a.c=*z*",
    "--exclude=a.d=*z*",
    "--exclude=a.e=*z*",
    "--exclude=a.f=*z*",
    "--exclude=a.g=*z*",
    "--exclude=a.h=*z*",
    "--exclude=a.i=*z*",
];

impl End {
    /// Ends the agent so.
    fn of(&self, agent: Agent) -> support::Ended {
        agent.signal(libc::SIGTERM);
        if self.is_at_once {
            agent.wait_for_log("shutting down");
            agent.signal(libc::SIGINT);
        }
        agent.wait()
    }
}

/// What an agent that was written to has said of it.
struct Ended {
    /// Writes that were done whole.
    written: u64,
    writers: u64,
    balance: Balance,
    log: String,
}

impl Ended {
    fn is_cut_off(&self) -> bool {
        self.log.contains(CUT_OFF)
    }

    /// All is counted, if each write had `each` events. Of each writer's last one maybe only a part was written.
    fn holds(&self, each: u64) {
        let (written, received) = (self.written * each, self.balance.received);
        let most = written + self.writers * each;
        assert!(
            (written..=most).contains(&received),
            "{written} written: {}",
            self.log
        );
    }
}

/// Ends an agent while this is written to it, again and again.
fn round(kind: &str, write: &[u8], end: &End) -> Ended {
    let hook = Webhook::start();
    hook.always(Answer::status(end.status));
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.sock");
    let server = (kind == "unix").then(|| UnixListener::bind(&path).unwrap());
    let source = match kind {
        "stdin" => "--source=stdin".into(),
        _ => format!("--source={kind}:{}", path.display()),
    };
    let small = ["--buffer-bytes=200KiB", "--max-event-bytes=16KiB", &source];
    let options = [&small, &SLOW[..], end.options].concat();
    let agent = match kind {
        "stdin" => start_at(&pipe(&dir), &hook.url(), &options),
        _ => start(&hook.url(), &options),
    };
    let streams: Vec<Box<dyn Write + Send>> = match &server {
        Some(server) => vec![Box::new(server.accept().unwrap().0)],
        None if kind == "stdin" => vec![Box::new(writer(&dir))],
        None => (0..WRITERS)
            .map(|_| -> Box<dyn Write + Send> {
                let connected = || UnixStream::connect(&path).ok();
                Box::new(eventually("the agent listens", connected))
            })
            .collect(),
    };
    thread::scope(|scope| {
        let write_on = |mut stream: Box<dyn Write + Send>| {
            move || {
                let mut written = 0;
                while stream.write_all(write).is_ok() {
                    written += 1;
                }
                written
            }
        };
        let threads: Vec<_> = streams
            .into_iter()
            .map(|stream| scope.spawn(write_on(stream)))
            .collect();
        hook.wait_for_requests(2);
        let ended = end.of(agent);
        let balance = ended.balance();
        balance.holds();
        Ended {
            writers: threads.len() as u64,
            written: threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum(),
            balance,
            log: ended.log,
        }
    })
}

/// An event that is not tiny.
fn event() -> String {
    format!(r#"{{"x":"{}"}}"#, "a".repeat(300))
}

/// Whatever the end, all is counted that was written before the agent refused more. Each write has `each` events.
fn all_is_counted(kind: &str, write: &[u8], each: u64) {
    for end in &ENDS {
        let mut rounds = (0..ROUNDS).map(|_| round(kind, write, end));
        let complete = rounds.find(|ended| !ended.is_cut_off());
        complete.expect("one is complete").holds(each);
    }
}

#[test]
fn of_writers_that_go_on_writing_all_is_counted() {
    all_is_counted("unix-listen", (event() + "\n").as_bytes(), 1);
}

#[test]
fn of_fluent_clients_that_go_on_writing_all_is_counted() {
    // [tag, time, {"x": "aaa"}]
    let write = [&b"\x93\xa1t\x01\x81\xa1x\xd9\xc8"[..], &[b'a'; 200]].concat();
    all_is_counted("fluent", &write, 1);
}

#[test]
fn of_a_server_that_goes_on_writing_all_is_counted() {
    all_is_counted("unix", (event() + "\n").as_bytes(), 1);
}

/// Only a gateway of Ceph keeps what has no separator behind it.
#[test]
fn of_a_server_that_writes_arrays_all_is_counted() {
    let event = event();
    for (write, each) in [
        (format!("[{event}]\n"), 1),
        (format!("[\n{event},\n{{}}\n]\n"), 2),
        (format!("[{event},{event}]"), 2),
        (format!("[{event},\n{event}]\n"), 2),
    ] {
        all_is_counted("unix", write.as_bytes(), each);
    }
}

/// Its client sends again what was not answered.
#[test]
fn what_a_client_of_http_was_told_is_taken_is_counted() {
    for end in &ENDS {
        let hook = Webhook::start();
        hook.always(Answer::status(end.status));
        let address = free_address();
        let source = format!("--source=http:{address}");
        let agent = start(&hook.url(), &[&[source.as_str()], end.options].concat());
        agent.wait_until_running();
        let (taken, ended) = thread::scope(|scope| {
            let client = scope.spawn(move || {
                let (mut client, event, mut taken) = (Client::connect(address), event(), 0);
                while let Ok((status, _)) = client.post(&event) {
                    taken += u64::from(status == 200);
                }
                taken
            });
            hook.wait_for_requests(2);
            let ended = end.of(agent);
            (client.join().unwrap(), ended)
        });
        let (balance, log) = (ended.balance(), ended.log);
        balance.holds();
        // The answer to the last request may have been cut off.
        assert!(
            (taken..=taken + 1).contains(&balance.received),
            "{taken} taken: {log}"
        );
        assert!(!log.contains(CUT_OFF), "{log}");
    }
}

/// A pipe can't be refused while the rest of it is read.
#[test]
fn a_pipe_that_is_written_to_until_the_end_is_counted_or_the_log_says_that_it_is_not() {
    for end in &ENDS {
        let ended = round("stdin", (event() + "\n").as_bytes(), end);
        if !ended.is_cut_off() {
            ended.holds(1);
        }
    }
}

/// Nobody would read it: while buffered events are sent, and none of a pipe any more.
#[test]
fn no_pipe_takes_events_that_nobody_will_read() {
    let (hook, dir) = (Webhook::start(), TempDir::new().unwrap());
    hook.hold();
    let agent = start_at(&pipe(&dir), &hook.url(), &["--shutdown-timeout=1h"]);
    let mut writer = writer(&dir);
    let mut written = 0;
    let mut write = || {
        let is_written = writer.write_all(b"{}\n").is_ok();
        written += u64::from(is_written);
        is_written
    };
    assert!(write());
    hook.wait_for_requests(1);
    agent.signal(libc::SIGTERM);
    eventually("no more is taken", || (!write()).then_some(()));
    hook.release();
    assert_eq!(agent.wait().done().delivered, written);
}

/// A named pipe in this directory.
fn pipe(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// Its end to write to, once the agent has the other one.
fn writer(dir: &TempDir) -> File {
    let path = dir.path().join("pipe");
    File::options().write(true).open(path).unwrap()
}
