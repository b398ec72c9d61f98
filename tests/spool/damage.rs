//! Damaged segments: what they cost, and what `spool` shows of a directory.

use std::path::{Path, PathBuf};
use std::{fs, thread};

use crate::source_http::lines;
use crate::support::{Answer, arrived, eventually};

use super::{Host, files, filled, kill, stop, wait_until_noted};

/// What happens to the segments of a spool.
type Damage = fn(&[PathBuf]);

#[test]
fn damage_costs_what_it_touches_and_is_counted_logged_and_set_aside() {
    let zero_a_page: Damage = |segments| {
        let mut bytes = fs::read(&segments[1]).unwrap();
        bytes[8192..12_288].fill(0);
        fs::write(&segments[1], bytes).unwrap();
    };
    let flip: Damage = |segments| {
        let mut bytes = fs::read(&segments[0]).unwrap();
        bytes[70_000] ^= 0x40;
        fs::write(&segments[0], bytes).unwrap();
    };
    let flip_a_head: Damage = |segments| {
        let mut bytes = fs::read(&segments[2]).unwrap();
        bytes[9] ^= 1;
        fs::write(&segments[2], bytes).unwrap();
    };
    let remove: Damage = |segments| fs::remove_file(&segments[1]).unwrap();
    let remove_the_newest: Damage = |segments| fs::remove_file(segments.last().unwrap()).unwrap();
    let empty: Damage = |segments| fs::write(&segments[1], "").unwrap();
    let no_room_for_the_newest: Damage = |segments| {
        let newest = segments.last().unwrap();
        fs::write(newest, vec![0; 9000]).unwrap();
        fs::create_dir(newest.with_extension("spool.bad")).unwrap();
    };
    let tear: Damage = |segments| {
        let last = segments.last().unwrap();
        let bytes = fs::read(last).unwrap();
        fs::write(last, &bytes[..bytes.len() - 10]).unwrap();
    };
    let foreign: Damage = |segments| {
        let dir = segments[0].parent().unwrap();
        fs::write(dir.join("README"), "hello").unwrap();
        fs::write(dir.join("1.spool"), "hello").unwrap();
        fs::create_dir(dir.join("00000000000000000001.spool")).unwrap();
    };
    let add_zeros: Damage = |segments| {
        let last = segments.last().unwrap();
        let mut bytes = fs::read(last).unwrap();
        bytes.extend([0; 5000]);
        fs::write(last, bytes).unwrap();
    };
    let position: Damage = |segments| {
        fs::write(segments[0].parent().unwrap().join("position"), "nonsense").unwrap();
    };
    let no_position: Damage = |segments| {
        fs::remove_file(segments[0].parent().unwrap().join("position")).unwrap();
    };
    let copy: Damage = |segments| {
        let within = segments[0].with_file_name("00000000000000000007.spool");
        fs::copy(&segments[0], within).unwrap();
    };
    let cases = [
        ("a copy among its events", copy, true, true),
        ("a zeroed page", zero_a_page, true, true),
        ("a flipped bit", flip, true, true),
        (
            "a flipped bit in a segment's head",
            flip_a_head,
            false,
            true,
        ),
        ("a missing segment", remove, true, false),
        ("no newest segment", remove_the_newest, true, false),
        ("an emptied segment", empty, true, true),
        (
            "a newest segment that can't be set aside",
            no_room_for_the_newest,
            true,
            true,
        ),
        ("a torn end", tear, true, true),
        ("zeros at the end", add_zeros, false, true),
        ("foreign files", foreign, false, false),
        ("a bad position", position, false, false),
        ("no position", no_position, false, false),
    ];
    // Each waits for what is noted once a second.
    thread::scope(|scope| {
        for (name, damage, is_counted, sets_aside) in cases {
            scope.spawn(move || assert_costs(name, damage, is_counted, sets_aside));
        }
    });
}

