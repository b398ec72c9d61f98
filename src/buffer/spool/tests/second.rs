//! What is synced when a second has passed.

use std::time::{Duration, Instant};

use super::disk::FakeDir;
use super::life::{Life, chunk};
use crate::buffer::spool::SyncMode::{self, Always, Never, Second};

#[test]
fn only_with_second_is_an_event_overdue_and_only_while_it_is_not_final() {
    let modes: [(SyncMode, bool, bool); 5] = [
        (Second, false, true),
        (Second, true, false),
        (Never, false, false),
        // Its clients wait for less.
        (Always, false, false),
        (Always, true, false),
    ];
    for (sync, is_final, is_overdue) in modes {
        let began = Instant::now();
        let mut life = Life::new(&FakeDir::default(), sync);
        life.shared.append(&mut chunk("event"), 0, false);
        life.write();
        life.read();
        if is_final {
            life.finish(1);
        }
        assert!(!life.upkeep.is_overdue(began), "{sync:?} {is_final}");
        let later = Instant::now() + Duration::from_secs(1);
        let found = life.upkeep.is_overdue(later);
        assert_eq!(found, is_overdue, "{sync:?} {is_final}");
    }
}

#[test]
fn a_directory_is_synced_with_its_new_files() {
    let dir = FakeDir::default();
    let mut life = Life::new(&dir, Second);
    life.shared.append(&mut chunk("event"), 0, false);
    life.write();
    life.upkeep.sync();
    dir.lose_power(|| false);
    life = Life::new(&dir, Second);
    life.read();
    assert_eq!(life.seen["event"], 1);
}
