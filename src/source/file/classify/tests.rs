use super::super::tracked::tests::tracked;
use super::*;

#[test]
fn the_end_is_where_the_last_line_begins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let long = "x".repeat(LINE_BYTES + 10);
    for (text, before, offset) in [
        ("", None, 0),
        ("a\nb\n", None, 4),
        ("a\nbc", None, 2),
        ("abc", None, 3),
        (&*format!("a\n{long}"), None, long.len() + 2),
        (&format!("{long}\nb"), None, long.len() + 1),
        // It has grown, or was truncated.
        ("a\nb\nc\n", Some(4), 4),
        ("a\nb\nc\n", Some(3), 2),
        ("a\nb\n", Some(4), 4),
        ("a\nb\n", Some(5), 0),
        (
            &format!("{long}\n{long}\n"),
            Some(long.len() as u64 + 1),
            long.len() + 1,
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let mut file = tracked(&path);
        skip_to_end(&mut file, before).unwrap();
        assert_eq!(file.offset, offset as u64, "{} {before:?}", text.len());
    }
}
