//! An agent with drawn settings, under load, before several endpoints that can fail.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::chaos::books::{Id, LISTED};
use crate::chaos::dice::Dice;
use crate::chaos::fault::{Fault, Host, Place};
use crate::chaos::load::{CLIENT, LOG, Load, Places, SOCKET, Told, Written};
use crate::chaos::rig::rotate;
use crate::source_http::free_address;
use crate::status::get;
use crate::support::{Agent, Metrics, STATE_DIR, Webhook, Wire, WireFault, own_loopback, poll};

use super::archive::{Archive, Content, id, lines};
use super::draw::Draw;
use super::sums::Sums;

/// How long delivery of everything may take once all faults have ended; only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) struct Rig {
    draw: Draw,
    pub(super) load: Load,
    agent: Agent,
    endpoints: Vec<(Webhook, Wire)>,
    pub(super) archive: Arc<Archive>,
    places: Places,
    status: SocketAddr,
    rejected: PathBuf,
    was_killed: bool,
    rotations: usize,
    dir: TempDir,
}

impl Rig {
    /// Starts everything, with this many events at a time through the socket.
    pub(super) fn start(draw: Draw, burst: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = Arc::new(Archive::new(&draw));
        let endpoints: Vec<_> = (0..draw.endpoints)
            .map(|number| {
                let hook = Webhook::builder().forgetful().start();
                let archive = Arc::clone(&archive);
                hook.answer_by(move |request| archive.enter(number, request));
                let wire = Wire::to(hook.address(), own_loopback());
                (hook, wire)
            })
            .collect();
        let places = Places {
            socket: dir.path().join("socket"),
            log: dir.path().join("audit.log"),
            http: free_address(),
        };
        fs::write(&places.log, "").unwrap();
        let (status, rejected) = (free_address(), dir.path().join("rejected"));
        let agent = spawn(&draw, &places, &endpoints, status, &dir);
        Rig {
            load: Load::start(&places, burst),
            agent,
            endpoints,
            archive,
            places,
            status,
            rejected,
            was_killed: false,
            rotations: 0,
            dir,
            draw,
        }
    }

    /// Causes a fault at one endpoint, or at all of them, and perhaps a kill.
    pub(super) fn befall(&mut self, dice: &mut Dice) -> String {
        let fault = Fault::draw(dice);
        let count = self.endpoints.len() as u64;
        // One more than there are means all of them.
        let which = dice.below(count + 1) as usize;
        let hit: Vec<usize> = (0..count as usize)
            .filter(|number| which == *number || which == count as usize)
            .collect();
        let lasting = Duration::from_millis(50 + dice.below(1200));
        let is_killed = self.draw.kills && dice.below(3) == 0;
        for number in &hit {
            let (hook, wire) = &mut self.endpoints[*number];
            match &fault.place {
                Place::Answer(_, answer, meaning) => {
                    self.archive.give(*number, (**answer).clone(), *meaning);
                }
                Place::Picky => self.archive.pick(*number),
                Place::Killed => {
                    hook.stop();
                    self.archive.forget(*number);
                }
                Place::Wire(fault) => wire.set(*fault),
                Place::Nowhere => {}
            }
        }
        match fault.host {
            Host::Stopped => self.agent.signal(libc::SIGSTOP),
            Host::NoDescriptors => {
                self.agent.leave_descriptors(0);
                self.endpoints.iter().for_each(|(_, wire)| wire.cut());
            }
            Host::Reload => self.agent.signal(libc::SIGHUP),
            Host::LogRotated => rotate(&self.agent, &self.places.log, &mut self.rotations),
            Host::Nothing => {}
        }
        // As long as the dice have said.
        std::thread::sleep(lasting / 2);
        if fault.host == Host::Stopped {
            self.agent.signal(libc::SIGCONT);
        }
        let is_killed = is_killed && self.kill();
        std::thread::sleep(lasting / 2);
        if fault.host == Host::NoDescriptors {
            self.agent.leave_descriptors(500);
        }
        for number in hit {
            let (hook, wire) = &mut self.endpoints[number];
            match fault.place {
                Place::Killed => hook.restart(),
                Place::Wire(_) => wire.set(WireFault::None),
                _ => {}
            }
            if fault.ends_with_cut {
                wire.cut();
            }
        }
        self.archive.calm();
        let kill = if is_killed { ", agent killed" } else { "" };
        format!("{fault} at {which} of {count} for {lasting:?}{kill}")
    }

