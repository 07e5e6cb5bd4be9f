//! `socklab scene FILE`: plays a scene. Its programs are led from call to call, held where the scene wants them, and the kernel
//! is asked what it sees then.

mod known;
mod measure;
mod narrator;
mod patience;
mod place;
mod recorded;
mod show;
mod stage;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use nix::sys::signal::Signal;

use crate::event::{End, Event};
use crate::sandbox::Rung;
use crate::scene::{self, Action, Asked, Scene, Shown, Step, Value};
use crate::sys::with_name;
use crate::view::ladder;
use crate::view::paint::{Page, QUIET, harmless, in_style};
use crate::workshop::Problem;
use crate::workshop::outputs::{OutputOptions, Outputs};
use crate::workshop::run::free_port;
use crate::workshop::trace::exit_code;
use crate::workshop::watch::session::Session;
use crate::workshop::watch::{Part, Play, header, here, why};

use narrator::Narrator;
use place::Scratch;
pub use place::python;
pub use recorded::Recorded;
use stage::{Events, Goal, Stage};

/// Where a server listens in a network of its own.
const PORT: u16 = 7000;
/// The exit code where a prediction was wrong.
const WRONG: u8 = 3;
/// The exit code where the scene could not be played, or nobody has answered.
const NOT_JUDGED: u8 = 2;

/// What is to be played.
#[derive(Debug)]
pub struct Options {
    /// The scene's file.
    pub file: PathBuf,
    /// Whether to stop before each line.
    pub step: bool,
    /// Whether to ask for the predictions.
    pub ask: bool,
    /// Answers that are given already, in order.
    pub answers: Vec<String>,
    /// Whether to play the recording, though the scene could be played.
    pub recorded: bool,
    /// Whether to stay in the machine's own network.
    pub here: bool,
    /// Files to write.
    pub outputs: OutputOptions,
}

/// Why a scene goes on no longer.
#[derive(Debug)]
pub enum Break {
    /// It is not as the scene says.
    Failed(String),
    /// Somebody has sent us this signal.
    Interrupted(Signal),
    /// Whoever was asked does not want to go on.
    Quit,
    /// Something else went wrong.
    Problem(Problem),
}

impl From<Problem> for Break {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<std::io::Error> for Break {
    fn from(error: std::io::Error) -> Self {
        Self::Problem(error.into())
    }
}

/// What a line of a scene has brought to light.
#[derive(Default, Debug)]
pub struct Shed {
    /// What is to be printed.
    pub lines: Vec<String>,
    /// The answers of the kernel, one for each prediction that was open.
    pub revealed: Vec<Value>,
}

/// Plays it. The exit code is 0 if all was as the scene says, 1 if not, 2 where it could not be played here, 3 if a prediction
/// was wrong.
pub fn scene(options: &Options) -> Result<ExitCode, Problem> {
    let name = options.file.display().to_string();
    let text = fs::read_to_string(&options.file)
        .map_err(|error| Problem::Told(format!("read {}: {}", harmless(name.as_bytes()), with_name(&error))))?;
    let scene = scene::parse(&text).map_err(|mistake| Problem::Told(mistake.shown(&name)))?;
    let directory = options.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Cargo may want the machine's network, and the disk, as the user that we still are.
    let scratch = Scratch::of(&scene)?;
    let parts = stage::parts(&scene, &directory.display().to_string(), &scratch)?;
    let rung = if options.here { here() } else { Rung::of_this_machine().enter() };
    match why_not_here(&scene, &rung) {
        Some(reason) => play_recording(options, &scene, &reason),
        None if options.recorded => play_recording(options, &scene, "the recording was asked for"),
        None => play(options, &scene, parts, &scratch, rung),
    }
}

/// Why a scene cannot be played on this rung.
fn why_not_here(scene: &Scene, rung: &Rung) -> Option<String> {
    let asks_for_segments = |step: &Step| match &step.action {
        Action::Expect(asked, _) | Action::Wait(asked, _) => asked.quantity.needs_segments(),
        Action::Predict(prediction) => prediction.asked.quantity.needs_segments(),
        Action::Print(shown) => matches!(shown, Shown::Segments | Shown::Ladder),
        _ => false,
    };
    match rung {
        Rung::Replay { why } => Some(format!("programs cannot be followed here ({why})")),
        rung if !rung.has_segments() && scene.steps.iter().any(asks_for_segments) => {
            Some(format!("segments cannot be captured here ({})", why(rung)))
        }
        _ => None,
    }
}

/// The recording that stands beside a scene.
pub fn recording_of(file: &Path) -> PathBuf {
    file.with_extension("recording")
}

fn play_recording(options: &Options, scene: &Scene, reason: &str) -> Result<ExitCode, Problem> {
    let file = recording_of(&options.file);
    let mut narrator = Narrator::new(options);
    if !file.exists() {
        let text = format!("{reason}, and {} has no recording beside it", options.file.display());
        narrator.remark(&harmless(text.as_bytes()))?;
        narrator.flush()?;
        return Ok(ExitCode::from(NOT_JUDGED));
    }
    let mut recorded = Recorded::read(&file)?;
    narrator.title(&scene.title, &format!("a recording of {}: {reason}", recorded.kernel()))?;
    let end = narrator.narrate(scene, &mut recorded);
    verdict(narrator, &options.file, end)
}

fn play(
    options: &Options,
    scene: &Scene,
    parts: Vec<Part>,
    scratch: &Scratch,
    rung: Rung,
) -> Result<ExitCode, Problem> {
    let own_network = rung.has_own_network();
    let port = if own_network { PORT } else { free_port()? };
    let place = match own_network {
        true => "in a network of its own".into(),
        false => format!("on the machine's network ({})", why(&rung)),
    };
    let play = Play {
        title: scene.title.clone(),
        server: None,
        clients: Vec::new(),
        port,
        by_hand: None,
        rung,
        limit: None,
        patience: scene::PATIENCE,
        timeline: false,
        ladder: false,
    };
    let commands = parts.iter().map(|part| part.line(port)).collect();
    let outputs = Outputs::open(&options.outputs, &header(&play, commands))?;
    let events = Events::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&events);
    let mut each = move |event: &Event| into.borrow_mut().push(event.clone());
    let session = Session::begin(&play, outputs, &mut each)?;
    let mut stage = Stage::new(session, scene, parts, &play, events, scratch.path())?;
    let mut narrator = Narrator::new(options);
    narrator.title(&scene.title, &place)?;
    let end = narrator.narrate(scene, &mut stage);
    // What the last line has shown is in the files, too.
    stage.open_all_gates();
    stage.session.end(Ok(()))?;
    if end.is_ok() {
        narrator.legend(port, own_network)?;
    }
    verdict(narrator, &options.file, end)
}

