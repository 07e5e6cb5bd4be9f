//! `socklab watch`: programs, their calls, their sockets' states and the segments between them, on one timeline.

pub(crate) mod player;
pub(crate) mod session;
pub(crate) mod words;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use nix::sys::utsname::uname;

use crate::event::{End, Event};
use crate::lens::calls::Gate;
use crate::lens::segments::Statistics;
use crate::lens::table::Subject;
use crate::record::Header;
use crate::sandbox::Rung;
use crate::view::describe;
use crate::view::paint::{QUIET, in_style};
use crate::workshop::labs::Lab;
use crate::workshop::outputs::{OutputOptions, Outputs};
use crate::workshop::trace::{exit_code, shell_word};
use crate::workshop::{Problem, run};

use session::Session;

/// Where a server listens in a network of its own, unless told otherwise.
const PORT: u16 = 7000;

/// What is to be watched, as it was asked for.
#[derive(Debug)]
pub struct Options {
    /// The server's command line.
    pub server: Option<String>,
    /// The clients' command lines.
    pub clients: Vec<String>,
    /// What is typed for each client.
    pub typed: Vec<String>,
    /// The port.
    pub port: Option<u16>,
    /// Whether the machine's own network is to be used.
    pub here: bool,
    /// When to end everything.
    pub limit: Option<Duration>,
    /// Whether the timeline is printed.
    pub timeline: bool,
    /// Whether the ladders are printed at the end.
    pub ladder: bool,
    /// Files to write.
    pub outputs: OutputOptions,
    /// One command that does it all itself.
    pub command: Vec<OsString>,
}

/// A program that is to be run.
#[derive(Clone, Default, Debug)]
pub struct Part {
    /// Its role: `server`, `client`, `client 2`, `program`.
    pub role: String,
    /// The program and its arguments, `{port}` standing for the port.
    pub command: Vec<OsString>,
    /// What is typed for it; without it, it reads our own input. A server reads nothing.
    pub typed: Option<Vec<u8>>,
    /// What has to have happened before it is started; without it, nothing but that the server listens.
    pub after: Option<Cue>,
    /// What is typed later on, one after the other, each when its cue is given.
    pub later: Vec<(Cue, Vec<u8>)>,
    /// Whether its input stays open when all of that is typed: somebody may want to type more.
    pub keeps_input: bool,
    /// How far it may go.
    pub gate: Gate,
}

/// What somebody waits for: that the program in this role has printed a line with this text in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cue {
    /// Whose line.
    pub role: String,
    /// What is in it.
    pub says: String,
}

impl Cue {
    /// That this program says that.
    pub fn new(role: &str, says: &str) -> Self {
        Self { role: role.into(), says: says.into() }
    }

    /// Whether it was given by this line.
    pub fn is_given_by(&self, role: &str, line: &[u8]) -> bool {
        self.role == role && String::from_utf8_lossy(line).contains(&self.says)
    }
}

/// Programs that are to be run together.
#[derive(Clone, Debug)]
pub struct Play {
    /// What it is, in a few words.
    pub title: String,
    /// Who is started first, and listens.
    pub server: Option<Part>,
    /// Who is started when the server listens.
    pub clients: Vec<Part>,
    /// The port; 0 where it has to be seen which one it is.
    pub port: u16,
    /// The lab whose clients are in other terminals: then it is said what to type there.
    pub by_hand: Option<&'static Lab>,
    /// Where it is run.
    pub rung: Rung,
    /// When to end everything.
    pub limit: Option<Duration>,
    /// How long a server may take until it listens.
    pub patience: Duration,
    /// Whether the timeline is printed.
    pub timeline: bool,
    /// Whether the ladders are printed at the end.
    pub ladder: bool,
}

