//! The settings that a run draws.

use std::time::Duration;

use crate::chaos::dice::Dice;

/// The settings that an agent is started with.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    /// `--connections`
    pub(super) connections: u64,
    /// How many endpoints there are.
    pub(super) endpoints: usize,
    /// Whether the endpoints are used at the same time.
    pub(super) spread: bool,
    /// `--hec-ack`, and how long indexing takes.
    pub(super) indexing: Option<Duration>,
    pub(super) trail: bool,
    /// `--spool-sync`, and `--spool-bytes`.
    pub(super) spool: Option<(&'static str, &'static str)>,
    pub(super) reject_file: bool,
    /// A rule leaves events out.
    pub(super) excludes: bool,
    /// A rule masks them.
    pub(super) redacts: bool,
    pub(super) waits: bool,
    pub(super) gzip: bool,
    /// The agent is killed now and then.
    pub(super) kills: bool,
    /// `--buffer-events`, five batches.
    pub(super) buffer: u64,
}

impl Draw {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut coin = |one_of: u64| dice.below(one_of) == 0;
        let (is_spread, has_acks, trail, has_spool) = (coin(2), coin(3), coin(2), coin(2));
        let (reject_file, excludes, redacts) = (!coin(4), coin(2), coin(2));
        let (waits, gzip, kills) = (coin(3), coin(3), coin(3));
        Draw {
            connections: dice.one_of(&[1, 2, 4, 4]),
            endpoints: dice.one_of(&[1, 2, 3]),
            spread: is_spread,
            indexing: has_acks.then(|| Duration::from_millis(dice.below(300))),
            trail,
            spool: has_spool.then(|| {
                let sync = dice.one_of(&["never", "second", "always"]);
                (sync, dice.one_of(&["1MiB", "64MiB"]))
            }),
            reject_file,
            excludes,
            redacts,
            waits,
            gzip,
            kills,
            buffer: dice.one_of(&[1500, 1500, 20_000]),
        }
    }

    /// All options except kills, after which counts start anew; writers must wait.
    pub(super) fn all() -> Self {
        Draw {
            connections: 4,
            endpoints: 3,
            spread: true,
            indexing: Some(Duration::from_millis(50)),
            trail: true,
            spool: Some(("second", "64MiB")),
            reject_file: true,
            excludes: true,
            redacts: true,
            waits: true,
            gzip: false,
            kills: false,
            buffer: 50_000,
        }
    }

    /// Whether an event that was answered survives a kill.
    pub(super) fn outlives_kills(&self) -> bool {
        !self.kills || self.spool.is_some()
    }

    /// Where an endpoint takes events.
    pub(super) fn path(&self) -> &'static str {
        match self.trail {
            true => "/services/collector/event",
            false => "/services/collector/raw",
        }
    }

    /// The options, except endpoints and sources.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = vec![
            format!("--connections={}", self.connections),
            format!("--buffer-events={}", self.buffer),
            format!("--batch-events={}", self.buffer / 5),
        ];
        let mut add = |is_on: bool, these: &[&str]| {
            let these = these.iter().filter(|_| is_on);
            options.extend(these.map(|option| option.to_string()));
        };
        add(self.spread, &["--endpoint-mode=spread"]);
        let ack = ["--hec-ack", "--hec-ack-timeout=2s"];
        add(self.indexing.is_some(), &ack);
        let trail = ["--trail", "--trail-interval=500ms", "--format=hec"];
        add(self.trail, &trail);
        add(self.excludes, &["--exclude=op=list"]);
        add(self.redacts, &["--redact-field=key"]);
        add(self.waits, &["--when-full=wait"]);
        add(self.gzip, &["--compress=gzip"]);
        if let Some((sync, size)) = self.spool {
            add(true, &[&format!("--spool-sync={sync}")]);
            add(true, &[&format!("--spool-bytes={size}")]);
        }
        options
    }
}
