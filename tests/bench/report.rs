//! `make bench-report`: the results of the last run as tables and plots, in `tests/bench/report/`, on the page about
//! performance, and in README.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

use crate::plot::{self, Bar, short};
use crate::programs::Program;
use crate::results;

const WORKS: [(&str, &str); 7] = [
    ("file", "file → webhook"),
    ("unix", "unix stream → webhook"),
    ("http", "one event a POST, 8 connections → webhook"),
    (
        "https-in",
        "one event a POST over TLS, 8 connections → webhook",
    ),
    ("fluent", "1,000 events a PackedForward → webhook"),
    ("gzip", "file → gzip 1 → webhook"),
    ("https", "file → webhook over TLS"),
];

/// A page with some of the figures: its path, and its tables by the names that they have there.
type Page = (&'static str, &'static [(&'static str, Table)]);
type Table = fn(&Value) -> String;

const PAGES: [Page; 2] = [
    (
        "packaging/docs/performance.md",
        &[("work", work_table), ("rest", rest_table)],
    ),
    ("README.md", &[("cost", cost_table)]),
];

/// The works in README's table.
const SHORT: [&str; 3] = ["file", "unix", "https"];

/// Which of the other figures are on the page about performance, and what they are called there.
const REST: [(&str, &str); 10] = [
    ("binary", "the static binary"),
    ("idle memory", "memory, idle"),
    (
        "memory in steady flow, http, 20000 events/s",
        "memory, 20,000 events a second over `http:`",
    ),
    (
        "memory in the outage, http, 64 MiB buffer full",
        "memory, webhook unavailable and the buffer of 64 MiB full",
    ),
    (
        "memory in an outage with a spool, 1 GiB came in, --buffer-bytes=1GiB",
        "memory, webhook unavailable and 1 GiB in the spool",
    ),
    ("idle CPU", "CPU, idle, of a core"),
    (
        "start to first delivered event",
        "first event delivered after the start",
    ),
    (
        "write to webhook, p99",
        "latency (p99) with `--batch-age 0`, one event per ms, from a socket",
    ),
    ("write to a file to webhook, p99", "the same from a file"),
    (
        "answer at 5000/s, p99, spool-sync=second",
        "answers of `http:` (p99) with a spool, 5,000 events a second",
    ),
];

/// Writes the tables and the plots.
pub(crate) fn run() -> io::Result<()> {
    let text = fs::read_to_string(results::path()).map_err(|error| {
        let path = results::path();
        io::Error::other(format!(
            "{}: {error}; `make bench` writes it",
            path.display()
        ))
    })?;
    let all: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/report");
    fs::create_dir_all(&directory)?;
    for (name, content) in [
        ("results.json", text.clone()),
        ("figures.md", figures(&all)),
        ("cpu.svg", cpu_plot(&all)),
        ("memory.svg", memory_plot(&all)),
        ("outage.svg", outage_plot(&all)),
    ] {
        fs::write(directory.join(name), content)?;
    }
    println!("report: {}", directory.display());
    for (path, tables) in PAGES {
        let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut text = fs::read_to_string(&page)?;
        for (name, table) in tables {
            fill(&mut text, name, &table(&all))
                .map_err(|error| io::Error::other(format!("{path}: {error}")))?;
        }
        fs::write(&page, text)?;
        println!("report: {path}");
    }
    Ok(())
}

/// Puts a table in the place that a page has for it.
fn fill(page: &mut String, name: &str, table: &str) -> Result<(), String> {
    let (begin, end) = (format!("<!-- bench: {name} -->\n"), "<!-- end -->");
    let missing = || format!("no {begin:?} with {end:?} after it");
    let from = page.find(&begin).ok_or_else(missing)? + begin.len();
    let to = from + page[from..].find(end).ok_or_else(missing)?;
    page.replace_range(from..to, &format!("\n{table}\n"));
    Ok(())
}

/// What the works cost, for README.
fn cost_table(all: &Value) -> String {
    let mut table = "| | floor | this agent | syslog-ng |\n|---|---|---|---|\n".to_owned();
    for (work, title) in WORKS.iter().filter(|(work, _)| SHORT.contains(work)) {
        let cell = |program: &str| {
            cpu_row(all, work, program).map_or_else(String::new, |row| {
                let (cpu, peak) = (figure(&row["median"]), figure(&row["peak"]));
                format!("{} s, {} MiB", short(cpu), short(peak))
            })
        };
        let _ = writeln!(
            table,
            "| {title} | {} | {} | {} |",
            cell("floor"),
            cell("agent"),
            cell("syslog-ng")
        );
    }
    table
}

/// What the works cost, for the page about performance.
fn work_table(all: &Value) -> String {
    let mut table =
        "| work | floor | agent | × floor | peak | syslog-ng |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (work, title) in WORKS {
        let median = |program: &str| cpu_row(all, work, program).map(|row| figure(&row["median"]));
        let peak = |program: &str| cpu_row(all, work, program).map(|row| figure(&row["peak"]));
        let show = |value: Option<f64>| value.map(short).unwrap_or_default();
        let ratio = cpu_row(all, work, "agent").map(|row| figure(&row["ratio"]));
        let peer = median("syslog-ng").zip(peak("syslog-ng"));
        let _ = writeln!(
            table,
            "| {title} | {} | {} | {} | {} MiB | {} |",
            show(median("floor")),
            show(median("agent")),
            ratio.map(floors).unwrap_or_default(),
            show(peak("agent")),
            peer.map_or_else(String::new, |(cpu, peak)| format!(
                "{}, {} MiB",
                short(cpu),
                short(peak)
            ))
        );
    }
    table
}

/// Some of the other figures, for that page.
fn rest_table(all: &Value) -> String {
    let mut table = "| | |\n|---|---|\n".to_owned();
    for (name, title) in REST {
        let row = rows(&all["figures"]).iter().find(|row| row["name"] == name);
        if let Some(row) = row {
            let value = figure(&row["value"]);
            let digits = if value < 0.1 { 2 } else { 1 };
            let _ = writeln!(
                table,
                "| {title} | {value:.digits$} {} |",
                string(&row["unit"])
            );
        }
    }
    table
}

/// All tables.
fn figures(all: &Value) -> String {
    let about = &all["about"];
    let mut text = format!(
        "`make bench` on {} cores ({}), Linux {}: {} events of about 1 KB; medians of {} interleaved runs.\n\n",
        about["cores"],
        string(&about["processor"]),
        string(&about["kernel"]),
        about["events"],
        about["rounds"]
    );
    text += "| work | program | CPU s a million events (least to most) | × floor | at most | peak MiB | arrived |\n|---|---|---|---|---|---|---|\n";
    for (work, title) in WORKS {
        for program in Program::ALL.map(Program::name) {
            let Some(row) = cpu_row(all, work, program) else {
                if about["programs"].get(program).is_some_and(Value::is_null) {
                    let _ = writeln!(text, "| {title} | {program} | not installed | | | | |");
                }
                continue;
            };
            let cpu: Vec<f64> = rows(&row["cpu"]).iter().filter_map(Value::as_f64).collect();
            let (ratio, limit) = (figure(&row["ratio"]), row["limit"].as_f64());
            let name = match program {
                "floor" => format!("floor: {}", string(&row["floor"])),
                _ => program.to_owned(),
            };
            let arrived = if row["arrived"] == true {
                "all once"
            } else {
                "**NOT all once**"
            };
            let _ = writeln!(
                text,
                "| {title} | {name} | {} ({} to {}) | {} | {} | {} | {arrived} |",
                short(figure(&row["median"])),
                short(cpu.first().copied().unwrap_or(f64::NAN)),
                short(cpu.last().copied().unwrap_or(f64::NAN)),
                floors(ratio),
                allowed(figure(&row["figure"]), limit),
                short(figure(&row["peak"]))
            );
        }
    }
    text += "\n| figure | | at most |\n|---|---|---|\n";
    for row in rows(&all["figures"]) {
        let value = figure(&row["value"]);
        let _ = writeln!(
            text,
            "| {} | {} {} | {} |",
            string(&row["name"]),
            if value < 0.1 {
                format!("{value:.3}")
            } else {
                short(value)
            },
            string(&row["unit"]),
            allowed(value, row["limit"].as_f64())
        );
    }
    text += "\n| idle | MiB | % CPU | wake-ups a second |\n|---|---|---|---|\n";
    for row in rows(&all["idle"]) {
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.1} |",
            string(&row["program"]),
            short(figure(&row["memory"])),
            figure(&row["cpu_percent"]),
            figure(&row["wakes"])
        );
    }
    text += "\nThe webhook away while 20,000 events a second come over 8 connections (waits in the outage, in ms):\n\n\
        | program | seconds away | p50 | p99 | max | events | refused | lost | doubled | MiB before | MiB at most | all delivered after, s |\n\
        |---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows(&all["outage"]) {
        let _ = writeln!(
            text,
            "| {}, {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            string(&row["program"]),
            string(&row["input"]),
            row["seconds"],
            short(figure(&row["p50"])),
            short(figure(&row["p99"])),
            short(figure(&row["max"])),
            row["events"],
            row["refused"],
            row["lost"],
            row["doubled"],
            short(figure(&row["steady"])),
            short(figure(&row["peak"])),
            figure(&row["drained"])
        );
    }
    text
}

