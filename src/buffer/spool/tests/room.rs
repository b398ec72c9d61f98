//! How long others wait for one that there is no room for, or for a disk that hangs.

use std::time::{Duration, Instant};

use super::disk::FakeDir;
use super::steps::{Life, chunk};
use crate::buffer::spool::shared::UNWRITTEN;
use crate::buffer::spool::{Appended, SyncMode};

#[test]
fn a_disk_that_hangs_delays_streams_once_until_it_has_written() {
    let life = Life::of(&FakeDir::default(), SyncMode::Second, 8 * UNWRITTEN);
    let stream = |line: &str| life.shared.append(&mut chunk(line), 0, false);
    let began = Instant::now();
    for _ in 0..2 {
        life.shared.lock().claimed += UNWRITTEN;
        for _ in 0..20 {
            assert_eq!(stream("through memory"), Appended::Unavailable);
        }
        life.shared.lock().claimed -= UNWRITTEN;
        assert_eq!(stream("through the spool"), Appended::Taken);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
