//! The table at the end.

use crate::work::{Sample, Work};

/// A work and its samples, one a round.
pub(crate) struct Row<'a> {
    pub(crate) work: &'a Work,
    pub(crate) samples: Vec<Sample>,
}

impl<'a> Row<'a> {
    /// A row without samples.
    pub(crate) fn new(work: &'a Work) -> Self {
        let samples = Vec::new();
        Self { work, samples }
    }

    /// Whether every event of every round arrived once.
    pub(crate) fn complete(&self) -> bool {
        self.samples.iter().all(|sample| sample.arrivals.complete())
    }

    fn sorted(&self, figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
        sorted(self.samples.iter().map(figure))
    }
}

/// Prints the rows.
pub(crate) fn print(rows: &[Row<'_>]) {
    println!("        CPU s a million events    × floor               wall s  peak MiB  arrived");
    println!("           min median    max    of min median target    median       max");
    for row in rows {
        let floor = &rows[row.work.floor];
        let cpu = row.sorted(|sample| sample.cpu);
        // Round by round, since a machine's speed changes from one round to the next.
        let rounds = row.samples.iter().zip(&floor.samples);
        let ratio = middle(&sorted(
            rounds.map(|(sample, floor)| sample.cpu / floor.cpu),
        ));
        println!(
            "{:<8}{:6.3} {:6.3} {:6.3}    {:6.2} {ratio:6.2} {:<10}{:6.3}    {:6.1}  {}",
            row.work.name,
            cpu[0],
            middle(&cpu),
            cpu[cpu.len() - 1],
            cpu[0] / floor.sorted(|sample| sample.cpu)[0],
            target(ratio, row.work.target),
            middle(&row.sorted(|sample| sample.wall)),
            row.samples
                .iter()
                .map(|sample| sample.peak)
                .fold(0.0, f64::max),
            if row.complete() {
                "all once"
            } else {
                "NOT all once, see above"
            },
        );
    }
}

/// A target, and whether the figure is within it.
pub(crate) fn target(figure: f64, most: Option<f64>) -> String {
    most.map_or_else(String::new, |most| {
        let verdict = if figure <= most { "met" } else { "MISSED" };
        format!("≤ {most} {verdict}")
    })
}

pub(crate) fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

pub(crate) fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