fn cpu_plot(all: &Value) -> String {
    let groups: Vec<_> = WORKS
        .iter()
        .map(|(work, title)| {
            let bars = Program::ALL
                .map(Program::name)
                .into_iter()
                .filter_map(|program| {
                    Some(Bar {
                        name: program.to_owned(),
                        value: figure(&cpu_row(all, work, program)?["median"]),
                    })
                });
            ((*title).to_owned(), bars.collect())
        })
        .collect();
    plot::bars(
        "CPU seconds a million events (logarithmic)",
        Some(0.1),
        &groups,
    )
}

fn memory_plot(all: &Value) -> String {
    let bars = |section: &str, figure_name: &str| -> Vec<Bar> {
        let bar = |row: &Value| Bar {
            name: format!(
                "{} {}",
                string(&row["program"]),
                row["input"].as_str().unwrap_or("")
            ),
            value: figure(&row[figure_name]),
        };
        rows(&all[section]).iter().map(bar).collect()
    };
    plot::bars(
        "Restored, MiB",
        None,
        &[
            ("idle".to_owned(), bars("idle", "memory")),
            (
                "20,000 events a second".to_owned(),
                bars("outage", "steady"),
            ),
            ("webhook away".to_owned(), bars("outage", "peak")),
        ],
    )
}

