//! The options on the targets' pages, as they stand there, each against a listener that checks what the service's documentation demands
//! of a request, and answers as it says.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::bulk::{answer, documents};
use super::delivery::numbered;
use super::support::{Agent, Answer, Request, Webhook};

const PAGES: [&str; 6] = [
    include_str!("../packaging/docs/target-splunk.md"),
    include_str!("../packaging/docs/target-splunk-cloud.md"),
    include_str!("../packaging/docs/target-elasticsearch.md"),
    include_str!("../packaging/docs/target-datadog.md"),
    include_str!("../packaging/docs/target-sumo-logic.md"),
    include_str!("../packaging/docs/target-webhook.md"),
];
const KEY: &str = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

/// The words of the first command below this heading, as a shell would read them.
fn recipe(heading: &str) -> Vec<String> {
    let heading = format!("\n## {heading}\n");
    let mut found = PAGES.iter().filter_map(|page| page.split_once(&heading));
    let (_, below) = found.next().expect(&heading);
    let lines = below.lines().skip_while(|line| !line.starts_with("    "));
    let block: Vec<_> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in block.join("\n").replace("\\\n", " ").chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Runs the recipe on these events, with the listener in the place of the service at `https://HOST`, and with `secret` in the
/// files that it names.
#[track_caller]
fn run(heading: &str, hook: &Webhook, secret: &str, events: &[String]) {
    let dir = TempDir::new().unwrap();
    let args = recipe(heading).into_iter().map(|word| {
        let local = |path: &str| {
            let file = dir.path().join(Path::new(path).file_name().unwrap());
            fs::write(&file, format!("{secret}\n")).unwrap();
            file.to_str().unwrap().to_owned()
        };
        if let Some((_, path)) = word
            .strip_prefix("https://")
            .and_then(|rest| rest.split_once('/'))
        {
            format!("http://{}/{path}", hook.address())
        } else if word.starts_with("/etc/") {
            local(&word)
        } else if let Some((name, path)) = word.split_once('@') {
            format!("{name}@{}", local(path))
        } else {
            word
        }
    });
    let command = Agent::command()
        .args(["run", "--config", "/dev/null"])
        .args(args);
    let input: String = events.iter().map(|event| format!("{event}\n")).collect();
    let ended = command.input(input).run();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (ended.code, balance.delivered),
        (Some(0), events.len() as u64),
        "{}",
        ended.log
    );
    assert!(!ended.log.contains(KEY), "{}", ended.log);
    assert!(!ended.log.contains("ERROR"), "{}", ended.log);
    for request in hook.requests() {
        assert!(request.delivered(), "{request:?}");
    }
}

/// The service's answer, or what is wrong with the request.
type Checked = Result<Answer, String>;

