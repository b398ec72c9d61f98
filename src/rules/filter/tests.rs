//! What rules match, and which of several decides.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Which of the rules excludes an event.
fn excluded(rules: &[(Action, &str)], event: &str) -> Option<String> {
    let rules = rules.iter();
    let rules = rules.map(|(action, rule)| (*action, rule.parse().unwrap()));
    let filter = Filter::new(rules).unwrap();
    let values = filter.values(event.as_bytes());
    filter.excluded_by(&values).map(|rule| rule.to_string())
}

#[test]
fn a_rule_holds_for_what_it_says() {
    let event = r#"{"operation":"get_obj","http_status":"403","api":{"name":"HeadObject","statusCode":404,"rx":1.5e3},
        "Records":[{"api":{"name":"s3:GetObject"}},{"user":"bac\u006bup"}],"ok":true,"none":null,"empty":"","operation":"other",
        "key":"a,b|c","deep":{"name":{"x":1}},"\u006barl":"é","star":"a*bc"}"#;
    for (rule, holds) in [
        ("operation=get_obj", true),
        ("operation=get_*", true),
        ("operation=g?t_o*", true),
        ("operation=*obj", true),
        ("operation=*t*b*", true),
        ("operation=*", true),
        ("operation=get", false),
        ("operation=GET_OBJ", false),
        ("operation=other", false),
        ("operation!=put_*", true),
        ("operation!=get_*", false),
        ("http_status>=400", true),
        ("http_status>=404", false),
        ("http_status<404", true),
        ("http_status<403", false),
        ("http_status>=99.5", true),
        ("http_status<1000", true),
        ("api.statusCode>=404", true),
        ("api.statusCode=4??", true),
        ("api.rx<1501", true),
        ("api.rx>=1500", true),
        ("operation>=0", false),
        ("operation<0", false),
        ("Records[0].api.name=s3:Get*", true),
        ("Records.0.api.name=s3:Get*", true),
        ("Records[1].user=backup", true),
        ("Records[2].user!=backup", false),
        ("Records[0].user!=backup", false),
        ("ok=true", true),
        ("none=null", true),
        ("empty=", true),
        ("empty=?*", false),
        ("missing=*", false),
        ("missing!=x", false),
        ("missing.deeper!=x", false),
        ("api=*", false),
        ("api!=x", false),
        ("operation.name=*", false),
        ("key=a?b?c", true),
        ("karl=?", true),
        // A `*` in the text does not end what a `*` of the pattern stands for.
        ("star=a*c", true),
        ("star!=a*c", false),
        ("api.name=Head*,http_status>=400", true),
        (" api.name = Head* , http_status < 400 ", false),
        // What comes behind an array, or an object, of which only a part is looked at.
        ("Records[0].api.name=s3:Get*,ok=true", true),
        (
            "Records[0].api.name=s3:Get*,Records[1].user=backup,ok=true",
            true,
        ),
        ("Records[5].user!=x,ok=true", false),
        ("api.name=Head*,deep.name.x=1", true),
        ("*", true),
    ] {
        let found = excluded(&[(Action::Exclude, rule)], event);
        assert_eq!(found, holds.then(|| rule.trim().to_owned()), "{rule}");
    }
}

