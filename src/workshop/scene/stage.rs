//! A scene while it is played: programs are led from place to place, and the kernel is asked in between.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::known::Known;
use super::measure::{Picture, Told, measure};
use super::patience::{self, Calm};
use super::place::{Scratch, python};
use super::{Break, show};
use crate::event::{Event, What, Who};
use crate::lens::calls::{Gate, Held, Mark, Recipients};
use crate::lens::table::Tables;
use crate::scene::{Asked, PATIENCE, Scene, Shown, Value};
use crate::sys::process;
use crate::view::paint::harmless;
use crate::view::{describe, notation};
use crate::workshop::watch::session::Session;
use crate::workshop::watch::{Part, Play, how_it_ended, words};
use crate::workshop::{Problem, build, labs};

/// How long it may take until everything that has happened is told: some 150 ms where the lenses get their turns.
const HEARING: Duration = Duration::from_secs(10);

/// The events of a run, in order, as they come out of the session.
pub type Events = Rc<RefCell<Vec<Event>>>;

/// A scene that is being played.
pub struct Stage<'a> {
    pub session: Session<'a>,
    pub known: Known,
    scene: &'a Scene,
    parts: Vec<Part>,
    tables: Tables,
    /// The port that `{port}` stands for.
    pub port: u16,
    /// Of the machine's own network only that port is looked at.
    port_of_interest: Option<u16>,
    events: Events,
    /// How long a step may take.
    pub patience: Duration,
    /// How many events have been printed as calls, and as segments.
    printed: (usize, usize),
}

/// How far a program is to go.
pub enum Goal<'a> {
    Mark(&'a Mark),
    End,
}

impl<'a> Stage<'a> {
    /// Nobody runs yet.
    pub fn new(
        mut session: Session<'a>,
        scene: &'a Scene,
        parts: Vec<Part>,
        play: &Play,
        events: Events,
        directory: Option<&Path>,
    ) -> Result<Self, Problem> {
        session.be_directed();
        Ok(Self {
            session,
            known: Known::with(directory),
            scene,
            parts,
            tables: Tables::open().map_err(Problem::while_doing("ask for sockets (NETLINK_SOCK_DIAG)"))?,
            port: play.port,
            port_of_interest: (!play.rung.has_own_network()).then_some(play.port),
            events,
            patience: PATIENCE,
            printed: (0, 0),
        })
    }

    /// The roles, in the order of the scene.
    pub fn roles(&self) -> Vec<String> {
        self.scene.programs.iter().map(|program| program.role.clone()).collect()
    }

    /// Goes on for a moment: what happened is taken in.
    pub fn turn(&mut self) -> Result<(), Break> {
        if let Some(signal) = self.session.signal()? {
            return Err(Break::Interrupted(signal));
        }
        self.session.turn()?;
        for alert in std::mem::take(&mut self.session.alerts) {
            self.known.learn(&alert);
        }
        Ok(())
    }

    fn has_begun(&self, role: &str) -> bool {
        self.session.players.iter().any(|player| player.role == role)
    }

    /// Starts a program of the scene.
    fn start(&mut self, role: &str, gate: Gate) -> Result<(), Break> {
        let Some(part) = self.parts.iter().find(|part| part.role == role) else {
            return Err(Break::Failed(format!("nobody has made {role} so far")));
        };
        let part = Part { gate, ..part.clone() };
        Ok(self.session.start(&part)?)
    }

    /// Lets somebody go as far as this, from wherever they are.
    fn let_go(&mut self, role: &str, gate: &Gate) -> Result<(), Break> {
        if let Some(end) = self.known.ends.get(role) {
            return Err(Break::Failed(format!("{role} {}", how_it_ended(*end))));
        }
        let is_program = self.scene.programs.iter().any(|program| program.role == role);
        if is_program && !self.has_begun(role) {
            return self.start(role, gate.clone());
        }
        // A child or a thread may be about to be made by somebody who runs freely.
        let is_let_go = self.until(|stage| {
            let asking = Problem::while_doing("lead a program (ptrace)");
            stage.known.goes_on(role, gate);
            if stage.session.observation.let_go(role, gate.clone()).map_err(asking)? > 0 {
                return Ok(Some(()));
            }
            // It was there a moment ago: the news of its end is under way.
            match stage.known.ends.get(role) {
                Some(end) => Err(Break::Failed(format!("{role} {}", how_it_ended(*end)))),
                None => Ok(None),
            }
        })?;
        is_let_go.ok_or_else(|| Break::Failed(format!("there is no {role}; there {}", self.who_is_there())))
    }

    /// Waits until there is something to be found, for as long as a step may take.
    fn until<T>(&mut self, look: impl FnMut(&mut Self) -> Result<Option<T>, Break>) -> Result<Option<T>, Break> {
        self.within(self.patience, look)
    }

