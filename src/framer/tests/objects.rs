//! Objects and garbage for random streams.

use super::*;

/// A JSON object of some depth, with strings that look like framing.
pub(super) fn object() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i32>().prop_map(Into::into),
        any::<bool>().prop_map(Into::into),
        r#"[a-z"{}\[\],:\\ \n\té]{0,12}"#.prop_map(Into::into),
        Just("\"},\n{\"op\":\"forged\"}{".into()),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Into::into),
            vec(("[a-z\"]{0,3}", inner), 0..3)
                .prop_map(|members| { serde_json::Value::Object(members.into_iter().collect()) }),
        ]
    });
    vec(("[a-z]{1,3}", value), 1..4)
        .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()))
}

/// How an object is written, and what its line should be.
pub(super) fn written() -> impl Strategy<Value = (String, String)> {
    (object(), any::<bool>()).prop_map(|(object, pretty)| {
        if !pretty {
            return (object.to_string(), object.to_string());
        }
        let text = serde_json::to_string_pretty(&object).unwrap();
        let line = text.lines().map(str::trim_start).collect();
        (text, line)
    })
}

/// Lines that hold no event, whatever they begin with.
pub(super) fn garbage() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9:\" .]{1,20}".prop_filter("blank", |line| !line.trim().is_empty()),
        object().prop_flat_map(|object| {
            let text = object.to_string();
            // Cut anywhere but at its end, never inside a character.
            (1..text.len()).prop_map(move |end| {
                let end = (1..=end)
                    .rev()
                    .find(|end| text.is_char_boundary(*end))
                    .unwrap();
                text[..end].to_owned()
            })
        }),
        object().prop_map(|object| format!("{{\"bad\":tru,\"o\":{object}}}")),
        object().prop_map(|object| format!("{{\"o\":{object},}}")),
        "x[}\\]]{0,5}",
    ]
}
