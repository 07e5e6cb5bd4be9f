//! `socklab learn` on a real terminal of 80 columns and 24 lines, as a learner has it.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::socklab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socklab::workshop::exercises::{Kind, Workshop};
use testkit::process::run;
use testkit::terminal::{Ctrl, Terminal, TerminalOptions};

/// Longer than anything takes here, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A learner: files of their own, and a terminal.
struct Learner {
    work: PathBuf,
    terminal: Terminal,
}

impl Learner {
    fn new(name: &str) -> Self {
        let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("learn").join(name);
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).unwrap();
        let mut options = TerminalOptions::new(root());
        options.environment.push(("SOCKLAB_WORK".into(), work.display().to_string()));
        options.environment.push(("PATH".into(), path_with_socklab()));
        Self { work, terminal: Terminal::new(&options).unwrap() }
    }

    fn types(&mut self, command: &str) {
        self.terminal.run(command, PATIENCE).unwrap();
    }

    fn presses(&mut self, keys: &str) {
        self.terminal.press(keys).unwrap();
    }

    #[track_caller]
    fn sees(&mut self, text: &str) {
        if let Err(error) = self.terminal.expect(text, PATIENCE) {
            panic!("{error}");
        }
    }

    #[track_caller]
    fn ends_with(&self, status: i32) {
        assert_eq!(self.terminal.await_end(PATIENCE).unwrap(), status, "{}", self.terminal.seen());
    }

    /// The terminal reads whole lines again.
    #[track_caller]
    fn has_terminal_back(&mut self) {
        self.types("stty -a | tr ';' '\\n' | tr ' ' '\\n' | grep icanon");
        self.ends_with(0);
        let seen = self.terminal.seen();
        assert_eq!(seen.lines().rfind(|line| line.contains("icanon")).map(str::trim), Some("icanon"), "{seen}");
    }

    fn saves(&self, file: &str, text: &str) {
        // As most editors do: a new file takes the place of the old one.
        let (file, beside) = (self.work.join(file), self.work.join("written-beside"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, file).unwrap();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn path_with_socklab() -> String {
    let directory = Path::new(env!("CARGO_BIN_EXE_socklab")).parent().unwrap().display().to_string();
    format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())
}

fn lab_1_server() -> String {
    fs::read_to_string(root().join("labs/lab01_echo/server.rs")).unwrap()
}

/// A progress file in which all exercises are done, but for some.
fn all_done_but(open: &[&str]) -> String {
    let numbers = Workshop::read_at(root()).unwrap().exercises.into_iter().map(|exercise| exercise.number.to_string());
    numbers.filter(|number| !open.contains(&number.as_str())).map(|number| format!("{number} done\n")).collect()
}

#[test]
fn a_learner_breaks_mends_and_goes_on() {
    let mut learner = Learner::new("mends");
    learner.types("socklab learn 1.6");
    learner.sees("1.6  Visitors without a word");
    learner.sees("checked each time you save");
    learner.sees("Enter check now  h hint  s solution  r reset  n next  l list  q quit");
    learner.presses("h");
    learner.sees("hint 1 of 3");
    learner.sees("q quit");
    // The return key.
    learner.presses("\n");
    learner.sees("FAIL no-leak");
    learner.sees("This failure is expected");
    learner.sees("q quit");
    learner.saves("ex1.6/server.rs", "fn main() { nothing }\n");
    learner.sees("-- saved --");
    learner.sees("cannot find value `nothing`");
    learner.sees("It does not compile");
    learner.sees("q quit");
    learner.saves("ex1.6/server.rs", &lab_1_server());
    learner.sees("-- saved --");
    learner.sees("pass no-leak");
    learner.sees("1.6 is done");
    learner.sees("n goes on with 1.7  Ask your own socket");
    learner.sees("q quit");
    learner.presses("n");
    learner.sees("1.7  Ask your own socket");
    learner.sees("TODO(ex-1.7)");
    learner.sees("q quit");
    learner.presses("l");
    learner.sees("1.6  done");
    learner.sees("1.7  begun");
    learner.presses("q");
    learner.sees("What you have done is kept");
    learner.ends_with(0);
    learner.has_terminal_back();
    let progress = fs::read_to_string(learner.work.join("progress.txt")).unwrap();
    assert!(progress.contains("1.6   done hints 1 20"), "{progress}");
    let seen = learner.terminal.seen();
    assert!(!seen.contains('\x1b'), "neither colours nor cursor movements: {seen:?}");
    let own: Vec<&str> = seen.lines().take_while(|line| !line.contains("listens")).collect();
    assert!(own.iter().all(|line| line.trim_end().chars().count() <= 80), "{own:?}");
}

#[test]
fn keys_that_are_pressed_while_a_check_runs_are_not_lost() {
    let mut learner = Learner::new("keys");
    learner.types("socklab learn 1.6");
    learner.sees("q quit");
    learner.presses("\nhq");
    learner.sees("FAIL no-leak");
    learner.sees("hint 1 of 3");
    learner.sees("What you have done is kept");
    learner.ends_with(0);
}

#[test]
fn a_reset_asks_first() {
    let mut learner = Learner::new("reset");
    learner.types("socklab learn 1.6");
    learner.sees("q quit");
    let file = learner.work.join("ex1.6/server.rs");
    fs::write(&file, "// mine\n").unwrap();
    learner.sees("It does not compile");
    learner.sees("q quit");
    learner.presses("rn");
    learner.sees("y yes   n no");
    learner.sees("Nothing was changed.");
    assert_eq!(fs::read_to_string(&file).unwrap(), "// mine\n");
    learner.presses("ry");
    learner.sees("What was there is kept in");
    learner.sees("q quit");
    assert!(fs::read_to_string(&file).unwrap().contains("visitors"));
    learner.presses("q");
    learner.ends_with(0);
}

#[test]
fn ctrl_c_and_ctrl_z_give_the_terminal_back_as_it_was() {
    let mut learner = Learner::new("signals");
    learner.types("socklab learn 1.6");
    learner.sees("q quit");
    learner.terminal.key(Ctrl::Z).unwrap();
    // 128 and SIGSTOP.
    learner.terminal.await_end(PATIENCE).unwrap();
    learner.has_terminal_back();
    learner.types("fg");
    learner.sees("q quit");
    learner.presses("h");
    learner.sees("hint 1 of 3");
    learner.terminal.key(Ctrl::C).unwrap();
    learner.sees("What you have done is kept");
    learner.ends_with(0);
    learner.has_terminal_back();
}

#[test]
fn a_signal_from_elsewhere_ends_it_and_gives_the_terminal_back() {
    let mut learner = Learner::new("terminated");
    learner.types("sh -c 'echo learn is $$; exec socklab learn 1.6'");
    learner.sees("learn is");
    learner.sees("q quit");
    let seen = learner.terminal.seen();
    let pid = seen.lines().find_map(|line| line.trim().strip_prefix("learn is ")?.parse().ok());
    kill(Pid::from_raw(pid.unwrap()), Signal::SIGTERM).unwrap();
    learner.ends_with(128 + 15);
    learner.has_terminal_back();
}

#[test]
fn ctrl_c_while_a_check_runs_ends_both() {
    let mut learner = Learner::new("interrupted");
    learner.types("socklab learn 1.6");
    learner.sees("q quit");
    learner.presses("\n");
    learner.sees("pass listens");
    learner.terminal.key(Ctrl::C).unwrap();
    learner.sees("What you have done is kept");
    learner.ends_with(0);
    learner.has_terminal_back();
}

#[test]
fn an_experiment_is_done_when_its_explanation_was_read() {
    let workshop = Workshop::read_at(root()).unwrap();
    let first = workshop.exercises.iter().find(|exercise| exercise.kind == Kind::Experiment).unwrap();
    let mut learner = Learner::new("experiment");
    learner.types(&format!("socklab learn {}", first.number));
    learner.sees(&first.title);
    learner.sees("Enter tried it: explain  n next  l list  q quit");
    // An arrow, and a key that does nothing here.
    learner.presses("\x1b[Ah");
    learner.sees("Enter tried it: explain");
    learner.presses("\n");
    learner.sees("n goes on with ");
    // Ctrl-D.
    learner.terminal.key(Ctrl::D).unwrap();
    learner.ends_with(0);
    let progress = fs::read_to_string(learner.work.join("progress.txt")).unwrap();
    assert!(progress.lines().any(|line| line.starts_with(&format!("{}   done", first.number))), "{progress}");
}

#[test]
fn a_prediction_is_asked_for_and_compared_in_the_loop() {
    let mut learner = Learner::new("predict");
    learner.types("socklab learn 1.2");
    learner.sees("1.2  The client that nobody accepted");
    learner.sees("Enter answer and run  h hint");
    learner.presses("\n");
    for _ in 0..3 {
        learner.sees("your answer, a letter");
        learner.terminal.type_line("a").unwrap();
        learner.sees("you say:");
    }
    learner.sees("the kernel");
    learner.sees("n goes on with ");
    learner.sees("q quit");
    // Key by key again, without Enter.
    learner.presses("q");
    learner.sees("What you have done is kept");
    learner.ends_with(0);
    learner.has_terminal_back();
}

#[test]
fn after_the_last_exercise_nobody_can_miss_that_it_was_the_last() {
    let mut learner = Learner::new("end");
    learner.saves("progress.txt", &all_done_but(&["3.2", "7.6"]));
    learner.types("socklab learn");
    learner.sees("3.2  ");
    learner.sees("q quit");
    learner.presses("n");
    learner.sees("7.6  ");
    learner.sees("q quit");
    // The one before is still open: it comes round again.
    learner.presses("n");
    learner.sees("3.2  ");
    learner.sees("q quit");
    learner.saves("progress.txt", &all_done_but(&["3.2"]));
    learner.presses("n");
    learner.sees("3.2 is the only one that is left");
    learner.saves("progress.txt", &all_done_but(&[]));
    learner.presses("n");
    learner.sees("That was the last exercise: you have done them all.");
    let all = Workshop::read_at(root()).unwrap().exercises.len();
    learner.sees(&format!("{all} of {all} exercises done"));
    learner.sees("l list  q quit");
    learner.presses("q");
    learner.ends_with(0);
}

#[test]
fn without_a_terminal_the_exercise_is_shown_and_checked_once() {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("learn/pipe");
    let _ = fs::remove_dir_all(&work);
    let ended = run(socklab(&["learn", "1.6"]).env("SOCKLAB_WORK", &work));
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(1), "{told}{}", ended.stderr);
    assert!(told.contains("1.6  Visitors without a word") && told.contains("FAIL no-leak"), "{told}");
    assert!(!told.contains("q quit"), "{told}");
}
