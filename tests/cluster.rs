//! One webhook for the whole cluster: agents that share a settings file follow it together, whatever happens to it, and
//! the commands work as the guide prints them.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::delivery::taken;
use super::support::{Agent, AgentCommand, Balance, Request, Webhook, eventually, unchanged_for};

const AGENTS: u64 = 3;

/// What all hosts of a cluster mount, and a place for the socket of each.
struct Cluster {
    dir: TempDir,
    agents: Vec<Agent>,
}

impl Cluster {
    /// Nobody has enabled anything yet.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            dir,
            agents: Vec::new(),
        };
        for host in 0..AGENTS {
            let source = format!("--source=unix-listen:{}", cluster.socket(host).display());
            let agent = cluster.command(&["run", &source]);
            let options = ["--batch-age=0", "--backoff-min=5ms", "--backoff-max=20ms"];
            cluster.agents.push(agent.args(options).spawn());
        }
        for agent in &cluster.agents {
            agent.wait_for_log("webhook not enabled yet");
        }
        cluster
    }

    fn socket(&self, host: u64) -> PathBuf {
        self.dir.path().join(format!("{host}.sock"))
    }

    fn command(&self, args: &[&str]) -> AgentCommand {
        Agent::command()
            .env(
                "S3_AUDIT_WEBHOOK_CONFIG",
                self.dir.path().join("webhook.env"),
            )
            .env("S3_AUDIT_WEBHOOK_STATE_DIR", self.dir.path())
            .args(args)
    }

    /// Runs a command of an administrator, on whichever host.
    #[track_caller]
    fn admin(&self, args: &[&str]) {
        let ended = self.command(args).run();
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.log);
    }

    #[track_caller]
    fn enable(&self, hook: &Webhook, token: &str) {
        self.admin(&[
            "enable",
            "--no-test",
            "--endpoint",
            &hook.url(),
            "--auth-token",
            token,
        ]);
    }

    /// Does not wait until the agents look again by themselves.
    fn tell_agents(&self) {
        self.agents
            .iter()
            .for_each(|agent| agent.signal(libc::SIGHUP));
    }

    fn wait_for_all(&self, line: &str) {
        for agent in &self.agents {
            agent.wait_for_log(line);
        }
    }

    /// What `show` tells of each agent: received, delivered, dropped.
    fn shown(&self) -> Vec<[u64; 3]> {
        let ended = self.command(&["show", "--json"]).run();
        let shown: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        let agents = shown["agents"].as_array().unwrap().iter();
        let counts = agents.map(|agent| {
            let dropped = agent["dropped"].as_object().unwrap().values();
            let dropped = dropped.map(|events| events.as_u64().unwrap()).sum();
            let count = |name: &str| agent[name].as_u64().unwrap();
            [count("received"), count("delivered"), dropped]
        });
        counts.collect()
    }

    /// Ends all agents, and gives their balances.
    fn end(&mut self) -> Vec<Balance> {
        let agents = std::mem::take(&mut self.agents).into_iter();
        let balances = agents.map(|agent| {
            agent.signal(libc::SIGTERM);
            agent.wait().done()
        });
        balances.collect()
    }
}

fn event(host: u64, number: u64) -> String {
    format!(r#"{{"host":{host},"number":{number}}}"#)
}

/// Each host's writer writes events, a few hundred a second, until `stop`; gives how many each has written.
fn while_events_come(cluster: &Cluster, during: impl FnOnce()) -> Vec<u64> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..AGENTS)
            .map(|host| {
                let (stop, socket) = (&stop, cluster.socket(host));
                scope.spawn(move || {
                    let mut socket = UnixStream::connect(socket).unwrap();
                    let mut written = 0;
                    while !stop.load(Ordering::Relaxed) {
                        writeln!(socket, "{}", event(host, written)).unwrap();
                        written += 1;
                        thread::sleep(Duration::from_millis(4));
                    }
                    written
                })
            })
            .collect();
        // So that a failure ends the writers, too.
        let done = panic::catch_unwind(AssertUnwindSafe(during));
        stop.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|failure| panic::resume_unwind(failure));
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    })
}