    /// Waits until there is something to be found: until the limit, and longer while somebody is at work.
    fn within<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Break>,
    ) -> Result<Option<T>, Break> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(Some(found));
            }
            let took = begun.elapsed();
            self.turn()?;
            if patience::is_over(took, limit, || self.somebody_runs()) {
                // Once more: it may be we who were kept waiting, and it came between the look and the clock.
                return look(self);
            }
        }
    }

    fn who_is_there(&self) -> String {
        let roles: Vec<&str> = self.known.threads.keys().map(String::as_str).collect();
        match roles[..] {
            [] => "is nobody".into(),
            [one] => format!("is {one}"),
            _ => format!("are {}", roles.join(", ")),
        }
    }

    /// Lets a program run until it is somewhere, and holds it there; or until it has ended.
    pub fn lead(&mut self, role: &str, goal: &Goal) -> Result<(), Break> {
        self.known.held.clear();
        let gate = match goal {
            Goal::Mark(mark) => Gate::Until((*mark).clone()),
            Goal::End => Gate::Open,
        };
        if let Err(stop) = self.let_go(role, &gate) {
            let has_ended = self.known.ends.contains_key(role);
            return if has_ended && matches!(goal, Goal::End) { Ok(()) } else { Err(stop) };
        }
        let is_there = self.until(|stage| {
            let is_held = |(its, held): &(String, Held)| its == role && *held != Held::AtItsBeginning;
            if stage.known.held.iter().any(is_held) {
                return Ok(Some(()));
            }
            match (stage.known.ends.get(role), goal) {
                (None, _) => Ok(None),
                (Some(_), Goal::End) => Ok(Some(())),
                (Some(end), Goal::Mark(_)) => Err(Break::Failed(format!(
                    "{role} {} before it got there{}",
                    how_it_ended(*end),
                    stage.last_words(role)
                ))),
            }
        })?;
        if is_there.is_some() {
            return Ok(());
        }
        let (seconds, whereabouts) = (self.patience.as_secs(), self.whereabouts(role)?);
        Err(Break::Failed(format!("{role} did not get there within {seconds} s: {whereabouts}")))
    }

    /// Lets a program run, and everybody whom it has made.
    pub fn run_freely(&mut self, role: &str) -> Result<(), Break> {
        self.let_go(role, &Gate::Open)
    }

    /// Lets everybody run: nobody who is held would see that it is over.
    pub fn open_all_gates(&mut self) {
        for role in self.roles() {
            // Who cannot be let go is ended all the same.
            let _ = self.session.observation.let_go(&role, Gate::Open);
        }
    }

    fn last_words(&self, role: &str) -> String {
        let player = self.session.players.iter().find(|player| player.role == role);
        let words: Vec<String> = player.into_iter().flat_map(|player| player.last_words().map(harmless)).collect();
        if words.is_empty() { String::new() } else { format!("; its last words:\n    {}", words.join("\n    ")) }
    }

    /// Where somebody is who did not get where they should, and who of the family is held.
    fn whereabouts(&mut self, role: &str) -> Result<String, Break> {
        self.picture()?;
        let Some(thread) = self.known.threads.get(role) else { return Ok(format!("there is no {role}")) };
        let where_it_is = match (&thread.inside, thread.last_calls.back()) {
            (Some(call), _) => format!("it is in {}", notation::call(call)),
            (None, Some(call)) => format!("the last that it has done was {}", notation::call(call)),
            (None, None) => "it has made no call of interest".into(),
        };
        let mut text = show::Names::new(&self.known).in_place(&where_it_is);
        let program = role.split('/').next().unwrap_or(role);
        let family =
            self.known.threads.iter().filter(|(its, thread)| {
                thread.is_held && its.as_str() != role && its.split('/').next() == Some(program)
            });
        for (its, _) in family {
            text.push_str(&format!("; {its} is held meanwhile"));
        }
        Ok(text)
    }

    /// Types a text for a program.
    pub fn type_for(&mut self, role: &str, bytes: &[u8]) -> Result<(), Break> {
        self.player(role)?.type_too(bytes);
        self.turn()
    }

    /// Its standard input ends.
    pub fn close_input(&mut self, role: &str) -> Result<(), Break> {
        self.player(role)?.end_input();
        self.turn()
    }

    fn player(&mut self, role: &str) -> Result<&mut crate::workshop::watch::player::Player, Break> {
        let found = self.session.players.iter_mut().find(|player| player.role == role);
        found.ok_or_else(|| Break::Failed(format!("{role} has not begun, and reads nothing")))
    }

    /// Sends a signal to a process.
    pub fn signal(&mut self, role: &str, number: i32) -> Result<(), Break> {
        let signal = Signal::try_from(number).map_err(|_| Break::Failed(format!("there is no signal {number}")))?;
        let sending = Problem::while_doing("send a signal (kill)");
        let count = self.session.observation.signal(signal, &Recipients::Only(role.into())).map_err(sending)?;
        if count == 0 {
            return Err(Break::Failed(format!("{role} is not there, and gets no {}", describe::signal(number))));
        }
        self.turn()
    }

    /// The sockets as they are now.
    pub fn picture(&mut self) -> Result<Picture, Break> {
        let asking = Problem::while_doing("ask for sockets (NETLINK_SOCK_DIAG)");
        Ok(Picture::take(&mut self.tables, self.port_of_interest, &mut self.known).map_err(asking)?)
    }

    /// Waits until nothing changes any more: everybody is held or asleep, and the sockets stay as they are.
    pub fn settle(&mut self) -> Result<Picture, Break> {
        let mut picture = self.picture()?;
        let mut calm = Calm::from(Instant::now());
        while !calm.is_over(Instant::now()) {
            let before = self.events_known();
            self.turn()?;
            let now = self.picture()?;
            let is_unchanged =
                now.outline() == picture.outline() && before == self.events_known() && !self.somebody_runs();
            calm.looked(Instant::now(), is_unchanged);
            picture = now;
        }
        Ok(picture)
    }

    /// How many calls have been seen: while that grows, somebody is at work.
    fn events_known(&self) -> i64 {
        let counts = self.known.threads.values().flat_map(|thread| thread.outcomes.values().map(|(_, count)| *count));
        counts.sum()
    }

    /// Whether somebody is at work: what they do next will change something, perhaps.
    fn somebody_runs(&self) -> bool {
        self.known.processes().any(|(_, pid)| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let ids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
            let states: Vec<(u32, char)> = ids.filter_map(|id| Some((id, process::state_of(pid, id)?))).collect();
            // A process that has ended is known until its end is told: that is under way.
            let has_ended = states.iter().all(|(_, state)| matches!(state, 'Z' | 'X'));
            has_ended || states.iter().any(|&(id, state)| self.is_at_work(pid, id, state))
        })
    }

    /// Whether a thread wants to run, waits for a disk, or is at a stop of which we have not heard yet, however late whoever
    /// answers it gets a turn.
    fn is_at_work(&self, pid: u32, id: u32, state: char) -> bool {
        matches!(state, 'R' | 'D') || state == 't' && !self.known.stands_still(pid, id)
    }

    /// What the kernel answers to a question, as soon as nothing changes any more.
    pub fn ask(&mut self, asked: &Asked) -> Result<Value, Break> {
        let picture = self.settle()?;
        self.catch_up(asked)?;
        Ok(self.measured(asked, &picture))
    }

    /// Waits until it is so. `Err` in the answer: what was found instead.
    pub fn wait_for(&mut self, asked: &Asked, wanted: &Value) -> Result<Result<(), Value>, Break> {
        let mut latest = None;
        let is_so = self.until(|stage| {
            let picture = stage.picture()?;
            stage.catch_up(asked)?;
            let found = stage.measured(asked, &picture);
            let is_so = wanted.admits(&found);
            latest = Some(found);
            Ok(is_so.then_some(()))
        })?;
        Ok(match (is_so, latest) {
            (None, Some(found)) => Err(found),
            _ => Ok(()),
        })
    }

    /// Whether it is so when nothing changes any more, or within the limit.
    pub fn expect(&mut self, asked: &Asked, wanted: &Value) -> Result<Result<(), Value>, Break> {
        let found = self.ask(asked)?;
        if wanted.admits(&found) { Ok(Ok(())) } else { self.wait_for(asked, wanted) }
    }

    /// What was expected, and what was seen instead.
    pub fn not_met(&self, asked: &Asked, wanted: &Value, found: &Value) -> Break {
        let seconds = self.patience.as_secs();
        // A scene may ask for any word, and a program may have any word for an answer.
        let text = format!("expected {asked} {wanted} within {seconds} s; seen instead: {found}");
        let mut text = harmless(text.as_bytes());
        if self.known.threads.get(&asked.role).is_some_and(|thread| thread.is_held) {
            text.push_str(&format!(" (it is held, and does nothing until the scene lets it: {} freely)", asked.role));
        }
        Break::Failed(text)
    }

    fn measured(&self, asked: &Asked, picture: &Picture) -> Value {
        measure(asked, picture, &self.known, &Told { events: &self.events.borrow() })
    }

    /// Segments and lines are told in order, a little later than they happen.
    fn catch_up(&mut self, asked: &Asked) -> Result<(), Break> {
        use crate::scene::Quantity::{Lines, Sent};
        if matches!(asked.quantity, Sent(_) | Lines(_)) { self.hear_all() } else { Ok(()) }
    }

    /// Waits until everything that has happened is told. A picture of it that may have holes is none.
    fn hear_all(&mut self) -> Result<(), Break> {
        let now = self.session.observation.now();
        let all = self.within(HEARING, |stage| Ok((stage.session.observation.told_until() >= now).then_some(())))?;
        all.ok_or_else(|| {
            let seconds = HEARING.as_secs();
            Break::Failed(format!(
                "what has happened could not all be heard within {seconds} s: this machine is too busy"
            ))
        })
    }

    /// What is to be printed.
    pub fn shown(&mut self, what: Shown) -> Result<Vec<String>, Break> {
        let picture = self.settle()?;
        let roles = self.roles();
        match what {
            Shown::States => Ok(show::states(&picture, &self.known, &roles)),
            Shown::Processes => Ok(show::processes(&self.known)),
            Shown::Calls | Shown::Segments => {
                self.hear_all()?;
                let events = self.events.borrow();
                let names = show::Names::new(&self.known);
                if what == Shown::Calls {
                    let from = std::mem::replace(&mut self.printed.0, events.len());
                    return Ok(show::calls(&events[from..], &names, &roles));
                }
                let from = std::mem::replace(&mut self.printed.1, events.len());
                Ok(show::segments(&events[from..], &self.known))
            }
            // Drawn by the page itself: see `events`.
            Shown::Ladder => {
                self.hear_all()?;
                Ok(Vec::new())
            }
        }
    }

    /// Everything that has happened so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// Keeps a line of the scene with the events, so that a recording can show it again.
    pub fn keep(&mut self, text: String) {
        let at = self.session.observation.now();
        self.session.observation.add(Event { at, who: Who::Socklab, what: What::Note(text) });
    }
}

