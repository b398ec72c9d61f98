//! Elasticsearch's and OpenSearch's `_bulk`: one answer of 200 tells of each event what became of it. What was taken is never
//! sent again, what is refused costs itself alone, and what must be sent again is sent alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::delivery::{feed, lines_of, numbered, start};
use super::source_http::free_address;
use super::support::{Agent, Answer, Metrics, Request, Webhook, end_input, eventually};

const CREATE: &str = r#"{"create":{}}"#;

/// The events of a request, in their order: its lines in pairs, as `_bulk` wants them.
pub(crate) fn documents(request: &Request) -> Vec<String> {
    let text = request.text();
    assert!(
        text.ends_with('\n'),
        "the last line must end with a newline"
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len() % 2, 0);
    let pairs = lines.chunks(2).inspect(|pair| assert_eq!(pair[0], CREATE));
    pairs.map(|pair| pair[1].to_owned()).collect()
}

/// An answer with these items' statuses, as Elasticsearch 8 writes it.
pub(crate) fn answer(statuses: &[u16]) -> Answer {
    let item = |status: &u16| {
        let error = match status {
            200..300 => {
                return json!({"create": {"_index": "s3-audit", "_id": "hxY1o5MB7kYQ", "_version": 1, "result": "created",
                    "_shards": {"total": 2, "successful": 1, "failed": 0}, "_seq_no": 5, "_primary_term": 1, "status": status}});
            }
            400 => "document_parsing_exception",
            403 => "cluster_block_exception",
            409 => "version_conflict_engine_exception",
            429 => "es_rejected_execution_exception",
            _ => "some_exception",
        };
        json!({"create": {"_index": "s3-audit", "_id": "hxY1o5MB7kYQ", "status": status, "error": {"type": error,
            "reason": "failed to parse: Preview of field's value: 'payroll'"}}})
    };
    let items: Vec<_> = statuses.iter().map(item).collect();
    let errors = statuses.iter().any(|status| *status >= 300);
    // serde_json would sort the members: Elasticsearch has these two first.
    Answer::ok().body(format!(
        "{{\"errors\":{errors},\"took\":30,\"items\":{}}}",
        Value::from(items)
    ))
}

/// A webhook that answers for each event by its number, with the statuses of `outcomes` in turn and then 201; and what it has
/// taken, in order.
fn elastic(outcomes: &[(usize, &[u16])]) -> (Webhook, Arc<Mutex<Vec<String>>>) {
    let hook = Webhook::start();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let tries = Mutex::new(HashMap::<String, usize>::new());
    let outcomes: HashMap<_, _> = outcomes
        .iter()
        .map(|(number, statuses)| (format!("{{\"number\":{number}}}"), statuses.to_vec()))
        .collect();
    let store = Arc::clone(&taken);
    hook.answer_by(move |request| {
        let mut tries = tries.lock().unwrap();
        let statuses: Vec<_> = documents(request)
            .into_iter()
            .map(|document| {
                let tries = tries.entry(document.clone()).or_default();
                *tries += 1;
                let status = outcomes
                    .get(&document)
                    .and_then(|outcomes| outcomes.get(*tries - 1))
                    .copied()
                    .unwrap_or(201);
                if status < 300 {
                    store.lock().unwrap().push(document);
                }
                status
            })
            .collect();
        answer(&statuses)
    });
    (hook, taken)
}

fn unique(events: &[String]) -> usize {
    events.iter().collect::<HashSet<_>>().len()
}

fn url(hook: &Webhook) -> String {
    format!("http://{}/s3-audit/_bulk", hook.address())
}

fn begin(hook: &Webhook, more: &[&str]) -> Agent {
    start(
        &url(hook),
        &[&["--event-prefix", CREATE, "--batch-age=1h"], more].concat(),
    )
}

