//! What rules hold for, and which of several decides.

use proptest::prelude::*;

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
        "key":"a,b|c","deep":{"name":{"x":1}},"\u006barl":"é"}"#;
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
        ("api.name=Head*,http_status>=400", true),
        (" api.name = Head* , http_status < 400 ", false),
        ("*", true),
    ] {
        let found = excluded(&[(Action::Exclude, rule)], event);
        assert_eq!(found, holds.then(|| rule.trim().to_owned()), "{rule}");
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

proptest! {
    #[test]
    fn patterns_match_as_the_simplest_definition_says(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
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
    }

    #[test]
    fn no_rule_and_no_event_panics(rule in "[a=!<>*?,.\\[\\]0-9 ]{0,12}", event in r#"[{}\[\]",:a0\\]{0,40}"#) {
        if let Ok(rule) = rule.parse() {
            let filter = Filter::new([(Action::Exclude, rule)]).unwrap();
            filter.excluded_by(&filter.values(event.as_bytes()));
        }
    }
}
