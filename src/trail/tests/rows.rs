//! Single cases: what is kept, and what is sent again.

use super::*;

#[test]
fn what_is_kept_reads_as_it_was_written() {
    let mut world = World::new();
    world.lose("malformed", 3, []);
    world.tick();
    world.lose("rejected", 0, Some(0..1));
    world.lose("malformed", 1, []);
    world.tick();
    let saved = world.trail.saved();
    let mut read = Saved::parse(saved.json().to_string().as_bytes()).unwrap();
    for (entry, kept) in read.outbox.iter_mut().zip(&saved.outbox) {
        entry.seq = kept.seq;
    }
    assert_eq!((&read, read.gaps.len()), (saved, 2));
    for damaged in ["", "{}", "[1", r#"{"stream":""}"#] {
        assert_eq!(Saved::parse(damaged.as_bytes()), None);
    }
    // Whatever else is damaged, nothing panics.
    for (name, value) in [("next", json!(u64::MAX)), ("next", json!(1_u64 << 61))] {
        let mut kept = saved.json();
        kept[name] = value;
        if let Some(mut saved) = Saved::parse(kept.to_string().as_bytes()) {
            saved.begin();
        }
    }
    for seconds in [-1.0, 0.5, 1e12, 1e18] {
        let mut kept = saved.json();
        (kept["gaps"][0]["first"], kept["outbox"]) = (json!(seconds), json!([]));
        let Some(saved) = Saved::parse(kept.to_string().as_bytes()) else {
            continue;
        };
        let mut trail = start(saved);
        trail.tick(
            Gaps::new(),
            &mut Queue::default(),
            &view(&Queue::default(), &report(), 1, true),
        );
        assert_eq!(trail.saved().gaps.len(), 0);
    }
}

#[test]
fn records_that_can_not_be_delivered_do_not_pile_up() {
    let mut world = World::new();
    for _ in 0..1000 {
        world.lose("buffer_full", 5, []);
        world.tick();
    }
    let keys: Vec<_> = world
        .trail
        .saved()
        .outbox
        .iter()
        .map(|entry| &*entry.key)
        .collect();
    assert_eq!(keys, ["start", "gap  buffer_full"]);
    world.finish_all("delivered");
    (0..20).for_each(|_| world.tick());
    world.finish_all("delivered");
    let owned: u64 = world
        .verify(None)
        .streams
        .values()
        .map(|stream| stream.owned().count())
        .sum();
    assert_eq!(owned, 5000);
}

/// The webhook rejects every second event, and all records. Then it takes the records.
#[test]
fn losses_all_over_the_numbers_take_bounded_room_and_are_counted_exactly() {
    let mut world = World::new();
    let mut rejected = 0;
    for second in 0..45 {
        for n in 0..1000 {
            world.queue.add(&format!("{{\"odd\":{}}}", n % 2));
        }
        world.finish_where("delivered", |line| line.contains("\"odd\":0"));
        world.finish_where("rejected", |_| true);
        rejected += 500;
        world.tick();
        let size = world.kept.to_string().len();
        assert!(size < 600_000, "{size} bytes after {second} s");
    }
    for _ in 0..200 {
        world.tick();
        world.finish_all("delivered");
    }
    world.check_totals();
    assert!(world.archive.iter().all(|(_, line)| line.len() < 10_000));
    let last = world
        .archive
        .iter()
        .rfind(|(_, line)| line.contains("\"buffered\""))
        .unwrap();
    let last: Value = serde_json::from_str(&last.1).unwrap();
    assert_eq!(
        last["rejected"], rejected,
        "records that are sent again are no losses"
    );
    let found = world.verify(None);
    assert!(found.is_explained());
    let counted = found.streams[&world.trail.saved.stream].counted();
    // An event that is removed where only counts are known.
    let removed = world
        .archive
        .iter()
        .position(|(number, line)| counted.contains(number - 1) && line.contains("odd"));
    assert!(removed.is_some() && !world.verify(removed).is_explained());
}

/// Of so many losses at once, nobody knows whether the record is one.
#[test]
fn a_record_that_may_be_lost_is_sent_again() {
    let mut world = World::new();
    world.tick();
    let mut many = Gap::at(at(0));
    many.add(0, (0..30_000).map(|n| 2 * n..2 * n + 1), at(0));
    world
        .losses
        .insert((String::new(), "rejected".into()), many);
    world.queue.open.clear();
    for _ in 0..100 {
        world.tick();
        world.finish_all("delivered");
    }
    let starts = world
        .archive
        .iter()
        .filter(|(_, line)| line.contains(r#":"start""#));
    assert_eq!(starts.count(), 1);
}

/// What is kept is never overwritten or left behind without a word.
#[test]
fn a_trail_that_is_damaged_or_of_another_host_name_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let open = |host| store::Store::open(dir.path(), host).unwrap();
    let told = |store: &store::Store| format!("{:?}", store.notices);
    let (store, mut saved, _) = open("b.example");
    assert_eq!(told(&store), "[]");
    let path = store.path().to_owned();
    // One that runs, one that ended with nothing left, and one with a loss.
    saved.add_gap((String::new(), "x".into()), Gap::at(at(0)));
    for (is_clean, gaps, expected) in [(false, 1, 0), (true, 0, 0), (true, 1, 1)] {
        let mut kept = saved.clone();
        kept.is_clean = is_clean;
        kept.gaps.retain(|_, _| gaps > 0);
        store.save(&kept).unwrap();
        let other = dir.path().join("b12.trail");
        std::fs::copy(&path, &other).unwrap();
        let (store, ..) = open("b");
        for path in [&path, &other] {
            let names = format!("TrailUnused {{ path: {path:?}, records: 1 }}");
            assert_eq!(told(&store).matches(&names).count(), expected);
        }
        assert_eq!(store.notices.len(), 2 * expected);
        std::fs::remove_file(other).unwrap();
    }
    drop(store);
    assert!(told(&open("b.example").0).contains("[]"));
    let content = std::fs::read(&path).unwrap();
    std::fs::write(&path, &content[..100]).unwrap();
    let (store, new, was) = open("b.example");
    assert!(told(&store).contains("TrailDamaged"), "{:?}", store.notices);
    assert_eq!((new.stream == saved.stream, was), (false, Was::New));
    let bad = std::fs::read(dir.path().join("b.example.trail.bad")).unwrap();
    assert_eq!(bad, content[..100]);
}

#[test]
fn a_start_that_is_killed_before_it_records_anything_has_its_numbers_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let open = || store::Store::open(dir.path(), "host").unwrap();
    let (first, mut saved, was) = open();
    assert_eq!(was, Was::New);
    (saved.next, saved.record, saved.is_clean) = (100, 9, true);
    first.save(&saved).unwrap();
    drop(first);
    let (killed, saved, was) = open();
    assert_eq!((saved.next, was), (100, Was::Clean));
    drop(killed);
    let (_store, saved, was) = open();
    assert!(saved.next > 1_000_000, "{}", saved.next);
    assert_eq!(was, Was::Killed { lost_from: 100 });
}
