//! The command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use socklab::lens::table::Subject;
use socklab::view::paint::Page;
use socklab::workshop::exercises::Number;
use socklab::workshop::exercises::number::LabOrExercise;
use socklab::workshop::labs::{LABS, Lab};
use socklab::workshop::outputs::OutputOptions;
use socklab::workshop::{
    Problem, check, client, demo, diff, doctor, exercises, guard, replay, run, scene, segments, states, trace, watch,
};

/// A teaching lab for sockets: numbered labs, and the kernel's own view of them.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server, and show what the kernel does with its sockets (make lab1)
    ///
    /// The server is that of lab N, built if need be; or any command at all, after `--`, in which {port} stands for the
    /// port (which is in its environment as PORT, too). It says what to type in terminals 2 and 3; then every socket of
    /// that port, both sides of each connection, is shown as it appears, changes its state, or goes. Ctrl-C ends the
    /// server and every process that it has started.
    Run {
        /// Number of the lab; or of an exercise, for the learner's own server (make lab1.6)
        #[arg(value_name = "N")]
        which: LabOrExercise,
        /// Port to listen on; with 0 the kernel chooses one [default: the lab's own, 7001 for lab 1]
        #[arg(long, short, value_name = "P")]
        port: Option<u16>,
        /// Address for the lab's server to listen on [default: 127.0.0.1]
        #[arg(long, value_name = "A")]
        addr: Option<IpAddr>,
        /// One more argument for the lab's server; may be given several times
        #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
        arguments: Vec<String>,
        /// How many seconds the server may take until it listens
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
        patience: u64,
        /// Which lenses to use: the sockets' states, or all: the server's calls as well, and the segments where you may
        /// capture them (as root)
        #[arg(long, value_enum, default_value_t = Lenses::States)]
        lens: Lenses,
        /// A server of your own: its program and arguments, with {port} in them
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run the client of a lab (make client1)
    Client {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
        /// Name or address of the server [default: 127.0.0.1]
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Port of the server [default: the lab's own]
        #[arg(long, short, value_name = "P", value_parser = value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// More arguments for the client
        #[arg(last = true, value_name = "ARG")]
        arguments: Vec<OsString>,
    },
    /// Show the kernel's sockets at this moment, explained (make states)
    ///
    /// TCP sockets unless told otherwise. A listening socket's accept queue is shown as length/backlog, in connections; all
    /// other queues are in bytes. Who holds a socket is shown as far as you may know: your own processes, or all as root.
    States {
        /// Only sockets with this port at one end
        #[arg(long, short, value_name = "P")]
        port: Option<u16>,
        /// Go on, and show every change, until Ctrl-C
        #[arg(long, short)]
        watch: bool,
        /// One JSON object per socket and line: protocol, state, local, remote, receive_queue, send_queue, uid, inode,
        /// timer (kind, left_ms, expirations), owners (name, pid, fd); with --watch also at (seconds), and gone
        #[arg(long)]
        json: bool,
        /// UDP sockets
        #[arg(long, short)]
        udp: bool,
        /// Unix sockets
        #[arg(long, short = 'x')]
        unix: bool,
        /// TCP sockets too, beside those
        #[arg(long, short)]
        tcp: bool,
        /// Look up who holds the sockets, however many there are
        #[arg(long)]
        processes: bool,
    },
    /// Run a command, and show those of its system calls that concern sockets
    ///
    /// The calls are shown on standard error, as they are entered and as they return, each descriptor with what it stands
    /// for; standard input and output are the command's. Processes and threads that it makes are followed, too. The exit
    /// code is that of the command; 128 and the number of the signal if one has ended it. Needs no privilege. While it is
    /// watched, the command cannot gain any (no_new_privs), and no debugger can attach to it.
    Trace {
        /// Print no calls, only write the files
        #[arg(long, short)]
        quiet: bool,
        #[command(flatten)]
        outputs: OutputArgs,
        /// The command: its program and arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run programs, and show their calls, their sockets' states and the segments between them on one timeline
    ///
    /// They run in a network of their own where this machine allows it, which needs no privilege: every segment is theirs,
    /// and no port is taken. {port} in a command stands for the port, which is in its environment as PORT, too. The clients
    /// are started when the server listens; when they have ended, the server is ended. Or one command that does it all
    /// itself, after `--`: then the exit code is that of the command.
    ///
    /// States are marked ● where the kernel's table showed them, and ○ where they follow from the segments. A call is an
    /// interval: its line stands where it was entered.
    Watch {
        /// The server
        #[arg(long, value_name = "COMMAND")]
        server: Option<String>,
        /// A client; may be given several times, and they are started at the same time
        #[arg(long = "client", value_name = "COMMAND", requires = "server")]
        clients: Vec<String>,
        /// What is typed for the client, and then the end of input; the second one is for the second client. \n, \r, \t, \\
        /// and \xHH are understood. A client for which nothing is typed reads this command's own input
        #[arg(long = "type", value_name = "TEXT", allow_hyphen_values = true)]
        typed: Vec<String>,
        /// The port that {port} stands for [default: 7000 in a network of its own, else one that is free]
        #[arg(long, short, value_name = "P", value_parser = value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Stay in the machine's own network
        #[arg(long)]
        here: bool,
        /// End everything after so many seconds
        #[arg(long = "for", value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86400))]
        limit: Option<u64>,
        /// Print no timeline
        #[arg(long, short)]
        quiet: bool,
        /// At the end, print each connection as a ladder: client, wire, server
        #[arg(long)]
        ladder: bool,
        #[command(flatten)]
        outputs: OutputArgs,
        /// One command that does it all itself: its program and arguments
        #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["server", "clients"])]
        command: Vec<OsString>,
    },
    /// Run a lab's server and clients unattended, and show what happened on one timeline (make demo1)
    ///
    /// In a network of their own, as `socklab watch` does it. Then it says in a few sentences what happened, and holds what
    /// the kernel showed against what the lab says: exit code 0 if all of it is so, 1 if not, 2 where this machine could
    /// not show all of it.
    Demo {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
        /// Print no timeline
        #[arg(long, short)]
        quiet: bool,
        /// At the end, print each connection as a ladder: client, wire, server
        #[arg(long)]
        ladder: bool,
        #[command(flatten)]
        outputs: OutputArgs,
    },
    /// Play a scene: programs are led from call to call, and the kernel is asked what it sees then
    ///
    /// A scene is a short text that says which programs run, until which call each runs, what is typed, and what to print, to
    /// expect or to predict (docs/scenes.md). Needs no privilege. Exit code 0 if all was as the scene says, 1 if not, 2 where
    /// it could not be played, 3 if a prediction was wrong. Where this machine does not let programs be followed, the
    /// recording beside the scene is shown, FILE with the ending .recording.
    Scene {
        /// The scene
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Stop before each line and show the states: space goes on
        #[arg(long)]
        step: bool,
        /// Ask for each prediction before the kernel is asked
        #[arg(long)]
        ask: bool,
        /// The answer to a prediction: a letter of its menu, or what stands there; may be given several times
        #[arg(long = "answer", value_name = "ANSWER", allow_hyphen_values = true)]
        answers: Vec<String>,
        /// Show the recording beside the scene
        #[arg(long)]
        recorded: bool,
        /// Stay in the machine's own network
        #[arg(long)]
        here: bool,
        #[command(flatten)]
        outputs: OutputArgs,
    },
    /// Hold a server, the lab's or yours in any language, against what lab N promises (make check3)
    ///
    /// Each check starts the server anew, in a network of its own where this machine allows it, is its client, and judges
    /// by what the kernel shows: bytes, states of sockets, who holds them, processes; not by what the server logs.
    /// {port} in the command stands for the port, which is in its environment as PORT, too. Exit code 0 if all are passed,
    /// 1 if one has failed, 2 where none has failed and one could not be judged, or where this command itself went wrong.
    Check {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
        /// Only this check, and those that it depends on; may be given several times
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Only say which checks there are
        #[arg(long)]
        list: bool,
        /// Write the report as one JSON object; - is standard output, on which then nothing else is printed
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write the report as one HTML page that needs nothing else
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// The port that {port} stands for [default: the lab's own, or a free one where there is no network of its own]
        #[arg(long, short, value_name = "P", value_parser = value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Where clients reach the server; the lab's own is told to listen there [default: 127.0.0.1]
        #[arg(long, value_name = "A")]
        addr: Option<IpAddr>,
        /// How many seconds the server may take until it listens
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
        patience: u64,
        /// A server of your own: its program and arguments, with {port} in them
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Show a recorded run once more: no privilege, no network, no program is needed for it
    ///
    /// Prints the timeline of the recording and, with the options below, shows and writes it in other forms. Where the recording is
    /// malformed, what comes before that is shown, then FILE:LINE:COLUMN and what was expected there; the exit code is 1.
    /// Times are in seconds since the start of the run.
    Replay {
        /// The recording, as --record writes it; - is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print no timeline, only write the files
        #[arg(long, short)]
        quiet: bool,
        /// At the end, print each connection as a ladder: client, wire, server
        #[arg(long)]
        ladder: bool,
        #[command(flatten)]
        outputs: OutputArgs,
    },
    /// Show every TCP segment and UDP datagram that passes, with relative numbers
    ///
    /// The notation is that of tcpdump; sequence and acknowledgement numbers count from each side's SYN, and what was sent
    /// before is marked. Needs the capability CAP_NET_RAW. At the end it says how many there were, whether any is missing,
    /// and which tcpdump command shows the same.
    Segments {
        /// Only segments from or to this port
        #[arg(long, short, value_name = "P", value_parser = value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// The network interface
        #[arg(long, short, value_name = "NAME", default_value = "lo")]
        interface: String,
        /// End after so many
        #[arg(long, short, value_name = "N", value_parser = value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// One event a line, as JSON; remarks go to standard error
        #[arg(long)]
        json: bool,
    },
    /// List the labs
    List,
    /// Show what lab N adds to the lab that it goes on from (make diff2)
    ///
    /// Server and client each by itself, with the modules that stand beside them, function by function: + is new, - is gone,
    /// = only stood elsewhere. Lab 4 and lab 5 both go on from lab 3; lab 7's server from lab 6's, its client from lab 4's.
    Diff {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
    },
    /// One exercise: predict, break, build, or an experiment (make ex1.6); or the list of a lab's (make ex1)
    ///
    /// Shows what is asked, what to type in which terminal, and what to look at. Where the learner has files, they are laid in
    /// work/exN.M/, built, and checked; where a prediction is asked for, the scene is run and compared with it. Exit code 0 if
    /// it is done, 1 if not yet, 2 if that could not be judged. Where the answers are given by --answer, 1 also says that one
    /// of them was wrong.
    Exercise {
        /// Number of the exercise, or of the lab
        #[arg(value_name = "N.M")]
        which: LabOrExercise,
        /// The answer to a question, by its letter or its words; may be given several times, for the first question first
        #[arg(long = "answer", value_name = "A", allow_hyphen_values = true)]
        answers: Vec<String>,
    },
    /// The exercises, one after the other, checked whenever a file is saved (make learn)
    ///
    /// Begins with the first one that is not done. Each key that does something is shown. Nothing goes on by itself. Where
    /// standard input is no terminal, the exercise is shown, checked once, and that is all.
    Learn {
        /// The exercise to begin with
        #[arg(value_name = "N.M")]
        number: Option<Number>,
    },
    /// A hint for an exercise, each time a deeper one: it points, it names, it shows (make hint1.6)
    Hint {
        /// Number of the exercise
        #[arg(value_name = "N.M")]
        number: Number,
    },
    /// The solution of an exercise: after a pass, or when it is asked for twice (make solution1.6)
    ///
    /// It is shown as what it would change in the learner's files.
    Solution {
        /// Number of the exercise
        #[arg(value_name = "N.M")]
        number: Number,
    },
    /// Lay an exercise's files anew (make reset1.6); what is there is kept in work/stash/
    Reset {
        /// Number of the exercise
        #[arg(value_name = "N.M")]
        number: Number,
    },
    /// List all exercises, and what has been done of them (make progress)
    Progress,
    /// Check the workshop itself: every exercise, every solution, every planted fault (make check-workshop)
    ///
    /// Solutions pass. Starting files compile and fail, by the check that the exercise names. Planted faults are caught by the
    /// check that names them, and by no other. Scenes play, and their menus hold the truth. Exit code 0 if all of that is so,
    /// 1 if not.
    WorkshopCheck {
        /// Only a lab (3), an exercise (3.2), or a fault by its name
        #[arg(value_name = "WHICH")]
        only: Option<String>,
        /// Play the scenes of the predictions, and keep beside each what was seen (make recordings)
        #[arg(long)]
        record: bool,
    },
    /// Say what this machine has for the workshop, and how to get what it lacks (make doctor)
    Doctor,
    /// Run a program and end all of it when standard input closes
    #[command(hide = true)]
    Guard {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// The lenses of `socklab run`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lenses {
    /// The states of its sockets
    States,
    /// Its calls, its sockets' states, and the segments where they may be captured
    All,
}

/// What a run is written to, beside the timeline. Where that is standard output, no timeline and no ladder is printed.
#[derive(Args)]
struct OutputArgs {
    /// Write one HTML page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the segments for Wireshark and tshark, with the call during which each was sent; - is standard output
    #[arg(long, value_name = "FILE")]
    pcapng: Option<PathBuf>,
    /// Write each event as a line of JSON, without the bytes of packets (docs/events.md); - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a recording for `socklab replay`: the same, with the bytes of packets; - is standard output
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl From<OutputArgs> for OutputOptions {
    fn from(OutputArgs { html, pcapng, json, record }: OutputArgs) -> Self {
        Self { html, pcapng, json, record }
    }
}

/// Does what the command line says.
pub fn dispatch(cli: Cli) -> Result<ExitCode, Problem> {
    match cli.command {
        Command::Run { which, port, addr, mut arguments, patience, lens, command } => {
            let (lab, program) = match which {
                LabOrExercise::Lab(lab) => (lab, None),
                LabOrExercise::Exercise(number) => {
                    let (lab, server, its) = exercises::commands::server_of(number)?;
                    arguments.splice(0..0, its);
                    (lab, Some(server))
                }
            };
            let patience = Duration::from_secs(patience);
            let all_lenses = lens == Lenses::All;
            run::run(&run::Options { lab, program, port, address: addr, arguments, patience, all_lenses, command })
        }
        Command::Client { lab, host, port, arguments } => {
            client::client(&client::Options { lab, host, port, arguments }).map(|()| ExitCode::SUCCESS)
        }
        Command::States { port, watch, json, udp, unix, tcp, processes } => {
            let subject = Subject { tcp: tcp || !(udp || unix), udp, unix, port, path: None };
            states::states(&states::Options { subject, watch, json, processes })
        }
        Command::Trace { quiet, outputs, command } => {
            trace::trace(&trace::Options { command, timeline: !quiet, outputs: outputs.into() })
        }
        Command::Watch { server, clients, typed, port, here, limit, quiet, ladder, outputs, command } => {
            let limit = limit.map(Duration::from_secs);
            let outputs = OutputOptions::from(outputs);
            let has_stdout = !outputs.take_stdout();
            let (timeline, ladder) = (!quiet && has_stdout, ladder && has_stdout);
            watch::watch(&watch::Options {
                server,
                clients,
                typed,
                port,
                here,
                limit,
                timeline,
                ladder,
                outputs,
                command,
            })
        }
        Command::Demo { lab, quiet, ladder, outputs } => {
            let outputs = OutputOptions::from(outputs);
            let has_stdout = !outputs.take_stdout();
            let (timeline, ladder) = (!quiet && has_stdout, ladder && has_stdout);
            demo::demo(&demo::Options { lab, timeline, ladder, outputs })
        }
        Command::Scene { file, step, ask, answers, recorded, here, outputs } => {
            scene::scene(&scene::Options { file, step, ask, answers, recorded, here, outputs: outputs.into() })
        }
        Command::Check { lab, only, list, json, html, port, addr, patience, command } => {
            let patience = Duration::from_secs(patience);
            check::check(&check::Options { lab, only, list, json, html, port, address: addr, patience, command })
        }
        Command::Replay { file, quiet, ladder, outputs } => {
            let outputs = OutputOptions::from(outputs);
            let has_stdout = !outputs.take_stdout();
            let (timeline, ladder) = (!quiet && has_stdout, ladder && has_stdout);
            replay::replay(&replay::Options { file, timeline, ladder, outputs })
        }
        Command::Segments { port, interface, count, json } => {
            segments::segments(&segments::Options { port, interface, count, json })
        }
        Command::List => list(),
        Command::Diff { lab } => diff::diff(lab),
        Command::Exercise { which, answers } => exercises::commands::exercise(which, &answers),
        Command::Learn { number } => exercises::learn::learn(number),
        Command::Hint { number } => exercises::commands::hint(number),
        Command::Solution { number } => exercises::commands::solution(number),
        Command::Reset { number } => exercises::commands::reset(number),
        Command::Progress => exercises::commands::progress(),
        Command::WorkshopCheck { only, record: true } => exercises::verify::record(only.as_deref()),
        Command::WorkshopCheck { only, record: false } => exercises::verify::verify(only.as_deref()),
        Command::Doctor => doctor::doctor(),
        Command::Guard { command } => Ok(guard::guard(&command)),
    }
}

fn list() -> Result<ExitCode, Problem> {
    let mut page = Page::stdout();
    for lab in LABS {
        page.line(&format!("lab {}  {:<12} port {}  {}", lab.number, lab.package, lab.port, lab.idea), 7)?;
    }
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}
