//! `--state-dir`: each agent's own file, whole at every moment, written rarely; where it can't be written, that is an
//! error only if it was asked for.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::delivery::{feed, finish, numbered, start};
use super::support::{
    Agent, AgentCommand, Answer, BINARY, Balance, Ended, STATE_DIR, Webhook, eventually, within,
};

const DAY: Duration = Duration::from_secs(86_400);

/// A state directory that several agents share.
pub(crate) struct StateDir(TempDir);

impl StateDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn option(&self) -> String {
        format!("--state-dir={}", self.path().display())
    }

    /// An agent that has told of itself here.
    pub(crate) fn start(&self, endpoint: &str, more: &[&str]) -> Agent {
        let agent = start(endpoint, &[&[self.option().as_str()], more].concat());
        eventually("the agent's file", || self.of(&agent));
        agent
    }

    /// The file of this host's nth agent.
    pub(crate) fn file(&self, agent: usize) -> PathBuf {
        let number = match agent {
            1 => String::new(),
            agent => format!(".{agent}"),
        };
        self.path().join(format!("{}{number}.json", host()))
    }

    pub(crate) fn read(&self, agent: usize) -> Option<Value> {
        let text = fs::read(self.file(agent)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// What this agent has told.
    fn of(&self, agent: &Agent) -> Option<Value> {
        let states = (1..10).filter_map(|number| self.read(number));
        states.into_iter().find(|state| state["pid"] == agent.id())
    }

    /// All names but the locks'.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

pub(crate) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    name.trim().to_owned()
}

/// Else the service that the directory belongs to could not use them. Only root can give files away.
#[test]
fn what_root_leaves_in_the_directory_of_a_service_belongs_to_the_service() {
    let dir = StateDir::new();
    if chown(dir.path(), Some(4711), Some(4711)).is_err() {
        return eprintln!("skipped: not root");
    }
    let [log, rejects] = ["audit.log", "rejected.json"].map(|name| dir.path().join(name));
    fs::write(&log, numbered(0..1).concat()).unwrap();
    let webhook = Webhook::start();
    webhook.always(Answer::status(503));
    let options = [
        format!("--reject-file={}", rejects.display()),
        format!("--source=file:{}", log.display()),
    ];
    let [reject_file, source] = options.each_ref().map(String::as_str);
    let options = [
        reject_file,
        source,
        "--file-start=beginning",
        "--trail",
        "--source=stdin",
        "--spool-bytes=1MiB",
    ];
    let mut agent = dir.start(&webhook.url(), &options);
    feed(&mut agent, &numbered(1..2));
    let found = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten();
        // A temporary file may be gone meanwhile.
        let found = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.path(), entry.metadata().ok()?.uid()))
        });
        found.collect::<Vec<_>>()
    };
    let all = || [found(dir.path()), found(&dir.path().join("spool"))].concat();
    // Status, trail and checkpoint, each with its lock; the spool, its lock, position and segment; what is rejected.
    eventually("all files", || (all().len() > 11).then_some(()));
    // A file is made before it is given away.
    eventually("the service's files", || {
        let is_right =
            |(path, owner): &(PathBuf, u32)| *owner == if *path == log { 0 } else { 4711 };
        all().iter().all(is_right).then_some(())
    });
}

/// Makes a file as old as if nobody had written to it since.
pub(crate) fn age(file: &Path, by: Duration) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

/// The counts of a file, as those of the log's last line.
#[track_caller]
pub(crate) fn balance(state: &Value) -> Balance {
    let by_reason: BTreeMap<_, _> = state["dropped"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(reason, events)| (reason.replace('_', " "), events.as_u64().unwrap()))
        .filter(|(_, events)| *events > 0)
        .collect();
    let filtered = state["filtered"].as_object().unwrap().values();
    let balance = Balance {
        received: state["received"].as_u64().unwrap(),
        recovered: state["recovered"].as_u64().unwrap(),
        delivered: state["delivered"].as_u64().unwrap(),
        dropped: by_reason.values().sum(),
        by_reason,
        rejected: state["rejected"].as_u64().unwrap(),
        filtered: filtered.map(|events| events.as_u64().unwrap()).sum(),
        left: state["in_buffer"].as_u64().unwrap(),
    };
    balance.holds();
    let sources = state["sources"].as_array().unwrap().iter();
    let received: u64 = sources
        .map(|source| source["received"].as_u64().unwrap())
        .sum();
    assert_eq!(received, balance.received, "{state}");
    balance
}

