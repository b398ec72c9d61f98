//! Bars and lines as SVG, readable on light and dark pages.

use std::fmt::Write;

/// The programs' colours, in the order of [`colour`]; the rest follows the page.
const STYLE: &str = "<style>\
    text{font:13px sans-serif;fill:#222} .small{font-size:11px} .head{font-weight:bold} .title{font-size:15px;font-weight:bold} .grid{stroke:#8884} .line{fill:none;stroke-width:2}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}}</style>";

const WIDTH: f64 = 720.0;
/// Where the values begin; the names are to the left of it.
const LEFT: f64 = 130.0;
const RIGHT: f64 = 70.0;

/// One program's value.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// Bars in groups, each with a heading; on a logarithmic scale they begin at `from`, otherwise at 0.
pub(crate) fn bars(title: &str, from: Option<f64>, groups: &[(String, Vec<Bar>)]) -> String {
    let values = || {
        groups
            .iter()
            .flat_map(|(_, bars)| bars.iter().map(|bar| bar.value))
    };
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let length = |value: f64| {
        let share = match from {
            Some(from) => (value / from).ln() / (most / from).ln(),
            None => value / most,
        };
        (share.max(0.005)) * (WIDTH - LEFT - RIGHT)
    };
    let mut body = String::new();
    let mut y = 30.0;
    for (heading, bars) in groups {
        y += 22.0;
        let _ = writeln!(
            body,
            "<text class=\"head\" x=\"8\" y=\"{y}\">{heading}</text>"
        );
        for bar in bars {
            y += 19.0;
            let (length, colour) = (length(bar.value), colour(&bar.name));
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"14\" rx=\"2\" fill=\"{colour}\"/>\
                 <text class=\"small\" x=\"{:.1}\" y=\"{y}\">{}</text>",
                LEFT - 8.0,
                bar.name,
                y - 11.0,
                LEFT + length + 5.0,
                short(bar.value)
            );
        }
    }
    page(title, y + 16.0, &body)
}

/// Lines over seconds, on a logarithmic scale in milliseconds; `shade` is the time span that is marked.
pub(crate) fn lines(title: &str, shade: (f64, f64), series: &[(String, Vec<f64>)]) -> String {
    let (top, bottom) = (50.0, 330.0);
    let seconds = series.iter().map(|(_, line)| line.len()).max().unwrap_or(1) as f64;
    let (low, high) = (0.01_f64, 100_000.0_f64);
    let x = |second: f64| LEFT + second / seconds * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| {
        let share = (value.clamp(low, high) / low).log10() / (high / low).log10();
        bottom - share * (bottom - top)
    };
    let mut body = format!(
        "<rect x=\"{:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\" fill=\"#8883\"/>\
         <text class=\"small\" x=\"{:.1}\" y=\"{}\">webhook away</text>\n",
        x(shade.0),
        x(shade.1) - x(shade.0),
        bottom - top,
        x(shade.0) + 6.0,
        top + 14.0
    );
    let marks = [
        (0.01, "10 µs"),
        (0.1, "0.1 ms"),
        (1.0, "1 ms"),
        (10.0, "10 ms"),
        (100.0, "0.1 s"),
        (1_000.0, "1 s"),
        (10_000.0, "10 s"),
        (100_000.0, "100 s"),
    ];
    for (value, text) in marks {
        let y = y(value);
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for second in (0..=seconds as u32).step_by(5) {
        let _ = writeln!(
            body,
            "<text class=\"small\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{second} s</text>",
            x(f64::from(second)),
            bottom + 16.0
        );
    }
    let mut legend = bottom + 40.0;
    for (number, (name, line)) in series.iter().enumerate() {
        let colour = colour(name);
        // Two lines of one program differ by their dashes.
        let dash = if name.ends_with("unix") && number > 0 && colour == self::colour("agent") {
            "6 4"
        } else {
            "none"
        };
        let points: String = line
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .map(|(second, value)| format!("{:.1},{:.1} ", x(second as f64 + 0.5), y(*value)))
            .collect();
        let _ = writeln!(
            body,
            "<polyline class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" points=\"{points}\"/>\
             <line class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\
             <text x=\"{}\" y=\"{legend}\">{name}</text>",
            LEFT + 30.0,
            legend - 4.0,
            legend - 4.0,
            LEFT + 40.0
        );
        legend += 20.0;
    }
    page(title, legend, &body)
}

fn page(title: &str, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">{STYLE}\n\
         <text class=\"title\" x=\"8\" y=\"22\">{title}</text>\n{body}</svg>\n"
    )
}

/// A program has the same colour in all plots.
fn colour(name: &str) -> &'static str {
    match name.split(' ').next() {
        Some("agent") => "#2a7de1",
        Some("syslog-ng") => "#e07b39",
        Some("fluent-bit") => "#3aa76d",
        Some("vector") => "#a56cc1",
        _ => "#909090",
    }
}

/// Three digits, with as many decimals as are useful.
pub(crate) fn short(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