#[test]
fn a_path_that_leads_nowhere_is_refused() {
    for path in [
        "", "a..b", "a.", "a*", "a[x]", "a[]", "a[0", "a]", "a[0]b", "[0]", "a[-1]",
    ] {
        let error = format!("{path}=x").parse::<Conditions>().unwrap_err();
        assert!(
            error.contains("lacks the name of a member"),
            "{path}: {error}"
        );
    }
    // The largest index possible.
    let rule = format!("a[{}][0].b=x", usize::MAX);
    assert_eq!(excluded(&[(Action::Exclude, &rule)], r#"{"a":[1]}"#), None);
}

#[test]
fn operators_that_there_are_not_are_refused() {
    for rule in ["a==b", "a=~b", "a<=1", "a=>1", "a=<1", "a!=>1"] {
        let error = rule.parse::<Conditions>().unwrap_err();
        assert!(
            error.contains("operator that is not known"),
            "{rule}: {error}"
        );
    }
    // No number follows.
    for rule in ["a=<b>", "a!=>"] {
        assert!(rule.parse::<Conditions>().is_ok(), "{rule}");
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    use Action::{Exclude, Include};
    let rules = [
        (Exclude, "user=backup,op=put*"),
        (Include, "status>=400"),
        (Exclude, "op=get"),
        (Include, "op=put*"),
        (Exclude, "*"),
    ];
    for (event, by) in [
        (r#"{"op":"get","status":500,"user":"a"}"#, None),
        (r#"{"op":"get","status":200}"#, Some("op=get")),
        (r#"{"op":"put","status":200}"#, None),
        (
            r#"{"op":"put","status":500,"user":"backup"}"#,
            Some("user=backup,op=put*"),
        ),
        (r#"{"op":"list","status":200}"#, Some("*")),
        ("{}", Some("*")),
    ] {
        assert_eq!(excluded(&rules, event).as_deref(), by, "{event}");
    }
}

#[test]
fn rules_that_can_t_work_together_are_refused() {
    for (rules, dead) in [
        ("*|b=1", Some("`b=1` changes nothing, since `*` before it")),
        (
            "a=1|b=1|a=1,b=2",
            Some("`a=1,b=2` changes nothing, since `a=1` before it"),
        ),
        (
            "a=1|a=1",
            Some("`a=1` changes nothing, since `a=1` before it"),
        ),
        ("a=1,b=2|a=1|b!=2|b=1|*", None),
    ] {
        let rules = rules
            .split('|')
            .map(|rule| (Action::Exclude, rule.parse().unwrap()));
        let error = Filter::new(rules).err().map(|(_, error)| error);
        assert_eq!(error.is_some(), dead.is_some(), "{error:?}");
        assert!(error.is_none_or(|error| error.starts_with(dead.unwrap())));
    }
    let rules = |count: usize, action| {
        let rules = (0..count).map(|number| format!("m{number}=1").parse().unwrap());
        Filter::new(rules.map(|rule| (action, rule)).collect::<Vec<_>>())
    };
    assert!(rules(MAX_PATHS, Action::Exclude).is_ok());
    for (count, action, what) in [
        (MAX_PATHS + 1, Action::Exclude, "fix: use fewer"),
        (1, Action::Include, "fix: put an --exclude rule behind it"),
    ] {
        let (blamed, error) = rules(count, action).unwrap_err();
        assert_eq!(blamed, action);
        assert!(error.contains(what), "{error}");
    }
}

/// An object or array with few names, so that paths lead somewhere.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Value::from),
        r#"["\\{}\[\],:a]{0,4}"#.prop_map(Value::from)
    ];
    let nested = |inner: BoxedStrategy<Value>| {
        let member = ("[abc012]", inner.clone());
        let object =
            vec(member, 0..4).prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![vec(inner, 0..4).prop_map(Value::from), object].boxed()
    };
    nested(
        leaf.prop_recursive(3, 24, 4, move |inner| nested(inner.boxed()))
            .boxed(),
    )
}

proptest! {
    #[test]
    fn patterns_match_as_the_simplest_definition_says(pattern in "[ab*?é\\\\]{0,8}", text in "[abé*?\\\\]{0,8}") {
        fn naive(pattern: &[char], text: &[char]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                (['*', rest @ ..], _) => {
                    naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..]))
                }
                (['?', rest @ ..], [_, behind @ ..]) => naive(rest, behind),
                ([a, rest @ ..], [b, behind @ ..]) => a == b && naive(rest, behind),
                _ => false,
            }
        }
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = naive(&chars(&pattern), &chars(&text));
        prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected);
        let value = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(Test::Is(pattern.clone()).holds(value.as_bytes()), expected);
        prop_assert_eq!(Test::IsNot(pattern).holds(value.as_bytes()), !expected);
    }

    /// Compared with a tree of the event.
    #[test]
    fn a_path_leads_to_the_value_that_a_tree_has_there(
        event in value(),
        paths in vec(vec("[ab012]", 1..4), 1..4),
        is_pretty: bool,
        is_escaped: bool,
    ) {
        let text = if is_pretty { serde_json::to_string_pretty(&event) } else { serde_json::to_string(&event) };
        let mut text = text.unwrap();
        if is_escaped {
            text = text.replace("\"a\"", r#""\u0061""#);
        }
        let rules = paths.iter().enumerate();
        let rules = rules.map(|(place, path)| (Action::Exclude, format!("{}=x{place}", path.join(".")).parse().unwrap()));
        let filter = Filter::new(rules).unwrap();
        let values = filter.values(text.as_bytes());
        for (place, path) in filter.paths.iter().enumerate() {
            let expected = path.split('.').try_fold(&event, |value, name| match value {
                Value::Array(values) => values.get(name.parse::<usize>().ok()?),
                other => other.get(name),
            });
            let found = values.found[place].map(|found| match found {
                [b'{' | b'[', ..] => Value::Null,
                found => serde_json::from_slice(found).unwrap(),
            });
            let expected = expected.map(|value| if value.is_number() || value.is_string() { value.clone() } else { Value::Null });
            prop_assert_eq!(found, expected, "{} in {}", path, text);
        }
    }

    #[test]
    fn no_rule_and_no_event_panics(rule in "[a=!<>*?,.\\[\\]0-9 ]{0,12}", event in r#"[{}\[\]",:a0\\]{0,40}"#) {
        if let Ok(rule) = rule.parse() {
            let filter = Filter::new([(Action::Exclude, rule)]).unwrap();
            filter.excluded_by(&filter.values(event.as_bytes()));
        }
    }
}
