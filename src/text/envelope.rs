//! The envelope of Splunk's HTTP Event Collector: `{"time":1774075047.347,"host":"a","event":{…}}`.

use crate::framer::walk::members;

/// All members that an envelope may have.
const MEMBERS: [&[u8]; 7] = [
    b"event",
    b"time",
    b"host",
    b"source",
    b"sourcetype",
    b"index",
    b"fields",
];

/// An envelope, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The event in it: any JSON value.
    pub event: &'a [u8],
    /// Its indexed fields, if it has any.
    pub fields: Option<&'a [u8]>,
    /// A bit for each of [`MEMBERS`] that it has.
    present: u8,
}

impl<'a> Envelope<'a> {
    /// The envelope, if a well-formed JSON object is one: it has an `event`, and no members other than an envelope's,
    /// each of a type that Splunk takes. An audit event that happens to have an `event`, as MinIO's do, is not an envelope.
    pub fn of(object: &'a [u8]) -> Option<Self> {
        let (mut event, mut fields, mut present) = (None, None, 0);
        for (name, value) in members(object) {
            let place = MEMBERS.iter().position(|member| name.is(member))?;
            let fits = match place {
                0 => event.replace(value).is_none(),
                1 => is_epoch(value),
                6 => fields.replace(value).is_none() && value.starts_with(b"{"),
                _ => value.starts_with(b"\""),
            };
            if !fits && (place == 0 || value != b"null") {
                return None;
            }
            present |= 1 << place;
        }
        let event = event?;
        Some(Envelope {
            event,
            fields,
            present,
        })
    }

    /// Whether it has this member itself, such as `time`.
    pub fn has(&self, member: &str) -> bool {
        let place = MEMBERS.iter().position(|name| *name == member.as_bytes());
        place.is_some_and(|place| self.present & (1 << place) != 0)
    }
}

/// Whether it is a number, perhaps in quotes.
fn is_epoch(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let number = text.trim_matches('"').parse();
    number.is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_envelope() {
        for (object, event) in [
            (r#"{"event":{"n":1}}"#, Some(r#"{"n":1}"#)),
            (
                r#"{ "time" : "1.5", "host":"a", "source":"b","sourcetype":"c","index":"d","fields":{},"event" : "x" }"#,
                Some(r#""x""#),
            ),
            (r#"{"\u0065vent":1}"#, Some("1")),
            (r#"{"event":1,"n":2}"#, None),
            (r#"{"version":"1","event":""}"#, None),
            // Splunk takes no other types, and these are rather audit logs' own.
            (r#"{"time":"2026-11-30T05:45:48Z","event":"PUT"}"#, None),
            (r#"{"time":"nan","event":"PUT"}"#, None),
            (r#"{"event":"PUT","source":{"ip":"10.0.0.7"}}"#, None),
            (r#"{"event":"PUT","fields":["a"]}"#, None),
            (
                r#"{"event":1,"time":null,"host":null,"fields":null}"#,
                Some("1"),
            ),
            (r#"{"event":1,"time":1.5e9}"#, Some("1")),
            (r#"{"time":1}"#, None),
            (r#"{"event":1,"event":2}"#, None),
            (r#"{"Event":1}"#, None),
            ("{}", None),
        ] {
            let found = Envelope::of(object.as_bytes());
            let found = found.map(|envelope| envelope.event);
            assert_eq!(found, event.map(str::as_bytes), "{object}");
        }
        let envelope = Envelope::of(br#"{"event":{"host":1},"time":2}"#).unwrap();
        assert!(envelope.has("time") && !envelope.has("host"));
    }
}
