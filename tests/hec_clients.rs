//! Clients of Splunk's HTTP Event Collector that have an agent as their collector: each by the requests that it makes.

use serde_json::{Value, json};

use crate::source_http::{
    CLOSE, HEALTHY, Listener, TokenFile, answer, ask, gzip, request, success,
};
use crate::support::eventually;

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D714D0";

/// A post of events to a path, with these headers beside the token.
fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path}\nAuthorization: {TOKEN}\n{headers}Content-Type: application/json\nContent-Length: {length}"
    );
    request(&head, body)
}

fn arrived(listener: &Listener, count: usize) -> Vec<Value> {
    let events = listener.hook.wait_for_events(count);
    let parse = |event: &Vec<u8>| serde_json::from_slice(event).unwrap();
    events.iter().map(parse).collect()
}

/// The envelopes in the bodies that the webhook got.
fn envelopes(listener: &Listener, count: usize) -> Vec<Value> {
    listener.hook.wait_for_requests(1);
    let mut found = Vec::new();
    eventually("all envelopes arrive", || {
        found.clear();
        for request in listener.hook.requests() {
            let values = serde_json::Deserializer::from_slice(&request.body).into_iter();
            found.extend(values.collect::<Result<Vec<Value>, _>>().unwrap());
        }
        (found.len() >= count).then_some(())
    });
    found
}

#[test]
fn probes_need_no_token_and_are_answered_as_splunk_does() {
    let token = TokenFile::new(TOKEN);
    let listener = Listener::start(&[&token.option()]);
    let mut client = listener.client();
    let healthy = answer("200 OK", "", HEALTHY);
    for path in [
        "/services/collector/health",
        "/services/collector/health/1.0",
        "/health",
    ] {
        ask(&mut client, &request(&format!("GET {path}"), b""), &healthy);
        let head = healthy.replace(HEALTHY, "");
        ask(&mut client, &request(&format!("HEAD {path}"), b""), &head);
    }
    let options = answer(
        "200 OK",
        "Allow: POST, PUT, GET, HEAD, OPTIONS\r\n",
        HEALTHY,
    );
    // Docker's, HAProxy's bare `option httpchk`, and any other.
    ask(
        &mut client,
        &request("OPTIONS /services/collector/event/1.0", b""),
        &options,
    );
    ask(&mut client, &request("OPTIONS *", b""), &options);
    let old = b"OPTIONS / HTTP/1.0\r\n\r\n";
    let closed = options.replace("OPTIONS\r\n", &format!("OPTIONS\r\n{CLOSE}"));
    assert_eq!(listener.last_words(old), closed);
    let head = listener.last_words(&request("GET /", b""));
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");

    // Acknowledgements are asked for with a token, and are no events.
    let ack = post(
        "/services/collector/ack?channel=7f",
        "",
        br#"{"acks":[0,1]}"#,
    );
    let disabled = answer(
        "400 Bad Request",
        "",
        r#"{"text":"ACK is disabled","code":14}"#,
    );
    ask(&mut client, &ack, &disabled);
    let bare = request("POST /services/collector/ack\nContent-Length: 2", b"{}");
    assert!(listener.last_words(&bare).starts_with("HTTP/1.1 401 "));

    for probe in ["{}", " {\r\n} ", "{}{}\n{}", "[{}]"] {
        ask(&mut client, &post("/", "", probe.as_bytes()), &success(""));
    }
    ask(&mut client, &post("/", "", b"{}{\"n\":1}{ }"), &success(""));
    assert_eq!(arrived(&listener, 1), [json!({"n": 1})]);
    assert_eq!(listener.end().received, 1);
}

#[test]
fn health_is_503_while_nothing_can_be_taken() {
    let spool = tempfile::tempdir().unwrap();
    let path = format!("--spool-dir={}", spool.path().display());
    for (options, event_bytes) in [
        (&["--buffer-events=10"][..], 10),
        (&["--spool-bytes=1MiB", &path], 100_000),
    ] {
        let listener = Listener::start(options);
        listener.hook.hold();
        let mut client = listener.client();
        let event = format!("{{\"n\":\"{}\"}}", "x".repeat(event_bytes));
        let full = answer(
            "503 Service Unavailable",
            "",
            r#"{"text":"HEC is unhealthy, queues are full","code":18}"#,
        );
        let mut status = 200;
        while status == 200 {
            client.send(&post("/", "", event.as_bytes())).unwrap();
            status = client.read_answer().unwrap().0;
        }
        assert_eq!(status, 503);
        let health = request("GET /services/collector/health", b"");
        ask(&mut client, &health, &full);
        listener.hook.release();
        eventually("there is room", || {
            client.send(&health).unwrap();
            (client.read_answer().unwrap().0 == 200).then_some(())
        });
        listener.end();
    }
}

/// Docker's splunk driver: a probe, then messages end to end, with gzip if it is told so.
fn docker() -> Vec<u8> {
    let messages = concat!(
        r#"{"event":{"line":"one","source":"stdout","tag":"4e2"},"time":"1774075047.347713","host":"docker1"}"#,
        r#"{"event":{"line":{"n":2},"source":"stdout","tag":"4e2"},"time":"1774075048.000001","host":"docker1","sourcetype":"json"}"#,
    );
    let headers = "Content-Encoding: gzip\nUser-Agent: Go-http-client/1.1\n";
    post(
        "/services/collector/event/1.0",
        headers,
        &gzip(messages.as_bytes()),
    )
}

