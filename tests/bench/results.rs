//! The file of results, and the figures in it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value, json};

/// Everything that one run has measured, by section.
pub(crate) struct Results {
    sections: Map<String, Value>,
}

impl Results {
    /// No results yet, only the description of the machine.
    pub(crate) fn new(events: u64, rounds: u64) -> Self {
        let mut sections = Map::new();
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name\t: "))
            .unwrap_or("unknown");
        let about = json!({
            "processor": processor,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
            "events": events,
            "rounds": rounds,
            "programs": {
                "syslog-ng": version("syslog-ng"),
                "fluent-bit": version("fluent-bit"),
                "vector": version("vector"),
            },
        });
        sections.insert("about".to_owned(), about);
        Self { sections }
    }

    /// Adds a row to a section.
    pub(crate) fn add(&mut self, section: &str, row: Value) {
        let rows = self.sections.entry(section).or_insert_with(|| json!([]));
        if let Some(rows) = rows.as_array_mut() {
            rows.push(row);
        }
    }

    /// Adds one figure with its limit, and prints it.
    pub(crate) fn figure(&mut self, name: &str, samples: &[f64], unit: &str, limit: Option<f64>) {
        let samples = sorted(samples.iter().copied());
        let value = middle(&samples);
        let spread = match samples[..] {
            [low, .., high] => format!(" ({low:.3} to {high:.3})"),
            _ => String::new(),
        };
        println!("{name}: {value:.3} {unit}{spread}{}", verdict(value, limit));
        self.add(
            "figures",
            json!({ "name": name, "samples": samples, "value": value, "unit": unit, "limit": limit }),
        );
    }

    /// Writes all of it.
    pub(crate) fn write(self) -> io::Result<()> {
        let path = path();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, format!("{:#}\n", Value::Object(self.sections)))?;
        println!("\nresults: {}", path.display());
        Ok(())
    }
}

/// Where the results are: at `RESULTS`, or else in the build directory.
pub(crate) fn path() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::env::var_os("RESULTS").map_or_else(|| target.join("bench.json"), PathBuf::from)
}

/// The first line that a program prints as its version; null if there is no such program.
fn version(program: &str) -> Option<String> {
    let said = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.lines().next().map(str::to_owned)
}

/// The limit, and whether the figure is within it.
pub(crate) fn verdict(figure: f64, limit: Option<f64>) -> String {
    limit.map_or_else(String::new, |limit| {
        let verdict = if figure <= limit { "ok" } else { "OVER" };
        format!(", at most {limit}: {verdict}")
    })
}

pub(crate) fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The median of sorted figures; NaN if there are none.
pub(crate) fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figure that this share of all figures do not exceed.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(at.min(last)).copied().unwrap_or(f64::NAN)
}