/// What this damage costs: events, or a segment that is set aside.
fn assert_costs(name: &str, damage: Damage, is_counted: bool, sets_aside: bool) {
    let host = Host::new();
    let count = filled(&host);
    damage(&host.segments());
    let (_, shown) = host.cli("verify", &["--json"]);
    let agent = host.start(&[]);
    eventually(name, || host.is_idle().then_some(()));
    let corrupt = host
        .metrics()
        .of("events_dropped_total", "reason", "corrupt") as usize;
    let came = arrived(&host.hook);
    let mut numbers: Vec<usize> = came
        .iter()
        .map(|event| event[5..event.len() - 1].parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{name}: in order");
    numbers.dedup();
    // The killed agent may just have posted the first one.
    assert!(came.len() <= numbers.len() + 1, "{name}: once");
    assert_eq!(numbers.len() + corrupt, count, "{name}: {corrupt} corrupt");
    let known = format!("\"missing_events\": {corrupt},\n  \"position\"");
    assert!(shown.contains(&known), "{name}: {corrupt} {shown}");
    assert_eq!(corrupt > 0, is_counted, "{name}: {corrupt}");
    assert!(corrupt <= 6000 * 3, "{name}: {corrupt}");
    let (balance, log) = stop(agent);
    assert_eq!(
        balance.recovered,
        balance.delivered + corrupt as u64,
        "{name}: {log}"
    );
    let told = log.matches(" is damaged: ").count();
    assert_eq!(told, usize::from(is_counted || sets_aside), "{name}: {log}");
    assert_eq!(
        files(&host.spool(), ".bad").len(),
        usize::from(sets_aside),
        "{name}: {log}"
    );
    assert_eq!(
        log.contains("position is damaged or missing"),
        name.ends_with(" position"),
        "{log}"
    );
}

#[test]
fn the_command_shows_prints_and_checks_a_spool_beside_its_agent() {
    let host = Host::new();
    assert_eq!(host.cli("list", &[]).0, 1, "there is none");
    for others in [host.dir.path(), Path::new("/etc")] {
        let option = format!("--spool-dir={}", others.display());
        let (code, text) = host.cli("verify", &[&option]);
        assert!(
            code == 1 && text.contains("there is no spool; fix: "),
            "{text}"
        );
    }
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..250)), 200);
    let (code, text) = host.cli("list", &[]);
    assert!(
        code == 0 && text.contains("250 events not delivered"),
        "{text}"
    );
    let (code, text) = host.cli("cat", &[]);
    assert_eq!((code, text), (0, lines(0..250)));
    let (code, text) = host.cli("verify", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &json["events"], &json["damaged_bytes"]),
        (0, &250.into(), &0.into()),
        "{text}"
    );
    wait_until_noted(&host, 250);
    kill(agent);
    let segment = host.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, text) = host.cli("verify", &[]);
    assert!(code == 1 && text.contains("DAMAGED"), "{text}");
    let (code, text) = host.cli("cat", &[]);
    assert!(
        code == 1 && text.contains("not all events are here"),
        "{text}"
    );
    let (code, _) = host.cli("list", &[]);
    assert_eq!(code, 0);
    let position = host.spool().join("position");
    let whole = fs::read(&position).unwrap();
    for (is_there, what) in [(true, "half of it is damaged"), (false, "missing")] {
        let mut half = whole.clone();
        half[0] ^= 1;
        match is_there {
            true => fs::write(&position, half).unwrap(),
            false => fs::remove_file(&position).unwrap(),
        }
        let (code, text) = host.cli("list", &[]);
        assert!(
            code == 1 && text.contains(&format!("position: {what}; so ")),
            "{text}"
        );
    }
    fs::write(&position, whole).unwrap();
    fs::remove_file(segment).unwrap();
    let (code, text) = host.cli("verify", &[]);
    assert!(
        code == 1 && text.contains("DAMAGED: 0 bytes, 250 events missing"),
        "{text}"
    );
}
