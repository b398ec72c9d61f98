//! The steps of a spool's threads, one at a time and in any order, on a disk that fails: what sources were told holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::{FakeDir, dice};
use super::life::{LIMIT, Life, SEGMENT, chunk, retry};
use super::sync_mode;
use crate::buffer::spool::trouble::TRIED;
use crate::buffer::spool::{Appended, Files, SyncMode, segments};

#[derive(Debug, Clone)]
enum Act {
    /// A client sends an event of this length, and waits.
    Client(usize),
    /// A stream brings an event of this length.
    Stream(usize),
    /// The writing thread's turn.
    Write,
    /// The syncing thread's turn; once a second everything is due.
    Tick(bool),
    /// After this many calls the disk fails, because it is full or not; `shrinks`: files can still be made shorter.
    Fail {
        calls: usize,
        is_full: bool,
        shrinks: bool,
    },
    Heal,
    /// A failed disk is due to be tried again.
    Retry,
    /// What is in the spool is passed to the queue.
    Read,
    /// This many batches become final.
    Finish(usize),
    Kill,
    /// The power fails.
    Power(u64),
    /// Somebody removes the segments, or even the position with them.
    Remove(bool),
    /// The directory is gone, and there is an empty one after this many attempts to open it.
    Away(usize),
    /// Another directory is mounted over the one that is used, or is unmounted again.
    Mount,
}

fn act() -> impl Strategy<Value = Act> {
    let length = || prop_oneof![4 => 1..200_usize, 1 => 1..20_000_usize];
    prop_oneof![
        6 => length().prop_map(Act::Client),
        6 => length().prop_map(Act::Stream),
        4 => Just(Act::Write),
        4 => any::<bool>().prop_map(Act::Tick),
        2 => (0..12_usize, any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(calls, is_full, shrinks)| Act::Fail { calls, is_full, shrinks }),
        2 => Just(Act::Heal),
        2 => Just(Act::Retry),
        4 => Just(Act::Read),
        3 => (1..9_usize).prop_map(Act::Finish),
        1 => Just(Act::Kill),
        1 => any::<u64>().prop_map(Act::Power),
        1 => any::<bool>().prop_map(Act::Remove),
        1 => (0..3_usize).prop_map(Act::Away),
        1 => Just(Act::Mount),
    ]
}

/// What must become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It comes, even after this.
    Comes(After),
    /// It was refused.
    Stays,
    /// It may come: nobody was told that it would, or the agent or the machine ended before it was safe.
    May,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum After {
    Nothing,
    Kill,
    PowerFailure,
}

struct World {
    /// Two directories, of which one is at the spool's path.
    dirs: [FakeDir; 2],
    place: Arc<AtomicUsize>,
    has_moved: bool,
    sync: SyncMode,
    life: Life,
    fates: BTreeMap<String, Fate>,
    /// What was read in earlier lives.
    seen_before: BTreeSet<String>,
    /// Events may be missing: the power has failed, or somebody has removed them.
    may_miss: bool,
    /// Somebody has removed what is written to, and the agent has not noticed that.
    is_removed: bool,
    /// Whether everything of an earlier life was synced is not known.
    is_left: bool,
    /// The disk fails so that what was written can't be taken back.
    may_stay: bool,
    /// Somebody removes files; else the disk fails. Both together may cost what was answered in the last second.
    is_removing: bool,
}

impl World {
    fn new(sync: SyncMode, is_removing: bool) -> Self {
        let dirs = [FakeDir::default(), FakeDir::default()];
        World {
            life: Life::new(&dirs[0], sync),
            dirs,
            place: Arc::default(),
            has_moved: false,
            sync,
            fates: BTreeMap::new(),
            seen_before: BTreeSet::new(),
            may_miss: false,
            is_removed: false,
            is_left: false,
            may_stay: false,
            is_removing,
        }
    }

    /// The directory that is at the spool's path.
    fn dir(&self) -> &FakeDir {
        &self.dirs[self.place.load(SeqCst)]
    }

    fn start(&self) -> Life {
        let mut life = Life::new(self.dir(), self.sync);
        let (dirs, place) = (self.dirs.clone(), Arc::clone(&self.place));
        life.upkeep.open = Box::new(move || {
            let dir = dirs[place.load(SeqCst)].clone();
            Files::of(Arc::new(dir), tempfile::tempfile()?)
        });
        life
    }

