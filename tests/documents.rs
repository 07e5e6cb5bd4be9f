//! Every command that a document shows is run here: the documents of this repository hold no other kind.
//!
//! A part of them: `SOCKLAB_DOCUMENT=lab01 cargo test --test documents`. The text is looked for in `path:line`, where
//! line is that of a transcript's first block; `SOCKLAB_DOCUMENT=EXERCISES.md:820` plays one alone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use testkit::namespace::{available, isolated, or_skip};
use testkit::terminal::{TerminalOptions, as_if_typed};
use testkit::transcript::{self, Action, Sequence, Stage, blocks, code_spans, parse, play, requirements};

/// Chooses transcripts by a part of `path:line`.
const CHOICE: &str = "SOCKLAB_DOCUMENT";
/// Set for the copy of this test that plays one transcript, inside a network of its own.
const INSIDE: &str = "SOCKLAB_DOCUMENT_INSIDE";
/// How many documents are played at the same time.
const AT_ONCE: usize = 4;
/// Directories that hold no documents of this repository.
const SKIPPED: [&str; 5] = ["target", ".git", "runs", "work", "node_modules"];
/// What a block may hold that no one types into a terminal.
const NOT_COMMANDS: [&str; 6] = ["text", "rust", "c", "python", "json", "toml"];
/// How a command in running text begins.
const COMMANDS: [&str; 14] = [
    "make ", "socklab ", "cargo ", "ss ", "tcpdump ", "strace ", "nc ", "lab1-", "lab2-", "lab3-", "lab4-", "lab5-",
    "lab6-", "lab7-",
];

/// Commands that no transcript plays: each with the reason, and with what runs it instead.
const NOT_PLAYED: [(&str, &str, &str); 5] = [
    ("make test", "this very test is a part of it", "the CI job that runs the tests"),
    ("make ci", "runs `make test`", "the CI job itself"),
    ("make bench", "takes minutes and wants a quiet machine", "the CI job that builds the bench and runs it briefly"),
    ("make soak", "takes a minute, and builds in release", "whoever changes the chat server"),
    ("make clean", "would remove the programs that other tests run", "nothing; its recipe is one `cargo clean`"),
];

struct Document {
    /// Relative to the repository.
    name: String,
    text: String,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    collect(repository(), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(repository()).unwrap_or(&path).display().to_string();
        Document { name, text }
    };
    paths.into_iter().map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            collect(&path, paths);
        } else if !is_directory && path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

