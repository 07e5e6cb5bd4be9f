//! What is to be judged: on paper, and as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::view::paint::Page;
use crate::workshop::Problem;
use crate::workshop::exercises::section::Section;
use crate::workshop::exercises::sources::Sources;
use crate::workshop::exercises::verify::judge::Expected;
use crate::workshop::exercises::work::{Package, Work};
use crate::workshop::exercises::{Exercise, Kind, Mutant, Workshop};
use crate::workshop::labs::{LABS, Lab};

/// Where they are built, below `target/`: nothing of a learner's is there.
pub const PLACE: &str = "target/check-workshop";

/// What is known about one thing: what is right with it, or what is wrong.
pub struct Finding {
    /// What it is called in the list.
    pub name: String,
    /// What was found.
    pub found: Result<String, String>,
}

/// One thing to be judged by running it.
pub struct Item {
    /// What it is called in the list.
    pub name: String,
    /// What has to come out.
    pub expected: Expected,
    /// What is run.
    pub subject: Subject,
}

/// What is run.
pub enum Subject {
    /// A server of a lab, with arguments of its own.
    Server {
        /// The lab.
        lab: &'static Lab,
        /// The program.
        program: PathBuf,
        /// Its arguments beside the port.
        arguments: Vec<String>,
        /// The checks to be made; all that the lab promises where none is named.
        checks: Vec<String>,
    },
    /// A scene.
    Scene(PathBuf),
}

/// A server that is still to be built.
struct Plan {
    name: String,
    package: Package,
    sources: Sources,
    arguments: Vec<String>,
    checks: Vec<String>,
    expected: Expected,
    /// Whether it has to keep all that its lab promises besides, without arguments.
    keeps_promises: bool,
}

/// Whether something belongs to what was asked for.
fn is_meant(only: Option<&str>, lab: &Lab, names: &[&str]) -> bool {
    only.is_none_or(|only| names.contains(&only) || only == lab.number.to_string())
}

/// The exercises that belong to what was asked for.
pub fn exercises<'a>(workshop: &'a Workshop, only: Option<&'a str>) -> impl Iterator<Item = &'a Exercise> {
    let is_meant = move |exercise: &&Exercise| is_meant(only, exercise.lab, &[&exercise.number.to_string()]);
    workshop.exercises.iter().filter(is_meant)
}

/// What can be seen without running anything: each exercise's section, and that what it names is there.
pub fn paper(workshop: &Workshop, only: Option<&str>) -> Result<Vec<Finding>, Problem> {
    let document = fs::read_to_string(workshop.root.join("EXERCISES.md"))
        .map_err(|error| Problem::Told(format!("EXERCISES.md: {error}")))?;
    let judge = |exercise: &Exercise| {
        let fault = fault_of(workshop, exercise, &document);
        let found = fault.map_or_else(|| Ok(exercise.title.clone()), Err);
        Finding { name: format!("{} manifest", exercise.number), found }
    };
    Ok(exercises(workshop, only).map(judge).collect())
}

/// What is wrong with an exercise, if something is. That its hints are three, and the like, was seen when it was read.
fn fault_of(workshop: &Workshop, exercise: &Exercise, document: &str) -> Option<String> {
    let (number, kind) = (exercise.number, exercise.kind);
    let link = format!("| [{number}](#{}) | {} | {} |", exercise.anchor(), kind.word(), exercise.minutes);
    if !document.contains(&link) {
        return Some(format!("EXERCISES.md has no line in its table that begins with {link}"));
    }
    let section = match Section::of(&workshop.root, exercise) {
        Ok(section) => section,
        Err(problem) => return Some(problem.to_string()),
    };
    if section.explanation.trim().is_empty() {
        return Some("its section in EXERCISES.md has no explanation".into());
    }
    let mark = format!("TODO(ex-{number})");
    let starts = |workshop: &Workshop| workshop.starting_files(exercise).map(|sources| sources.files);
    match starts(workshop) {
        Err(problem) => return Some(problem.to_string()),
        Ok(files) if kind == Kind::Build && !files.values().any(|text| text.contains(&mark)) => {
            return Some(format!("no starting file says {mark}"));
        }
        Ok(_) => {}
    }
    if let Err(problem) = workshop.solution(exercise) {
        return Some(problem.to_string());
    }
    let mutant = exercise.mutant.as_ref().and_then(|name| workshop.mutant(exercise.lab, name));
    match (mutant, &exercise.check) {
        (Some(mutant), Some(check)) if mutant.caught_by != *check => {
            Some(format!("its check is {check}, but {} is caught by {}", mutant.name, mutant.caught_by))
        }
        _ => None,
    }
}

