use super::*;

fn reached(offset: u64) -> Reached {
    Reached {
        offset,
        unfinished: 0,
        head: Fingerprint { bytes: 9, hash: 9 },
        tail: Fingerprint::default(),
    }
}

fn with_files(numbers: std::ops::Range<u64>) -> Progress {
    let progress = Progress::default();
    numbers.for_each(|number| progress.start(number, FileOffset::default()));
    progress
}

fn files(progress: &Progress) -> BTreeMap<u64, FileOffset> {
    let mut files = BTreeMap::new();
    progress.each(|number, file| drop(files.insert(number, file.clone())));
    files
}

fn offsets(progress: &Progress, watermark: u64) -> Vec<u64> {
    progress.advance(watermark);
    let found = files(progress).into_values();
    found.map(|file| file.offset).collect()
}

#[test]
fn an_offset_is_committed_when_all_before_it_is_final() {
    let progress = with_files(1..3);
    progress.mark(10, 1, reached(100));
    progress.mark(10, 1, reached(110));
    progress.mark(20, 2, reached(50));
    assert_eq!(offsets(&progress, 9), [0, 0]);
    assert_eq!(offsets(&progress, 19), [110, 0]);
    assert_eq!(offsets(&progress, 20), [110, 50]);
    progress.drop_file(1);
    assert_eq!(offsets(&progress, 25), [50]);
}

#[test]
fn who_writes_it_is_woken_when_there_is_something_to_write() {
    let (wake, woken) = crossbeam_channel::bounded(1);
    let progress = Progress::waking(wake);
    let is_woken = || woken.try_recv().is_ok();
    assert!(!is_woken());
    progress.start(1, FileOffset::default());
    progress.start(2, FileOffset::default());
    assert!(is_woken() && !is_woken(), "once");
    progress.mark(3, 1, reached(30));
    assert!(is_woken(), "its events may be final already");
    progress.mark(4, 1, reached(40));
    assert!(!is_woken(), "the watermark wakes");
    progress.commit(3, false);
    progress.lost(2, 7);
    assert!(is_woken(), "while a mark waits");
    progress.commit(3, false);
    let path: Arc<Path> = Path::new("").into();
    progress.seen(2, &path, 0, 0, 70, Fingerprint::default());
    assert!(!is_woken(), "only grown");
    progress.seen(2, &path, 0, 1, 70, Fingerprint::default());
    assert!(is_woken());
    progress.commit(4, true);
    progress.gone(4, 1);
    assert!(is_woken());
    progress.commit(4, true);
    progress.drop_file(2);
    assert!(is_woken());
}

#[test]
fn a_file_is_gone_only_when_its_events_are_final() {
    let progress = with_files(1..2);
    progress.mark(3, 1, reached(30));
    progress.gone(3, 1);
    progress.advance(2);
    assert!(!files(&progress)[&1].is_gone);
    progress.advance(3);
    let file = &files(&progress)[&1];
    assert!(file.is_gone && file.offset == 30);
}

#[test]
fn many_marks_are_merged_to_a_later_offset() {
    let progress = with_files(0..3);
    for position in 1..=10_000 {
        progress.mark(position, position % 3, reached(position * 10));
    }
    assert!(progress.lock().marks.len() <= MARKS);
    for watermark in 0..=10_000u64 {
        let committed = offsets(&progress, watermark).into_iter().max().unwrap_or(0);
        assert!(committed <= watermark * 10, "{committed} after {watermark}");
    }
    assert_eq!(offsets(&progress, 10_000), [99_990, 100_000, 99_980]);
}

#[test]
fn only_what_has_changed_is_written() {
    let progress = with_files(1..4);
    let numbers =
        |changes: Changes| -> Vec<u64> { changes.into_iter().map(|(number, _)| number).collect() };
    assert_eq!(numbers(progress.commit(0, false)), [1, 2, 3]);
    let path: Arc<Path> = Path::new("").into();
    progress.seen(2, &path, 1, 0, 0, Fingerprint::default());
    assert_eq!(numbers(progress.commit(0, false)), [2], "its device");
    progress.seen(2, &path, 1, 0, 70, Fingerprint::default());
    assert_eq!(numbers(progress.commit(0, false)), [0; 0]);
    assert_eq!(numbers(progress.commit(0, true)), [2], "its length");
    let begun = Fingerprint::of(b"{");
    for (head, changed) in [
        (Fingerprint::default(), &[][..]),
        (begun, &[2]),
        (begun, &[]),
    ] {
        progress.seen(2, &path, 1, 0, 70, head);
        assert_eq!(numbers(progress.commit(0, false)), [0; 0]);
        assert_eq!(numbers(progress.commit(0, true)), changed, "its beginning");
    }
    progress.mark(5, 3, reached(1));
    assert_eq!(numbers(progress.commit(4, true)), [0; 0]);
    assert_eq!(numbers(progress.commit(5, true)), [3]);
}

#[test]
fn what_was_read_and_is_complete_is_gone_at_once() {
    for (length, marked, is_gone) in [(0, false, true), (9, false, false), (0, true, false)] {
        let progress = Progress::default();
        let file = FileOffset {
            length,
            ..FileOffset::default()
        };
        progress.start(1, file);
        if marked {
            progress.mark(4, 1, reached(0));
        }
        progress.gone(5, 1);
        assert_eq!(files(&progress)[&1].is_gone, is_gone, "{length} {marked}");
        progress.advance(5);
        assert!(files(&progress)[&1].is_gone);
    }
}

#[test]
fn what_is_not_final_and_what_became_so_is_counted() {
    let progress = Progress::default();
    assert!(!progress.is_ready());
    progress.ready();
    assert!(progress.is_ready());
    for (number, offset, length, is_gone) in
        [(1, 20, 100, false), (2, 50, 50, false), (3, 0, 30, true)]
    {
        let file = FileOffset {
            offset,
            length,
            is_gone,
            ..FileOffset::default()
        };
        progress.start(number, file);
    }
    assert_eq!((progress.behind(), progress.done()), (80, 0));
    progress.mark(10, 1, reached(60));
    assert_eq!((progress.behind(), progress.done()), (80, 0));
    progress.advance(10);
    assert_eq!((progress.behind(), progress.done()), (40, 40));
    progress.mark(11, 1, reached(100));
    progress.advance(11);
    assert_eq!((progress.behind(), progress.done()), (0, 80));
}

/// A log may end with a torn event, or a comment, for ever.
#[test]
fn what_was_read_but_is_no_whole_event_is_not_behind() {
    let progress = with_files(1..2);
    let (path, head) = (Path::new("/a").into(), Fingerprint::default());
    progress.seen(1, &path, 1, 1, 110, head);
    for (offset, unfinished, behind) in [(0, 40, 70), (90, 20, 0), (100, 0, 10), (110, 0, 0)] {
        let reached = Reached {
            unfinished,
            ..reached(offset)
        };
        progress.mark(1, 1, reached);
        progress.advance(1);
        assert_eq!(progress.behind(), behind, "{offset} {unfinished}");
        assert_eq!(files(&progress)[&1].unread(), 110 - offset);
    }
}