    /// kill -9, and the next start. Not before the first checkpoint, for which a fault may leave no descriptor: until then
    /// an agent does not know of a file that was renamed.
    fn kill(&mut self) -> bool {
        let dir = self.dir.path();
        let is_checkpoint = |path: PathBuf| path.extension().is_some_and(|it| it == "checkpoint");
        let found = poll(Duration::from_secs(2), || {
            let mut files = fs::read_dir(dir).unwrap();
            let is_there = files.any(|file| is_checkpoint(file.unwrap().path()));
            is_there.then_some(())
        });
        if found.is_none() {
            return false;
        }
        self.agent.kill();
        self.was_killed = true;
        self.agent = spawn(
            &self.draw,
            &self.places,
            &self.endpoints,
            self.status,
            &self.dir,
        );
        true
    }

    /// The current figures. Nothing is unaccounted for at any moment.
    fn metrics(&self) -> Metrics {
        let metrics = Metrics::at(self.status);
        metrics.hold();
        metrics
    }

    /// The servers pause, and all faults have ended: waits until nothing is left to be sent; by then each event is
    /// where it belongs.
    pub(super) fn settle(&self) -> Sums {
        let pause = self.load.pause();
        let written = self.load.written();
        let mut unlike = Vec::new();
        let settled = poll(PATIENCE, || {
            let metrics = self.metrics();
            let left = metrics.value("buffered_events") + self.in_spool(&metrics);
            unlike = match left <= self.records_under_way() {
                true => self
                    .archive
                    .look(|content| self.compare(&written, &metrics, content)),
                false => vec![format!("{left} left")],
            };
            unlike.is_empty().then_some(metrics)
        });
        drop(pause);
        let Some(metrics) = settled else {
            self.fail(&unlike.join("\n"));
        };
        let ((taken, repeated), records) = self
            .archive
            .look(|content| (content.counts(), content.records.len() as u64));
        Sums {
            taken,
            repeated,
            rejected: metrics.value("events_rejected_total"),
            filtered: metrics.filtered(),
            dropped: metrics.sum("events_dropped_total"),
            records,
            resident_kib: self.agent.resident_kib(),
            descriptors: self.agent.descriptors().len(),
            threads: self.agent.threads(),
        }
    }

    /// The records of a trail that are waiting to be indexed: new ones come all the time.
    fn records_under_way(&self) -> u64 {
        if self.draw.trail { 3 } else { 0 }
    }

    fn in_spool(&self, metrics: &Metrics) -> u64 {
        match self.draw.spool {
            Some(_) => metrics.value("spool_events"),
            None => 0,
        }
    }

    fn is_filtered(&self, (_, number): Id) -> bool {
        self.draw.excludes && number % LISTED == 0
    }