/// Runs the agent on an empty input as a user without rights, with these variables and no other settings.
/// `None`, and the reason is printed, where there is no way to that.
fn run_unprivileged(args: &[&str], state_dir: Option<&Path>) -> Option<Ended> {
    let mut command = AgentCommand::of(BINARY).args(args).stdin(Stdio::null());
    if let Some(dir) = state_dir {
        command = command.env(STATE_DIR, dir);
    }
    command.spawn_as_nobody().map(Agent::wait)
}

#[test]
fn each_agent_of_a_host_has_a_file_of_its_own_and_leaves_its_balance_in_it() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let mut agents = Vec::new();
    for number in 1..=3 {
        let mut agent = dir.start(&hook.url(), &[]);
        assert_eq!(dir.read(number).unwrap()["pid"], agent.id());
        feed(&mut agent, &numbered(0..number * 10));
        feed(&mut agent, &vec!["{nonsense}".to_owned(); number]);
        agents.push(agent);
    }
    hook.wait_for_events(60);
    for (number, mut agent) in (1..).zip(agents) {
        let running = dir.read(number).unwrap();
        assert_eq!(running["ended"], Value::Null);
        agent.close_stdin();
        let ended = agent.wait();
        let state = dir.read(number).unwrap();
        assert_eq!(balance(&state), ended.balance(), "{}", ended.log);
        assert_eq!(state["delivered"], number * 10);
        assert_eq!(state["dropped"]["malformed"], number);
        assert_eq!(state["host"], host());
        assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(state["started"], running["started"]);
        assert_eq!(state["ended"], state["written"]);
        assert_eq!(state["webhook"]["state"], "connected");
        let endpoint = format!("http://{}", hook.address());
        assert_eq!(state["webhook"]["endpoint"], endpoint);
        assert!(state["webhook"]["last_delivery"].is_string());
        let mode = fs::metadata(dir.file(number)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o644, "for everybody to read");
    }

    // The first name is free again, and what stood there is another agent's from now on.
    let agent = dir.start(&hook.url(), &[]);
    let state = dir.read(1).unwrap();
    assert_eq!(
        (&state["pid"], &state["ended"]),
        (&agent.id().into(), &Value::Null)
    );
    assert_eq!(dir.names().len(), 3, "{:?}", dir.names());
}

#[test]
fn the_file_of_a_killed_agent_is_taken_over() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let killed = dir.start(&hook.url(), &[]);
    let second = dir.start(&hook.url(), &[]);
    // What an agent leaves that is killed while it writes; here it is even a link to what is not its own.
    let precious = dir.path().join("precious");
    fs::write(&precious, "mine").unwrap();
    symlink(&precious, dir.path().join(format!(".{}.json.new", host()))).unwrap();
    killed.signal(libc::SIGKILL);
    killed.wait();
    assert_eq!(dir.read(1).unwrap()["ended"], Value::Null);

    let next = dir.start(&hook.url(), &[]);
    assert_eq!(dir.read(1).unwrap()["pid"], next.id());
    assert_eq!(dir.read(2).unwrap()["pid"], second.id());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
}

