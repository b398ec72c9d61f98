//! The status of an agent, for people.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::cli::terminal::{Paint, shown};
use crate::state::agents::{Agent, Status};
use crate::text::quantity::HumanDuration;

/// All about an agent, in a few lines.
pub fn block(agent: &Agent, now: SystemTime, paint: Paint) -> String {
    let times = Times {
        agent,
        paint,
        age: agent.age(now),
        status: agent.status(now),
    };
    let state = &agent.state;
    let mut lines = vec![times.headline(), times.webhook()];
    let endpoints = state["webhook"]["endpoints"]
        .as_array()
        .into_iter()
        .flatten();
    lines.extend(endpoints.map(|endpoint| times.endpoint(endpoint)));
    let sources = state["sources"].as_array().into_iter().flatten();
    lines.extend(sources.map(|source| times.source(source)));
    if let rejected @ Value::Object(_) = &state["settings_rejected"] {
        let lasted = times.lasted(&rejected["since"]);
        let rejected = format!("rejected for {lasted}: {}", word(&rejected["why"]));
        lines.push(format!("  settings    {}", paint.bad(&rejected)));
    }
    lines.push(events(state));
    if let spool @ Value::Object(_) = &state["spool"] {
        let age = spool["oldest_seconds"].as_u64().unwrap_or_default();
        lines.push(format!(
            "  spool       {} events, {} of {} bytes, the oldest for {}",
            word(&spool["events"]),
            word(&spool["bytes"]),
            word(&spool["limit"]),
            seconds(Duration::from_secs(age))
        ));
    }
    if let trail @ Value::Object(_) = &state["trail"] {
        lines.push(format!(
            "  trail       stream {}, number {}; {} records not delivered",
            word(&trail["stream"]),
            word(&trail["last"]),
            word(&trail["pending"])
        ));
    }
    if let error @ Value::Object(_) = &state["last_error"] {
        let ago = times.ago(&error["at"]);
        lines.push(format!("  last error  {ago} ago: {}", word(&error["what"])));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// An agent and how long ago it last wrote.
struct Times<'a> {
    agent: &'a Agent,
    paint: Paint,
    age: Duration,
    status: Status,
}

impl Times<'_> {
    fn ago(&self, at: &Value) -> String {
        let before = self.agent.before_last_word(at);
        before.map_or_else(|| "?".into(), |before| seconds(before + self.age))
    }

    /// How long something has lasted. For an agent that no longer reports, it lasted until its last report.
    fn lasted(&self, since: &Value) -> String {
        let more = match self.status {
            Status::Up => self.age,
            Status::Ended | Status::Silent => Duration::ZERO,
        };
        let before = self.agent.before_last_word(since);
        before.map_or_else(|| "?".into(), |before| seconds(before + more))
    }

    fn headline(&self) -> String {
        let state = &self.agent.state;
        let was = match self.status {
            Status::Up => self
                .paint
                .good(&format!("up {}", self.ago(&state["started"]))),
            Status::Ended => format!("ended {} ago", seconds(self.age)),
            Status::Silent => self.paint.bad(&format!("silent for {}", seconds(self.age))),
        };
        format!(
            "{}  {was}; started {}, pid {}, version {}",
            word(&state["host"]),
            word(&state["started"]),
            word(&state["pid"]),
            word(&state["version"])
        )
    }

    fn webhook(&self) -> String {
        let webhook = &self.agent.state["webhook"];
        let endpoint = match &webhook["endpoint"] {
            Value::Null => String::new(),
            endpoint => format!("{} ", word(endpoint)),
        };
        let condition = match webhook["state"].as_str() {
            Some("disabled") => word(&webhook["why"]),
            Some("waiting") => self.paint.bad(&format!(
                "unavailable: {}; waiting for it",
                word(&webhook["why"])
            )),
            // The second word is used by agents of version 0.1.
            Some(state @ ("failing" | "unreachable")) => {
                let lasted = self.lasted(&webhook[&format!("{state}_since")]);
                let failing = format!("failing for {lasted}: {}", word(&webhook["why"]));
                self.paint.bad(&failing)
            }
            Some("untried") => "not tried yet".into(),
            _ => word(&webhook["state"]),
        };
        let delivery = match &webhook["last_delivery"] {
            Value::Null => String::new(),
            at => format!("; last delivery {} ago", self.ago(at)),
        };
        format!("  webhook     {endpoint}{condition}{delivery}")
    }

    fn endpoint(&self, endpoint: &Value) -> String {
        let condition = match &endpoint["failing_since"] {
            Value::Null => "works".into(),
            since => format!(
                "failing for {}: {}",
                self.lasted(since),
                word(&endpoint["why"])
            ),
        };
        format!("  endpoint    {} {condition}", word(&endpoint["name"]))
    }

    fn source(&self, source: &Value) -> String {
        let (name, received) = (word(&source["name"]), word(&source["received"]));
        let mut line = format!("  source      {name} received {received}");
        if source["away_since"].is_string() {
            let lasted = self.lasted(&source["away_since"]);
            let away = format!("unavailable for {lasted}: {}", word(&source["why"]));
            line += &format!("; {}", self.paint.bad(&away));
        }
        if source["away_since"].is_null() && source["is_up"] == false {
            line += "; not there yet";
        }
        if source["unreadable"].is_string() {
            line += &format!("; {}", self.paint.bad(&word(&source["unreadable"])));
        }
        if let Some(bytes) = count(&source["lag_bytes"]) {
            let age = Duration::from_secs(source["lag_seconds"].as_u64().unwrap_or_default());
            line += &format!("; {bytes} bytes behind, the oldest for {}", seconds(age));
        }
        if source["catching_up"].is_string() {
            line += &format!("; {}", word(&source["catching_up"]));
        }
        if let Some(files) = count(&source["copies"]) {
            line += &format!("; {files} files taken for copies");
        }
        let (refused, reasons) = by_reason(&source["requests_refused"]);
        if refused > 0 {
            line += &format!("; {refused} requests refused{reasons}");
            if source["last_refused"].is_string() {
                line += &format!(", last from {}", word(&source["last_refused"]));
            }
        }
        if let Some(bytes) = count(&source["lost_bytes"]) {
            line += &format!("; {bytes} bytes lost");
        }
        line
    }
}

