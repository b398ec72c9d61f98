//! Cargo.toml says where the project's home and repository are, `packaging/maintainer` who answers mail. What repeats that, for
//! readers who have nothing but the one file, says the same, and nothing else repeats it.

use std::fs;
use std::process::Command;

const HOME: &str = env!("CARGO_PKG_HOMEPAGE");
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

#[test]
fn whatever_names_the_home_the_repository_or_the_mail_address_names_the_same() {
    let maintainer = fs::read_to_string("packaging/maintainer").unwrap();
    let mail = &maintainer[maintainer.find('<').unwrap()..=maintainer.find('>').unwrap()];
    let places = [
        ("packaging/prometheus/alerts.yml", "runbook_url: ", HOME),
        ("tests/integrations/alerts_test.yml", "runbook_url: ", HOME),
        ("packaging/kubernetes/helm/Chart.yaml", "home: ", HOME),
        ("packaging/kubernetes/helm/Chart.yaml", "icon: ", HOME),
        ("packaging/ansible/galaxy.yml", "repository: ", REPOSITORY),
        (
            "packaging/container/Containerfile",
            "org.opencontainers.image.source=\"",
            REPOSITORY,
        ),
        ("SECURITY.md", "by mail to ", mail),
        ("README.md", "mail to\n", mail),
    ];
    for (file, before, expected) in places {
        let text = fs::read_to_string(file).unwrap();
        let named: Vec<_> = text.split(before).skip(1).collect();
        assert!(!named.is_empty(), "{file}: no '{before}'");
        for rest in named {
            assert!(rest.starts_with(expected), "{file}: {before}{rest:.80}");
        }
    }
    let host = HOME.trim_start_matches("https://");
    let found = Command::new("git").args(["grep", "-l", host]).output();
    // 1 means that nothing was found, more that nothing could be searched.
    let Some(found) = found
        .ok()
        .filter(|found| matches!(found.status.code(), Some(0 | 1)))
    else {
        return eprintln!("skipped: no git, or no repository");
    };
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.lines().any(|file| file == "Cargo.toml"), "{found}");
    let sources = ["Cargo.toml", "packaging/maintainer"];
    for file in found.lines() {
        let is_known = places.iter().any(|(known, ..)| *known == file);
        assert!(is_known || sources.contains(&file), "{file} repeats {host}");
    }
}
