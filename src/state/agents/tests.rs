use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// An agent that was heard at this time and has these members besides those that each has.
fn agent(heard: SystemTime, members: &[(&str, Value)]) -> Agent {
    let mut state = json!({ "program": PROGRAM, "host": "h" });
    for (name, value) in members {
        state[*name] = value.clone();
    }
    let name = "h.2".into();
    Agent { name, heard, state }
}

/// A time that has such a distance from 1970.
fn at(since_1970: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + since_1970
}

/// A state that fills a file of this size.
fn padded(size: u64) -> String {
    let state = json!({ "program": PROGRAM, "host": "h" }).to_string();
    let blanks = usize::try_from(size).unwrap() - state.len();
    state + &" ".repeat(blanks)
}

#[test]
fn a_file_is_an_agents_if_its_name_and_what_it_holds_are() {
    const STATE: &str = r#"{"program":"s3-audit-webhook","host":"h"}"#;
    const AGENT: (bool, bool) = (true, false);
    const WRONG: (bool, bool) = (false, true);
    const OTHER: (bool, bool) = (false, false);
    let none = |text: &str| STATE.replace(text, "");
    // A file's name, and what it holds; whether it is an agent's, and whether it is named as one that should be.
    for (file, text, is) in [
        ("h.json", STATE, AGENT),
        ("h.2.json", STATE, AGENT),
        ("h.json", &STATE[..20], WRONG),
        ("h.json", "", WRONG),
        ("h.json", &none(r#""program":"s3-audit-webhook","#), WRONG),
        ("h.json", &none(r#","host":"h""#), WRONG),
        ("h.json", &STATE.replace("audit", "a"), WRONG),
        ("h.json", &STATE.replace(r#""h""#, "1"), WRONG),
        // Only as much is read as an agent may have written.
        ("h.json", &padded(MAX_BYTES), AGENT),
        ("h.json", &format!("{}x", padded(MAX_BYTES)), AGENT),
        ("h.json", &format!("{}{STATE}", " ".repeat(1 << 20)), WRONG),
        (".h.json", STATE, OTHER),
        (".h.lock", "", OTHER),
        ("h.json.new", STATE, OTHER),
        ("h", STATE, OTHER),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        fs::write(&path, text).unwrap();
        let opened = fs::File::options().append(true).open(&path).unwrap();
        opened.set_modified(at(1234 * SECOND)).unwrap();
        let (agents, wrong) = read(dir.path()).unwrap();
        let place = format!("{file}: {:.50}", text.trim_start());
        assert_eq!((agents.len() == 1, wrong.len() == 1), is, "{place}");
        for agent in agents {
            assert_eq!(format!("{}.json", agent.name), file, "{place}");
            assert_eq!(agent.heard, at(1234 * SECOND), "{place}");
            assert_eq!(agent.state["host"], "h", "{place}");
        }
        for what in wrong {
            assert_eq!(what, format!("{}: is no agent's state", path.display()));
        }
    }
}

#[test]
fn what_is_no_file_is_named_and_what_is_gone_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("directory.json")).unwrap();
    symlink(path("nothing"), path("gone.json")).unwrap();
    let fifo = std::ffi::CString::new(path("fifo.json").to_str().unwrap()).unwrap();
    // SAFETY: the path is a string that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    symlink("loop.json", path("loop.json")).unwrap();
    let (agents, wrong) = read(dir.path()).unwrap();
    assert!(agents.is_empty());
    let no_file = |name| format!("{}: is no regular file", path(name).display());
    assert_eq!(wrong[..2], ["directory.json", "fifo.json"].map(no_file));
    assert!(wrong.len() == 3 && wrong[2].contains("loop.json: "));
    assert_eq!(read(&path("none")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn agents_are_ordered_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["c", "a", "b.2", "b"] {
        fs::write(dir.path().join(format!("{name}.json")), padded(100)).unwrap();
    }
    let (agents, _) = read(dir.path()).unwrap();
    let names: Vec<_> = agents.iter().map(|agent| &*agent.name).collect();
    assert_eq!(names, ["a", "b", "b.2", "c"]);
}

#[test]
fn an_agent_is_silent_after_three_heartbeats_unless_it_has_ended() {
    let heard = at(1000 * SECOND);
    let nano = Duration::from_nanos(1);
    for (later, ended, status, label) in [
        (Duration::ZERO, Value::Null, Status::Up, "up"),
        (180 * SECOND, Value::Null, Status::Up, "up"),
        (180 * SECOND + nano, Value::Null, Status::Silent, "silent"),
        (180 * SECOND + nano, json!(true), Status::Silent, "silent"),
        (Duration::ZERO, json!("1970"), Status::Ended, "ended"),
        (1000 * SECOND, json!("1970"), Status::Ended, "ended"),
    ] {
        let agent = agent(heard, &[("ended", ended.clone())]);
        let now = heard + later;
        assert_eq!((agent.age(now), agent.status(now)), (later, status));
        assert_eq!(
            agent.json(now),
            json!({
                "program": PROGRAM,
                "host": "h",
                "ended": ended,
                "name": "h.2",
                "status": label,
                "heard_seconds_ago": later.as_secs(),
            })
        );
    }
    // The clock of the directory's filesystem is ahead.
    let agent = agent(heard, &[]);
    assert_eq!(agent.age(heard - SECOND), Duration::ZERO);
    assert_eq!(agent.status(heard - SECOND), Status::Up);
}

#[test]
fn a_report_tells_how_long_before_it_something_was() {
    let time = |second: u64| json!(format!("1970-01-01T00:00:{second:02}Z"));
    for (written, before, distance) in [
        (time(30), time(10), Some(20 * SECOND)),
        (time(30), time(30), Some(Duration::ZERO)),
        (time(30), time(31), Some(Duration::ZERO)),
        (time(30), json!("today"), None),
        (time(30), Value::Null, None),
        (json!(30), time(10), None),
        (Value::Null, time(10), None),
    ] {
        let agent = agent(at(Duration::ZERO), &[("written", written.clone())]);
        assert_eq!(
            agent.before_last_word(&before),
            distance,
            "{written} {before}"
        );
    }
}

#[test]
fn those_that_were_silent_for_a_month_and_have_no_lock_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let month = 30 * 86_400 * SECOND;
    let now = at(2 * month);
    let heard = [
        ("new", now),
        ("month", now - month),
        ("old", now - month - SECOND),
        ("hangs", now - month - SECOND),
        ("oldest", at(Duration::ZERO)),
    ];
    let agents = heard.map(|(name, heard)| {
        fs::write(path(&format!("{name}.json")), "").unwrap();
        Agent {
            name: name.into(),
            heard,
            state: Value::Null,
        }
    });
    let _lock = lock::try_lock(&path(".hangs.lock")).unwrap().unwrap();
    fs::write(path(".old.lock"), "").unwrap();
    assert_eq!(prune(dir.path(), &agents, now).unwrap(), ["old", "oldest"]);
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [".hangs.lock", "hangs.json", "month.json", "new.json"]
    );
    let error = prune(dir.path(), &agents, now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "removed already");
}