#[test]
fn of_a_batch_each_event_ends_as_the_answer_says_of_it() {
    let (hook, taken) = elastic(&[
        (3, &[400]),
        (5, &[429, 503]),
        (6, &[429, 400]),
        (7, &[409]),
        (99, &[404]),
    ]);
    let mut agent = begin(&hook, &["--compress", "gzip"]);
    feed(&mut agent, &numbered(0..100));
    let (balance, log) = end_input(agent);

    assert_eq!((balance.delivered, balance.dropped), (98, 0), "{log}");
    assert_eq!(balance.rejected, 2);
    let requests = hook.requests();
    let again: Vec<_> = requests[1..].iter().map(documents).collect();
    let event = |number: usize| format!("{{\"number\":{number}}}");
    assert_eq!(
        again,
        [vec![event(99)], vec![event(5), event(6)], vec![event(5)]],
        "what must be sent again goes alone, and what may be to blame first"
    );
    // 3 and 6 were refused, and 7 was there before.
    let taken = taken.lock().unwrap();
    assert_eq!((taken.len(), unique(&taken)), (97, 97), "{taken:?}");
    assert!(
        log.contains("rejected 1 event (HTTP 400 document_parsing_exception)"),
        "{log}"
    );
    assert!(
        log.contains("HTTP 429 es_rejected_execution_exception for some events"),
        "{log}"
    );
    assert!(!log.contains("payroll"), "{log}");
}

#[test]
fn what_was_taken_is_counted_with_its_bytes_whatever_became_of_the_others() {
    let (hook, taken) = elastic(&[(3, &[400]), (5, &[503])]);
    let status = free_address();
    let listen = format!("--status-listen={status}");
    let options = [
        "--event-prefix",
        CREATE,
        "--batch-age=2s",
        "--batch-events=100",
        &listen,
    ];
    let mut agent = start(&url(&hook), &options);
    agent.wait_for_log("started: ");
    feed(&mut agent, &numbered(0..100));
    let metrics = eventually("all has ended", || {
        let metrics = Metrics::at(status);
        (metrics.value("events_delivered_total") == 99).then_some(metrics)
    });
    let bytes: usize = taken
        .lock()
        .unwrap()
        .iter()
        .map(|event| event.len() + 1)
        .sum();
    assert_eq!(metrics.value("delivered_bytes_total"), bytes as u64);
    for (result, count) in [("delivered", 1), ("retried", 1), ("rejected", 0)] {
        assert_eq!(
            metrics.of("requests_total", "result", result),
            count,
            "{result}"
        );
    }
    assert_eq!(metrics.of("request_failures_total", "cause", "answer"), 1);
    end_input(agent);
}

#[test]
fn a_buffer_that_is_always_full_loses_nothing_and_repeats_nothing() {
    let late = [0, 7, 30, 77];
    let (hook, taken) = elastic(&[
        (0, &[429; 4]),
        (7, &[503, 503, 429]),
        (8, &[400]),
        (30, &[429]),
        (44, &[400]),
        (55, &[400]),
        (66, &[400]),
        (77, &[503; 9]),
        (99, &[400]),
    ]);
    let more = [
        "--batch-events=10",
        "--buffer-events=20",
        "--when-full=wait",
    ];
    let mut agent = begin(&hook, &more);
    let events = numbered(0..100);
    feed(&mut agent, &events);
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.rejected), (95, 5), "{log}");
    let taken = taken.lock().unwrap();
    assert_eq!((taken.len(), unique(&taken)), (95, 95), "{taken:?}");
    let late = late.map(|number| events[number].clone());
    let in_time: Vec<_> = taken.iter().filter(|event| !late.contains(event)).collect();
    let refused = [8, 44, 55, 66, 99].map(|number| &events[number]);
    let expected: Vec<_> = events
        .iter()
        .filter(|event| !late.contains(event) && !refused.contains(event))
        .collect();
    assert_eq!(in_time, expected, "all others stay in order");
}

