//! Which events are sent: rules on the values of members. The first rule that matches decides.

use std::str::FromStr;
use std::sync::Arc;

use crate::framer::walk::{Cursor, Text};
use crate::text::path;

/// How many different paths all rules together may have.
const MAX_PATHS: usize = 16;

/// What becomes of events that match a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// They are not sent.
    Exclude,
    /// They are sent, whatever later rules say.
    Include,
}

/// What an event must match for a rule to apply: `operation=get_*,http_status<400`.
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

/// What a value must match.
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
            // Matches every event.
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
    let compares = value.strip_prefix(['<', '>']);
    if value.starts_with(['=', '~'])
        || compares.is_some_and(|rest| number(rest.as_bytes()).is_some())
    {
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
    let is_plain = |names: &Vec<String>| !names.iter().any(|name| name.contains('*'));
    let path = path::names(path.trim()).filter(is_plain).ok_or_else(|| {
        wrong(
            "lacks the name of a member; fix: write names with dots between them, such as Records[0].api.name",
        )
    })?;
    Ok(Condition { path, test })
}

fn number(text: &[u8]) -> Option<f64> {
    // Usually, it is a status.
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
    /// The same paths, by their names.
    tree: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    text: Arc<str>,
    /// Which of the values it tests, and what they must match.
    tests: Vec<(usize, Test)>,
}

/// A name that a path goes through.
#[derive(Debug, Clone)]
struct Node {
    name: String,
    /// The array element that it stands for.
    index: Option<usize>,
    /// The index of the value to which a path that ends here leads.
    value: Option<usize>,
    children: Vec<Node>,
}

/// The values of an event that the paths lead to, as they are written; for nested ones, perhaps only the bracket.
#[derive(Debug)]
pub struct Values<'a> {
    found: [Option<&'a [u8]>; MAX_PATHS],
    missing: usize,
}

impl Values<'_> {
    /// Whether the event has a value at this path.
    pub fn has(&self, path: usize) -> bool {
        self.found.get(path).is_some_and(Option::is_some)
    }
}

impl Filter {
    /// Takes rules in the order in which they are tried.
    ///
    /// # Errors
    /// They can't work together: the error says which kind of rule is to blame, and why.
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
            // Whatever it matches, an earlier one with no more conditions has decided already.
            let is_dead = |rule: &&Rule| rule.tests.iter().all(|test| tests.contains(test));
            if let Some(earlier) = filter.rules.iter().find(is_dead) {
                let what = format!(
                    "`{}` changes nothing, since `{}` before it matches all of its events; fix: put it first, or leave \
                     it out",
                    conditions.text, earlier.text
                );
                return Err((action, what));
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

    /// The index of a path's value; a new one unless the path is known.
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

    /// The values of an event that the rules test.
    pub fn values<'a>(&self, event: &'a [u8]) -> Values<'a> {
        let mut values = Values {
            found: [None; MAX_PATHS],
            missing: self.paths.len(),
        };
        collect(&self.tree, &mut Cursor::at_start(event), &mut values);
        values
    }

    /// The rule that excludes an event; `None` if it is sent.
    pub fn excluded_by(&self, values: &Values<'_>) -> Option<&Arc<str>> {
        let rule = self.rules.iter().find(|rule| rule.matches(values))?;
        (rule.action == Action::Exclude).then_some(&rule.text)
    }
}

/// Goes through the object or array that begins here until no value is missing. `None` if there is neither.
fn collect<'a>(
    nodes: &[Node],
    event: &mut Cursor<'a>,
    values: &mut Values<'a>,
) -> Option<&'a [u8]> {
    let bracket = event.enter()?;
    if bracket == b"{" {
        while values.missing > 0
            && let Some(name) = event.name()
        {
            let mut nodes = nodes.iter();
            take(
                nodes.find(|node| name.is(node.name.as_bytes())),
                event,
                values,
            );
        }
    } else {
        let last = nodes.iter().filter_map(|node| node.index).max();
        for place in last.into_iter().flat_map(|last| 0..=last) {
            let node = nodes.iter().find(|node| node.index == Some(place));
            if values.missing == 0 || take(node, event, values).is_none() {
                break;
            }
        }
    }
    if values.missing > 0 {
        event.leave();
    }
    Some(bracket)
}

/// Passes over the next value, and takes it and what is in it if `node` wants that.
fn take<'a>(
    node: Option<&Node>,
    event: &mut Cursor<'a>,
    values: &mut Values<'a>,
) -> Option<&'a [u8]> {
    let Some(node) = node else {
        return event.value();
    };
    let nested = match node.children[..] {
        [] => None,
        _ => collect(&node.children, event, values),
    };
    let value = nested.or_else(|| event.value())?;
    if let Some(place) = node.value
        && let Some(found @ None) = values.found.get_mut(place)
    {
        *found = Some(value);
        values.missing -= 1;
    }
    Some(value)
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
    /// A text is compared by its decoded content, anything else as it is written. Objects and arrays match nothing.
    fn holds(&self, value: &[u8]) -> bool {
        if let [b'{' | b'[', ..] = value {
            return false;
        }
        let text = Text::of(value);
        if let Test::Is(pattern) | Test::IsNot(pattern) = self
            && begins_otherwise(pattern.as_bytes(), text.map_or(value, Text::raw))
        {
            return matches!(self, Test::IsNot(_));
        }
        let text = text.map(Text::unescaped);
        let text = text.as_deref().unwrap_or(value);
        match self {
            Test::Is(pattern) => matches(pattern.as_bytes(), text),
            Test::IsNot(pattern) => !matches(pattern.as_bytes(), text),
            Test::AtLeast(least) => number(text).is_some_and(|number| number >= *least),
            Test::Below(bound) => number(text).is_some_and(|number| number < *bound),
        }
    }
}

/// Whether a text can't match a pattern, by their plain first bytes: this settles nearly all texts that don't match.
fn begins_otherwise(pattern: &[u8], raw: &[u8]) -> bool {
    let mut pairs = pattern.iter().zip(raw);
    let first = pairs.find(|(a, b)| a != b || b"*?\\".contains(a));
    first.is_some_and(|(a, b)| !b"*?".contains(a) && *b != b'\\')
}

/// Whether a text matches a pattern, in which `*` stands for any text and `?` for any character.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // What follows the last `*`, and where in the text it was tried.
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