    /// The figures that do not agree. There must be none once everything has ended.
    fn compare(&self, written: &Written, metrics: &Metrics, content: &Content) -> Vec<String> {
        let mut unlike = Vec::new();
        let in_file = fs::read(&self.rejected).unwrap_or_default();
        let saved: BTreeSet<Id> = lines(&in_file).filter_map(|line| id(&line)).collect();
        let saved_records = lines(&in_file).filter(|line| id(line).is_none()).count();
        let innocent = saved.iter().filter(|id| !content.refused.contains(id));
        let mut none = |what: &str, these: Vec<Id>| {
            if !these.is_empty() {
                unlike.push(format!(
                    "{what}: {} {:?}",
                    these.len(),
                    &these[..these.len().min(9)]
                ));
            }
        };
        none("rejected without a refusal", innocent.copied().collect());
        let all = |source: usize, count: usize| (0..count).map(move |number| (source, number));
        let is_there = |id: &Id| content.has(*id) || content.refused.contains(id);
        let sent = |ids: Vec<Id>| -> Vec<Id> {
            ids.into_iter()
                .filter(|id| !self.is_filtered(*id))
                .collect()
        };
        let missing = |ids: Vec<Id>| -> Vec<Id> {
            sent(ids).into_iter().filter(|id| !is_there(id)).collect()
        };
        none(
            "missing of the log",
            missing(all(LOG, written.events[LOG]).collect()),
        );
        let told = |told: Told| -> Vec<Id> {
            all(CLIENT, written.told.len())
                .filter(|(_, number)| written.told[*number] == told)
                .collect()
        };
        if self.draw.outlives_kills() {
            none("acknowledged but missing", missing(told(Told::Taken)));
        }
        let busy = told(Told::Busy).into_iter().filter(is_there);
        none("refused with 503 but there", busy.collect());
        let excluded = content
            .taken
            .iter()
            .enumerate()
            .flat_map(|(source, taken)| {
                let ids = (0..taken.len()).map(move |number| (source, number));
                ids.filter(|id| self.is_filtered(*id) && content.has(*id))
            });
        none("excluded but there", excluded.collect());
        if content.had_secrets && self.draw.redacts {
            unlike.push("a secret is there".into());
        }
        if !self.was_killed {
            let lost = missing(all(SOCKET, written.events[SOCKET]).collect()).len();
            let saved = (saved.len() + saved_records) as u64;
            self.compare_counts(written, metrics, content, saved, lost as u64, &mut unlike);
        }
        unlike
    }

    /// Compares all counts of an agent that was never killed.
    fn compare_counts(
        &self,
        written: &Written,
        metrics: &Metrics,
        content: &Content,
        saved: u64,
        lost: u64,
        unlike: &mut Vec<String>,
    ) {
        let nothing = written.told.iter().filter(|told| **told == Told::Nothing);
        let nothing = nothing.count() as u64;
        let mut is = |what: &str, is: u64, least: u64, most: u64| {
            if !(least..=most).contains(&is) {
                unlike.push(format!(
                    "{what}: {is}, but {least} to {most} by the others' word"
                ));
            }
        };
        let received = |name: String| metrics.of("events_received_total", "source", &name);
        let [socket, log] = written.events.map(|count| count as u64);
        let name = format!("unix-listen:{}", self.places.socket.display());
        is("received by the socket", received(name), socket, socket);
        let name = format!("file:{}", self.places.log.display());
        is("received of the log", received(name), log, log);
        let taken = written.told.iter().filter(|told| **told == Told::Taken);
        let taken = taken.count() as u64;
        let name = format!("http:{}", self.places.http);
        is("received by http", received(name), taken, taken + nothing);
        is("dropped", metrics.sum("events_dropped_total"), lost, lost);
        let filtered = |source: usize, count: u64| {
            let ids = (0..count as usize).map(|number| (source, number));
            ids.filter(|id| self.is_filtered(*id)).count() as u64
        };
        let by_client = (0..written.told.len())
            .filter(|number| written.told[*number] == Told::Taken)
            .filter(|number| self.is_filtered((CLIENT, *number)))
            .count() as u64;
        let least = filtered(SOCKET, socket) + filtered(LOG, log) + by_client;
        is("filtered", metrics.filtered(), least, least + nothing);
        let rejected = metrics.value("events_rejected_total");
        let delivered = metrics.value("events_delivered_total");
        let records = content.records.len() as u64;
        let there = content.counts().0 + records;
        let refused = content.refused.iter().filter(|id| !content.has(**id));
        let refused = refused.count() as u64;
        // One may be taken after the answer that refused it was lost, or refused after a lost answer that took it.
        let both = content.refused.len() as u64 - refused;
        let again = content.refused_records;
        is("rejected", rejected, refused, refused + both + again);
        let sum = there + refused;
        let least = sum - self.records_under_way();
        is(
            "delivered and rejected",
            delivered + rejected,
            least,
            sum + again,
        );
        if self.draw.reject_file {
            // Without a descriptor the file can't be opened, which is counted.
            let [in_file, unsaved] =
                ["rejected_saved_total", "rejected_unsaved_total"].map(|name| metrics.value(name));
            is("saved or not", in_file + unsaved, rejected, rejected);
            is("in the reject file", saved, in_file, in_file);
        }
    }

