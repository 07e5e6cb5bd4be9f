//! The exercises: the list is read from the tree, and what EXERCISES.md says of them is the same.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

use std::fs;
use std::path::Path;

use socklab::workshop::exercises::{Exercise, Workshop};

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