fn events(state: &Value) -> String {
    let (dropped, reasons) = by_reason(&state["dropped"]);
    let filtered = match by_rule(&state["filtered"]) {
        (0, _) => String::new(),
        (events, rules) => format!(", filtered {events}{rules}"),
    };
    let if_any = |name: &str| match count(&state[name]) {
        Some(events) => format!(", {name} {events}"),
        None => String::new(),
    };
    let posted = match count(&state["posted_not_indexed"]) {
        Some(events) => format!(" ({events} posted, not yet indexed)"),
        None => String::new(),
    };
    format!(
        "  events      received {}{}, delivered {}, dropped {dropped}{reasons}{}{filtered}, buffered {}{posted}{}{}",
        word(&state["received"]),
        if_any("recovered"),
        word(&state["delivered"]),
        if_any("rejected"),
        word(&state["in_buffer"]),
        if_any("redelivered"),
        if_any("redacted_values").replace('_', " "),
    )
}

/// A number that is more than 0.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().filter(|count| *count > 0)
}

/// The sum of counts by reason, and the reasons with their counts.
fn by_reason(counts: &Value) -> (u64, String) {
    let (total, reasons) = by_rule(counts);
    (total, reasons.replace('_', " "))
}

/// The same by rule; a rule's name may contain `_`.
fn by_rule(counts: &Value) -> (u64, String) {
    let counts = counts.as_object().into_iter().flatten();
    let counts = counts.filter_map(|(reason, value)| Some((reason, count(value)?)));
    let mut total = 0_u64;
    let mut reasons = Vec::new();
    for (reason, count) in counts {
        total = total.saturating_add(count);
        reasons.push(format!("{} {count}", shown(reason)));
    }
    match reasons.as_slice() {
        [] => (0, String::new()),
        reasons => (total, format!(" ({})", reasons.join(", "))),
    }
}

/// Times in the files are in whole seconds.
fn seconds(duration: Duration) -> String {
    HumanDuration(Duration::from_secs(duration.as_secs().max(1))).to_string()
}

/// A value from a file that anybody may have written.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "?".into(),
        Value::String(text) => shown(text),
        value => shown(&value.to_string()),
    }
}
