//! The rules that the pages about servers recommend, applied to the events of `tests/data`.

use super::*;

/// The rules that a server's page recommends, in its order.
fn recipes(page: &str) -> Vec<(Action, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/servers");
    let page = fs::read_to_string(path.join(page)).unwrap();
    let (_, section) = page.split_once("\n## Rules\n").unwrap();
    let (_, block) = section.split_once("\n--redact s3\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let rule = |line: &str| {
        let (option, rest) = line.split_once(" '").unwrap();
        let action = match option {
            "--include" => Action::Include,
            "--exclude" => Action::Exclude,
            other => panic!("{other}"),
        };
        (action, rest.split_once('\'').unwrap().0.to_owned())
    };
    let rules = block.lines().filter(|line| !line.starts_with('#'));
    rules.map(rule).collect()
}

/// How many of these events the rules leave out, each rule with its action.
fn left_out(rules: &[&(Action, String)], lines: &str) -> usize {
    let rules = rules.iter().flat_map(|(action, rules)| {
        rules
            .split('|')
            .map(|rule| (*action, rule.parse().unwrap()))
    });
    let rules = Rules::new(Filter::new(rules).unwrap(), None, Vec::new());
    rules.screen(&mut chunk(lines), 0).events()
}

/// For each page: a stream, a user in it, a health check as that server logs it, and how many of all these events are
/// left out: health checks, HEAD and List, the user, reads, reads that did not fail. Counted by other means.
#[test]
fn the_recipes_of_the_pages_leave_out_what_they_say() {
    for (page, stream, user, probe, expected) in [
        (
            "ceph-rgw.md",
            "rgw-socket.bin",
            "audit",
            r#"{"user":"anonymous","operation":"list_buckets","uri":"HEAD / HTTP/1.1","http_status":"200"}"#,
            [1, 7, 200, 44, 33],
        ),
        (
            "minio.md",
            "minio.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"api":{"name":"ListBuckets","statusCode":200},"userAgent":"kube-probe/1.30"}"#,
            [1, 6, 21, 11, 8],
        ),
        (
            "rustfs.md",
            "rustfs.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"Records":[{"api":{"name":"s3:ListBuckets","status_code":200},"userAgent":"kube-probe/1.30"}]}"#,
            [1, 3, 19, 8, 5],
        ),
        (
            "versity.md",
            "versitygw.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"Operation":"s3_ListAllMyBuckets","HttpStatus":200,"UserAgent":"kube-probe/1.30"}"#,
            [1, 6, 21, 11, 8],
        ),
        (
            "seaweedfs.md",
            "seaweedfs-fluent.json.bin",
            "audit",
            r#"{"operation":"REST.HEAD.OBJECT","status":200,"user_agent":"kube-probe/1.30"}"#,
            [1, 4, 116, 50, 32],
        ),
        (
            "nginx.md",
            "proxy.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"method":"HEAD","status":200,"user_agent":"kube-probe/1.30"}"#,
            [1, 1, 4, 5, 5],
        ),
        (
            "haproxy.md",
            "proxy.ndjson",
            "AKIAEXAMPLE0000TEST1",
            r#"{"method":"HEAD","status":200,"user_agent":"kube-probe/1.30"}"#,
            [1, 1, 4, 5, 5],
        ),
    ] {
        let mut lines = captured(stream);
        if stream.starts_with("seaweedfs") {
            // The elements are tag, time, record and options.
            let record = |line: &str| {
                let record = walk::elements(line.as_bytes()).nth(2).unwrap();
                format!("{}\n", str::from_utf8(record).unwrap())
            };
            lines = lines.lines().map(record).collect();
        }
        lines += &format!("{probe}\n");
        let recipes = recipes(page);
        let [failures, health, lists, someone, reads] = recipes.as_slice() else {
            panic!("{page}: {recipes:?}");
        };
        let someone = (someone.0, someone.1.replace("backup", user));
        let found = [
            &[health][..],
            &[lists],
            &[&someone],
            &[reads],
            &[failures, reads],
        ];
        let found = found.map(|rules| left_out(rules, &lines));
        assert_eq!(found, expected, "{page}");
    }
}