    fn fail(&self, what: &str) -> ! {
        let log = self.agent.log();
        let skipped = log.len().saturating_sub(4000);
        let (_, page) = get(self.status, "/metrics");
        let log = String::from_utf8_lossy(&log.as_bytes()[skipped..]).into_owned();
        panic!("{:?}\n{what}\n{page}\n…{log}", self.draw);
    }

    /// Ends the agent: nothing is left, as the archive and the spool confirm.
    pub(super) fn end(mut self) -> Sums {
        self.load.stop();
        let sums = self.settle();
        self.agent.signal(libc::SIGTERM);
        let ended = self.agent.wait();
        let balance = ended.done();
        if !self.was_killed {
            let (ends, again) = self.archive.look(|content| {
                let refused = content.refused.iter().filter(|id| !content.has(**id));
                let ends = content.counts().0 + (content.records.len() + refused.count()) as u64;
                (ends, content.refused_records)
            });
            let ended_with = balance.delivered + balance.rejected;
            let range = ends..=ends + again;
            assert!(
                range.contains(&ended_with),
                "{ended_with} of {range:?}: {}",
                ended.log
            );
        }
        assert!(!ended.log.contains("panicked"), "{}", ended.log);
        if self.draw.spool.is_some() {
            let state = format!("--state-dir={}", self.dir.path().display());
            let spool = Agent::command().args(["spool", "verify", &state]).run();
            assert_eq!(spool.code, Some(0), "{}", spool.log);
        }
        if let Some(found) = self.archive.verified() {
            let text = String::from_utf8_lossy(&found.stdout).into_owned();
            eprintln!("  {}", text.replace('\n', "\n  "));
            let log = &ended.log;
            assert_eq!(found.code, Some(0), "{text}\n{:?}\n{log}", self.draw);
            assert!(
                balance.dropped == 0 || text.contains("which the trail says"),
                "{text}"
            );
        }
        sums
    }
}

fn spawn(
    draw: &Draw,
    places: &Places,
    endpoints: &[(Webhook, Wire)],
    status: SocketAddr,
    dir: &TempDir,
) -> Agent {
    let mut command = Agent::command()
        .args(["run", "--auth-token=Splunk chaos"])
        .args([
            "--batch-age=20ms",
            "--report-interval=1s",
            "--connect-timeout=500ms",
        ])
        .args([
            "--request-timeout=1s",
            "--backoff-min=10ms",
            "--backoff-max=300ms",
        ])
        .args(draw.options())
        .env(STATE_DIR, dir.path())
        .source(&format!("unix-listen:{}", places.socket.display()))
        .source(&format!("file:{}", places.log.display()))
        .source(&format!("http:{}", places.http))
        .arg(format!("--status-listen={status}"));
    if draw.reject_file {
        let file = dir.path().join("rejected");
        command = command.arg("--reject-file").arg(file);
    }
    for (_, wire) in endpoints {
        command = command.endpoint(&format!("http://{}{}", wire.address(), draw.path()));
    }
    let agent = command.spawn();
    agent.wait_for_log("started: ");
    agent.wait_until_running();
    agent
}