/// Fluent Bit's out_splunk: the token is as Docker's, the path without a version.
fn fluent_bit() -> Vec<u8> {
    let events =
        r#"{"time":1774075047.347,"event":{"log":"x"}}{"time":1774075047.348,"event":{"log":"y"}}"#;
    post(
        "/services/collector/event",
        "User-Agent: Fluent-Bit\n",
        events.as_bytes(),
    )
}

/// Vector's splunk_hec_logs: with a channel, and fields.
fn vector() -> Vec<u8> {
    let event = r#"{"event":{"message":"x"},"fields":{"a":"b"},"time":1774075047.347,"host":"v1","index":"audit","source":"f","sourcetype":"s3"}"#;
    let headers =
        "X-Splunk-Request-Channel: 7f2c\nContent-Encoding: gzip\nUser-Agent: Vector/0.40\n";
    post(
        "/services/collector/event",
        headers,
        &gzip(event.as_bytes()),
    )
}

/// OpenTelemetry's splunkhec exporter: bodies are strings unless they are maps.
fn open_telemetry() -> Vec<u8> {
    let events = "{\"host\":\"o1\",\"source\":\"otel\",\"sourcetype\":\"otel\",\"event\":{\"a\":1}}\n\
                  {\"time\":1.5,\"host\":\"o1\",\"event\":\"text\"}\n";
    let headers = "Connection: keep-alive\nContent-Encoding: gzip\n__splunk_app_name: OpenTelemetry Collector Contrib\n";
    post("/services/collector", headers, &gzip(events.as_bytes()))
}

fn all() -> [Vec<u8>; 4] {
    [docker(), fluent_bit(), vector(), open_telemetry()]
}

#[test]
fn to_an_event_endpoint_envelopes_are_sent_on_with_all_that_they_say() {
    let token = TokenFile::new(TOKEN);
    let options = [
        &token.option(),
        "--format=hec",
        "--hec-host=agent",
        "--hec-index=main",
    ];
    let listener = Listener::start_to_events(&options);
    let mut client = listener.client();
    for request in all() {
        ask(&mut client, &request, &success(""));
    }
    // An audit event that only looks like one, and one without any: those are put into envelopes.
    let bare = post(
        "/services/collector/event",
        "",
        br#"{"version":"1","event":""}{"n":1}"#,
    );
    ask(&mut client, &bare, &success(""));
    let found = envelopes(&listener, 9);
    let expected = [
        json!({"event":{"line":"one","source":"stdout","tag":"4e2"},"time":"1774075047.347713","host":"docker1","index":"main"}),
        json!({"event":{"line":{"n":2},"source":"stdout","tag":"4e2"},"time":"1774075048.000001","host":"docker1","sourcetype":"json","index":"main"}),
        json!({"time":1774075047.347,"event":{"log":"x"},"host":"agent","index":"main"}),
        json!({"time":1774075047.348,"event":{"log":"y"},"host":"agent","index":"main"}),
        json!({"event":{"message":"x"},"fields":{"a":"b"},"time":1774075047.347,"host":"v1","index":"audit","source":"f","sourcetype":"s3"}),
        json!({"host":"o1","source":"otel","sourcetype":"otel","event":{"a":1},"index":"main"}),
        json!({"time":1.5,"host":"o1","event":"text","index":"main"}),
        json!({"event":{"version":"1","event":""},"host":"agent","index":"main"}),
        json!({"event":{"n":1},"host":"agent","index":"main"}),
    ];
    assert_eq!(found, expected);
    assert_eq!(listener.end().delivered, 9);
}

#[test]
fn for_other_formats_envelopes_are_taken_off() {
    let token = TokenFile::new(TOKEN);
    let listener = Listener::start(&[&token.option()]);
    let mut client = listener.client();
    for request in all() {
        ask(&mut client, &request, &success(""));
    }
    // Elsewhere nobody has asked for it, and an empty event is a probe.
    ask(
        &mut client,
        &post("/", "", br#"{"event":{"n":1}}"#),
        &success(""),
    );
    ask(
        &mut client,
        &post("/services/collector/event", "", br#"{"event":{}}"#),
        &success(""),
    );
    let expected = [
        json!({"line":"one","source":"stdout","tag":"4e2"}),
        json!({"line":{"n":2},"source":"stdout","tag":"4e2"}),
        json!({"log":"x"}),
        json!({"log":"y"}),
        json!({"message":"x"}),
        json!({"a":1}),
        // What is no object can't go without its envelope.
        json!({"time":1.5,"host":"o1","event":"text"}),
        json!({"event":{"n":1}}),
    ];
    assert_eq!(arrived(&listener, 8), expected);
    assert_eq!(listener.end().received, 8);
}

#[test]
fn the_operator_may_want_it_otherwise() {
    let keep = Listener::start(&["--hec-input=keep"]);
    ask(&mut keep.client(), &fluent_bit(), &success(""));
    assert_eq!(
        arrived(&keep, 2)[0],
        json!({"time":1774075047.347,"event":{"log":"x"}})
    );
    keep.end();
    let unwrap =
        Listener::start_to_events(&["--hec-input=unwrap", "--format=hec", "--hec-host=agent"]);
    ask(&mut unwrap.client(), &fluent_bit(), &success(""));
    assert_eq!(
        envelopes(&unwrap, 2)[0],
        json!({"event":{"log":"x"},"host":"agent"})
    );
    unwrap.end();
}