fn verdict(mut narrator: Narrator, file: &Path, end: Result<(), Break>) -> Result<ExitCode, Problem> {
    let code = match end {
        Ok(()) if narrator.was_wrong() => ExitCode::from(WRONG),
        Ok(()) => ExitCode::SUCCESS,
        Err(Break::Failed(what)) => {
            narrator.failure(file, &what)?;
            ExitCode::FAILURE
        }
        Err(Break::Quit) => ExitCode::from(NOT_JUDGED),
        Err(Break::Interrupted(signal)) => exit_code(End::Killed(signal as i32)),
        Err(Break::Problem(problem)) => return Err(problem),
    };
    narrator.flush()?;
    Ok(code)
}

/// Who knows what each line of a scene brings to light: the programs and the kernel, or a recording of them.
pub trait Source {
    /// Does what a line says.
    fn perform(&mut self, step: &Step, predicted: &[Asked]) -> Result<Shed, Break>;

    /// Lets time pass while somebody thinks.
    fn pass_time(&mut self) -> Result<(), Break>;

    /// The sockets, for who wants to look in between.
    fn look(&mut self) -> Result<Vec<String>, Break>;

    /// What has happened so far, for a ladder.
    fn ladder(&mut self, page: &mut Page) -> Result<(), Break>;
}

impl Source for Stage<'_> {
    fn perform(&mut self, step: &Step, predicted: &[Asked]) -> Result<Shed, Break> {
        let mut shed = Shed::default();
        match &step.action {
            Action::Until(role, mark) => self.lead(role, &Goal::Mark(mark))?,
            Action::UntilEnd(role) => self.lead(role, &Goal::End)?,
            Action::Freely(role) => self.run_freely(role)?,
            Action::Type(role, bytes) => self.type_for(role, bytes)?,
            Action::CloseInput(role) => self.close_input(role)?,
            Action::Signal(role, signal) => self.signal(role, *signal)?,
            Action::Limit(limit) => self.patience = *limit,
            Action::Print(shown) => shed.lines = self.shown(*shown)?,
            Action::Expect(asked, wanted) => {
                let met = self.expect(asked, wanted)?;
                met.map_err(|found| self.not_met(asked, wanted, &found))?;
            }
            Action::Wait(asked, wanted) => {
                let met = self.wait_for(asked, wanted)?;
                met.map_err(|found| self.not_met(asked, wanted, &found))?;
            }
            Action::Reveal => {
                for asked in predicted {
                    shed.revealed.push(self.ask(asked)?);
                }
            }
            Action::Predict(_) | Action::Note(_) => {}
        }
        for line in &shed.lines {
            self.keep(recorded::line(step.line, line));
        }
        for value in &shed.revealed {
            self.keep(recorded::revealed(step.line, value));
        }
        Ok(shed)
    }

    fn pass_time(&mut self) -> Result<(), Break> {
        self.turn()
    }

    fn look(&mut self) -> Result<Vec<String>, Break> {
        self.shown(Shown::States)
    }

    fn ladder(&mut self, page: &mut Page) -> Result<(), Break> {
        Ok(ladder::print(page, &self.events(), Some(self.port))?)
    }
}

/// A line in the style of what accompanies others.
fn quiet(text: &str) -> String {
    in_style(QUIET, text)
}
