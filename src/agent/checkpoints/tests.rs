use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn entry(dir: &Path) -> Entry {
    let path = dir.join("audit.log");
    let (wake, _) = bounded(1);
    let progress = Progress::waking(wake);
    progress.ready();
    progress.start(1, FileOffset::default());
    Entry {
        spec: Spec::File(path.clone()),
        store: open_store(dir, &path).unwrap(),
        path,
        progress,
        start: FileStart::End,
        resumes: false.into(),
        restored: bounded(1).0,
        is_stale: true,
        retry_at: None,
        is_refused: false,
    }
}

#[test]
fn a_checkpoint_that_failed_is_written_when_it_is_due_again_or_all_are_synced() {
    let hour = Duration::from_secs(3600);
    for (is_due, is_synced, is_written) in [
        (false, false, false),
        (true, false, true),
        (false, true, true),
    ] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let mut entry = entry(&dir);
        let file = entry.store.as_ref().unwrap().path();
        fs::remove_dir_all(&dir).unwrap();
        let before = Instant::now();
        entry.write_and_log(0, false);
        assert!(entry.retry_at.unwrap() >= before + RETRY);
        fs::create_dir(&dir).unwrap();
        let now = Instant::now();
        entry.retry_at = Some(if is_due { now } else { now + hour });
        entry.write_and_log(0, is_synced);
        let found = (file.exists(), entry.retry_at.is_none());
        assert_eq!(found, (is_written, is_written), "{is_due} {is_synced}");
    }
}

/// So that a checkpoint of many files does not keep a processor busy while a disk is full.
#[test]
fn an_attempt_that_took_long_is_not_repeated_soon() {
    for (took, pause) in [(0, 200), (20, 200), (21, 210), (1000, 10_000)] {
        assert_eq!(
            pause_after(Duration::from_millis(took)),
            Duration::from_millis(pause)
        );
    }
}

#[test]
fn a_source_that_begins_at_the_end_resumes_while_there_is_a_checkpoint() {
    for (start, is_lost) in [(FileStart::End, true), (FileStart::Beginning, false)] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let mut entry = entry(&dir);
        entry.start = start;
        let resumes_after_write = |entry: &mut Entry| {
            (entry.retry_at, entry.is_stale) = (None, true);
            entry.write_and_log(0, true);
            entry.resumes.get()
        };
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(resumes_after_write(&mut entry), !is_lost, "never written");
        fs::create_dir(&dir).unwrap();
        assert!(resumes_after_write(&mut entry));
        // It can't be written, but is there.
        let file = entry.store.as_ref().unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let in_the_way = dir.join(format!(".{name}.new"));
        fs::create_dir(&in_the_way).unwrap();
        assert!(resumes_after_write(&mut entry) && entry.retry_at.is_some());
        // Nobody can say whether it is there.
        let away = parent.path().join("away");
        fs::rename(&dir, &away).unwrap();
        symlink(&dir, &dir).unwrap();
        assert!(resumes_after_write(&mut entry), "not reachable");
        fs::remove_file(&dir).unwrap();
        fs::rename(&away, &dir).unwrap();
        fs::remove_file(file).unwrap();
        assert_eq!(resumes_after_write(&mut entry), !is_lost, "removed");
    }
}

#[test]
fn a_checkpoint_from_before_is_resumed_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = entry(dir.path());
    first.write_and_log(0, true);
    drop(first);
    let mut next = entry(dir.path());
    let store = next.store.take().unwrap();
    assert!(next.restore(store).is_none());
    assert!(next.resumes.get());
}
