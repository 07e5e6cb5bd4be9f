//! The exercises: the list is read from the tree, and what EXERCISES.md says of them is the same.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::socklab;
use socklab::workshop::exercises::section::Section;
use socklab::workshop::exercises::{Exercise, Kind, Number, Workshop};
use testkit::process::{Ended, Process, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workshop() -> Workshop {
    Workshop::read_at(root()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn exercises_md() -> String {
    fs::read_to_string(root().join("EXERCISES.md")).unwrap()
}

/// How the table has to show an exercise.
fn row(exercise: &Exercise) -> String {
    let Exercise { number, kind, minutes, question, .. } = exercise;
    let question = question.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("| [{number}](#{}) | {} | {minutes} | {question} |", exercise.anchor(), kind.word())
}

#[test]
fn the_table_in_exercises_md_is_the_list_of_exercises() {
    let text = exercises_md();
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with("| [")).collect();
    let list: Vec<String> = workshop().exercises.iter().map(row).collect();
    assert_eq!(table, list);
}

#[test]
fn every_exercise_has_its_section_and_every_section_its_exercise() {
    let (text, workshop) = (exercises_md(), workshop());
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let expected: Vec<String> = workshop.exercises.iter().map(Exercise::heading).collect();
    assert_eq!(headings, expected);
    for exercise in &workshop.exercises {
        let below = text.split_once(&format!("### {}\n\n", exercise.heading())).unwrap().1;
        let first = below.lines().next().unwrap();
        assert_eq!(first, format!("{} minutes · {}", exercise.minutes, exercise.kind.word()), "{}", exercise.number);
    }
}

#[test]
fn the_exercises_of_a_lab_are_numbered_without_gaps() {
    let workshop = workshop();
    for (index, exercise) in workshop.exercises.iter().enumerate() {
        let before = workshop.exercises[..index].iter().filter(|before| before.lab == exercise.lab).count();
        assert_eq!(usize::from(exercise.number.exercise), before + 1, "{}", exercise.number);
    }
}

#[test]
fn every_change_that_a_manifest_makes_can_be_made() {
    let workshop = workshop();
    for exercise in &workshop.exercises {
        let start = workshop.starting_files(exercise).unwrap_or_else(|problem| panic!("{problem}"));
        let solution = workshop.solution(exercise).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(start != solution, exercise.kind.has_files(), "{}", exercise.number);
    }
    for mutant in &workshop.mutants {
        workshop.faulty_files(mutant).unwrap_or_else(|problem| panic!("{problem}"));
    }
}

/// A directory for the learner's files, of one test's own. Its name is always the same, so that what cargo builds for it is.
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exercises").join(name);
        let _ = fs::remove_dir_all(&directory);
        Self(directory)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        run(socklab(arguments).env("SOCKLAB_WORK", &self.0))
    }

    /// What a command prints that ends well.
    fn told(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", text(&ended), ended.stderr);
        text(&ended)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.0.join(file).parent().unwrap()).unwrap();
        fs::write(self.0.join(file), text).unwrap();
    }

    /// The line of an exercise in the progress file.
    fn progress(&self, number: &str) -> String {
        let text = self.read("progress.txt");
        let line = text.lines().rfind(|line| line.split(' ').next() == Some(number));
        line.unwrap_or_else(|| panic!("{number}: {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn text(ended: &Ended) -> String {
    String::from_utf8(ended.stdout.clone()).unwrap()
}

fn lab_1_server() -> String {
    fs::read_to_string(root().join("labs/lab01_echo/server.rs")).unwrap()
}

/// The server of an exercise's solution.
fn solution(number: &str) -> String {
    let workshop = workshop();
    let number: Number = number.parse().unwrap();
    let solution = workshop.solution(workshop.find(number).unwrap()).unwrap();
    solution.files[Path::new("server.rs")].clone()
}

#[test]
fn hints_deepen_and_it_is_remembered_which_one_was_shown() {
    let work = Work::new("hints");
    let exercise = workshop().find("1.6".parse().unwrap()).unwrap().clone();
    for (index, hint) in exercise.hints.iter().enumerate() {
        let told = work.told(&["hint", "1.6"]);
        assert!(told.contains(&format!("hint {} of 3", index + 1)), "{told}");
        assert!(told.contains(hint.lines().next().unwrap()), "{told}");
        assert_eq!(told.matches(" of 3").count(), 1, "one at a time: {told}");
        assert_eq!(work.progress("1.6"), format!("1.6 begun hints {}", index + 1));
    }
    assert_eq!(work.told(&["hint", "1.6"]).matches(" of 3").count(), 3, "after the last one, all of them");
    assert_eq!(work.progress("1.6"), "1.6 begun hints 3");
    let by_hand = experiment().number.to_string();
    assert!(work.told(&["hint", &by_hand]).contains(&format!("{by_hand} is done by hand")));
}

#[test]
fn a_solution_opens_when_it_is_asked_for_twice_and_shows_what_it_changes_in_the_learners_file() {
    let work = Work::new("solution");
    let first = work.told(&["solution", "1.6"]);
    assert!(first.contains("ask once more") && !first.contains("visitors"), "{first}");
    let second = work.told(&["solution", "1.6"]);
    assert!(second.lines().any(|line| line.starts_with("-    let mut visitors = Vec::new();")), "{second}");
    assert!(second.contains("CLOSE-WAIT is the state"), "with its explanation: {second}");
    assert!(!work.0.join("ex1.6").exists(), "to look is not to begin");

    work.write("ex1.6/server.rs", &format!("// mine\u{1b}[2J\n{}", lab_1_server()));
    let third = work.told(&["solution", "1.6"]);
    assert!(third.contains("-// mine\\u{1b}[2J"), "{third:?}");
    assert!(!third.contains("visitors = "), "it is compared with what is there: {third}");
    work.write("ex1.6/server.rs", &lab_1_server());
    assert!(work.told(&["solution", "1.6"]).contains("Your files are those of the solution."));
}

/// The first exercise that is done by hand.
fn experiment() -> Exercise {
    workshop().exercises.into_iter().find(|exercise| exercise.kind == Kind::Experiment).unwrap()
}

#[test]
fn an_experiment_is_shown_without_its_explanation_and_is_done_when_that_was_read() {
    let work = Work::new("experiment");
    let exercise = experiment();
    let number = exercise.number.to_string();
    let explanation = Section::of(root(), &exercise).unwrap().explanation;
    // Its last word: no marks in it, and on one line wherever that ends.
    let last = explanation.split_whitespace().next_back().unwrap();
    let shown = work.told(&["exercise", &number]);
    for expected in [exercise.heading().replacen(' ', "  ", 1), format!("{} minutes", exercise.minutes), "1$ ".into()] {
        assert!(shown.contains(&expected), "{expected}: {shown}");
    }
    assert!(!shown.trim_end().ends_with(last), "{shown}");
    assert!(work.told(&["solution", &number]).contains("ask once more"));
    assert!(work.told(&["solution", &number]).trim_end().ends_with(last));
    assert!(work.progress(&number).starts_with(&format!("{number} done solution 20")));
}

#[test]
fn a_prediction_is_compared_with_the_kernel_and_done_with_either_way() {
    let work = Work::new("predict");
    // Three questions. One of the answers to each is right, and it is not the same for all of them.
    let ended = work.run(&["exercise", "1.2", "--answer", "a", "--answer", "a", "--answer", "a"]);
    let told = text(&ended);
    assert_eq!(ended.code, Some(1), "{told}{}", ended.stderr);
    assert!(told.contains("you said") && told.contains("the kernel") && told.contains("not this time"), "{told}");
    assert!(told.contains("A client that is connected knows only that a kernel has answered."), "{told}");
    assert!(told.contains("next: make ex1."), "{told}");
    assert!(work.progress("1.2").starts_with("1.2 done otherwise"), "{}", work.progress("1.2"));
    let refused = work.run(&["exercise", "1.3", "--answer", "none of them"]);
    assert_eq!(refused.code, Some(2), "{}", text(&refused));
    assert!(!work.read("progress.txt").contains("1.3"));
}

#[test]
fn a_broken_server_fails_as_expected_is_mended_and_passes() {
    let work = Work::new("break");
    let first = work.run(&["exercise", "1.6"]);
    let told = text(&first);
    assert_eq!(first.code, Some(1), "{told}{}", first.stderr);
    for expected in ["15 minutes", "What is left of it", "terminal 1 make lab1.6", "ss -tanp", "FAIL no-leak"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(told.contains("This failure is expected"), "{told}");
    assert_eq!(work.progress("1.6"), "1.6 begun");

    work.write(
        "ex1.6/server.rs",
        &work.read("ex1.6/server.rs").replace("continue;\n            }\n            Ok", "}\n            Ok"),
    );
    let still = work.run(&["exercise", "1.6"]);
    assert_eq!(still.code, Some(1), "{}", text(&still));
    assert!(!text(&still).contains("expected: the fault"), "the file was changed: {}", text(&still));

    work.write("ex1.6/server.rs", &lab_1_server());
    let told = work.told(&["exercise", "1.6"]);
    assert!(told.contains("pass no-leak") && told.contains("1.6 is done"), "{told}");
    assert!(told.contains("next: make ex1.7"), "{told}");
    assert!(work.progress("1.6").starts_with("1.6 done 20"), "{}", work.progress("1.6"));
    assert!(work.told(&["solution", "1.6"]).contains("Your files are those"), "it is open after a pass");
}

#[test]
fn an_unfinished_server_fails_and_its_solution_passes() {
    let work = Work::new("build");
    let first = work.run(&["exercise", "1.7"]);
    assert_eq!(first.code, Some(1), "{}{}", text(&first), first.stderr);
    assert!(text(&first).contains("FAIL tells-state") && text(&first).contains("yours to write"), "{}", text(&first));
    assert!(!first.stderr.contains("warning"), "the starting file compiles without a warning: {}", first.stderr);
    assert!(work.read("ex1.7/server.rs").contains("TODO(ex-1.7)"));
    work.write("ex1.7/server.rs", &solution("1.7"));
    assert!(work.told(&["exercise", "1.7"]).contains("pass tells-state"));
}

#[test]
fn what_does_not_compile_is_told_by_cargo_and_says_nothing_about_the_exercise() {
    let work = Work::new("compile");
    assert!(work.told(&["reset", "1.6"]).contains("as it was at the start"));
    work.write("ex1.6/server.rs", "fn main() {\n    let x: u8 = \"no\";\n}\n");
    let ended = work.run(&["exercise", "1.6"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("error[E0308]: mismatched types"), "{}", ended.stderr);
    assert!(text(&ended).contains("It does not compile"), "{}", text(&ended));
    assert!(!text(&ended).contains("FAIL"), "{}", text(&ended));
}

#[test]
fn a_file_that_is_gone_is_told_and_nothing_is_written_over() {
    let work = Work::new("gone");
    work.told(&["reset", "1.6"]);
    fs::rename(work.0.join("ex1.6/server.rs"), work.0.join("ex1.6/my_server.rs")).unwrap();
    let ended = work.run(&["exercise", "1.6"]);
    assert_eq!(ended.code, Some(1));
    for expected in ["ex1.6/server.rs is not there", "my_server.rs", "make reset1.6"] {
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    }
    assert!(!work.0.join("ex1.6/server.rs").exists());
    // Another exercise is not concerned.
    assert_eq!(work.run(&["exercise", "1.7"]).code, Some(1));

    let told = work.told(&["reset", "1.6"]);
    assert!(told.contains("stash/ex1.6-"), "{told}");
    assert!(work.0.join("ex1.6/server.rs").exists());
    let stash = fs::read_dir(work.0.join("stash")).unwrap().next().unwrap().unwrap().path();
    assert!(stash.join("my_server.rs").exists(), "what was there is kept: {}", stash.display());
}

#[test]
fn a_reset_stashes_as_often_as_it_is_asked_for() {
    let work = Work::new("reset");
    for round in 0..4 {
        work.write("ex1.6/server.rs", &format!("// {round}"));
        work.told(&["reset", "1.6"]);
    }
    let stashed = fs::read_dir(work.0.join("stash")).unwrap().map(|entry| entry.unwrap().path().join("server.rs"));
    let mut texts: Vec<String> = stashed.map(|file| fs::read_to_string(file).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, ["// 0", "// 1", "// 2", "// 3"]);
    let refused = work.run(&["reset", "1.1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("no files to reset"), "{}", refused.stderr);
}

#[test]
fn the_progress_file_may_be_edited_and_what_is_not_understood_stays() {
    let work = Work::new("progress");
    work.write("progress.txt", "# mine\r\n1.2 DONE!\n1.1 done, by night\nremember: 1.6 is hard\n\n");
    let told = work.told(&["progress"]);
    let (of_lab, all) = (workshop().of_lab(1).count(), workshop().exercises.len());
    assert!(told.contains(&format!("lab 1  1 of {of_lab} done")), "{told}");
    assert!(told.contains(&format!("1 of {all} exercises done")), "{told}");
    assert!(told.contains("next: make ex1.2"), "{told}");
    work.told(&["hint", "1.6"]);
    let expected = "# mine\r\n1.2 DONE!\n1.1 done, by night\nremember: 1.6 is hard\n\n1.6   begun hints 1\n";
    assert_eq!(work.read("progress.txt"), expected);
    let left = fs::read_dir(&work.0).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[test]
fn two_who_write_progress_at_the_same_time_both_find_their_line() {
    let work = Work::new("both");
    let numbers: Vec<String> =
        workshop().exercises.iter().take(12).map(|exercise| exercise.number.to_string()).collect();
    let processes: Vec<Process> = numbers
        .iter()
        .map(|number| Process::start(socklab(&["solution", number]).env("SOCKLAB_WORK", &work.0)))
        .collect();
    for mut process in processes {
        assert_eq!(process.wait().code(), Some(0));
    }
    for number in &numbers {
        assert_eq!(work.progress(number), format!("{number} begun solution"));
    }
}

#[test]
fn the_learners_server_is_run_like_that_of_a_lab() {
    let work = Work::new("run");
    let run = Process::start(socklab(&["run", "1.7", "--port", "0"]).env("SOCKLAB_WORK", &work.0));
    run.wait_for_line(|line| line.contains("ex1-7-server[") && line.contains("new → LISTEN"));
    let refused = work.run(&["run", "1.1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("it has no server of its own; make lab1"), "{}", refused.stderr);
}

#[test]
fn what_there_is_not_is_answered_with_what_there_is() {
    let work = Work::new("unknown");
    for (arguments, expected) in [
        (["exercise", "1.99"], "there is no exercise 1.99; lab 1 has 1.1 to 1."),
        (["exercise", "12.1"], "no lab 12"),
        (["hint", "one"], "they have numbers like 3.2"),
        (["exercise", "9"], "the nearest is lab 7"),
    ] {
        let ended = work.run(&arguments);
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains(expected), "{arguments:?}: {}", ended.stderr);
    }
    let ended = work.run(&["exercise", "1.6", "--answer", "a"]);
    assert!(ended.stderr.contains("it does not ask for an answer"), "{}", ended.stderr);
    assert!(work.told(&["exercise", "1"]).contains("1.7  -      build"));
}