fn demand(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// A service. What is wrong with a request is refused and stands in the log, whatever status the service would give it: others
/// would be tried again for ever.
fn listener(check: impl Fn(&Request) -> Checked + Send + Sync + 'static) -> Webhook {
    let hook = Webhook::start();
    hook.answer_by(move |request| {
        let answer = check(request);
        answer.unwrap_or_else(|what| Answer::status(400).body(what))
    });
    hook
}

/// The value of a parameter of the request's query.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let (_, query) = request.path.split_once('?')?;
    query
        .split('&')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn path(request: &Request) -> &str {
    request.path.split('?').next().unwrap_or_default()
}

/// The requests' bodies.
fn texts(hook: &Webhook) -> Vec<String> {
    hook.requests().iter().map(Request::text).collect()
}

/// Enough for several requests of the default size.
fn many() -> Vec<String> {
    let pad = "x".repeat(900);
    (0..2500)
        .map(|number| {
            format!(
                "{{\"number\":{number},\"time\":\"2026-03-21T06:37:27.347Z\",\"pad\":\"{pad}\"}}"
            )
        })
        .collect()
}

/// Splunk's token stands in the header, behind its scheme.
fn splunk_demands(request: &Request) -> Result<(), String> {
    demand(request.method == "POST", "method")?;
    let token = request
        .header("Authorization")
        .and_then(|value| value.strip_prefix("Splunk "));
    demand(
        token == Some(KEY),
        r#"{"text":"Token is required","code":2}"#,
    )
}

#[test]
fn splunk_raw_endpoint() {
    let hook = listener(|request| {
        splunk_demands(request)?;
        demand(path(request) == "/services/collector/raw", "path")?;
        for name in ["host", "sourcetype", "index"] {
            demand(
                parameter(request, name).is_some_and(|value| !value.is_empty()),
                name,
            )?;
        }
        let text = request.text();
        demand(!text.trim().is_empty(), r#"{"text":"No data","code":5}"#)?;
        // Each line is an event.
        demand(
            text.lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "a line is no event",
        )?;
        Ok(Answer::ok())
    });
    let events = many();
    run(
        "Splunk's raw endpoint",
        &hook,
        &format!("Splunk {KEY}"),
        &events,
    );
    assert!(texts(&hook).concat().lines().eq(events));
    assert!(
        hook.requests()
            .iter()
            .all(|request| request.body.len() < 100_000),
        "compressed"
    );
}

#[test]
fn splunk_event_endpoint() {
    takes_envelopes("Splunk's event endpoint");
}

#[test]
fn splunk_cloud() {
    takes_envelopes("Options for Splunk Cloud");
}

fn takes_envelopes(heading: &str) {
    const KEYS: [&str; 7] = [
        "time",
        "host",
        "source",
        "sourcetype",
        "index",
        "event",
        "fields",
    ];
    let hook = listener(|request| {
        splunk_demands(request)?;
        demand(path(request) == "/services/collector/event", "path")?;
        for envelope in serde_json::Deserializer::from_str(&request.text()).into_iter::<Value>() {
            let envelope =
                envelope.map_err(|_| r#"{"text":"Invalid data format","code":6}"#.to_owned())?;
            let members = envelope.as_object().ok_or("no object".to_owned())?;
            demand(
                members.contains_key("event"),
                r#"{"text":"Event field is required","code":12}"#,
            )?;
            demand(
                members["event"].is_object(),
                r#"{"text":"Event field cannot be blank","code":13}"#,
            )?;
            demand(
                members.keys().all(|key| KEYS.contains(&key.as_str())),
                "an unknown key",
            )?;
            demand(members["time"].as_f64() == Some(1_774_075_047.347), "time")?;
            for name in ["host", "source", "sourcetype", "index"] {
                demand(members[name].is_string(), name)?;
            }
        }
        Ok(Answer::ok())
    });
    let events = many();
    run(heading, &hook, &format!("Splunk {KEY}"), &events);
    let texts = texts(&hook).concat();
    let found = texts.lines().map(|line| {
        let (_, rest) = line.split_once(",\"event\":").unwrap();
        rest.split_once(",\"host\":").unwrap().0
    });
    assert!(found.eq(&events));
}

#[test]
fn elasticsearch_and_opensearch() {
    let hook = listener(|request| {
        demand(request.method == "POST", "method")?;
        demand(path(request) == "/s3-audit/_bulk", "path")?;
        demand(
            request.header("Authorization") == Some(&format!("ApiKey {KEY}")),
            "authorization",
        )?;
        let types = ["application/json", "application/x-ndjson"];
        demand(
            request
                .header("Content-Type")
                .is_some_and(|value| types.contains(&value)),
            "Content-Type",
        )?;
        let text = request.text();
        demand(text.len() < 100 << 20, "100 MB at most")?;
        demand(
            text.ends_with('\n'),
            "The bulk request must be terminated by a newline",
        )?;
        demand(
            text.lines()
                .step_by(2)
                .all(|line| line == r#"{"create":{}}"#),
            "Malformed action/metadata line",
        )?;
        let filter = parameter(request, "filter_path");
        demand(
            filter == Some("errors,items.*.status,items.*.error.type"),
            "filter_path",
        )?;
        Ok(answer(&vec![201; documents(request).len()]))
    });
    let events = many();
    run(
        "Options for Elasticsearch and OpenSearch",
        &hook,
        &format!("ApiKey {KEY}"),
        &events,
    );
    let found: Vec<_> = hook.requests().iter().flat_map(documents).collect();
    assert!(found == events);
}

#[test]
fn datadog() {
    let hook = listener(|request| {
        demand(request.method == "POST", "method")?;
        demand(path(request) == "/api/v2/logs", "path")?;
        demand(
            request.header("DD-API-KEY") == Some(KEY),
            "Permission issue",
        )?;
        demand(request.header("Authorization").is_none(), "authorization")?;
        demand(
            request.header("Content-Type") == Some("application/json"),
            "Content-Type",
        )?;
        demand(parameter(request, "ddsource").is_some(), "ddsource")?;
        let text = request.text();
        demand(text.len() <= 5_000_000, "5 MB at most")?;
        let logs: Value = serde_json::from_str(&text).map_err(|_| "no JSON".to_owned())?;
        let logs = logs.as_array().ok_or("no array".to_owned())?;
        demand((1..=1000).contains(&logs.len()), "1,000 entries at most")?;
        Ok(Answer::status(202).body("{}"))
    });
    let events = many();
    run("Options for Datadog", &hook, KEY, &events);
    let bodies = texts(&hook).concat().replace("][", ",");
    assert_eq!(bodies, format!("[{}]", events.join(",")));
    assert_eq!(hook.request_count(), 3);
    // Short ones are held back by their number only.
    let hook = Webhook::start();
    run("Options for Datadog", &hook, KEY, &numbered(0..3000));
    assert_eq!(hook.request_count(), 3);
}

#[test]
fn sumo_logic() {
    let hook = listener(|request| {
        demand(request.method == "POST", "method")?;
        demand(
            path(request).starts_with("/receiver/v1/http/") && !request.path.contains('?'),
            "URL token",
        )?;
        demand(request.header("Authorization").is_none(), "authorization")?;
        demand(request.header("X-Sumo-Category").is_some(), "category")?;
        // Other content types are metrics.
        let metrics = ["graphite", "carbon2", "prometheus"];
        let content_type = request.header("Content-Type").unwrap_or_default();
        demand(
            metrics
                .iter()
                .all(|metrics| !content_type.contains(metrics)),
            "Content-Type",
        )?;
        demand(
            request.text().len() <= 1_000_000,
            "1 MB at most, before compression",
        )?;
        Ok(Answer::ok().body(""))
    });
    let events = many();
    run("Options for Sumo Logic", &hook, KEY, &events);
    assert!(texts(&hook).concat().lines().eq(events));
}

#[test]
fn any_webhook() {
    let hook = listener(|request| {
        demand(request.method == "POST", "method")?;
        demand(request.path == "/s3", "path")?;
        demand(
            request.header("Authorization") == Some(&format!("Bearer {KEY}")),
            "authorization",
        )?;
        demand(
            request.header("Content-Type") == Some("application/json"),
            "Content-Type",
        )?;
        let event = serde_json::from_str::<Value>(&request.text());
        demand(event.is_ok_and(|event| event.is_object()), "no JSON object")?;
        Ok(Answer::status(204).body(""))
    });
    let events = numbered(0..50);
    run(
        "Options for any webhook",
        &hook,
        &format!("Bearer {KEY}"),
        &events,
    );
    assert!(texts(&hook).concat().lines().eq(events));
}

#[test]
fn the_pages_have_no_options_that_are_not_tried() {
    let blocks = PAGES.map(|page| page.matches("\n    --endpoint ").count());
    assert_eq!(blocks, [2, 1, 1, 1, 1, 1]);
}