#[test]
fn an_event_that_always_fails_is_rejected_while_others_pass() {
    let (hook, taken) = elastic(&[(3, &[500; 99]), (444, &[403; 99])]);
    let mut agent = begin(&hook, &["--batch-events=10"]);
    feed(&mut agent, &numbered(0..3000));
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.rejected), (2998, 2), "{log}");
    let taken = taken.lock().unwrap();
    assert_eq!((taken.len(), unique(&taken)), (2998, 2998));
}

#[test]
fn an_answer_of_a_megabyte_is_read_to_its_end() {
    let (hook, taken) = elastic(&[(0, &[400]), (4999, &[400])]);
    let mut agent = begin(&hook, &[]);
    feed(&mut agent, &numbered(0..5000));
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.rejected), (4998, 2), "{log}");
    assert_eq!(
        (hook.request_count(), taken.lock().unwrap().len()),
        (1, 4998)
    );
    assert!(log.contains("rejected 2 events"), "{log}");
}

#[test]
fn an_answer_without_errors_needs_no_items_and_keeps_the_connection() {
    let hook = Webhook::start();
    hook.answer_by(|request| answer(&vec![201; documents(request).len()]));
    hook.script([
        Answer::ok().body(r#"{"errors":false}"#),
        Answer::ok().body(r#"{"took":0,"errors":false,"items":[]}"#),
    ]);
    let mut agent = begin(&hook, &["--batch-events=1000"]);
    for (place, events) in numbered(0..4000).chunks(1000).enumerate() {
        feed(&mut agent, events);
        hook.wait_for_requests(place + 1);
    }
    let (balance, log) = end_input(agent);
    assert_eq!(balance.delivered, 4000, "{log}");
    assert_eq!(hook.connections(), 1);
}

#[test]
fn of_an_answer_that_breaks_off_what_was_told_counts_and_the_rest_is_sent_again() {
    let hook = Webhook::start();
    let mut statuses = vec![201; 1000];
    statuses[1] = 400;
    statuses[2] = 503;
    hook.script([answer(&statuses).half_a_body()]);
    hook.answer_by(|request| answer(&vec![201; documents(request).len()]));
    let mut agent = begin(&hook, &[]);
    let events = numbered(0..1000);
    feed(&mut agent, &events);
    let (balance, log) = end_input(agent);

    assert_eq!((balance.delivered, balance.rejected), (999, 1), "{log}");
    let requests = hook.requests();
    let again: Vec<_> = requests[1..].iter().flat_map(documents).collect();
    let (last, missing) = again.split_last().unwrap();
    assert_eq!(*last, events[2]);
    assert!((450..550).contains(&missing.len()), "{}", missing.len());
    assert_eq!(*missing, events[events.len() - missing.len()..]);
    let redelivered = format!("redelivered {} events that may have arrived", missing.len());
    assert!(log.contains(&redelivered), "{log}");
}

#[test]
fn an_answer_of_which_nothing_arrives_is_no_delivery() {
    let hook = Webhook::start();
    hook.script([
        answer(&[201, 400]).body("x".repeat(50)).half_a_head(),
        Answer::ok().body("{\"err").close(),
        Answer::ok().body("{").half_a_body(),
    ]);
    hook.answer_by(|request| answer(&vec![201; documents(request).len()]));
    let mut agent = begin(&hook, &[]);
    feed(&mut agent, &numbered(0..2));
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.dropped), (2, 0), "{log}");
    assert!((4..=5).contains(&hook.request_count()), "{log}");
}

#[test]
fn an_endless_answer_is_left() {
    let hook = Webhook::start();
    hook.script([Answer::ok().endless()]);
    hook.answer_by(|request| answer(&vec![201; documents(request).len()]));
    let mut agent = begin(&hook, &[]);
    feed(&mut agent, &numbered(0..2));
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.dropped), (2, 0), "{log}");
}