fn outage_plot(all: &Value) -> String {
    let away = all["outage"][0]["seconds"].as_f64().unwrap_or_default();
    let series: Vec<(String, Vec<f64>)> = rows(&all["outage"])
        .iter()
        .map(|row| {
            let name = format!("{} {}", string(&row["program"]), string(&row["input"]));
            (
                name,
                rows(&row["p99_by_second"]).iter().map(figure).collect(),
            )
        })
        .collect();
    plot::lines(
        "How long clients wait (p99 of each second), 20,000 events a second",
        (5.0, 5.0 + away),
        &series,
    )
}

fn cpu_row<'a>(all: &'a Value, work: &str, program: &str) -> Option<&'a Value> {
    rows(&all["cpu"])
        .iter()
        .find(|row| row["work"] == work && row["program"] == program)
}

/// A cost as a multiple of the floor's; empty for work that has no floor.
fn floors(ratio: f64) -> String {
    if ratio.is_finite() {
        short(ratio)
    } else {
        String::new()
    }
}

/// What is allowed, and whether the value is within it.
fn allowed(value: f64, limit: Option<f64>) -> String {
    limit.map_or_else(String::new, |limit| {
        let verdict = if value <= limit { "ok" } else { "OVER" };
        format!("{} {verdict}", short(limit))
    })
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn figure(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}
