//! `--sign-key-file`: a receiver verifies what it got with the lines of the operator's page.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::delivery::{feed, numbered, start};
use super::support::{Agent, Answer, Request, Webhook};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD0ScfMUuqYdU=";

/// Whether the page's recipe takes a request, with its body or another; none without Python.
fn verify(secrets: &[&str], request: &Request, body: &[u8]) -> Option<bool> {
    let page = include_str!("../packaging/docs/target-webhook.md");
    let blocks = page
        .split("```python\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let recipe = blocks
        .filter(|block| block.contains("def verify"))
        .collect::<String>();
    let script = "\nimport json, sys\nasked = json.load(sys.stdin)\n\
                  sys.exit(0 if verify(asked['secrets'], asked['headers'], bytes(asked['body'])) else 9)\n";
    let child = Command::new("python3")
        .args(["-c", &(recipe + script)])
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: no python3 here");
        return None;
    };
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone().into()));
    let headers: serde_json::Map<_, _> = headers.collect();
    let asked = json!({"secrets": secrets, "headers": headers, "body": body});
    child
        .stdin
        .take()
        .unwrap()
        .write_all(asked.to_string().as_bytes())
        .unwrap();
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(0 | 9)), "{code:?}");
    Some(code == Some(0))
}

fn id(request: &Request) -> &str {
    request.header("webhook-id").unwrap()
}

#[test]
fn bodies_are_verified_by_the_recipe_and_keep_their_id_when_they_are_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, OLD).unwrap();
    let file = format!("--sign-key-file={}", key.display());
    for compress in ["none", "gzip"] {
        let hook = Webhook::start();
        hook.script([Answer::ok(), Answer::status(503), Answer::status(503)]);
        let mut agent = start(&hook.url(), &[&file, "--compress", compress]);
        for number in 0..3 {
            feed(&mut agent, &numbered(number..number + 1));
            hook.wait_for_events(number + 1);
        }
        agent.close_stdin();
        let ended = agent.wait();
        assert_eq!(ended.done().delivered, 3, "{}", ended.log);
        assert!(!ended.log.contains(&OLD[6..]), "{}", ended.log);
        let requests = hook.requests();
        let ids: Vec<_> = requests.iter().map(id).collect();
        assert!(
            ids.len() == 5 && ids[1] == ids[2] && ids[2] == ids[3],
            "{ids:?}"
        );
        assert!(ids[0] != ids[1] && ids[1] != ids[4], "{ids:?}");
        for request in &requests {
            let Some(is_right) = verify(&[OLD], request, &request.body) else {
                return;
            };
            assert!(is_right, "{request:?}");
        }
        let changed = [&requests[0].body[..], b" "].concat();
        assert_eq!(verify(&[OLD], &requests[0], &changed), Some(false));
        assert_eq!(verify(&[NEW], &requests[0], &requests[0].body), Some(false));
    }
}

#[test]
fn two_keys_make_two_signatures_and_a_running_agent_follows() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, format!("{OLD}\n")).unwrap();
    let hook = Webhook::start();
    let file = format!("--sign-key-file={}", key.display());
    let mut agent = start(&hook.url(), &[&file]);
    agent.wait_for_log("WARN  --sign-key-file: every user of this host can read or change");
    for (number, keys) in [(0, vec![OLD]), (1, vec![OLD, NEW]), (2, vec![NEW])] {
        if number > 0 {
            fs::write(&key, keys.join("\n")).unwrap();
            agent.wait_for_nth_log(number, "settings changed (");
        }
        feed(&mut agent, &numbered(number..number + 1));
        let request = hook.wait_for_requests(number + 1).pop().unwrap();
        for secret in [OLD, NEW] {
            let Some(is_right) = verify(&[secret], &request, &request.body) else {
                return;
            };
            assert_eq!(is_right, keys.contains(&secret), "{keys:?}");
        }
    }
}

#[test]
fn a_header_of_ones_own_does_not_take_the_place_of_a_signature() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, OLD).unwrap();
    let command = Agent::command()
        .args(["run", "--header", "Webhook-Id: x", "--sign-key-file"])
        .arg(&key);
    let ended = command.endpoint("http://127.0.0.1:9/").token("T").run();
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("--header: webhook-id is what --sign-key-file sets; fix: "),
        "{}",
        ended.log
    );
}
