//! `--reject-file`: what the webhook has rejected is kept, with its answer, and can be sent again.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::delivery::{feed, numbered, start};
use super::source_http::free_address;
use super::support::{Agent, Answer, Ended, Metrics, Webhook, eventually};

/// A webhook that rejects bodies with this in them.
fn rejecting(words: &'static str) -> Webhook {
    let hook = Webhook::start();
    hook.answer_by(move |request| match request.contains(words) {
        true => Answer::hec(400, "Invalid data format", 6),
        false => Answer::ok(),
    });
    hook
}

#[test]
fn rejected_events_are_kept_with_the_answer_and_sent_again_by_the_line_of_the_page() {
    let page = include_str!("../packaging/docs/delivery.md");
    let line = "jq -c .event rejected.json | s3-audit-webhook run --source stdin";
    assert!(page.contains(line));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rejected.json");
    let hook = rejecting("bad");
    let file = format!("--reject-file={}", path.display());
    let mut agent = start(&hook.url(), &[&file, "--batch-events=100", "--redact=s3"]);
    let bad = [
        r#"{"bad": 1.50,"uri":"/b?X-Amz-Signature=0123456789abcdef&a=1"}"#,
        r#"{"bad":"\u0026","n":12345678901234567890}"#,
    ];
    feed(
        &mut agent,
        &[
            numbered(0..50),
            bad.map(Into::into).to_vec(),
            numbered(50..100),
        ]
        .concat(),
    );
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(
        (ended.balance().delivered, ended.balance().rejected),
        (100, 2),
        "{}",
        ended.log
    );

    let kept = fs::read_to_string(&path).unwrap();
    let masked = bad[0].replace("0123456789abcdef", "REDACTED");
    for (line, event) in kept.lines().zip([masked.as_str(), bad[1]]) {
        assert!(line.ends_with(&format!(",\"event\":{event}}}")), "{line}");
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["status"], 400);
        assert_eq!(line["answer"], "Invalid data format");
        assert_eq!(line["endpoint"], format!("http://{}", hook.address()));
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(kept.lines().count(), 2);

    let Ok(jq) = Command::new("jq")
        .args(["-c", ".event"])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
    else {
        eprintln!("skipped: no jq here");
        return;
    };
    let other = Webhook::start();
    let command = Agent::command()
        .args(["run", "--source", "stdin"])
        .endpoint(&other.url())
        .token("T");
    let ended = command.stdin(jq.stdout.unwrap()).spawn().wait();
    assert_eq!(ended.done().delivered, 2, "{}", ended.log);
}

#[test]
fn a_directory_that_is_not_there_yet_is_no_wrong_usage() {
    for command in ["run", "check"] {
        let ended = with_file(command, "/not/mounted/rejected.json");
        assert_eq!(ended.code, Some(1), "{command}: {}", ended.log);
        let expected = "--reject-file: /not/mounted/rejected.json: No such file";
        assert!(ended.log.contains(expected), "{command}: {}", ended.log);
    }
}

fn with_file(command: &str, path: &str) -> Ended {
    with_source(command, "unix-listen:unused", path)
}

fn with_source(command: &str, source: &str, path: &str) -> Ended {
    Agent::command()
        .args([command, "--source", source])
        .args(["--endpoint=http://127.0.0.1:1/", "--auth-token=none"])
        .arg(format!("--reject-file={path}"))
        .run()
}

#[test]
fn check_makes_no_file_and_leaves_one_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rejected.json");
    let check = || {
        let ended = with_file("check", path.to_str().unwrap());
        assert_eq!(ended.code, Some(0), "{}", ended.log);
    };
    check();
    assert!(!path.exists());
    fs::write(&path, "{}\n").unwrap();
    check();
    assert_eq!(fs::read(&path).unwrap(), b"{}\n");
    let ended = with_file("check", "/dev/null");
    assert_eq!(ended.code, Some(2), "{}", ended.log);
}

#[test]
fn a_file_that_a_source_reads_is_refused() {
    for (source, path, is_read) in [
        ("file:/none/audit.log", "/none/audit.log.rejected", true),
        ("file:/none/*.log", "/none/rejected.log", true),
        ("file:/none/*.1", "/none/rejected", true),
        ("file:none/**", "none/later/rejected", true),
        ("file:/none/*.log", "/none/rejected.json", false),
        ("file:/none/audit.log", "/none/rejected.log", false),
    ] {
        let ended = with_source("check", source, path);
        let is_refused = ended.log.contains("would come again; fix: ");
        assert_eq!(is_refused, is_read, "{source} {path}: {}", ended.log);
        assert_eq!(ended.code == Some(2), is_read, "{}", ended.log);
    }
}