/// Builds all servers at once. What can be judged, and what could not be built.
pub fn build(workshop: &Workshop, only: Option<&str>, page: &mut Page) -> Result<(Vec<Item>, Vec<Finding>), Problem> {
    let plans = plans(workshop, only)?;
    let work = Work::at(&workshop.root, workshop.root.join(PLACE));
    lay(&work, &plans, only.is_none())?;
    let packages: Vec<Package> = plans.iter().map(|plan| plan.package.clone()).collect();
    // They are compiled once, whole: what speeds up the next time would only fill the disk.
    let mut run = |command: &mut Command| command.env("CARGO_INCREMENTAL", "0").status();
    let mut broken = Vec::new();
    page.flush()?;
    let servers: Vec<Option<PathBuf>> = match packages.is_empty() {
        true => Vec::new(),
        false => match work.compile_all(&packages, &mut run)? {
            Some(servers) => servers.into_iter().map(Some).collect(),
            // Which of them was it?
            None => packages.iter().map(|package| work.compile(package, &mut run)).collect::<Result<_, _>>()?,
        },
    };
    let mut items = Vec::new();
    for (plan, server) in plans.into_iter().zip(servers) {
        let Plan { name, package: Package { lab, .. }, arguments, checks, expected, keeps_promises, .. } = plan;
        match server {
            Some(program) => {
                if keeps_promises {
                    let (arguments, checks) = (Vec::new(), Vec::new());
                    let subject = Subject::Server { lab, program: program.clone(), arguments, checks };
                    let name = format!("{name}, as lab {}", lab.number);
                    items.push(Item { name, expected: Expected::Passes, subject });
                }
                let subject = Subject::Server { lab, program, arguments, checks };
                items.push(Item { name, expected, subject });
            }
            None => broken.push(Finding { name, found: Err("does not compile".into()) }),
        }
    }
    for exercise in exercises(workshop, only) {
        if let Some(scene) = &exercise.scene {
            let name = format!("{} scene", exercise.number);
            items.push(Item { name, expected: Expected::Played, subject: Subject::Scene(scene.clone()) });
        }
    }
    Ok((items, broken))
}

/// The servers: those of the labs, of each exercise before and after, and those with a fault.
fn plans(workshop: &Workshop, only: Option<&str>) -> Result<Vec<Plan>, Problem> {
    let mut plans = Vec::new();
    for lab in LABS.iter().filter(|lab| is_meant(only, lab, &[])) {
        plans.push(Plan {
            name: format!("lab {}", lab.number),
            // Not `lab1`: its server would be taken for the lab's own.
            package: Package { directory: format!("lab{}-itself", lab.number), lab, dependencies: Vec::new() },
            sources: Sources::of_lab(&workshop.root, lab)?,
            arguments: Vec::new(),
            checks: Vec::new(),
            expected: Expected::Passes,
            keeps_promises: false,
        });
    }
    for exercise in exercises(workshop, only).filter(|exercise| exercise.kind.has_files()) {
        plans.extend(before_and_after(workshop, exercise)?);
    }
    for mutant in &workshop.mutants {
        if is_meant(only, mutant.lab, &[&mutant.name]) {
            plans.push(with_fault(workshop, mutant)?);
        }
    }
    Ok(plans)
}

fn before_and_after(workshop: &Workshop, exercise: &Exercise) -> Result<[Plan; 2], Problem> {
    let plan = |what: &str, sources: Sources, expected: Expected| Plan {
        name: format!("{} {what}", exercise.number),
        package: Package { directory: format!("ex{}-{what}", exercise.number), ..Package::of_exercise(exercise) },
        sources,
        arguments: exercise.args.clone(),
        checks: exercise.checks().map(str::to_owned).collect(),
        expected,
        // Where the lab itself is the solution it is judged already.
        keeps_promises: what == "solution" && !exercise.solution.is_empty(),
    };
    let fails = Expected::FailsBy(exercise.check.clone().unwrap_or_default(), Vec::new());
    Ok([
        plan("start", workshop.starting_files(exercise)?, fails),
        plan("solution", workshop.solution(exercise)?, Expected::Passes),
    ])
}

fn with_fault(workshop: &Workshop, mutant: &Mutant) -> Result<Plan, Problem> {
    let Mutant { lab, name, .. } = mutant;
    Ok(Plan {
        name: format!("lab {} {name}", lab.number),
        package: Package { directory: format!("lab{}-{name}", lab.number), lab, dependencies: Vec::new() },
        sources: workshop.faulty_files(mutant)?,
        arguments: Vec::new(),
        checks: Vec::new(),
        expected: Expected::FailsBy(mutant.caught_by.clone(), mutant.reasons.clone()),
        keeps_promises: false,
    })
}

/// Lays the packages. What has not changed is left: it need not be compiled again. When `all` are there, the others are
/// taken away: they are of exercises and faults that are no more.
fn lay(work: &Work, plans: &[Plan], all: bool) -> Result<(), Problem> {
    let told = |path: &Path, error: std::io::Error| Problem::Told(format!("{}: {error}", path.display()));
    fs::create_dir_all(&work.directory).map_err(|error| told(&work.directory, error))?;
    for entry in fs::read_dir(&work.directory).into_iter().flatten().flatten() {
        let is_planned = plans.iter().any(|plan| entry.file_name() == *plan.package.directory);
        if all && !is_planned && entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).map_err(|error| told(&entry.path(), error))?;
        }
    }
    for plan in plans {
        let directory = work.directory.join(&plan.package.directory);
        let manifest = crate::workshop::exercises::work::cargo::package_manifest(&work.root, &plan.package)?;
        let is_there = fs::read_to_string(directory.join("Cargo.toml")).is_ok_and(|found| found == manifest);
        if is_there && plan.sources.are_those_in(&directory) {
            continue;
        }
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(|error| told(&directory, error))?;
        }
        work.lay(&plan.package, &plan.sources)?;
    }
    Ok(())
}
