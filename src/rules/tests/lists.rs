//! Headers as lists of names and values: what is masked there must not hide the name of a secret.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::random::{SECRET, any_case, secret};
use super::*;

/// Names that members of such lists have: users may want them masked for what else has them.
const FIELDS: [&str; 5] = ["name", "key", "type", "kind", "x-name"];

fn masking(s3: bool, fields: &[&str]) -> Rules {
    let redactor = Redactor::new(s3, fields.iter().copied());
    Rules::new(Filter::default(), redactor, Vec::new())
}

#[test]
fn a_masked_name_still_leads_to_its_value() {
    for marked in [
        r#"{"h":[{"name":"«Cookie»","value":"«abcdefgh»"},{"name":"«Host»","value":"h"}],"user":{"name":"«alice»"}}"#,
        r#"{"name":"«Authorization»","type":"«header»","value":"Bearer «abcdefgh»"}"#,
        r#"{"Key" : "«HTTP_COOKIE»" , "id":"7", "Type" : "«header»", "Values":["«abcdefgh»",{"a":«1»}],"a":1}"#,
        r#"{"name":"«my Set\u002dCookie»","value":"«abcdefgh»","a":"b"}"#,
        // What is between them, too, may be a secret, or name one.
        r#"{"id":"Cookie","type":"«a=b»","value":"«abcdefgh»"}"#,
        r#"{"id":"Cookie","sig":"«x»","kind":"«abcdefgh»","value":"«abcdefgh»"}"#,
        r#"{"id":"x","type":"«Cookie»","value":"«abcdefgh»"}"#,
        r#"{"name":"«Cookie»","type":"«Authorization»","value":"«Bearer abcdefgh»"}"#,
        r#"{"id":"Cookie","value":"«Authorization»","values":"«abcdefgh»"}"#,
        // In texts.
        r#"{"log":"[{\"name\":\"«Cookie»\",\"value\":\"«abcdefgh»\"}]","a":1}"#,
        r#"{"log":"{\"log\":\"{\\\"key\\\" : \\\"«cookie»\\\", \\\"type\\\":\\\"«x»\\\",\\\"value\\\":\\\"«abcdefgh»\\\"}\"}"}"#,
        r#"{"log":"{\"name\":\"«Cookie»\",\"values\":«[\"abcdefgh\"]}»"}"#,
        r#"{"log":"{\u0022name\u0022:«\u0022Cookie\u0022,\u0022value\u0022:\u0022abcdefgh\u0022}»","b":1}"#,
        r#"{"u":"/c?h={%22name%22:%22«Cookie»%22,%22type%22:%22«header»%22,%22value%22:%22«abcdefgh»%22}&b"}"#,
        r#"{"u":"/c?h=%7B%22id%22%3A%22Cookie%22%2C%22sig%22%3A%22«a»%22%2C%22value%22%3A%22«abcdefgh»%22%7D&b"}"#,
        r#"{"h":"x-name: «Cookie»","value":"«abcdefgh»"}"#,
    ] {
        let (event, expected) = (marked.replace(['«', '»'], ""), expected(marked));
        let rules = masking(true, &FIELDS);
        assert_eq!(redacted_by(&rules, &event), expected);
        assert_eq!(redacted_by(&rules, &expected), expected, "masked twice");
        serde_json::from_str::<Value>(&expected).unwrap();
    }
    // A value that has a name of its own to be masked by is masked whole.
    let event = r#"{"name":"Authorization","value":"AWS AKIA:abcdefgh"}"#;
    let found = redacted_by(&masking(true, &["value"]), event);
    assert_eq!(found, r#"{"name":"Authorization","value":"REDACTED"}"#);
}

#[test]
fn a_masked_text_that_names_no_secret_hides_none() {
    let rules = masking(true, &FIELDS);
    for marked in [
        r#"{"name":"«Host»","value":"abcdefgh"}"#,
        r#"{"name":"«Cookie»","a":"b"}"#,
        r#"{"a":{"name":"«Cookie»"},"value":"abcdefgh"}"#,
        r#"{"name":"«Cookie»","a":"1","b":"2","c":"3","value":"abcdefgh"}"#,
        r#"{"name":"«Cookies»","value":"abcdefgh"}"#,
    ] {
        let event = marked.replace(['«', '»'], "");
        assert_eq!(redacted_by(&rules, &event), expected(marked));
    }
}

/// A list's element: its members' names are fields or not, and any of its texts may name a secret.
fn element() -> impl Strategy<Value = String> {
    let text = (
        select(vec![
            "Host",
            "cookie",
            "Authorization",
            "sig",
            "a",
            "HTTP_X_AUTH_TOKEN",
        ]),
        any::<u64>(),
    );
    let text = text.prop_map(|(text, how)| any_case(text, how, true));
    let name = select(vec!["name", "Key", "type", "kind", "id", "token", "X-Name"]);
    let value = prop_oneof![
        3 => secret().prop_map(|secret| format!("\"{secret}\"")),
        1 => secret().prop_map(|secret| format!("[\"{secret}\",{{\"a\":\"{secret}\"}}]")),
    ];
    let members = vec((name, text), 1..4);
    (members, select(vec!["value", "Values"]), value, "[ ]?").prop_map(
        |(members, last, value, blank)| {
            let members = members.into_iter();
            let members: String = members
                .map(|(name, text)| format!("\"{name}\":{blank}\"{text}\"{blank},"))
                .collect();
            format!("{{{members}\"{last}\":{value}}}")
        },
    )
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// Whatever is masked beside it, a secret is masked that would be masked without that.
    #[test]
    fn more_names_mask_no_secret_less(
        elements in vec(element(), 1..4),
        fields in proptest::sample::subsequence(FIELDS.to_vec(), 1..=FIELDS.len()),
        depth in 0..3,
        is_in_url: bool,
    ) {
        let list = format!("[{}]", elements.join(","));
        let list = match is_in_url {
            true => serde_json::json!({ "u": list.replace(' ', "+").replace('"', "%22") }).to_string(),
            false => format!("{{\"h\":{list}}}"),
        };
        let event = (0..depth).fold(list, |event, _| serde_json::json!({ "log": event }).to_string());
        let alone = redacted_by(&masking(true, &[]), &event);
        let both = redacted_by(&masking(true, &fields), &event);
        prop_assert!(serde_json::from_str::<Value>(&both).is_ok(), "{}\n{}", event, both);
        let secrets = |text: &str| -> Vec<String> {
            let found = text.match_indices(SECRET).map(|(at, _)| &text[at..]);
            let ends = |c: char| !c.is_ascii_alphanumeric();
            found.map(|text| text.split(ends).next().unwrap_or_default().to_owned()).collect()
        };
        let left = secrets(&alone);
        for secret in secrets(&both) {
            prop_assert!(left.contains(&secret), "{}: {}\n{}\n{}", secret, event, alone, both);
        }
        prop_assert_eq!(redacted_by(&masking(true, &fields), &both), both, "masked twice");
    }
}