#[test]
fn one_command_moves_all_agents_and_one_stops_them_all() {
    let hooks = [Webhook::start(), Webhook::start()];
    let mut cluster = Cluster::start();
    cluster.enable(&hooks[0], "Splunk one");
    // By themselves, within some seconds.
    cluster.wait_for_all("enabled (");
    let written = while_events_come(&cluster, || {
        hooks[0].wait_for_events(100);
        cluster.enable(&hooks[0], "Splunk two");
        cluster.wait_for_all("settings changed (");
        let before = hooks[0].event_count();
        hooks[0].wait_for_events(before + 100);
        cluster.enable(&hooks[1], "Splunk three");
        for agent in &cluster.agents {
            agent.wait_for_nth_log(2, "settings changed (");
        }
        eventually("each host's events arrive there", || {
            let arrived = taken(&hooks[1]).concat();
            let mut hosts = (0..AGENTS).map(|host| format!(r#""host":{host},"#));
            hosts.all(|host| arrived.contains(&host)).then_some(())
        });
        cluster.admin(&["disable"]);
        cluster.wait_for_all("webhook disabled by");
        let requests = || hooks[1].request_count();
        unchanged_for(
            Duration::from_millis(400),
            "nobody posts any more",
            requests,
        );
    });

    let delivered: usize = hooks.iter().map(|hook| taken(hook).len()).sum();
    let balances = cluster.end();
    let counts = |balance: &Balance| [balance.received, balance.delivered, balance.dropped];
    let mut counted: Vec<_> = balances.iter().map(counts).collect();
    let mut shown = cluster.shown();
    counted.sort();
    shown.sort();
    assert_eq!(shown, counted, "show and the logs");
    for (balance, written) in balances.iter().zip(&written) {
        assert_eq!(balance.received, *written);
        assert_eq!(balance.dropped, balance.by_reason["disabled"]);
        assert!(balance.delivered > 0, "{balance:?}");
    }
    assert_eq!(
        balances
            .iter()
            .map(|balance| balance.delivered)
            .sum::<u64>(),
        delivered as u64
    );
}

#[test]
fn a_hundred_changes_under_load_lose_and_double_nothing_and_never_mix_two_settings() {
    const CHANGES: usize = 100;
    let hooks = [Webhook::start(), Webhook::start()];
    let tokens = ["Splunk of-the-first", "Splunk of-the-second"];
    let mut cluster = Cluster::start();
    cluster.enable(&hooks[0], tokens[0]);
    cluster.tell_agents();
    cluster.wait_for_all("enabled (");

    let written = while_events_come(&cluster, || {
        for change in 1..=CHANGES {
            let now = change % 2;
            cluster.enable(&hooks[now], tokens[now]);
            cluster.tell_agents();
            // Each is in force for a while, however short.
            let before = hooks[now].request_count();
            hooks[now].wait_for_requests(before + 1);
        }
    });

    let written: Vec<_> = (0..AGENTS)
        .flat_map(|host| (0..written[host as usize]).map(move |number| event(host, number)))
        .collect();
    eventually("all arrive", || {
        let arrived: usize = hooks.iter().map(Webhook::event_count).sum();
        (arrived >= written.len()).then_some(())
    });
    let balances = cluster.end();
    let mut arrived: Vec<_> = hooks.iter().flat_map(taken).collect();
    let mut expected = written.clone();
    arrived.sort();
    expected.sort();
    assert!(
        arrived == expected,
        "{} of {}",
        arrived.len(),
        expected.len()
    );
    for balance in balances {
        assert_eq!(balance.dropped, 0, "{balance:?}");
    }
    for (hook, token) in hooks.iter().zip(tokens) {
        let requests = hook.requests();
        assert!(requests.len() > CHANGES / 4, "{}", requests.len());
        let is_right = |request: &Request| request.header("Authorization") == Some(token);
        assert!(requests.iter().all(is_right));
    }
}