/// Each rejected event would come again, longer each time.
#[test]
fn a_file_that_a_source_reads_under_another_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| format!("{}/{path}", dir.path().display());
    fs::create_dir_all(at("real/inner")).unwrap();
    fs::create_dir(at("other")).unwrap();
    symlink("real", at("link")).unwrap();
    fs::write(at("real/file.json"), "").unwrap();
    symlink("../real/file.json", at("other/leads.json")).unwrap();
    fs::hard_link(at("real/file.json"), at("other/hard.json")).unwrap();
    for (source, path, is_read) in [
        ("real/*.json", "link/rejected.json", true),
        ("link/*.json", "real/rejected.json", true),
        ("link/rejected.json", "real/rejected.json", true),
        ("real/*.json", "real/../real/rejected.json", true),
        ("real/inner/../*.json", "real/rejected.json", true),
        ("real/*.1", "link/rejected.json", true),
        ("real/**", "link/inner/rejected.json", true),
        ("real/*.json", "other/leads.json", true),
        ("other/*.json", "other/leads.json", true),
        ("other/leads.json", "real/file.json", true),
        ("other/hard.json", "real/file.json", true),
        ("real/*.json", "link/rejected.log", false),
        ("link/*.json", "other/rejected.json", false),
    ] {
        let ended = with_source("check", &format!("file:{}", at(source)), &at(path));
        let is_refused = ended.log.contains("would come again; fix: ");
        assert_eq!(is_refused, is_read, "{source} {path}: {}", ended.log);
    }
}

#[test]
fn a_file_that_settings_are_in_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (name, text) in [
        ("webhook.env", ""),
        ("token", "T"),
        ("key", "K"),
        ("r.1", "K"),
    ] {
        fs::write(at(name), text).unwrap();
    }
    symlink("token", at("link")).unwrap();
    fs::hard_link(at("token"), at("hard")).unwrap();
    for path in ["webhook.env", "token", "key", "r", "link", "hard"] {
        for command in ["run", "check"] {
            let ended = Agent::command()
                .args([command, "--endpoint=http://127.0.0.1:1/"])
                .arg(format!("--config={}", at("webhook.env")))
                .arg(format!("--auth-token-file={}", at("token")))
                .arg(format!("--header=A: @{}", at("key")))
                .arg(format!("--header=B: @{}", at("r.1")))
                .arg(format!("--reject-file={}", at(path)))
                .run();
            assert_eq!(ended.code, Some(2), "{command} {path}: {}", ended.log);
            let expected = format!("--reject-file: {} is ", at(path));
            assert!(ended.log.contains(&expected), "{command}: {}", ended.log);
        }
    }
}

#[test]
fn a_file_that_can_not_be_written_to_stops_no_delivery_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, status) = (dir.path().join("inner"), free_address());
    fs::create_dir(&inner).unwrap();
    let hook = rejecting("bad");
    let file = format!("--reject-file={}", inner.join("rejected.json").display());
    let more = [
        &file[..],
        "--reject-bytes=200",
        &format!("--status-listen={status}"),
    ];
    let mut agent = start(&hook.url(), &more);
    let bad = |size| format!("{{\"bad\":\"{}\"}}", "x".repeat(size));
    feed(&mut agent, &[bad(1)]);
    hook.wait_for_requests(1);
    let saved = || Metrics::at(status).value("rejected_saved_total");
    eventually("it is saved", || (saved() == 1).then_some(()));
    fs::remove_dir_all(&inner).unwrap();
    feed(&mut agent, &[vec![bad(1)], numbered(0..1)].concat());
    let line = agent.wait_for_log("not saved");
    assert!(
        line.contains("WARN  not saved: 1 event that the webhook rejected (")
            && line.contains("inner/rejected.json: No such file"),
        "{line}"
    );
    fs::create_dir(&inner).unwrap();
    feed(
        &mut agent,
        &[vec![bad(200), bad(2)], numbered(1..2)].concat(),
    );
    eventually("it is saved again", || (saved() == 2).then_some(()));
    let page = Metrics::at(status);
    assert_eq!(page.value("rejected_unsaved_total"), 2);
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(
        (ended.balance().delivered, ended.balance().rejected),
        (2, 4),
        "{}",
        ended.log
    );
}
