//! The structure of `src/`: rooms import downward only, modules have no circles, files and functions stay short.
//!
//! What does not hold yet is listed at each test. The lists only shrink: an entry that is no longer needed fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each may import those behind it.
const ROOMS: [&str; 14] = [
    "cli",
    "agent",
    "trail",
    "config",
    "source",
    "rules",
    "webhook",
    "delivery",
    "buffer",
    "state",
    "telemetry",
    "sys",
    "text",
    "framer",
];

const MAX_FILE_LINES: usize = 450;
const MAX_FUNCTION_LINES: usize = 70;

/// A source file: its module such as `source::file::pattern`, and its lines without tests and comments.
struct Module {
    name: String,
    file: String,
    line_count: usize,
    lines: Vec<String>,
}

fn modules() -> Vec<Module> {
    let mut files = Vec::new();
    list(&source_directory(), &mut files);
    files.sort();
    files.iter().map(|path| Module::read(path)).collect()
}

fn source_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

impl Module {
    fn read(path: &Path) -> Module {
        let file = path.strip_prefix(source_directory()).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let name = file.trim_end_matches(".rs").replace('/', "::");
        let name = name.trim_end_matches("::mod").trim_end_matches("::lib");
        let text = fs::read_to_string(path).unwrap();
        Module {
            name: name.to_owned(),
            line_count: text.lines().count(),
            lines: without_tests(&text),
            file,
        }
    }

    fn room(&self) -> &str {
        self.name.split("::").next().unwrap()
    }

    /// The modules that it names, by `use` or in its code.
    fn imports(&self, known: &BTreeSet<String>) -> BTreeSet<String> {
        let mut imports = BTreeSet::new();
        for path in paths(&self.lines) {
            let found = self.resolve(&path, known);
            imports.extend(found.filter(|found| *found != self.name));
        }
        imports
    }

    /// The module that a path leads into; none if it leads out of the crate.
    fn resolve(&self, path: &[String], known: &BTreeSet<String>) -> Option<String> {
        let mut base: Vec<&str> = self.name.split("::").collect();
        let mut rest = path.iter().map(String::as_str).peekable();
        match *rest.peek()? {
            "crate" => {
                rest.next();
                // The framer is a crate of its own.
                base.truncate(usize::from(base[0] == "framer"));
            }
            "self" => drop(rest.next()),
            "super" => {}
            first if !known.contains(&format!("{}::{first}", self.name)) => return None,
            _ => {}
        }
        while rest.next_if_eq(&"super").is_some() {
            base.pop();
        }
        for segment in rest {
            base.push(segment);
            if !known.contains(&base.join("::")) {
                base.pop();
                break;
            }
        }
        Some(base.join("::")).filter(|name| known.contains(name))
    }
}

/// The lines of code: no comments, no test modules.
fn without_tests(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        if line == "#[cfg(test)]" {
            is_test = true;
        }
        if !is_test && !line.trim_start().starts_with("//") {
            lines.push(line.to_owned());
        }
        // A test's module ends so, and `mod tests;` or a `use` is a statement at the margin.
        if line == "}" || (line.ends_with(';') && !line.starts_with(' ')) {
            is_test = false;
        }
    }
    lines
}

/// All paths of a module's code, those of nested `use` groups spelt out.
fn paths(lines: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut statement = String::new();
    // To a module within a file, the file is what is above it.
    let mut is_within = false;
    for line in lines {
        let is_module = line.starts_with("mod ") || line.starts_with("pub mod ");
        is_within = line != "}" && (is_within || (is_module && line.ends_with('{')));
        let line = match is_within {
            true => &line.replacen("use super::", "use self::", 1),
            false => line,
        };
        let is_use = ["use ", "pub use ", "pub(super) use ", "pub(crate) use "]
            .iter()
            .any(|start| line.trim_start().starts_with(start));
        if is_use || !statement.is_empty() {
            statement += line.trim();
            if let Some(whole) = statement.strip_suffix(';') {
                let (_, tree) = whole.split_once("use ").unwrap();
                expand(tree, &[], &mut paths);
                statement.clear();
            }
            continue;
        }
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let named = words.filter(|word| word.contains("::") && !word.starts_with(':'));
        paths.extend(named.map(segments));
    }
    paths
}

