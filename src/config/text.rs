//! The text of a settings file, in the syntax of environment files: read, and edited without changing other lines.
//!
//! One `NAME=value` per line, in the subset that systemd's EnvironmentFile, `docker --env-file` and a shell's `.` read
//! alike: a value bare, in `'…'`, or in `"…"` with a backslash before `"`, `\`, `$` and `` ` ``. Comments begin with
//! `#` or `;`. `export ` before a name is ignored.

use std::fmt;

use crate::config::opt::PREFIX;

/// One setting.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable, such as `S3_AUDIT_WEBHOOK_ENDPOINT`.
    pub name: String,
    /// The value, without quotes.
    pub value: String,
    /// The line's number, from 1.
    pub line: usize,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong, and the fix; never the value.
    pub what: String,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}=…", self.line, self.name)
    }
}

/// A file's text.
///
/// # Errors
/// The line that is not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, SyntaxError> {
    str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        SyntaxError {
            line: valid.iter().filter(|byte| **byte == b'\n').count() + 1,
            what: "contains bytes that are not UTF-8; fix: write the file in UTF-8".into(),
        }
    })
}

/// All settings of a file, including those of other programs.
///
/// # Errors
/// The first line that is not a setting, or that sets one of ours again.
pub fn parse(text: &str) -> Result<Vec<Setting>, SyntaxError> {
    let mut settings: Vec<Setting> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: String| SyntaxError {
            line: index + 1,
            what,
        };
        // In a file with such line ends alone, everything behind a comment would be one.
        if line.trim_end().contains('\r') {
            let what = "contains a carriage return; fix: end each line with a line feed";
            return Err(wrong(what.into()));
        }
        let Some((name, value)) = parse_line(line).map_err(|what| wrong(what.into()))? else {
            continue;
        };
        // A shell and systemd disagree on it, and whoever wrote it may mean either.
        if name.starts_with(PREFIX) && has_comment(value) {
            return Err(wrong(format!(
                "{name}: has a # behind a space; fix: put quotes around the value, or the comment on a line of its own"
            )));
        }
        let value = unquote(value.trim_start()).map_err(|what| wrong(format!("{name}: {what}")))?;
        let earlier = settings.iter().find(|setting| setting.name == name);
        if let Some(earlier) = earlier.filter(|_| name.starts_with(PREFIX)) {
            return Err(wrong(format!(
                "{name} is already set on line {}; fix: remove one of them",
                earlier.line
            )));
        }
        settings.push(Setting {
            name: name.into(),
            value,
            line: index + 1,
        });
    }
    Ok(settings)
}

/// The text with these changes: settings are changed in place or else appended; those without a value are removed. All
/// other lines stay as they are, valid or not.
pub fn edit(text: &str, changes: &[(impl AsRef<str>, Option<&str>)]) -> String {
    let mut edited = String::with_capacity(text.len() + 100);
    let mut done = vec![false; changes.len()];
    for line in text.split_inclusive('\n') {
        let index = match parse_line(line) {
            Ok(Some((name, _))) => changes
                .iter()
                .position(|(changed, _)| changed.as_ref() == name),
            _ => None,
        };
        match index {
            None => edited += line,
            // The first is changed in place; others with its name would make the file invalid.
            Some(index) if !std::mem::replace(&mut done[index], true) => {
                let (name, value) = &changes[index];
                append(&mut edited, name.as_ref(), *value);
            }
            Some(_) => {}
        }
    }
    if !edited.is_empty() && !edited.ends_with('\n') {
        edited.push('\n');
    }
    for ((name, value), _) in changes.iter().zip(done).filter(|(_, done)| !done) {
        append(&mut edited, name.as_ref(), *value);
    }
    edited
}

fn append(text: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        *text += &format!("{name}={}\n", quote(value));
    }
}

/// Name and value, the latter with its quotes and blanks; `None` for a blank line or a comment.
fn parse_line(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    const EXPECTED: &str = "is neither NAME=value nor a comment; fix: begin comments with #";
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    let exported = line.strip_prefix("export");
    let exported = exported.filter(|rest| rest.starts_with([' ', '\t']));
    let line = exported.unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=').ok_or(EXPECTED)?;
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if name.trim_end() != name {
        return Err("has a space before the =; fix: write NAME=value");
    }
    if !is_name(name) {
        return Err(
            "has another name than a variable's, of letters, digits and _; fix: write a line such as \
             S3_AUDIT_WEBHOOK_BATCH_BYTES=1MiB",
        );
    }
    Ok(Some((name, value)))
}

/// Whether a value without quotes seems to have a comment behind it.
fn has_comment(value: &str) -> bool {
    let is_bare = !value.trim_start().starts_with(['"', '\'']);
    is_bare && (value.contains(" #") || value.contains("\t#"))
}

const UNCLOSED: &str = "lacks its closing quote; fix: end it with the quote that it begins with";

