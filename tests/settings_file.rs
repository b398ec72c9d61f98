//! The settings file on disk: whole at every moment, its owner's alone, and as it was when it can't be changed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::control::{ENABLE, SECRET, Settings, TOKEN};
use crate::support::{Agent, Mount, NOBODY};

fn is_root() -> bool {
    // SAFETY: it only tells a number.
    unsafe { libc::geteuid() == 0 }
}

/// Says why a test proves nothing here.
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// An enable of the file, behind what a shell does first.
fn enable_behind(shell: &str, path: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$@\""), "sh"])
        .arg(env!("CARGO_BIN_EXE_s3-audit-webhook"))
        .args(ENABLE)
        .arg("--config")
        .arg(path)
        .env_clear();
    command
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains(SECRET), "{said}");
    said
}

/// An enable that fails, says so, and leaves the directory as it is but for what `keeps` other than the file.
#[track_caller]
fn assert_fails(command: &mut Command, settings: &Settings, parts: &[&str]) {
    let before = (
        names_in(settings.dir.path()),
        settings.text(),
        settings.version(),
    );
    let output = command.output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let file = settings.path().display().to_string();
    for part in [&[&*file, "can't be changed"], parts].concat() {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    let after = (
        names_in(settings.dir.path()),
        settings.text(),
        settings.version(),
    );
    assert_eq!(after, before);
}

#[test]
fn nobody_else_may_read_it_and_it_stays_its_owners() {
    let settings = Settings::new();
    let file = settings.dir.path().join("new/webhook.env");
    let output = enable_behind("umask 0;", &file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o755);
    assert_eq!(names_in(file.parent().unwrap()), ["webhook.env"]);

    // Its group goes on reading what it could read; nobody else does, and the group does not write.
    for (old, new) in [
        (0o666, 0o640),
        (0o660, 0o640),
        (0o440, 0o640),
        (0o604, 0o600),
        (0o400, 0o600),
    ] {
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(old)).unwrap();
        assert!(enable_behind("umask 0;", &file).status().unwrap().success());
        assert_eq!(mode(&file), new, "{old:o}");
    }

    if !is_root() {
        return skip("only root can give files away");
    }
    fs::write(&file, "").unwrap();
    chown(&file, Some(NOBODY), Some(1)).unwrap();
    assert!(enable_behind("umask 0;", &file).status().unwrap().success());
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, 1));
    assert_eq!(mode(&file), 0o600);

    // Root's, with a service that may read it.
    chown(&file, Some(0), Some(NOBODY)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&file, "").unwrap();
    assert!(enable_behind("umask 0;", &file).status().unwrap().success());
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (0, NOBODY));
    assert_eq!(mode(&file), 0o640);

    // What another user has put in its way is named, and changes nothing.
    let left = file.with_file_name(".webhook.env.new");
    fs::write(&left, "").unwrap();
    chown(&left, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::write(&file, "A=1\n").unwrap();
    let output = enable_behind("", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = said(&output);
    assert!(
        said.contains(".webhook.env.new belongs to another user (65534); fix: "),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "A=1\n");
}

#[test]
fn of_the_path_to_it_only_the_last_directory_is_made() {
    let settings = Settings::new();
    let file = settings.dir.path().join("no/such/webhook.env");
    let output = enable_behind("", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("no/such: No such file"), "{said}");
    assert!(names_in(settings.dir.path()).is_empty());
}

#[test]
fn a_symbolic_link_stays_and_the_file_that_it_means_is_changed() {
    let settings = Settings::new();
    let dir = settings.dir.path();
    fs::create_dir(dir.join("shared")).unwrap();
    // As Kubernetes has it, and relative to where each link is.
    symlink("shared", dir.join("..data")).unwrap();
    symlink("..data/linked", settings.path()).unwrap();
    symlink("../shared/real", dir.join("shared/linked")).unwrap();

    for content in ["not there yet", "there"] {
        settings.enable(&[]);
        for link in ["webhook.env", "..data", "shared/linked"] {
            assert!(dir.join(link).is_symlink(), "{content}: {link}");
        }
        let text = fs::read_to_string(dir.join("shared/real")).unwrap();
        assert!(text.contains(TOKEN) && text == settings.text(), "{content}");
        assert_eq!(names_in(&dir.join("shared")), ["linked", "real"]);
        fs::write(dir.join("shared/real"), "A=1\n").unwrap();
    }
    assert_eq!(names_in(dir), ["..data", "shared", "webhook.env"]);

    fs::remove_file(settings.path()).unwrap();
    symlink("webhook.env", settings.path()).unwrap();
    let said = settings.run(&["disable"]);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("Too many levels"), "{said:?}");
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let settings = Settings::new();
    let _socket = UnixListener::bind(settings.path()).unwrap();
    let said = settings.run(&["disable"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("is not a regular file"), "{said:?}");
    assert_eq!(names_in(settings.dir.path()), ["webhook.env"]);
    let said = settings.run(&["disable", "--config", "/"]);
    assert!(said.stderr.contains("/: can't be changed"), "{said:?}");
}

#[test]
fn a_pipe_or_a_device_in_its_place_holds_up_nobody() {
    let settings = Settings::new();
    let make = |place: &str| match place {
        "fifo" => assert!(
            Command::new("mkfifo")
                .arg(settings.path())
                .status()
                .unwrap()
                .success()
        ),
        device => symlink(device, settings.path()).unwrap(),
    };
    for (place, what) in [
        ("fifo", "it is not a regular file"),
        ("/dev/zero", "it is longer than 1 MiB"),
    ] {
        make(place);
        for command in ["run", "show", "test", "check"] {
            let said = settings.run(&[command]);
            // It may be a file again: a service tries that.
            assert_eq!(said.code, Some(1), "{command}: {said:?}");
            assert!(said.stderr.contains(what), "{command}: {said:?}");
        }
        let said = settings.run(&["disable"]);
        assert!(
            said.code == Some(1) && said.stderr.contains("it is not a regular file"),
            "{said:?}"
        );
        fs::remove_file(settings.path()).unwrap();
    }
}

#[test]
fn a_lock_that_cannot_be_taken_is_named() {
    let settings = Settings::of("A=1\n");
    fs::create_dir(settings.dir.path().join(".webhook.env.lock")).unwrap();
    let said = settings.run(&["disable"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains(".webhook.env.lock: Is a directory"),
        "{said:?}"
    );
}

#[test]
fn what_a_killed_command_has_left_is_used_again_but_nothing_else() {
    let settings = Settings::new();
    let dir = settings.dir.path();
    let left = dir.join(".webhook.env.new");
    let rubbish = "S3_AUDIT_WEBHOOK_HALF\n".repeat(1000);
    fs::write(&left, &rubbish).unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
    settings.enable(&[]);
    assert!(!settings.text().contains("HALF"));
    assert_eq!(fs::metadata(settings.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(names_in(dir), ["webhook.env"]);

    // A link that has this name is replaced, not followed; a directory is left alone.
    let other = dir.join("other");
    fs::write(&other, "keep me").unwrap();
    for make in [&|| symlink(&other, &left).unwrap(), &|| {
        fs::hard_link(&other, &left).unwrap()
    }] as [&dyn Fn(); 2]
    {
        settings.enable(&[]);
        make();
        let said = settings.run(&["disable"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(settings.has("S3_AUDIT_WEBHOOK_ENABLED=false"));
        assert_eq!(fs::read_to_string(&other).unwrap(), "keep me");
        assert_eq!(names_in(dir), ["other", "webhook.env"]);
    }
    settings.enable(&[]);
    fs::create_dir(&left).unwrap();
    let said = settings.run(&["disable"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let expected = ".webhook.env.new is in the way";
    assert!(said.stderr.contains(expected), "{said:?}");
    assert!(settings.has("S3_AUDIT_WEBHOOK_ENABLED=true"));
    assert_eq!(names_in(dir), [".webhook.env.new", "other", "webhook.env"]);
}

/// An enable that gives endpoint and token the same number.
fn enable_nth(settings: &Settings, n: usize, more: &[&str]) -> Agent {
    Agent::command()
        .args([
            "enable",
            "--no-test",
            "--endpoint",
            // No https: that would read the host's roots each time.
            &format!("http://hec-{n}/"),
        ])
        .args(["--auth-token", &format!("token-{n}")])
        .args(more)
        .env("S3_AUDIT_WEBHOOK_CONFIG", settings.path())
        .spawn()
}

const RULER: &str = "# so long that half a file can be told from a whole one\n";
const LINES: usize = 1000;

/// The number in a whole file.
#[track_caller]
fn number_in(settings: &Settings) -> usize {
    let text = settings.text();
    assert_eq!(text.matches(RULER).count(), LINES, "not whole");
    let number = |prefix: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(prefix));
        let value = values.next().unwrap().trim_end_matches('/');
        assert_eq!(values.next(), None);
        value.parse::<usize>().unwrap()
    };
    let endpoint = number("S3_AUDIT_WEBHOOK_ENDPOINT=http://hec-");
    assert_eq!(endpoint, number("S3_AUDIT_WEBHOOK_AUTH_TOKEN=token-"));
    endpoint
}

#[test]
fn a_killed_enable_leaves_the_old_file_or_the_new_one() {
    let settings = Settings::of(&RULER.repeat(LINES));
    assert_eq!(enable_nth(&settings, 0, &[]).wait().code, Some(0));
    let (mut old, mut new, mut left) = (0, 0, 0);
    let mut life = Duration::ZERO;
    for n in 100.. {
        let before = number_in(&settings);
        let mut agent = enable_nth(&settings, n, &[]);
        thread::sleep(life);
        agent.kill();
        // However fast the machine is: from its first moment up to the change, and again and again around that.
        match number_in(&settings) {
            found if found == n => {
                new += 1;
                life = life * 2 / 3;
            }
            found => {
                assert_eq!(found, before);
                old += 1;
                life += life / 12 + Duration::from_micros(200);
            }
        }
        left += usize::from(names_in(settings.dir.path()).len() > 1);
        if old >= 70 && new >= 15 {
            break;
        }
    }
    println!("{old} old, {new} new, {left} with a leftover");
    assert_eq!(enable_nth(&settings, 1, &[]).wait().code, Some(0));
    assert_eq!(number_in(&settings), 1);
    assert_eq!(names_in(settings.dir.path()), ["webhook.env"]);
}

#[test]
fn many_at_once_come_one_after_the_other() {
    let settings = Settings::of(&RULER.repeat(LINES));
    for round in 0..3 {
        let agents: Vec<_> = (0..20)
            .map(|n| {
                let flag = ["--connect-timeout", "--request-timeout"][n % 2];
                enable_nth(&settings, n + 1, &[flag, &format!("{}s", round + 2)])
            })
            .collect();
        for agent in agents {
            assert_eq!(agent.wait().code, Some(0));
        }
        assert!((1..=20).contains(&number_in(&settings)));
        // None has written what it had read before another's change.
        for name in ["CONNECT", "REQUEST"] {
            let line = format!("S3_AUDIT_WEBHOOK_{name}_TIMEOUT={}s", round + 2);
            assert!(settings.has(&line), "no {line}");
        }
        assert_eq!(names_in(settings.dir.path()), ["webhook.env"]);
    }
}

#[test]
fn who_may_not_write_is_told_so() {
    let settings = Settings::of("A=1\n");
    let dir = settings.dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = enable_behind("", &settings.path());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Ok(output) if output.status.code() != Some(126) => {}
        other => return skip(&format!("can't be started as another user: {other:?}")),
    }
    assert_fails(&mut command, &settings, &[": Permission denied"]);

    // A directory that all may write, and a file that is not for all to read.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        assert_fails(&mut command, &settings, &[": Permission denied"]);
        // Or to read, but not to give back to its owner.
        fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_fails(&mut command, &settings, &["Operation not permitted"]);
    }
}

#[test]
fn a_file_that_may_not_grow_stays_as_it_was() {
    let settings = Settings::of(&RULER.repeat(100));
    // In blocks of 512 or 1024 bytes.
    let mut command = enable_behind("trap '' XFSZ; ulimit -f 1;", &settings.path());
    assert_fails(&mut command, &settings, &["File too large"]);
}

#[test]
fn a_full_disk_or_one_that_is_read_only_or_a_file_that_is_a_mount_is_told() {
    let outside = TempDir::new().unwrap();
    let settings = Settings::new();
    let (dir, none) = (settings.dir.path(), Path::new("none"));
    let Some(mount) = Mount::new("tmpfs", none, dir, "size=16k", 0) else {
        return;
    };
    fs::write(settings.path(), "A=1\n").unwrap();
    fs::write(dir.join("filler"), vec![0; 1 << 20]).unwrap_err();
    let mut command = enable_behind("", &settings.path());
    assert_fails(&mut command, &settings, &["No space left on device"]);
    fs::remove_file(dir.join("filler")).unwrap();

    let read_only = Mount::new("tmpfs", none, dir, "", libc::MS_REMOUNT | libc::MS_RDONLY);
    std::mem::forget(read_only.unwrap());
    assert_fails(&mut command, &settings, &["Read-only file system"]);
    drop(mount);

    fs::write(outside.path().join("file"), "A=1\n").unwrap();
    fs::write(settings.path(), "").unwrap();
    let path = settings.path();
    let file = Mount::new("", &outside.path().join("file"), &path, "", libc::MS_BIND);
    let _file = file.unwrap();
    assert_fails(
        &mut command,
        &settings,
        &["it is a mount point; fix: mount its directory instead"],
    );
}
