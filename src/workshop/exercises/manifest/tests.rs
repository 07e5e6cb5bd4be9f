//! Manifests that are right, and what is said about those that are not.

use std::fs;

use super::*;
use crate::workshop::exercises::Workshop;
use crate::workshop::labs::LABS;

const BREAK: &str = r#"
title = "The forgotten close"
kind = "break"
minutes = 15
question = "Is it closed?"
look = ["ss -tanp 'sport = :7001'   the server's sockets"]
terminals = ["1$ make lab1.9", "2$ make client1   twice"]
hints = ["points", "names", "shows"]
mutant = "forgets"
check = "no-leak"
"#;

/// A repository with one exercise in it, 1.9, whose manifest this is; removed on drop.
struct Repository(std::path::PathBuf);

impl Repository {
    fn with(name: &str, manifest: &str) -> Self {
        let root = std::env::temp_dir().join(format!("socklab-manifest-{}-{name}", std::process::id()));
        let directory = root.join("labs/lab01_echo/exercises/1.9");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("exercise.toml"), manifest).unwrap();
        Self(root)
    }

    fn read(&self) -> Result<Exercise, String> {
        read_exercise(&LABS[0], &self.0, &self.0.join("labs/lab01_echo/exercises/1.9"))
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_manifest_is_read() {
    let exercise = Repository::with("right", BREAK).read().unwrap();
    assert_eq!((exercise.kind, exercise.minutes, exercise.hints.len()), (Kind::Break, 15, 3));
    assert_eq!(exercise.number.to_string(), "1.9");
    assert_eq!(exercise.look[0].command, "ss -tanp 'sport = :7001'");
    assert_eq!(exercise.look[0].shows, "the server's sockets");
    let second = &exercise.terminals[1];
    assert_eq!((second.terminal, second.command.as_str(), second.remark.as_str()), (2, "make client1", "twice"));
    assert_eq!(exercise.explanation, None);
    assert_eq!(exercise.anchor(), "19-the-forgotten-close");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let place = "labs/lab01_echo/exercises/1.9/exercise.toml:";
    for (name, from, to, expected) in [
        ("syntax", "minutes = 15", "minutes = ", "4:11: "),
        ("type", "minutes = 15", "minutes = \"15\"", "4:11: invalid type"),
        ("minutes", "minutes = 15", "minutes = 0", "4:11: minutes are 1 to 120"),
        ("unknown", "minutes = 15", "minutes = 15\nminuets = 3", "5:1: unknown field `minuets`"),
        ("missing", "question = \"Is it closed?\"", "", "missing field `question`"),
        ("kind", "\"break\"", "\"brake\"", "3:8: unknown variant `brake`"),
        ("hints", "\"names\", ", "", "3:8: kind \"break\" has 3 hints; here are 2"),
        ("mutant", "mutant = \"forgets\"", "", "3:8: kind \"break\" and `mutant` go together"),
        ("scene", "mutant", "scene = \"x.scene\"\nmutant", "3:8: kind \"break\" and `scene` go together"),
        ("terminal", "1$ make lab1.9", "make lab1.9", "7:14: not what is typed in a terminal"),
    ] {
        assert!(BREAK.contains(from));
        let told = Repository::with(name, &BREAK.replacen(from, to, 1)).read().unwrap_err();
        assert!(told.starts_with(place) && told.contains(expected), "{name}: {told}");
    }
}

#[test]
fn a_manifest_in_a_directory_of_another_lab_is_refused() {
    let repository = Repository::with("number", BREAK);
    let exercises = repository.0.join("labs/lab01_echo/exercises");
    for (name, expected) in [("2.9", "numbered 1.N"), ("nine", "is no exercise")] {
        fs::create_dir_all(exercises.join(name)).unwrap();
        fs::write(exercises.join(name).join("exercise.toml"), BREAK).unwrap();
        let told = read_exercise(&LABS[0], &repository.0, &exercises.join(name)).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
    let told = Workshop::read_at(&repository.0).unwrap_err().to_string();
    assert!(told.lines().count() == 2, "each of them is told: {told}");
}

#[test]
fn a_fault_is_read_and_has_at_least_one_change() {
    let repository = Repository::with("mutant", BREAK);
    let path = repository.0.join("labs/lab01_echo/forgets.toml");
    let head = "fault = \"it forgets\"\ncaught_by = \"no-leak\"\nbecause = [\"wrong-state: left\"]\n";
    fs::write(&path, format!("{head}[[change]]\nfile = \"server.rs\"\nfrom = \"a\"\nto = \"b\"\n")).unwrap();
    let mutant = read_mutant(&LABS[0], &repository.0, &path).unwrap();
    assert_eq!((mutant.name.as_str(), mutant.caught_by.as_str()), ("forgets", "no-leak"));
    assert_eq!(mutant.changes[0].place, "labs/lab01_echo/forgets.toml:6");
    for text in [head.to_string(), format!("{head}change = []\n")] {
        fs::write(&path, text).unwrap();
        assert!(read_mutant(&LABS[0], &repository.0, &path).unwrap_err().contains("change"));
    }
    let change = "[[change]]\nfile = \"server.rs\"\nfrom = \"a\"\nto = \"b\"\n";
    for (because, told) in [("[]", "at least one reason"), ("[\"it leaks\"]", "forgets.toml:3:12: a reason is a kind")]
    {
        fs::write(&path, format!("fault = \"f\"\ncaught_by = \"echo\"\nbecause = {because}\n{change}")).unwrap();
        let refused = read_mutant(&LABS[0], &repository.0, &path).unwrap_err();
        assert!(refused.contains(told), "{refused}");
    }
}