#[test]
fn errors_without_their_events_are_an_operators_matter() {
    let (unclear, foreign) = ("filter_path", "answers before Elasticsearch");
    for (body, fix) in [
        (r#"{"errors":true}"#, unclear),
        (
            r#"{"errors":true,"items":[{"create":{"error":{"type":"x"}}}]}"#,
            unclear,
        ),
        (
            r#"{"errors":true,"items":[{"create":{"error":{"type":"x"}}},{"create":{"error":{"type":"x"}}}]}"#,
            unclear,
        ),
        (
            r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400}},{"create":{"status":201}}]}"#,
            unclear,
        ),
        ("", foreign),
        ("{}", foreign),
        ("warming up, try later", foreign),
    ] {
        let hook = Webhook::start();
        hook.script([Answer::ok().body(body)]);
        hook.answer_by(|request| answer(&vec![201; documents(request).len()]));
        let mut agent = begin(&hook, &[]);
        feed(&mut agent, &numbered(0..2));
        let (balance, log) = end_input(agent);
        assert_eq!((balance.delivered, balance.dropped), (2, 0), "{log}");
        let errors = lines_of("ERROR", &log);
        assert!(errors.len() == 1 && errors[0].contains(fix), "{log}");
        assert!(log.contains("redelivered 2 events"), "{log}");
    }
}

#[test]
fn a_blocked_index_holds_events_and_says_what_to_do() {
    let (hook, taken) = elastic(&[(0, &[403]), (1, &[403])]);
    let mut agent = begin(&hook, &[]);
    feed(&mut agent, &numbered(0..2));
    let (balance, log) = end_input(agent);
    assert_eq!(
        (
            balance.delivered,
            balance.dropped,
            taken.lock().unwrap().len()
        ),
        (2, 0, 2),
        "{log}"
    );
    let errors = lines_of("ERROR", &log);
    assert!(
        errors[0].contains("403 cluster_block_exception") && errors[0].contains("disk is full"),
        "{log}"
    );
}

/// As Elasticsearch does while no more shards can be made: then whole bodies are refused that it takes later.
#[test]
fn a_service_that_refuses_all_for_a_while_costs_few_events() {
    let hook = Webhook::start();
    hook.answer_by(|request| answer(&vec![400; documents(request).len()]));
    let more = ["--batch-events=10", "--backoff-min=1h", "--backoff-max=1h"];
    let mut agent = begin(&hook, &more);
    feed(&mut agent, &numbered(0..1000));
    let line = agent.wait_for_log("each event is rejected: HTTP 400");
    assert!(line.contains("ERROR") && line.contains("fix: "), "{line}");
    // What is tried in a hurry at the end is lost, too.
    let before = hook.request_count();
    agent.signal(libc::SIGTERM);
    let (balance, log) = end_input(agent);
    assert!(balance.rejected <= 8, "{log}");
    assert!(hook.request_count() <= before + 1, "{log}");
}

#[test]
fn what_is_left_at_the_end_is_counted_once() {
    let (hook, taken) = elastic(&[(2, &[503; 1000]), (4, &[503; 1000]), (6, &[400])]);
    let mut agent = begin(&hook, &["--shutdown-timeout", "100ms"]);
    feed(&mut agent, &numbered(0..10));
    // The batch is cut when there is no more.
    agent.close_stdin();
    hook.wait_for_requests(3);
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (balance.received, balance.delivered),
        (10, 7),
        "{}",
        ended.log
    );
    assert_eq!((balance.rejected, balance.by_reason["shutdown"]), (1, 2));
    assert_eq!(taken.lock().unwrap().len(), 7);
}

#[test]
fn a_test_event_that_is_refused_is_told() {
    for (status, part) in [
        (400, "400 document_parsing_exception"),
        (403, "disk is full"),
    ] {
        let hook = Webhook::start();
        hook.always(answer(&[status]));
        let args = [
            "--config",
            "/dev/null",
            "--auth-token",
            "ApiKey s3cret",
            "--event-prefix",
            CREATE,
        ];
        let ended = Agent::command()
            .arg("test")
            .endpoint(&url(&hook))
            .args(args)
            .input("")
            .run();
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        assert!(
            ended.log.contains("not delivered") && ended.log.contains(part),
            "{}",
            ended.log
        );
    }
}