fn expand(text: &str, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let text = text.trim();
    let Some((head, group)) = text.split_once('{') else {
        let name = text.split(" as ").next().unwrap();
        paths.push([prefix, &segments(name)].concat());
        return;
    };
    let prefix = [prefix, &segments(head.trim_end_matches(':'))].concat();
    let mut depth = 0;
    let in_group = |c: char| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    };
    let group = group.trim_end().trim_end_matches('}');
    for part in group.split(in_group).filter(|part| !part.trim().is_empty()) {
        expand(part, &prefix, paths);
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::")
        .map(|segment| segment.trim().to_owned())
        .collect()
}

/// Which module imports which.
fn graph(modules: &[Module]) -> BTreeMap<String, BTreeSet<String>> {
    let known = modules.iter().map(|module| module.name.clone()).collect();
    let edges = modules
        .iter()
        .map(|module| (module.name.clone(), module.imports(&known)));
    edges.collect()
}

fn reaches(graph: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            open.extend(graph.get(module).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

/// Compares what was found with what is allowed to be there for now.
fn assert_only(found: &[String], allowed: &[&str], advice: &str) {
    let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
    let allowed: BTreeSet<_> = allowed.iter().copied().collect();
    let new: Vec<_> = found.difference(&allowed).collect();
    assert!(new.is_empty(), "{advice}:\n{new:#?}");
    let gone: Vec<_> = allowed.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "no longer needed, so remove from the list:\n{gone:#?}"
    );
}

#[test]
fn the_top_has_rooms_only() {
    let known: BTreeSet<_> = ROOMS.into_iter().chain(["lib.rs", "main.rs"]).collect();
    for entry in fs::read_dir(source_directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            known.contains(&*name),
            "{name} is neither a room nor main.rs nor lib.rs"
        );
    }
}

#[test]
fn rooms_import_downward_only() {
    let modules = modules();
    let graph = graph(&modules);
    let rank = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut upward = Vec::new();
    for module in modules
        .iter()
        .filter(|module| rank(module.room()).is_some())
    {
        for import in &graph[&module.name] {
            let room = import.split("::").next().unwrap();
            if rank(room) < rank(module.room()) {
                upward.push(format!("{} imports {room}", module.name));
            }
        }
    }
    assert_only(
        &upward,
        UPWARD,
        "a room imports only those behind it in ROOMS",
    );
}

const UPWARD: &[&str] = &[];

#[test]
fn modules_have_no_circles() {
    let mut graph = graph(&modules());
    for edge in CIRCULAR {
        let (from, to) = edge.split_once(" imports ").unwrap();
        graph.entry(from.into()).or_default().remove(to);
    }
    let mut circular = Vec::new();
    for (from, imports) in &graph {
        let on_circle = imports.iter().filter(|to| reaches(&graph, to, from));
        circular.extend(on_circle.map(|to| format!("{from} imports {to}")));
    }
    assert!(circular.is_empty(), "circles:\n{circular:#?}");
    // Each exception closes a circle.
    let all = self::graph(&modules());
    for edge in CIRCULAR {
        let (from, to) = edge.split_once(" imports ").unwrap();
        let is_needed =
            all.get(from).is_some_and(|imports| imports.contains(to)) && reaches(&graph, to, from);
        assert!(
            is_needed,
            "no longer needed, so remove from the list: {edge}"
        );
    }
}

// For `label` alone, which says how the log names a file.
const CIRCULAR: &[&str] = &[
    "source::file::reading imports source::file",
    "source::file::search imports source::file",
    "source::file::trouble imports source::file",
];