/// How it went.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    /// How the first process of each program ended, by role.
    pub ends: Vec<(String, End)>,
    /// The port on which the server listened.
    pub server_port: Option<u16>,
    /// How many segments were captured, and how many were lost.
    pub segments: Option<Statistics>,
    /// Processes that had ended, and that their parent had not fetched when all clients were through.
    pub zombies: Vec<u32>,
    /// The signal that ended it before its time.
    pub interrupted: Option<Signal>,
    /// Whether it took longer than it was allowed to.
    pub is_late: bool,
}

impl Outcome {
    /// How the program of this role ended.
    pub fn end_of(&self, role: &str) -> Option<End> {
        self.ends.iter().find(|(its, _)| its == role).map(|(_, end)| *end)
    }
}

/// Watches what was asked for.
pub fn watch(options: &Options) -> Result<ExitCode, Problem> {
    let rung = if options.here { here() } else { Rung::of_this_machine().enter() };
    let play = plan(options, rung)?;
    let outcome = perform(&play, &options.outputs, &mut |_| {})?;
    if let Some(signal) = outcome.interrupted {
        // Ctrl-C is how a server ends whose clients are elsewhere.
        if play.clients.is_empty() && signal == Signal::SIGINT {
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(exit_code(End::Killed(signal as i32)));
    }
    match outcome.end_of("program") {
        Some(end) => Ok(exit_code(end)),
        None if outcome.is_late => Ok(ExitCode::FAILURE),
        None => {
            let clients = outcome.ends.iter().filter(|(role, _)| role.starts_with("client"));
            let all_went_well = clients.into_iter().all(|(_, end)| *end == End::Exited(0));
            Ok(if all_went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// The machine's own network, because that was asked for.
pub fn here() -> Rung {
    match Rung::of_this_machine() {
        Rung::Full | Rung::LoopbackOnly => Rung::NoNamespace {
            segments: crate::sys::sandbox::may_capture(),
            why: "the machine's own network was asked for".into(),
        },
        other => other,
    }
}

/// Who is to be run, from what was typed.
fn plan(options: &Options, rung: Rung) -> Result<Play, Problem> {
    let port = match options.port {
        Some(port) => port,
        None if rung.has_own_network() => PORT,
        None => run::free_port()?,
    };
    let typed = |index: usize| options.typed.get(index).map(|text| words::unescaped(text)).transpose();
    let several = options.clients.len() > 1;
    let role = |index: usize| if several { format!("client {}", index + 1) } else { "client".into() };
    let mut clients = Vec::new();
    for (index, command) in options.clients.iter().enumerate() {
        clients.push(Part {
            role: role(index),
            command: words::split(command)?,
            typed: typed(index)?,
            ..Part::default()
        });
    }
    let server = match &options.server {
        Some(command) => Some(Part {
            role: "server".into(),
            command: words::split(command)?,
            typed: Some(Vec::new()),
            ..Part::default()
        }),
        None => None,
    };
    if !options.command.is_empty() {
        clients.push(Part {
            role: "program".into(),
            command: options.command.clone(),
            typed: typed(0)?,
            ..Part::default()
        });
    }
    if server.is_none() && clients.is_empty() {
        return Err(Problem::Told("nothing to watch: give --server and --client, or one command after --".into()));
    }
    if options.typed.len() > clients.len() {
        return Err(Problem::Told("more is typed than there are clients: one --type for each".into()));
    }
    let parts: Vec<String> = server.iter().chain(&clients).map(|part| part.line(port)).collect();
    Ok(Play {
        title: parts.join("  ·  "),
        by_hand: None,
        server,
        clients,
        port,
        rung,
        limit: options.limit,
        patience: Duration::from_secs(10),
        timeline: options.timeline,
        ladder: options.ladder,
    })
}

impl Part {
    /// Its words, with the port in them.
    pub(crate) fn words(&self, port: u16) -> Vec<OsString> {
        self.command.iter().map(|word| run::with_port(word, port)).collect()
    }

    /// Its command as somebody would type it.
    pub(crate) fn line(&self, port: u16) -> String {
        self.words(port).iter().map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }
}

/// Runs the programs, shows what happens, and hands each event to `each` as well. Nothing of them is left afterwards.
pub fn perform(play: &Play, outputs: &OutputOptions, each: &mut dyn FnMut(&Event)) -> Result<Outcome, Problem> {
    if let Rung::Replay { why } = &play.rung {
        let why =
            format!("nothing can be watched here: {why}\n  a recording can still be looked at: socklab replay FILE");
        return Err(Problem::Told(why));
    }
    let parts = play.server.iter().chain(&play.clients);
    let files = Outputs::open(outputs, &header(play, parts.map(|part| part.line(play.port)).collect()))?;
    let mut session = Session::begin(play, files, each)?;
    let played = session.play();
    // Also when something went wrong: everybody is ended, and what was seen until then is shown and written.
    session.end(played)
}

/// What a recording says of a run before its first event.
pub(crate) fn header(play: &Play, commands: Vec<String>) -> Header {
    let system = uname().map(|system| system.release().to_string_lossy().into_owned()).unwrap_or_default();
    Header {
        title: play.title.clone(),
        server_port: Some(play.port).filter(|&port| port != 0),
        rung: play.rung.to_string(),
        kernel: format!("Linux {system}"),
        commands,
        ..Header::new(SystemTime::now())
    }
}

/// Which sockets' states are followed: those of TCP, and others as soon as there are any.
pub fn subject(rung: &Rung, port: Option<u16>) -> Subject {
    match rung.has_own_network() {
        true => Subject { tcp: true, ..Subject::default() },
        // Until it is known where the server listens, there is nothing to follow.
        false => Subject { tcp: port.is_some(), port, ..Subject::default() },
    }
}

/// What the marks mean, how much was seen, and what shows the same.
fn legend(play: &Play, outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(
        "● the kernel's socket table showed this state   ○ it follows from the segments, and was too short for a sample"
            .into(),
    );
    lines.push(
        "a call's line stands where it was entered; … … after 1.2 ms is its return, where others came in between"
            .into(),
    );
    if let Some(Statistics { captured, dropped, lost, .. }) = outcome.segments {
        lines.push(format!(
            "{captured} segments captured, {} lost; their checksums are not computed on loopback",
            dropped + lost
        ));
    }
    if play.rung != Rung::Full {
        lines.push(format!("rung: {} ({})", play.rung, why(&play.rung)));
    }
    lines.push("the same from the machine's own tools, beside programs that run on the machine's network:".into());
    match outcome.server_port.filter(|_| play.server.is_some()) {
        Some(port) => lines.extend([
            format!("  ss -tanp 'sport = :{port} or dport = :{port}'"),
            format!("  sudo tcpdump -i lo -nn 'port {port}'"),
        ]),
        None => lines.extend(["  ss -tanp".into(), "  sudo tcpdump -i lo -nn".into()]),
    }
    if let Some(part) = play.server.iter().chain(&play.clients).next() {
        lines.push(format!(
            "  strace -f -yy -e trace=network,read,write,close {}",
            part.line(outcome.server_port.unwrap_or(play.port))
        ));
    }
    lines.into_iter().map(|line| in_style(QUIET, &line)).collect()
}

/// What a rung lacks, and why.
pub(crate) fn why(rung: &Rung) -> String {
    match rung {
        Rung::Full => "calls, states and segments".into(),
        Rung::LoopbackOnly => "no pairs of interfaces (veth) can be made".into(),
        Rung::NoNamespace { why, .. } | Rung::Replay { why } => why.clone(),
    }
}

/// How a program ended, in words.
pub(crate) fn how_it_ended(end: End) -> String {
    match end {
        End::Exited(code) => format!("exited with code {code}"),
        End::Killed(signal) => format!("was ended by {}", describe::signal(signal)),
    }
}