#[test]
fn it_is_written_rarely_and_is_always_whole() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let mut busy = dir.start(&hook.url(), &[]);
    let _idle = dir.start(&hook.url(), &[]);
    let began = Instant::now();
    let mut versions: [Vec<(u64, u64)>; 2] = Default::default();
    let mut fed = 0;
    while versions[0].len() < 2 {
        feed(&mut busy, &numbered(fed..fed + 1));
        fed += 1;
        // Many events while a file is as old as it gets, and no busy loop.
        thread::sleep(Duration::from_millis(20));
        for (number, versions) in (1..).zip(&mut versions) {
            let state = dir.read(number).unwrap();
            let inode = fs::metadata(dir.file(number)).unwrap().ino();
            // One that was given out again comes with other figures.
            let version = (inode, balance(&state).received);
            if versions.last().is_none_or(|last| last.0 != inode) {
                versions.push(version);
            }
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(60), "{took:?}: {versions:?}");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4), "{took:?}: {versions:?}");
    assert_eq!(versions[1].len(), 1, "nothing has changed: {versions:?}");
    let (balance_now, _) = finish(busy, &hook, &numbered(0..fed));
    assert_eq!(balance(&dir.read(1).unwrap()), balance_now);
}

#[test]
fn a_directory_that_was_given_is_made_and_must_work() {
    let dir = StateDir::new();
    let run = |path: &Path| {
        let agent =
            Agent::command().args(["run", "--endpoint=http://127.0.0.1:9", "--auth-token=x"]);
        agent.arg("--state-dir").arg(path).run()
    };
    let made = dir.path().join("made");
    let ended = run(&made);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o755);
    assert!(made.join(format!("{}.json", host())).exists());

    let file = made.join(format!("{}.json", host()));
    let ended = run(&file);
    let message = format!("WARN  {}: can't be written to", file.display());
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.log.matches(&message).count(), 1, "{}", ended.log);
}

#[test]
fn a_directory_that_was_given_is_waited_for_until_its_filesystem_is_mounted() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let mount = dir.path().join("mount");
    let inner = mount.join("state");
    let log = dir.path().join("audit.log");
    fs::write(&log, numbered(0..1)[0].clone()).unwrap();
    let (state, file) = (
        format!("--state-dir={}", inner.display()),
        format!("--source=file:{}", log.display()),
    );
    let mut agent = start(&hook.url(), &[&state, "--source=stdin", &file]);
    let line = agent.wait_for_log("waiting for it");
    let what = format!("WARN  {}: can't be created: No such file", inner.display());
    assert!(line.contains(&what), "{line}");
    // Other sources are read.
    feed(&mut agent, &numbered(1..2));
    hook.wait_for_events(1);
    fs::create_dir(&mount).unwrap();
    hook.wait_for_events(2);
    let name = inner.join(format!("{}.json", host()));
    within(Duration::from_secs(60), "the first file", || name.exists());
    assert_eq!(agent.log().matches("waiting for it").count(), 1);
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(ended.done().delivered, 2, "{}", ended.log);
}

#[test]
fn without_the_right_to_write_a_directory_that_was_given_is_waited_for() {
    let dir = StateDir::new();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("webhook.env");
    fs::write(&config, "").unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    let config = format!("--config={}", config.display());
    let args = [
        "run",
        &config,
        "--endpoint=http://127.0.0.1:9",
        "--auth-token=x",
    ];

    let Some(Ended { code, log, .. }) = run_unprivileged(&args, Some(dir.path())) else {
        return;
    };
    assert_eq!(code, Some(0), "{log}");
    let named = format!("WARN  {}: can't be written to", dir.path().display());
    assert!(log.contains(&named), "{log}");

    let Ended { code, log, .. } = run_unprivileged(&args, None).unwrap();
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("/var/lib/"))
        .collect();
    assert_eq!(lines.len(), 1, "it says so once: {log}");
    assert!(
        lines[0].contains("INFO  `show` can't show this agent"),
        "{log}"
    );
    assert!(lines[0].contains("--state-dir"), "{log}");
}

#[test]
fn a_dry_run_tells_nothing() {
    let dir = StateDir::new();
    let ended = Agent::command()
        .args(["run", "--dry-run", &dir.option()])
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_goes_away_is_told_once_and_costs_no_event() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let inner = dir.path().join("state");
    let away = dir.path().join("away");
    let mut agent = start(&hook.url(), &[&format!("--state-dir={}", inner.display())]);
    let file = inner.join(format!("{}.json", host()));
    within(Duration::from_secs(60), "the first file", || file.exists());
    fs::rename(&inner, &away).unwrap();
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("can't write the status of this agent for `show`");
    assert!(line.contains(&file.display().to_string()), "{line}");
    feed(&mut agent, &numbered(1..2));
    hook.wait_for_events(2);
    fs::rename(&away, &inner).unwrap();
    agent.wait_for_log("`show` has the status of this agent again after");
    let (balance_now, log) = finish(agent, &hook, &numbered(0..2));
    assert_eq!(log.matches("`show`").count(), 2, "{log}");
    let state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(balance(&state), balance_now);
}