/// A scene's programs as they are started: those of the labs are built where need be.
pub fn parts(scene: &Scene, here: &str, scratch: &Scratch) -> Result<Vec<Part>, Problem> {
    let mut parts = Vec::new();
    let mut programs = LabPrograms::default();
    for program in &scene.programs {
        let mut command = words::split(&scratch.named_in(&program.command.replace("{here}", here)))?;
        if command[0] == "python3" {
            command[0] = python();
        }
        for (index, word) in command.iter_mut().enumerate() {
            programs.fill_in(word, index == 0)?;
        }
        parts.push(Part {
            role: program.role.clone(),
            command,
            typed: Some(Vec::new()),
            keeps_input: true,
            ..Part::default()
        });
    }
    Ok(parts)
}

/// Where the labs' programs are, each lab built once.
#[derive(Default)]
struct LabPrograms(BTreeMap<u8, PathBuf>);

impl LabPrograms {
    /// Puts the path of a lab's program in the place of its name: `lab1-server` as the first word of a command, and
    /// `{lab1-server}` anywhere.
    fn fill_in(&mut self, word: &mut OsString, is_first: bool) -> Result<(), Problem> {
        let Some(text) = word.to_str().map(str::to_owned) else { return Ok(()) };
        for lab in labs::LABS {
            for name in [lab.server(), lab.client()] {
                let place = format!("{{{name}}}");
                if is_first && text == name {
                    *word = self.path(lab, &name)?.into();
                } else if text.contains(&place) {
                    let path = self.path(lab, &name)?.display().to_string();
                    *word = word.to_string_lossy().replace(&place, &path).into();
                }
            }
        }
        Ok(())
    }

    fn path(&mut self, lab: &labs::Lab, name: &str) -> Result<PathBuf, Problem> {
        if let Some(other) = self.0.get(&lab.number) {
            return Ok(other.with_file_name(name));
        }
        let path = build::binary(lab, name)?;
        self.0.insert(lab.number, path.clone());
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn a_program_of_a_lab_stands_for_its_path_as_the_first_word_and_in_braces_anywhere() {
        // Both are built already: nothing is built for this test.
        let mut programs =
            LabPrograms(BTreeMap::from([(1, "/built/lab1-server".into()), (6, "/built/lab6-server".into())]));
        let mut filled = |word: &str, is_first| {
            let mut word = OsString::from(word);
            programs.fill_in(&mut word, is_first).unwrap();
            word.into_string().unwrap()
        };
        assert_eq!(filled("lab1-client", true), "/built/lab1-client");
        assert_eq!(filled("lab1-client", false), "lab1-client");
        assert_eq!(
            filled("ulimit -n 8; exec {lab6-server} --port 7", false),
            "ulimit -n 8; exec /built/lab6-server --port 7"
        );
        assert_eq!(filled("{lab9-server}", false), "{lab9-server}");
    }
}
