//! `enable --auth-token -`: the token from a pipe, or typed at a terminal.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::support::control::{ENDPOINT, Settings, TOKEN};
use crate::support::{Agent, eventually};

#[test]
fn the_token_can_come_from_a_pipe() {
    let settings = Settings::new();
    let args = [
        "enable",
        "--no-test",
        "--endpoint",
        ENDPOINT,
        "--auth-token",
        "-",
    ];
    for input in [
        TOKEN.to_owned(),
        format!("{TOKEN}\r\nanother line\n"),
        format!("\"{TOKEN}\"\n"),
    ] {
        fs::write(settings.path(), "").unwrap();
        let said = settings.run_with(&args, &input, &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(said.stderr, "", "nobody is asked");
        assert!(settings.has(&format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN=\"{TOKEN}\"")));
    }
    for (input, what) in [
        ("", "--auth-token: is empty"),
        ("\n", "--auth-token: is empty"),
    ] {
        let said = settings.run_with(&args, input, &[]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(what), "{said:?}");
    }
}

/// A terminal: what is typed into it, and what it shows.
struct Terminal {
    keyboard: File,
    stdin: OwnedFd,
}

impl Terminal {
    fn open() -> Self {
        let mut options = File::options();
        let options = options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let keyboard = options.open("/dev/ptmx").unwrap();
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: neither touches memory; what is opened is nobody else's.
        let stdin = unsafe {
            assert_eq!(libc::unlockpt(keyboard.as_raw_fd()), 0);
            let stdin = libc::ioctl(keyboard.as_raw_fd(), libc::TIOCGPTPEER, flags);
            assert!(stdin >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(stdin)
        };
        Terminal { keyboard, stdin }
    }

    fn shows_what_is_typed(&self) -> bool {
        // SAFETY: zeros are a termios, and the pointer is to a live one.
        unsafe {
            let mut termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.stdin.as_raw_fd(), &raw mut termios), 0);
            termios.c_lflag & libc::ECHO != 0
        }
    }

    /// Starts enable, which asks for the token.
    fn asked(&self, settings: &Settings) -> Agent {
        assert!(self.shows_what_is_typed());
        let agent = Agent::command()
            .args([
                "enable",
                "--no-test",
                "--endpoint",
                ENDPOINT,
                "--auth-token",
                "-",
            ])
            .env("S3_AUDIT_WEBHOOK_CONFIG", settings.path())
            .stdin(self.stdin.try_clone().unwrap())
            .spawn();
        eventually("the terminal shows nothing any more", || {
            (!self.shows_what_is_typed()).then_some(())
        });
        agent
    }

    /// All that it has shown.
    fn shown(mut self) -> String {
        drop(self.stdin);
        let mut shown = Vec::new();
        // It ends with an error when nobody has it open.
        let _ = self.keyboard.read_to_end(&mut shown);
        String::from_utf8(shown).unwrap()
    }
}

#[test]
fn the_token_is_asked_for_at_a_terminal_and_not_shown() {
    let settings = Settings::new();
    let mut terminal = Terminal::open();
    let agent = terminal.asked(&settings);
    terminal
        .keyboard
        .write_all(format!("{TOKEN}\n").as_bytes())
        .unwrap();
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.log, "Token: ");
    assert!(settings.has(&format!("S3_AUDIT_WEBHOOK_AUTH_TOKEN=\"{TOKEN}\"")));
    assert!(terminal.shows_what_is_typed(), "as before");
    assert_eq!(terminal.shown(), "\r\n");
}

#[test]
fn a_terminal_is_left_as_it_was_when_the_question_is_interrupted() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let settings = Settings::new();
        let terminal = Terminal::open();
        let agent = terminal.asked(&settings);
        agent.signal(signal);
        assert_eq!(agent.wait().code, None, "ended by the signal");
        assert!(terminal.shows_what_is_typed());
        assert!(!settings.path().exists());
    }
}
