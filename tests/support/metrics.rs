//! The status page's figures.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::Client;

/// A page in Prometheus' text format, read as strictly as its description allows.
#[derive(Debug)]
pub(crate) struct Metrics(pub(crate) BTreeMap<String, Family>);

/// A metric's samples.
#[derive(Debug)]
pub(crate) struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    /// By labels, names and values; in a histogram, `part` says what a sample is, and its sum is in whole seconds.
    pub(crate) samples: BTreeMap<Vec<(String, String)>, u64>,
}

impl Metrics {
    /// The page that an agent serves at this address.
    #[track_caller]
    pub(crate) fn at(status: SocketAddr) -> Self {
        Self::ask(status).unwrap()
    }

    /// The same, if it answers: who is too slow to ask, on a busy host, gets no answer.
    pub(crate) fn ask(status: SocketAddr) -> io::Result<Self> {
        let mut client = Client::connect(status);
        client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let (status, page) = client.read_answer()?;
        assert_eq!(status, 200, "{page}");
        Ok(Self::parse(&page))
    }

    #[track_caller]
    pub(crate) fn parse(page: &str) -> Self {
        assert!(
            page.ends_with('\n') && !page.contains("\n\n") && !page.contains('\r'),
            "{page}"
        );
        let mut families = BTreeMap::new();
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line
                .strip_prefix("# HELP ")
                .unwrap_or_else(|| panic!("{line}"));
            let (name, help) = help.split_once(' ').unwrap();
            assert!(
                is_name(name) && name.starts_with("s3_audit_webhook_"),
                "{line}"
            );
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let kind = kind
                .and_then(|kind| kind.strip_prefix(name))
                .unwrap()
                .trim();
            assert!(
                ["counter", "gauge", "histogram"].contains(&kind),
                "{name} {kind}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let mut samples = BTreeMap::new();
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                let rest = sample
                    .strip_prefix(name)
                    .unwrap_or_else(|| panic!("{sample}"));
                let mut part = ["_bucket", "_sum", "_count"].iter();
                let part = part.find(|part| kind == "histogram" && rest.starts_with(**part));
                let rest = part.map_or(rest, |part| &rest[part.len()..]);
                let (mut labels, value) = labels(rest);
                labels.extend(part.map(|part| ("part".into(), part[1..].into())));
                let value = value.strip_prefix(' ').unwrap();
                let value = match part {
                    Some(&"_sum") => value.parse::<f64>().unwrap() as u64,
                    _ => value.parse().unwrap(),
                };
                assert!(samples.insert(labels, value).is_none(), "twice: {sample}");
            }
            assert!(!samples.is_empty(), "{name}");
            let kind = kind.to_owned();
            let family = families.insert(name.to_owned(), Family { kind, samples });
            assert!(family.is_none(), "twice: {name}");
        }
        Metrics(families)
    }

    /// The value without labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> u64 {
        self.family(name).samples[&Vec::new()]
    }

    /// The value with this label; if several have it, their sum.
    #[track_caller]
    pub(crate) fn of(&self, name: &str, label: &str, value: &str) -> u64 {
        let wanted = (label.to_owned(), value.to_owned());
        let family = self.family(name);
        let samples = family.samples.iter();
        let mut found = samples.filter(|(labels, _)| labels.contains(&wanted));
        let (_, first) = found
            .next()
            .unwrap_or_else(|| panic!("{wanted:?} of {name} in {family:?}"));
        first + found.map(|(_, value)| value).sum::<u64>()
    }

    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.family(name).samples.values().sum()
    }

    #[track_caller]
    pub(crate) fn family(&self, name: &str) -> &Family {
        &self.0[&format!("s3_audit_webhook_{name}")]
    }

    /// Events that were not sent because of a rule; without rules the page has no such count.
    pub(crate) fn filtered(&self) -> u64 {
        let filtered = self.0.get("s3_audit_webhook_filtered_total");
        filtered.map_or(0, |filtered| filtered.samples.values().sum())
    }

    /// Nothing is unaccounted for at any moment.
    #[track_caller]
    pub(crate) fn hold(&self) {
        // These exist only with a spool.
        let of_spool = |name: &str| {
            let family = self.0.get(&format!("s3_audit_webhook_{name}"));
            family.map_or(0, |family| family.samples.values().sum())
        };
        let recovered: u64 = of_spool("events_recovered_total");
        assert_eq!(
            self.sum("events_received_total") + recovered,
            self.value("events_delivered_total")
                + self.sum("events_dropped_total")
                + self.value("events_rejected_total")
                + self.filtered()
                + self.value("buffered_events")
                + of_spool("spool_events")
        );
    }
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && text.starts_with(|first: char| first.is_ascii_lowercase())
}

/// The labels, and the text after them.
fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else {
        return (Vec::new(), text);
    };
    let mut labels = Vec::new();
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{text}");
        let mut unescaped = String::new();
        let mut bytes = value.char_indices();
        let end = loop {
            match bytes.next().unwrap() {
                (_, '\\') => unescaped.push(match bytes.next().unwrap().1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other} in {text}"),
                }),
                (end, '"') => break end,
                (_, plain) => unescaped.push(plain),
            }
        };
        labels.push((name.to_owned(), unescaped));
        rest = &value[end + 1..];
        match rest.as_bytes()[0] {
            b',' => rest = &rest[1..],
            b'}' => return (labels, &rest[1..]),
            _ => panic!("{text}"),
        }
    }
}
