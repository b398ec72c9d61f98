//! What `show` says on a terminal.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::state::agents::{Agent, Status};
use crate::text::quantity::HumanDuration;

/// Longer texts, by whoever could write to the state directory, are cut.
const LONGEST: usize = 300;
/// Columns wider than this don't push the next one away.
const WIDEST: usize = 56;

/// A text that may come from anywhere, so that a terminal shows it and does nothing else, as one line.
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        match c {
            _ if count == LONGEST => {
                shown.push('…');
                break;
            }
            '\'' | '"' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// Rows whose cells stand below each other.
pub fn columns(rows: &[[&str; 3]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.map(shown)).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default().min(WIDEST)
    };
    let (first, second) = (width(0), width(1));
    let lines = rows.iter().map(|[name, value, origin]| {
        let line = format!("{name:first$}  {value:second$}  {origin}");
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// All of an agent, a few lines.
pub fn block(agent: &Agent, now: SystemTime) -> String {
    let state = &agent.state;
    let age = agent.age(now);
    let status = agent.status(now);
    let ago = |at: &Value| {
        let ago = agent.before_last_word(at).map(|before| before + age);
        ago.map_or_else(|| "?".into(), seconds)
    };
    // An outage ends with what is known of it.
    let lasted = |since: &Value| {
        let more = if status == Status::Up {
            age
        } else {
            Duration::ZERO
        };
        let lasted = agent.before_last_word(since).map(|before| before + more);
        lasted.map_or_else(|| "?".into(), seconds)
    };
    let was = match status {
        Status::Up => format!("up {}", ago(&state["started"])),
        Status::Ended => format!("ended {} ago", seconds(age)),
        Status::Silent => format!("not heard of for {}", seconds(age)),
    };
    let mut lines = vec![format!(
        "{}  {was}; started {}, pid {}, version {}",
        word(&state["host"]),
        word(&state["started"]),
        word(&state["pid"]),
        word(&state["version"])
    )];
    let webhook = &state["webhook"];
    let endpoint = match &webhook["endpoint"] {
        Value::Null => String::new(),
        endpoint => format!("{} ", word(endpoint)),
    };
    let condition = match webhook["state"].as_str() {
        Some("disabled") => word(&webhook["why"]),
        Some("unreachable") => {
            let lasted = lasted(&webhook["unreachable_since"]);
            format!("unreachable for {lasted}: {}", word(&webhook["why"]))
        }
        Some("untried") => "not tried yet".into(),
        _ => word(&webhook["state"]),
    };
    let delivery = match &webhook["last_delivery"] {
        Value::Null => String::new(),
        at => format!("; last delivery {} ago", ago(at)),
    };
    lines.push(format!("  webhook     {endpoint}{condition}{delivery}"));
    for source in state["sources"].as_array().into_iter().flatten() {
        let away = match &source["away_since"] {
            Value::Null => String::new(),
            since => format!("; away for {}: {}", lasted(since), word(&source["why"])),
        };
        let (name, received) = (word(&source["name"]), word(&source["received"]));
        lines.push(format!("  source      {name} received {received}{away}"));
    }
    let dropped = state["dropped"].as_object().into_iter().flatten();
    let dropped: Vec<_> = dropped
        .filter_map(|(reason, events)| {
            Some((reason, events.as_u64().filter(|events| *events > 0)?))
        })
        .collect();
    let total = dropped
        .iter()
        .fold(0_u64, |total, (_, events)| total.saturating_add(*events));
    let reasons: Vec<_> = dropped
        .iter()
        .map(|(reason, events)| format!("{} {events}", shown(&reason.replace('_', " "))))
        .collect();
    let reasons = match reasons.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join(", ")),
    };
    lines.push(format!(
        "  events      received {}, delivered {}, dropped {total}{reasons}, in buffer {}",
        word(&state["received"]),
        word(&state["delivered"]),
        word(&state["in_buffer"])
    ));
    if let error @ Value::Object(_) = &state["last_error"] {
        let ago = ago(&error["at"]);
        lines.push(format!("  last error  {ago} ago: {}", word(&error["what"])));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The times in the files have no finer steps.
fn seconds(duration: Duration) -> String {
    HumanDuration(Duration::from_secs(duration.as_secs().max(1))).to_string()
}

/// A value as a file of whatever origin has it.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "?".into(),
        Value::String(text) => shown(text),
        value => shown(&value.to_string()),
    }
}