#[test]
fn every_console_block_of_every_document_does_what_it_shows() {
    if let Some(place) = std::env::var_os(INSIDE) {
        return play_here(&place.to_string_lossy());
    }
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let mut failures = Vec::new();
    let mut to_play = Vec::new();
    for document in documents() {
        match parse(&document.name, &document.text) {
            Ok(sequences) => {
                let chosen = sequences.into_iter().filter(|sequence| place_of(sequence).contains(&choice));
                to_play.extend(chosen);
            }
            Err(error) => failures.push(error),
        }
    }
    assert!(!failures.is_empty() || !to_play.is_empty(), "nothing to play: {CHOICE}={choice}");
    if or_skip("the commands of the documents", available()) {
        failures.extend(play_all(to_play));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `file:line` of its first block: its name for a person, and for the copy that plays it.
fn place_of(sequence: &Sequence) -> String {
    format!("{}:{}", sequence.file, sequence.line)
}

/// What two sequences must not use at the same time. The network is everybody's own, but not the files, nor the processes that
/// pidof, pgrep and ps find by the name of a lab's program.
fn shared(sequence: &Sequence) -> HashSet<&'static str> {
    const SHARED: [&str; 9] = ["unix", "1", "2", "3", "4", "5", "6", "7", "demo"];
    let commands = sequence.steps.iter().filter_map(|step| match &step.action {
        Action::Command(command) => Some(command),
        _ => None,
    });
    let is_used = |command: &str, what: &str| match what {
        "unix" | "demo" => command.contains(what),
        lab => ["lab", "client", "demo"].iter().any(|word| command.contains(&format!("{word}{lab}"))),
    };
    commands.flat_map(|command| SHARED.into_iter().filter(|what| is_used(command, what))).collect()
}

/// What is still to be played, and what is in use by those that are played now.
struct Programme {
    waiting: Vec<Sequence>,
    in_use: HashSet<&'static str>,
}

/// Plays them, a few at a time: most of what they do is wait.
fn play_all(to_play: Vec<Sequence>) -> Vec<String> {
    let programme = Mutex::new(Programme { waiting: to_play, in_use: HashSet::new() });
    let ended = Condvar::new();
    let failures = Mutex::new(Vec::new());
    let worker = || {
        let mut now = programme.lock().unwrap_or_else(PoisonError::into_inner);
        while !now.waiting.is_empty() {
            let next = now.waiting.iter().position(|sequence| now.in_use.is_disjoint(&shared(sequence)));
            let Some(next) = next else {
                now = ended.wait(now).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let sequence = now.waiting.remove(next);
            let uses = shared(&sequence);
            now.in_use.extend(&uses);
            drop(now);
            if let Err(failure) = play_in_a_copy(&place_of(&sequence)) {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            }
            now = programme.lock().unwrap_or_else(PoisonError::into_inner);
            now.in_use.retain(|used| !uses.contains(used));
            ended.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(worker);
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Starts this test once more for one sequence, in a network of its own: no port is taken, no TIME-WAIT left over.
fn play_in_a_copy(place: &str) -> Result<(), String> {
    // Not its path: another cargo may have put a newer test there by now.
    let mut copy = Command::new("/proc/self/exe");
    copy.args(["--exact", "every_console_block_of_every_document_does_what_it_shows", "--nocapture"]);
    copy.env(INSIDE, place).stdin(Stdio::null());
    let output = isolated(&mut copy).output().map_err(|error| format!("{place}: {error}"))?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(if report.is_empty() { format!("{place}: {}", output.status) } else { report });
    }
    if !String::from_utf8_lossy(&output.stdout).contains("1 passed") {
        return Err(format!("{place}: the copy of this test did not play it"));
    }
    // What it skipped, and why.
    eprint!("{report}");
    Ok(())
}

/// In the copy: reports on standard error, and ends the process with 1 when something is not as the document says.
fn play_here(place: &str) {
    let (name, _) = place.rsplit_once(':').unwrap_or((place, ""));
    let text = fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let sequences = parse(name, &text).unwrap_or_else(|error| panic!("{error}"));
    let Some(sequence) = sequences.iter().find(|sequence| place_of(sequence) == place) else {
        panic!("{place}: the document was changed while it was played");
    };
    if !or_skip(&format!("the commands at {place}"), requirements(sequence)) {
        return;
    }
    // Wide enough that no line is broken: a document shows lines whole.
    let mut terminal = TerminalOptions { columns: 240, ..TerminalOptions::new(repository()) };
    // Never in the learner's own: a transcript begins with fresh files.
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("documents/{}", place.replace(['/', ':'], "-")));
    let _ = fs::remove_dir_all(&work);
    terminal.environment.push(("SOCKLAB_WORK".into(), work.display().to_string()));
    if let Err(error) = play(sequence, &Stage::new(terminal)) {
        eprintln!("{error}");
        // Not a panic: its message would only hide the report.
        std::process::exit(1);
    }
}

#[test]
fn every_fenced_block_is_played_or_holds_no_commands() {
    let mut wrong = Vec::new();
    for document in documents() {
        match blocks(&document.name, &document.text) {
            Ok(blocks) => wrong.extend(blocks.iter().flat_map(|block| faults_of(&document.name, block))),
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn faults_of(name: &str, block: &transcript::Block) -> Vec<String> {
    let at = |line: usize| format!("{name}:{line}");
    if block.info == "console" || block.info == "console continued" {
        return Vec::new();
    }
    if !NOT_COMMANDS.contains(&block.info.as_str()) {
        return vec![format!(
            "{}: a block of kind `{}`; known are console, {NOT_COMMANDS:?}",
            at(block.line),
            block.info
        )];
    }
    let prompts = (block.line + 1..).zip(&block.lines).filter(|(_, line)| {
        let line = line.trim_start();
        block.info == "text" && (line.starts_with('$') || line.get(1..3) == Some("$ "))
    });
    prompts.map(|(line, text)| format!("{}: a command in a text block, which nobody runs: {text}", at(line))).collect()
}

#[test]
fn every_command_in_running_text_is_a_make_target_or_is_played() {
    let documents = documents();
    let mut played = Vec::new();
    let mut wrong = Vec::new();
    for document in &documents {
        match parse(&document.name, &document.text) {
            Ok(sequences) => played.extend(sequences.into_iter().flat_map(|sequence| sequence.steps)),
            Err(error) => wrong.push(error),
        }
    }
    let played: Vec<String> = played
        .into_iter()
        .filter_map(|step| match step.action {
            Action::Command(command) => Some(one_space(&command)),
            _ => None,
        })
        .collect();
    for document in &documents {
        for (line, span) in code_spans(&document.name, &document.text).unwrap_or_default() {
            if let Err(error) = check_span(&span, &played) {
                wrong.push(format!("{}:{line}: `{span}` {error}", document.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_span(span: &str, played: &[String]) -> Result<(), String> {
    let command = span.strip_prefix("sudo ").unwrap_or(span);
    let command = command.strip_prefix("target/debug/").unwrap_or(command);
    if !COMMANDS.iter().any(|begin| command.starts_with(begin)) {
        return Ok(());
    }
    if command.starts_with("make ") {
        return is_make_target(command);
    }
    if let Some(words) = command.strip_prefix("socklab ") {
        return is_understood(words);
    }
    let in_list = NOT_PLAYED.iter().any(|(listed, _, _)| *listed == command);
    if in_list || played.iter().any(|other| other.contains(command)) {
        return Ok(());
    }
    Err("is a command that no console block plays".into())
}

/// With `--help` behind it, it is parsed as far as that, and fails where it does not know a word before.
fn is_understood(words: &str) -> Result<(), String> {
    let words = words.split(" -- ").next().unwrap_or(words).replace(" N", " 1").replace(" P", " 1");
    let mut socklab = Command::new(env!("CARGO_BIN_EXE_socklab"));
    let output = socklab.args(words.split_whitespace()).arg("--help").output();
    let output = output.map_err(|error| format!("could not be tried: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// `make -n` tells what it would do, and fails where it does not know the target.
fn is_make_target(command: &str) -> Result<(), String> {
    let rest = command.trim_start_matches("make ");
    if rest.contains([';', '|', '&', '<', '>', '`']) || rest.contains("$(") {
        return Err("is more than a make target: show it in a console block".into());
    }
    let mut make = Command::new("/bin/sh");
    make.args(["-c", &format!("make -n {rest}")]).current_dir(repository()).stdin(Stdio::null());
    let output = as_if_typed(&mut make).output().map_err(|error| format!("could not be tried: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("is no target: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_command_that_is_not_played_is_still_a_real_target_and_has_its_reason() {
    for (command, reason, run_by) in NOT_PLAYED {
        assert!(!reason.is_empty() && !run_by.is_empty(), "{command} has no reason");
        if let Err(error) = is_make_target(command) {
            panic!("{command} {error}");
        }
    }
}
