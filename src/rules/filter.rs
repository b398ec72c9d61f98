//! Which events are sent: rules on the values of members. The first rule that matches decides.

use std::str::FromStr;
use std::sync::Arc;

use crate::framer::walk::{self, Text};

/// Different paths that all rules together may have.
const MAX_PATHS: usize = 16;

/// What becomes of events that match a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// They are not sent.
    Exclude,
    /// They are sent, whatever the rules behind it say.
    Include,
}

/// What an event must be like for a rule: `operation=get_*,http_status<400`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// As it was written.
    pub text: Arc<str>,
    all: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    path: Vec<String>,
    test: Test,
}

/// What a value must be like.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is(String),
    IsNot(String),
    AtLeast(f64),
    Below(f64),
}

impl FromStr for Conditions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = match text.trim() {
            // Every event.
            "*" => Ok(Vec::new()),
            text => text.split(',').map(condition).collect(),
        };
        Ok(Conditions {
            text: text.trim().into(),
            all: all?,
        })
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let wrong = |what: &str| format!("`{}` {what}", text.trim());
    let expected = || {
        wrong(
            "is no condition; fix: write MEMBER=PATTERN, !=, >=NUMBER or <NUMBER, such as operation=get_*",
        )
    };
    let at = text.find(['=', '!', '<', '>']).ok_or_else(expected)?;
    let (path, rest) = text.split_at(at);
    let mut operators = ["!=", ">=", "=", "<"].into_iter();
    let operator = operators.find(|operator| rest.starts_with(operator));
    let operator = operator.ok_or_else(expected)?;
    let value = rest[operator.len()..].trim();
    if value.starts_with('=') {
        return Err(wrong(
            "has an operator that is not known; fix: use =, !=, >= or <",
        ));
    }
    let number = || {
        let number = number(value.as_bytes());
        number.ok_or_else(|| wrong("compares with what is no number; fix: use =, or a number"))
    };
    let test = match operator {
        "!=" => Test::IsNot(value.into()),
        ">=" => Test::AtLeast(number()?),
        "<" => Test::Below(number()?),
        _ => Test::Is(value.into()),
    };
    // `Records[0].api` is `Records.0.api`.
    let path = path.trim().replace('[', ".").replace(']', "");
    let path: Vec<_> = path.split('.').map(str::to_owned).collect();
    if path
        .iter()
        .any(|name| name.is_empty() || name.contains('*'))
    {
        return Err(wrong(
            "lacks the name of a member; fix: write names with dots between them, such as Records[0].api.name",
        ));
    }
    Ok(Condition { path, test })
}

fn number(text: &[u8]) -> Option<f64> {
    // A status, as a rule.
    if let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = text {
        let digits = [a, b, c].into_iter();
        return Some(digits.fold(0.0, |number, digit| number * 10.0 + f64::from(digit - b'0')));
    }
    let number: f64 = str::from_utf8(text).ok()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// All rules.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    rules: Vec<Rule>,
    /// The different paths, as they are shown.
    pub paths: Vec<String>,
    /// The same by their names.
    tree: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    text: Arc<str>,
    /// Which of the values it wants, and what they must be like.
    tests: Vec<(usize, Test)>,
}

/// A name that a path goes through.
#[derive(Debug, Clone)]
struct Node {
    name: String,
    /// The element of an array that it means.
    index: Option<usize>,
    /// Which value a path that ends here gives.
    value: Option<usize>,
    children: Vec<Node>,
}

/// The values of an event that the paths lead to, as they are written.
#[derive(Debug)]
pub struct Values<'a> {
    found: [Option<&'a [u8]>; MAX_PATHS],
    missing: usize,
}

impl Values<'_> {
    /// Whether the event has the value of this path.
    pub fn has(&self, path: usize) -> bool {
        self.found.get(path).is_some_and(Option::is_some)
    }
}

impl Filter {
    /// Of rules in the order in which they are tried.
    ///
    /// # Errors
    /// They can't work together: which kind of rule is to blame, and why.
    pub fn new(
        rules: impl IntoIterator<Item = (Action, Conditions)>,
    ) -> Result<Self, (Action, String)> {
        let mut filter = Filter::default();
        for (action, conditions) in rules {
            let mut tests = Vec::new();
            for Condition { path, test } in conditions.all {
                let value = filter.value_of(&path);
                tests.push((value.map_err(|what| (action, what))?, test));
            }
            filter.rules.push(Rule {
                action,
                text: conditions.text,
                tests,
            });
        }
        match filter.rules.last() {
            Some(last) if last.action == Action::Include => Err((
                Action::Include,
                format!(
                    "`{}` changes nothing, since no rule behind it excludes; fix: put an --exclude rule behind it, \
                     '*' to send nothing else",
                    last.text
                ),
            )),
            _ => Ok(filter),
        }
    }