#[test]
fn agents_not_heard_of_for_a_month_are_removed_when_that_is_asked_for() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let ours = json!({"program": "s3-audit-webhook", "host": "gone"}).to_string();
    for (name, text, days) in [
        ("gone.json", ours.as_str(), 31),
        ("away.json", &ours, 29),
        ("other.json", r#"{"program":"other","host":"gone"}"#, 31),
        ("garbage.json", "garbage", 31),
        ("gone.txt", &ours, 31),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        age(&path, days * DAY);
    }
    let lock = dir.path().join(".gone.lock");
    fs::write(&lock, "").unwrap();

    // No agent removes another's file, which may be one of a host that is down for long.
    let _agent = dir.start(&hook.url(), &[]);
    let own = format!("{}.json", host());
    within(Duration::from_secs(60), "its own file", || {
        dir.path().join(&own).exists()
    });
    assert!(dir.path().join("gone.json").exists());
    let shown = Agent::command()
        .args(["show", "--config=/dev/null", "--prune", &dir.option()])
        .run();
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(!lock.exists());
    let mut expected = vec!["away.json", "garbage.json", "gone.txt", "other.json", &own];
    expected.sort_unstable();
    assert_eq!(dir.names(), expected);
}

/// Such as one that was written while its host's clock was wrong.
#[test]
fn a_file_dated_in_the_future_makes_no_other_agent_silent() {
    let dir = StateDir::new();
    let ours = json!({"program": "s3-audit-webhook", "host": "h"}).to_string();
    for name in ["fresh.json", "future.json"] {
        fs::write(dir.path().join(name), &ours).unwrap();
    }
    let future = File::options()
        .write(true)
        .open(dir.path().join("future.json"));
    let later = SystemTime::now() + 400 * DAY;
    future.unwrap().set_modified(later).unwrap();
    let shown = Agent::command()
        .args([
            "show",
            "--config=/dev/null",
            "--json",
            "--prune",
            &dir.option(),
        ])
        .run();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let agents = shown["agents"].as_array().unwrap().iter();
    let states: Vec<_> = agents
        .map(|agent| (&agent["name"], &agent["status"]))
        .collect();
    let up = json!("up");
    assert_eq!(states, [(&json!("fresh"), &up), (&json!("future"), &up)]);
}

/// Each event that is delivered would make another one, without end.
#[test]
fn a_source_that_reads_what_the_agent_writes_is_refused() {
    let dir = StateDir::new();
    symlink(dir.path(), dir.path().join("link")).unwrap();
    for (source, more, is_refused) in [
        ("*.log*", "", true),
        ("link/*.log*", "", true),
        ("**", "", true),
        ("*", "", true),
        ("*.json", "", true),
        ("*.log", "", false),
        ("audit.log*", "", false),
        ("*.log*", "--exclude-files=*.checkpoint", false),
        ("logs/*", "--exclude-files=x", false),
        ("*.spool", "", false),
        ("*/*.spool", "--spool-bytes=1MiB", true),
        ("*.trail", "", false),
        ("*.trail", "--trail", true),
    ] {
        let ended = Agent::command()
            .args([
                "check",
                "--endpoint=http://127.0.0.1:1/",
                "--auth-token=none",
            ])
            .arg(dir.option())
            .arg(format!("--source=file:{}/{source}", dir.path().display()))
            .args(Some(more).filter(|more| !more.is_empty()))
            .run();
        let found = ended.log.contains("reads what the agent itself writes, ");
        assert_eq!(found, is_refused, "{source} {more}: {}", ended.log);
        assert_eq!(ended.code == Some(2), is_refused, "{}", ended.log);
    }
}