/// A value without its quotes.
fn unquote(value: &str) -> Result<String, &'static str> {
    if value.contains('\0') {
        return Err("contains a NUL byte; fix: remove it");
    }
    let Some(quote @ ('"' | '\'')) = value.chars().next() else {
        return Ok(value.into());
    };
    let mut unquoted = String::with_capacity(value.len());
    let mut rest = value[1..].chars();
    loop {
        match rest.next() {
            None => return Err(UNCLOSED),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match rest.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => unquoted.push(c),
                Some(c) => unquoted.extend(['\\', c]),
                None => return Err(UNCLOSED),
            },
            Some(c) => unquoted.push(c),
        }
    }
    match rest.as_str().trim_start() {
        "" => Ok(unquoted),
        rest if rest.starts_with('#') => Ok(unquoted),
        _ => Err(
            "continues after its closing quote; fix: put a backslash before quotes in the value",
        ),
    }
}

/// A value, quoted so that every reader of such files reads it back.
fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.into();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, String, usize)> {
        let settings = parse(text).unwrap().into_iter();
        settings
            .map(|setting| (setting.name, setting.value, setting.line))
            .collect()
    }

    #[test]
    fn lines_are_read_as_by_shells_and_systemd() {
        let text = "\u{feff}# comment\n; comment\n\n A=bare value # no comment\r\nexport\tB='it $1'\n\
                    C=\"a \\\"b\\\" \\\\ \\$c \\d\" # comment\nD=\nE=\"\"\nF=a=b\n\
                    S3_AUDIT_WEBHOOK_A='a #b' # comment\nS3_AUDIT_WEBHOOK_B=#a#\r";
        let expected = [
            ("A", "bare value # no comment", 4),
            ("B", "it $1", 5),
            ("C", "a \"b\" \\ $c \\d", 6),
            ("D", "", 7),
            ("E", "", 8),
            ("F", "a=b", 9),
            ("S3_AUDIT_WEBHOOK_A", "a #b", 10),
            ("S3_AUDIT_WEBHOOK_B", "#a#", 11),
        ];
        let expected = expected.map(|(name, value, line)| (name.into(), value.into(), line));
        assert_eq!(values(text), expected);
    }

    #[test]
    fn a_wrong_line_is_named_without_its_value() {
        for (text, line, what) in [
            ("A=1\ns3cret", 2, "neither"),
            ("A=\"s3cret", 1, "lacks its closing quote"),
            ("A='s3cret", 1, "lacks its closing quote"),
            ("A=\"s3cret\\", 1, "lacks its closing quote"),
            ("A=\"s3cret\" x", 1, "continues"),
            ("A =s3cret", 1, "space before the ="),
            ("1A=s3cret", 1, "another name than a variable's"),
            ("A-B=s3cret", 1, "another name than a variable's"),
            ("--batch-bytes=s3cret", 1, "another name than a variable's"),
            ("A=s3cret\0", 1, "NUL"),
            ("A=1\n# x\rA=s3cret\r", 2, "carriage return"),
            ("A=1\rB=s3cret", 1, "carriage return"),
            ("S3_AUDIT_WEBHOOK_A=s3cret # s3cret", 1, "# behind a space"),
            ("S3_AUDIT_WEBHOOK_A=s3cret \t#s3cret", 1, "# behind a space"),
            ("S3_AUDIT_WEBHOOK_A= # s3cret", 1, "# behind a space"),
            (
                "S3_AUDIT_WEBHOOK_A=1\n\nS3_AUDIT_WEBHOOK_A=2",
                3,
                "already set on line 1",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.what.contains(what), "{text}: {}", error.what);
            assert!(!error.what.contains("s3cret"), "{}", error.what);
        }
    }

    #[test]
    fn an_edit_keeps_all_other_lines() {
        let text = "# mine\nA=1\n\nwhat is this\nB='2'\nA=3\n#A=4\nC=5";
        let edited = edit(
            text,
            &[("A", Some("new value")), ("B", None), ("D", Some("6"))],
        );
        assert_eq!(
            edited,
            "# mine\nA=\"new value\"\n\nwhat is this\n#A=4\nC=5\nD=6\n"
        );
        assert_eq!(edit("", &[("A", Some("1"))]), "A=1\n");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-B='\"\\\\#\n x$]{0,60}") {
            let _ = parse(&text);
            let _ = edit(&text, &[("A", Some("1"))]);
        }

        #[test]
        fn a_value_reads_as_it_was_set(value in "[^\n\r\0]{0,40}", text in "(#x\n|B=1\n|\n){0,4}") {
            let edited = edit(&text, &[("A", Some(&value))]);
            let settings = parse(&edited).unwrap();
            let set: Vec<_> = settings.iter().filter(|setting| setting.name == "A").collect();
            prop_assert_eq!(set.len(), 1);
            prop_assert_eq!(&set[0].value, &value);
            prop_assert_eq!(edit(&edited, &[("A", Some(&value))]), edited);
        }
    }
}
