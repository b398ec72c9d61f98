//! Events in MessagePack, as a fluent client packs them.

use std::io;

use serde_json::Value;

/// Appends an entry with a time and this event, which is a line of JSON.
pub(crate) fn append(line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let event: Value = serde_json::from_slice(line)?;
    let entry = rmpv::Value::Array(vec![1_795_326_382.into(), packed(&event)]);
    rmpv::encode::write_value(out, &entry).map_err(io::Error::other)
}

fn packed(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => rmpv::Value::Array(values.iter().map(packed).collect()),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| (name.as_str().into(), packed(value));
            rmpv::Value::Map(members.iter().map(member).collect())
        }
    }
}