#[test]
fn files_are_short() {
    let modules = modules();
    let long = modules
        .iter()
        .filter(|module| module.line_count > MAX_FILE_LINES);
    let long: Vec<_> = long.map(|module| module.file.clone()).collect();
    assert_only(&long, LONG_FILES, &format!("over {MAX_FILE_LINES} lines"));
}

const LONG_FILES: &[&str] = &[];

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for module in modules() {
        for (name, length) in functions(&module.lines) {
            if length > MAX_FUNCTION_LINES {
                long.push(format!("{}: {name}", module.file));
            }
        }
    }
    assert_only(
        &long,
        LONG_FUNCTIONS,
        &format!("over {MAX_FUNCTION_LINES} lines"),
    );
}

const LONG_FUNCTIONS: &[&str] = &[];

/// The functions of formatted code, and their lines: each ends with a brace that is indented as it is.
fn functions(lines: &[String]) -> Vec<(&str, usize)> {
    let mut functions = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<_> = line.split_whitespace().collect();
        let Some(keyword) = words.iter().position(|word| *word == "fn") else {
            continue;
        };
        let is_modifier = |word: &&str| {
            ["pub", "const", "unsafe", "async"].contains(word) || word.starts_with("pub(")
        };
        let Some(name) = words
            .get(keyword + 1)
            .filter(|_| words[..keyword].iter().all(is_modifier))
        else {
            continue;
        };
        let rest = lines[place..].iter();
        let end = rest
            .clone()
            .position(|line| line.strip_prefix(indent) == Some("}"));
        // A declaration in a trait has no body.
        let has_body = !line.ends_with(';') && !line.ends_with('}');
        if let Some(end) = end.filter(|_| has_body) {
            functions.push((name.split(['(', '<']).next().unwrap(), end + 1));
        }
    }
    functions
}

#[test]
fn the_scanner_finds_what_is_imported() {
    let module = |name: &str, code: &str| Module {
        name: name.into(),
        file: String::new(),
        line_count: 0,
        lines: without_tests(code),
    };
    let known = [
        "a",
        "a::b",
        "a::b::c",
        "d",
        "d::e",
        "framer",
        "framer::json",
    ];
    let known = known.map(String::from).into();
    for (name, code, expected) in [
        ("a", "use crate::d::e::Name;", vec!["d::e"]),
        (
            "a",
            "use crate::d::{self, e::{Name, Other}};\nuse std::io;",
            vec!["d", "d::e"],
        ),
        ("a", "pub use b::c::Name;", vec!["a::b::c"]),
        ("a", "use self::b::{\n    c,\n};", vec!["a::b::c"]),
        ("a::b::c", "use super::Name;", vec!["a::b"]),
        ("a::b::c", "use super::super::Name;", vec!["a"]),
        (
            "a::b",
            "fn f() {\n    crate::d::e::g();\n    c::g();\n}",
            vec!["a::b::c", "d::e"],
        ),
        (
            "a",
            "// use crate::d;\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}",
            vec![],
        ),
        (
            "a",
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse b::{\n    c,\n};\n#[cfg(test)]\nmod model;\nuse crate::d;",
            vec!["d"],
        ),
        (
            "a::b",
            "mod inner {\n    use super::{Name, c::Other};\n}\nuse super::Name;",
            vec!["a", "a::b::c"],
        ),
        ("framer", "use crate::json::Scan;", vec!["framer::json"]),
        ("a", "use std::fmt;\nlet x = e::f();", vec![]),
    ] {
        let imports = module(name, code).imports(&known);
        assert_eq!(imports.into_iter().collect::<Vec<_>>(), expected, "{code}");
    }
    let code = "fn a() {\n    1\n}\n    pub(super) const fn b<T>(\n        x: T,\n    ) -> T {\n        x\n    }\n";
    assert_eq!(functions(&without_tests(code)), [("a", 3), ("b", 5)]);
}
