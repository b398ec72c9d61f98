//! With bulk requests: an index takes what is sent again, or by a copy of the agent, once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bulk;
use crate::support::{Answer, Webhook, within};

use super::{BULK, PATIENCE, SELDOM, agent, feed, trail_file, verify};

/// What an index contains, by `_id`.
type Index = Arc<Mutex<BTreeMap<String, Value>>>;

/// An index that takes each `_id` once. The first answers are lost.
fn index(hook: &Webhook, lost_answers: usize) -> Index {
    let index = Index::default();
    let (store, lost) = (Arc::clone(&index), Mutex::new(lost_answers));
    hook.answer_by(move |request| {
        let text = request.text();
        let lines: Vec<_> = text.lines().collect();
        let mut store = store.lock().unwrap();
        let mut statuses = Vec::new();
        for pair in lines.chunks(2) {
            let action: Value = serde_json::from_str(pair[0]).unwrap();
            let id = action["create"]["_id"].as_str().unwrap().to_owned();
            let is_new = !store.contains_key(&id);
            let document: Value = serde_json::from_str(pair[1]).unwrap();
            assert_eq!(*store.entry(id).or_insert(document.clone()), document);
            statuses.push(if is_new { 201 } else { 409 });
        }
        let mut lost = lost.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return Answer::hang_up();
        }
        bulk::answer(&statuses)
    });
    index
}

/// A copied state directory, as in a machine's image, or one restored from a backup: the copies continue with the same
/// numbers, and no event of one may be taken for one of the other that is there already.
#[test]
fn with_bulk_agents_that_continue_from_the_same_state_lose_nothing_to_each_other() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let index = index(&hook, 0);
    let run = |name: &str, dir: &Path| {
        let events: String = (0..9).map(|n| format!("{{\"{name}\":{n}}}\n")).collect();
        let ended = agent(&hook, dir, &["--format=ndjson", BULK, SELDOM]).input(events);
        assert_eq!(ended.run().done().delivered, 11);
    };
    run("image", dir.path());
    let copy = tempfile::tempdir().unwrap();
    let name = trail_file(&dir);
    fs::copy(&name, copy.path().join(name.file_name().unwrap())).unwrap();
    run("host1", dir.path());
    run("host2", copy.path());
    let index = index.lock().unwrap();
    for name in ["image", "host1", "host2"] {
        let there = index.values().filter(|event| event.get(name).is_some());
        assert_eq!(there.count(), 9, "{name}");
    }
    // And what the numbers prove no more is not said to be proved.
    let (code, _, text) = verify(&export(&index));
    assert!(code == 1 && text.contains("DOUBTFUL"), "{text}");
}

fn export(index: &BTreeMap<String, Value>) -> Vec<String> {
    let lines = index.iter();
    let lines = lines.map(|(id, source)| json!({"_id": id, "_source": source}).to_string());
    lines.collect()
}

/// Elasticsearch has indexed a request whose answer never arrives: it comes again with the same `_id`s, of which none is
/// indexed twice, and each conflict is a delivery.
#[test]
fn with_bulk_what_is_sent_again_is_there_once_and_counts_as_delivered() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let index = index(&hook, 3);
    let mut first = agent(&hook, dir.path(), &["--format=ndjson", BULK]).spawn();
    feed(&mut first, 0..50);
    within(
        PATIENCE,
        "a checkpoint is indexed that says that all are",
        || {
            let index = index.lock().unwrap();
            (index.values()).any(|document| document["final"].as_u64() > Some(50))
        },
    );
    first.signal(libc::SIGTERM);
    let balance = first.wait().done();
    let index = index.lock().unwrap();
    assert_eq!(
        (balance.received, balance.delivered),
        (index.len() as u64, index.len() as u64)
    );
    let export = export(&index);
    let (code, found, text) = verify(&export);
    assert_eq!(code, 0, "{text}");
    assert_eq!(found["streams"][0]["events"], 50, "{text}");
    // The same with one document removed.
    let is_number_7 = |line: &&String| !line.contains("{\"n\":7}");
    let without: Vec<_> = export.iter().filter(is_number_7).cloned().collect();
    assert_eq!((without.len(), verify(&without).0), (export.len() - 1, 1));
}
