//! The spool: what was answered survives outages, restarts and kills; what is damaged is counted; the disk may fail.

mod damage;
mod directory;
mod disk;
mod flow;
mod kills;
mod starts;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::source_http::{free_address, lines};
use crate::support::{Agent, AgentCommand, Answer, Client, Metrics, Webhook, event, within};

/// A state directory that outlives its agents, and what they are started with.
struct Host {
    dir: TempDir,
    hook: Webhook,
    address: SocketAddr,
    status: SocketAddr,
}

impl Host {
    fn new() -> Self {
        Host {
            dir: tempfile::tempdir().unwrap(),
            hook: Webhook::start(),
            address: free_address(),
            status: free_address(),
        }
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// Without a spool, and without a source.
    fn bare(&self) -> AgentCommand {
        Agent::command()
            .args(["run", "--auth-token=Splunk test", "--batch-age=5ms"])
            .args(["--backoff-min=10ms", "--backoff-max=50ms"])
            .arg("--state-dir")
            .arg(self.dir.path())
            .endpoint(&self.hook.url())
            .arg(format!("--status-listen={}", self.status))
    }

    fn command(&self) -> AgentCommand {
        self.bare().source(&format!("http:{}", self.address))
    }

    fn start(&self, options: &[&str]) -> Agent {
        start(self.command(), options)
    }

    fn client(&self) -> Client<TcpStream> {
        let client = Client::connect(self.address);
        client.stream.get_ref().set_nodelay(true).unwrap();
        client
    }

    #[track_caller]
    fn post(&self, body: &str) -> u16 {
        self.client().post(body).unwrap().0
    }

    fn metrics(&self) -> Metrics {
        Metrics::at(self.status)
    }

    /// Whether nothing waits to be delivered. At no moment is an event unaccounted for.
    fn is_idle(&self) -> bool {
        let metrics = self.metrics();
        metrics.hold();
        metrics.value("buffered_events") + metrics.value("spool_events") == 0
    }

    /// The spool's segments, the oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        files(&self.spool(), ".spool")
    }

    fn cli(&self, action: &str, more: &[&str]) -> (i32, String) {
        let ended = Agent::command()
            .args(["spool", action, "--state-dir"])
            .arg(self.dir.path())
            .args(more)
            .run();
        let text = String::from_utf8(ended.stdout).unwrap() + &ended.log;
        (ended.code.unwrap(), text)
    }
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    files
}

fn start(command: AgentCommand, options: &[&str]) -> Agent {
    let is_sized = options
        .iter()
        .any(|option| option.starts_with("--spool-bytes"));
    let size = (!is_sized).then_some("--spool-bytes=64MiB");
    let agent = command.args(options).args(size).spawn();
    agent.wait_for_log("started: ");
    agent
}

fn kill(agent: Agent) -> String {
    agent.signal(libc::SIGKILL);
    agent.wait().log
}

fn kill_and_serve(agent: Agent, hook: &Webhook) {
    kill(agent);
    hook.serve_what_comes();
}

/// What an agent that ends by itself, or is told to, says of its events.
#[track_caller]
fn stop(agent: Agent) -> (crate::support::Balance, String) {
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    (balance, ended.log)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(event).collect()
}

/// A spool with a few segments of a few hundred numbered events, whose agent was killed. Gives how many.
fn filled(host: &Host) -> usize {
    host.hook.always(Answer::status(503));
    let agent = host.start(&["--spool-bytes=1MiB"]);
    let mut count = 0;
    while host.segments().len() < 4 {
        assert_eq!(host.post(&lines(count..count + 3000)), 200);
        count += 3000;
    }
    wait_until_noted(host, count);
    kill_and_serve(agent, &host.hook);
    count
}

/// Once a second it is noted how much was written, so that what is gone from the end is missed.
fn wait_until_noted(host: &Host, count: usize) {
    within(Duration::from_secs(60), "that is noted", || {
        let position = fs::read(host.spool().join("position")).unwrap();
        let mut slots = position.chunks(512);
        slots.any(|slot| slot[24..32] == (count as u64).to_le_bytes())
    });
}
