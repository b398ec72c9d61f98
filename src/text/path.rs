//! Paths to members of JSON, as rules and `--time-field` write them.

/// The names of a path, from the outside in: `Records[0].api` is `Records`, `0`, `api`. None if a name is missing, or
/// brackets hold no number.
pub fn names(path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in path.split('.') {
        let mut parts = part.split('[');
        let name = parts
            .next()
            .filter(|name| !name.is_empty() && !name.contains(']'))?;
        names.push(name.to_owned());
        for index in parts {
            let index: usize = index.strip_suffix(']')?.parse().ok()?;
            names.push(index.to_string());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_numbers() {
        for (path, expected) in [
            ("a", Some(&["a"][..])),
            ("a.b", Some(&["a", "b"])),
            (
                "Records[1].on[0][2]",
                Some(&["Records", "1", "on", "0", "2"]),
            ),
            ("a.1", Some(&["a", "1"])),
            ("", None),
            (".a", None),
            ("a..b", None),
            ("a[]", None),
            ("a[x]", None),
            ("a[0", None),
            ("a]b", None),
            ("[0].a", None),
        ] {
            let found = names(path);
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|names| names.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
