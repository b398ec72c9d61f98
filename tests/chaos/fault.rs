//! The faults that a random run draws from.

use std::time::Duration;

use crate::support::{Answer, WireFault};

use super::books::Meaning;
use super::dice::Dice;
use super::rig::Rig;

/// Something that fails for a while.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) host: Host,
    /// At its end all connections are cut, as by a restart of what failed; otherwise the agent must end what hangs.
    pub(super) ends_with_cut: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    /// The webhook runs, but gives this answer.
    Answer(String, Box<Answer>, Meaning),
    /// The webhook refuses one event here and there.
    Picky,
    /// The webhook has been killed.
    Killed,
    Wire(WireFault),
    /// Only the host has trouble.
    Nowhere,
}

/// What happens at the host meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Nothing,
    /// The agent's process gets no processor for half the time.
    Stopped,
    /// No descriptor is free, and the connections are cut.
    NoDescriptors,
    LogRotated,
    /// The agent is told to look at its settings.
    Reload,
}

impl Fault {
    /// Draws a fault.
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let place = match dice.below(10) {
            0 => Place::Nowhere,
            1 | 2 => Place::Killed,
            3 => Place::Picky,
            4..=6 => Place::Wire(wire(dice)),
            _ => answer(dice),
        };
        let host = match dice.below(8) {
            0 => Host::Stopped,
            1 => Host::NoDescriptors,
            2 => Host::LogRotated,
            3 => Host::Reload,
            _ => Host::Nothing,
        };
        Self {
            place,
            host,
            ends_with_cut: dice.below(2) == 0,
        }
    }

    /// Makes this fault happen, for this long.
    pub(super) fn befall(&self, rig: &mut Rig, lasting: Duration) {
        if self.leaves_doubt() {
            rig.books.doubt();
        }
        if self.cuts() || self.host == Host::Stopped {
            rig.books.shake();
        }
        match &self.place {
            Place::Answer(_, answer, meaning) => rig.books.give((**answer).clone(), *meaning),
            Place::Picky => rig.books.pick(),
            Place::Killed => rig.hook.stop(),
            Place::Wire(fault) => rig.wire.set(*fault),
            Place::Nowhere => {}
        }
        match self.host {
            Host::Stopped => rig.agent.signal(libc::SIGSTOP),
            Host::NoDescriptors => {
                rig.agent.leave_descriptors(0);
                rig.wire.cut();
            }
            Host::LogRotated => rig.rotate(),
            Host::Reload => rig.agent.signal(libc::SIGHUP),
            Host::Nothing => {}
        }
        // As long as the dice have said.
        std::thread::sleep(lasting / 2);
        if self.host == Host::Stopped {
            rig.agent.signal(libc::SIGCONT);
        }
        std::thread::sleep(lasting / 2);
        if self.host == Host::NoDescriptors {
            rig.agent.leave_descriptors(500);
        }
        match self.place {
            Place::Killed => rig.hook.restart(),
            Place::Wire(_) => rig.wire.set(WireFault::None),
            Place::Answer(..) | Place::Picky | Place::Nowhere => {}
        }
        if self.ends_with_cut {
            rig.books.shake();
            rig.wire.cut();
        }
        // A request can wait in a connection that was cut before it was accepted; its answer is then lost.
        rig.hook.accept_all();
        let has_cut = self.cuts() || self.ends_with_cut;
        rig.books.calm(has_cut.then(|| rig.hook.connections()));
    }

    /// Whether it cuts connections before its end, so that answers are lost that should be heard.
    fn cuts(&self) -> bool {
        matches!(self.place, Place::Killed | Place::Wire(_)) || self.host == Host::NoDescriptors
    }

    /// Whether requests may fail such that nobody knows whether they have arrived.
    fn leaves_doubt(&self) -> bool {
        match &self.place {
            Place::Answer(_, answer, meaning) => {
                *meaning == Meaning::Unclear || answer.ends_connection()
            }
            Place::Picky | Place::Killed | Place::Wire(_) | Place::Nowhere => false,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Answer(what, ..) => write!(f, "answer {what}")?,
            Place::Picky => write!(f, "webhook picky")?,
            Place::Killed => write!(f, "webhook killed")?,
            Place::Wire(fault) => write!(f, "network {fault:?}")?,
            Place::Nowhere => write!(f, "nothing")?,
        }
        if self.host != Host::Nothing {
            write!(f, ", host {:?}", self.host)?;
        }
        if self.ends_with_cut {
            write!(f, ", then cut")?;
        }
        Ok(())
    }
}

fn wire(dice: &mut Dice) -> WireFault {
    // Over TLS the shorter lengths break the handshake, at any place.
    let bytes = dice.one_of(&[0, 3, 100, 700, 1500, 5_000, 60_000]) + dice.below(100) as usize;
    match dice.below(6) {
        0 => WireFault::Refuse,
        1 => WireFault::BlackHole,
        2 => WireFault::Stall,
        3 => WireFault::CutToWebhook(bytes),
        4 => WireFault::CutToAgent(bytes),
        _ => WireFault::Drip(Duration::from_millis(100)),
    }
}

fn answer(dice: &mut Dice) -> Place {
    let second = Duration::from_secs(1);
    let (what, answer, meaning) = match dice.below(12) {
        0 => ("nothing", Answer::hang(), Meaning::Unclear),
        1 => ("by hanging up", Answer::hang_up(), Meaning::Unclear),
        2 => ("by a reset", Answer::reset(), Meaning::Unclear),
        3 => ("garbage", Answer::garbage(), Meaning::Unclear),
        4 => ("half a head", Answer::ok().half_a_head(), Meaning::Unclear),
        5 => ("half a body", Answer::ok().half_a_body(), Meaning::Taken),
        6 => (
            "a byte a second",
            Answer::ok().slowly(1, second),
            Meaning::Unclear,
        ),
        7 => ("without end", Answer::ok().endless(), Meaning::Taken),
        8 => ("and closes", Answer::ok().close_silently(), Meaning::Taken),
        9 => ("400", Answer::status(400), Meaning::Refused),
        _ => {
            let status = 200 + dice.below(400) as u16;
            return Place::Answer(
                status.to_string(),
                Box::new(Answer::status(status).body("")),
                meaning_of(status),
            );
        }
    };
    Place::Answer(what.into(), Box::new(answer), meaning)
}

/// What a status means, if no code of Splunk's says more.
pub(super) fn meaning_of(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Taken,
        400 | 413 | 415 | 422 => Meaning::Refused,
        502 | 504 => Meaning::Unclear,
        _ => Meaning::Again,
    }
}