    /// The place of a path's value; a new one unless the path is known.
    fn value_of(&mut self, path: &[String]) -> Result<usize, String> {
        let shown = path.join(".");
        if let Some(known) = self.paths.iter().position(|path| *path == shown) {
            return Ok(known);
        }
        let value = self.paths.len();
        if value == MAX_PATHS {
            return Err(format!(
                "rules on more than {MAX_PATHS} different members; fix: use fewer"
            ));
        }
        self.paths.push(shown);
        let mut nodes = &mut self.tree;
        for (place, name) in path.iter().enumerate() {
            let known = nodes.iter().position(|node| node.name == *name);
            let known = known.unwrap_or_else(|| {
                nodes.push(Node {
                    name: name.clone(),
                    index: name.parse().ok(),
                    value: None,
                    children: Vec::new(),
                });
                nodes.len() - 1
            });
            if place + 1 == path.len() {
                nodes[known].value = Some(value);
            }
            nodes = &mut nodes[known].children;
        }
        Ok(value)
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, as they were written.
    pub fn rules(&self) -> impl Iterator<Item = (Action, &Arc<str>)> {
        self.rules.iter().map(|rule| (rule.action, &rule.text))
    }

    /// The values of an event that the rules are about.
    pub fn values<'a>(&self, event: &'a [u8]) -> Values<'a> {
        let mut values = Values {
            found: [None; MAX_PATHS],
            missing: self.paths.len(),
        };
        collect(&self.tree, event, &mut values);
        values
    }

    /// The rule by which an event is not sent; none if it is.
    pub fn excluded_by(&self, values: &Values<'_>) -> Option<&Arc<str>> {
        let rule = self.rules.iter().find(|rule| rule.matches(values))?;
        (rule.action == Action::Exclude).then_some(&rule.text)
    }
}

fn collect<'a>(nodes: &[Node], value: &'a [u8], values: &mut Values<'a>) {
    if values.missing == 0 {
        return;
    }
    if value.starts_with(b"[") {
        let last = nodes.iter().filter_map(|node| node.index).max();
        let elements = walk::elements(value).enumerate();
        for (place, element) in elements.take(last.map_or(0, |last| last + 1)) {
            let node = nodes.iter().find(|node| node.index == Some(place));
            node.into_iter().for_each(|node| node.take(element, values));
        }
    } else if !nodes.is_empty() {
        for (name, value) in walk::members(value) {
            if let Some(node) = nodes.iter().find(|node| name.is(node.name.as_bytes())) {
                node.take(value, values);
                if values.missing == 0 {
                    return;
                }
            }
        }
    }
}

impl Node {
    /// Takes a value that has this name.
    fn take<'a>(&self, value: &'a [u8], values: &mut Values<'a>) {
        if let Some(place) = self.value
            && let Some(found @ None) = values.found.get_mut(place)
        {
            *found = Some(value);
            values.missing -= 1;
        }
        collect(&self.children, value, values);
    }
}

impl Rule {
    fn matches(&self, values: &Values<'_>) -> bool {
        self.tests.iter().all(|(place, test)| {
            let value = values.found.get(*place).copied().flatten();
            value.is_some_and(|value| test.holds(value))
        })
    }
}

impl Test {
    /// Of a text what it says, of all else what is written. Objects and arrays are like nothing.
    fn holds(&self, value: &[u8]) -> bool {
        if let [b'{' | b'[', ..] = value {
            return false;
        }
        let text = Text::of(value).map(Text::unescaped);
        let text = text.as_deref().unwrap_or(value);
        match self {
            Test::Is(pattern) => matches(pattern.as_bytes(), text),
            Test::IsNot(pattern) => !matches(pattern.as_bytes(), text),
            Test::AtLeast(least) => number(text).is_some_and(|number| number >= *least),
            Test::Below(bound) => number(text).is_some_and(|number| number < *bound),
        }
    }
}

/// Whether a text matches a pattern, in which `*` is any text and `?` any character.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Behind the last `*`, and what it was tried on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => {
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([b'?', rest @ ..], [_, behind @ ..]) => {
                let is_inside = |byte: &&u8| **byte & 0xC0 == 0x80;
                let length = behind.iter().take_while(is_inside).count();
                (pattern, text) = (rest, &behind[length..]);
                continue;
            }
            ([first, rest @ ..], [byte, behind @ ..]) if first == byte => {
                (pattern, text) = (rest, behind);
                continue;
            }
            ([], []) => return true,
            _ => {}
        }
        match retry {
            Some((rest, [_, behind @ ..])) => {
                retry = Some((rest, behind));
                (pattern, text) = (rest, behind);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