    fn mount(&mut self) {
        self.dir().disk().is_replaced = true;
        self.place.fetch_xor(1, SeqCst);
        self.dir().disk().is_replaced = false;
        self.has_moved = true;
    }

    fn line(&self, length: usize) -> String {
        format!("{}-{}", self.fates.len(), "x".repeat(length))
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Client(length) => self.client(length),
            Act::Stream(length) => {
                let line = self.line(length);
                let taken = self.life.shared.append(&mut chunk(&line), 0, false);
                let fate = match taken {
                    Appended::Taken => Fate::Comes(After::Nothing),
                    _ => Fate::Stays,
                };
                self.fates.insert(line, fate);
            }
            Act::Remove(_) if !self.is_removing => {}
            Act::Fail { .. } | Act::Mount if self.is_removing => {}
            Act::Mount => self.mount(),
            Act::Write => self.life.write(),
            Act::Tick(is_due) => {
                if is_due {
                    self.look();
                }
                self.life.upkeep.note(is_due, false);
                self.life.upkeep.report();
                self.life.upkeep.sync();
            }
            Act::Fail {
                calls,
                is_full,
                shrinks,
            } => {
                let kind = match is_full {
                    true => ErrorKind::StorageFull,
                    false => ErrorKind::Other,
                };
                let mut disk = self.dir().disk();
                disk.failing = Some((calls, kind));
                disk.shrinks = shrinks;
                drop(disk);
                self.may_stay |= !shrinks;
            }
            Act::Heal => self.heal(),
            Act::Retry => retry(&mut self.life.shared.lock()),
            Act::Read => self.life.read(),
            Act::Finish(batches) => self.life.finish(batches),
            Act::Kill => self.die(None),
            // What is on disk in a directory that is not in use is not known here.
            Act::Power(seed) => self.die(Some(seed).filter(|_| !self.has_moved)),
            Act::Remove(all) => self.remove(all),
            Act::Away(attempts) => {
                self.remove(true);
                self.dir().disk().away = Some(attempts);
                self.look();
            }
        }
        self.note_what_is_written();
        self.check()
    }

    fn client(&mut self, length: usize) {
        let line = self.line(length);
        let (appended, is_durable) = self.life.client(&line, &self.dirs);
        if self.sync == SyncMode::Always && appended == Appended::Taken {
            assert!(is_durable, "told before it is on disk");
        }
        let fate = match appended {
            Appended::Taken if self.sync == SyncMode::Always => Fate::Comes(After::PowerFailure),
            Appended::Taken => Fate::Comes(After::Kill),
            // What could not be synced, or taken back, may come.
            _ if self.sync == SyncMode::Always || self.may_stay => Fate::May,
            _ => Fate::Stays,
        };
        if let Some(received) = &mut self.life.received {
            *received += u64::from(matches!(fate, Fate::Comes(_)));
        }
        if fate == Fate::May {
            self.life.received = None;
        }
        self.fates.insert(line, fate);
    }

    /// What streams have brought is safe from a kill once nothing waits to be written, and from a power failure once
    /// nothing waits to be synced.
    fn note_what_is_written(&mut self) {
        let state = self.life.shared.lock();
        let is_lost = self.is_left || self.is_removed || !state.lost.is_empty();
        let is_synced = state.unsynced.is_empty() && !state.dir_is_unsynced && !is_lost;
        let is_safe_from = match (state.pending.is_empty(), self.sync) {
            (false, _) => After::Nothing,
            (true, SyncMode::Second | SyncMode::Always) if is_synced => After::PowerFailure,
            (true, _) => After::Kill,
        };
        for fate in self.fates.values_mut() {
            if let Fate::Comes(after) = fate {
                *after = (*after).max(is_safe_from);
            }
        }
    }

    fn look(&mut self) {
        self.life.upkeep.look();
        let state = self.life.shared.lock();
        self.is_removed &= state.must_reopen || !state.lost.is_empty();
    }

    /// What was there is lost, unless it was read or comes from memory.
    fn remove(&mut self, all: bool) {
        (self.dir().disk().names).retain(|name, _| !all && !segments::is_segment(name));
        (self.is_removed, self.may_miss) = (true, true);
        for fate in self.fates.values_mut() {
            if let Fate::Comes(_) = fate {
                *fate = Fate::May;
            }
        }
    }

    /// The process ends, with or without the machine; the next one finds a disk that works.
    fn die(&mut self, power: Option<u64>) {
        let end = power.map_or(After::Kill, |_| After::PowerFailure);
        self.is_left |= !self.life.shared.lock().lost.is_empty();
        let is_removed = std::mem::take(&mut self.is_removed);
        for (line, fate) in &mut self.fates {
            let is_seen = self.life.seen.contains_key(line) || self.seen_before.contains(line);
            if let Fate::Comes(after) = *fate
                && (after < end || is_removed)
                && !is_seen
            {
                *fate = Fate::May;
            }
        }
        self.heal();
        if let Some(seed) = power {
            let mut dice = dice(seed);
            self.dir().lose_power(|| dice().is_multiple_of(2));
        }
        let next = self.start();
        let life = std::mem::replace(&mut self.life, next);
        self.seen_before.extend(life.seen.into_keys());
        self.may_miss |= power.is_some();
    }

    fn heal(&self) {
        for dir in &self.dirs {
            let mut disk = dir.disk();
            (disk.failing, disk.away) = (None, None);
        }
    }

    /// What holds at any moment.
    fn check(&self) -> Result<(), TestCaseError> {
        let state = self.life.shared.lock();
        for dir in &self.dirs {
            let on_disk = dir.disk();
            let on_disk: usize = on_disk
                .names
                .iter()
                .filter(|(name, _)| name.contains(".spool"))
                .map(|(_, file)| on_disk.files[*file].bytes.len())
                .sum();
            // What was tried out may stay as long as nothing can be removed.
            let tried = if self.may_stay { TRIED } else { 0 };
            let most = LIMIT + 2 * SEGMENT + tried;
            prop_assert!(on_disk as u64 <= most, "{} bytes", on_disk);
        }
        prop_assert!(state.writer.is_some());
        prop_assert!(self.may_miss || !self.life.missing);
        prop_assert!(state.pending.bytes <= state.claimed);
        Ok(())
    }

    /// The disk works, and everything is delivered.
    fn deliver(&mut self) {
        self.heal();
        for _ in 0..4 {
            retry(&mut self.life.shared.lock());
            self.look();
            self.life.write();
            self.life.upkeep.sync();
            self.life.upkeep.note(true, false);
            self.life.read();
            self.life.finish(usize::MAX);
        }
        self.life.upkeep.note(true, true);
    }

    fn end(&mut self) -> Result<(), TestCaseError> {
        self.deliver();
        if self.has_moved {
            self.mount();
            self.deliver();
        }
        for (line, fate) in &self.fates {
            let count = self.life.seen.get(line).copied().unwrap_or_default();
            let is_seen = count > 0 || self.seen_before.contains(line);
            let number = line.split('-').next();
            match fate {
                Fate::Comes(_) => prop_assert!(is_seen, "{:?} is lost", number),
                Fate::Stays => prop_assert!(!is_seen, "{:?} was refused", number),
                Fate::May => {}
            }
            // That it was delivered may not have been noted in a directory that was left and comes back.
            let once = if self.has_moved { 2 } else { 1 };
            prop_assert!(count <= once, "{:?} came {} times", number, count);
        }
        if let Some(received) = self.life.received {
            prop_assert_eq!(self.life.report.snapshot().balance.received(), received);
        }
        let state = self.life.shared.lock();
        prop_assert!(!state.is_in_trouble());
        prop_assert!(state.pending.is_empty());
        prop_assert_eq!(state.claimed, 0);
        let names = self.dirs.iter().flat_map(|dir| dir.disk().names.clone());
        let left: Vec<_> = names
            .filter(|(name, _)| segments::is_segment(name))
            .collect();
        // One that was begun on a full disk may stay until its name is needed, or the next start.
        prop_assert!(left.is_empty() || self.may_stay, "{:?}", left);
        prop_assert_eq!(state.segments.bytes(), state.segments.set_aside);
        Ok(())
    }
}

proptest! {
    #![proptest_config(crate::cases(64))]

    /// However often the disk fails, and the agent or the machine ends.
    #[test]
    fn what_sources_were_told_holds(sync in sync_mode(), is_removing: bool, acts in vec(act(), 1..80)) {
        let mut world = World::new(sync, is_removing);
        world.life = world.start();
        for act in &acts {
            world.act(act)?;
        }
        world.end()?;
    }
}
