//! Reading the manifests: `exercise.toml`, and those of the faults.
//!
//! What is wrong in one is told as `path:line:column`, as a compiler does it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::view::paint::harmless;
use crate::workshop::exercises::change::Change;
use crate::workshop::exercises::{Exercise, Kind, Look, Mutant, Number, Reason, Typed};
use crate::workshop::labs::Lab;

/// How many hints there are: one points, one names, one shows.
pub const HINTS: usize = 3;
/// Nobody sits longer than this over one exercise.
const MOST_MINUTES: u32 = 120;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExerciseFile {
    title: String,
    kind: Spanned<Kind>,
    minutes: Spanned<u32>,
    question: String,
    #[serde(default)]
    look: Vec<String>,
    #[serde(default)]
    terminals: Vec<Spanned<String>>,
    #[serde(default)]
    hints: Vec<String>,
    scene: Option<Spanned<String>>,
    mutant: Option<String>,
    check: Option<String>,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    start: Vec<ChangeTable>,
    #[serde(default)]
    solution: Vec<ChangeTable>,
    explanation: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MutantFile {
    fault: String,
    caught_by: String,
    because: Vec<Spanned<String>>,
    change: Vec<ChangeTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeTable {
    file: String,
    from: Spanned<String>,
    to: String,
}

/// A manifest's text, and what it is called in messages.
struct Manifest {
    name: String,
    text: String,
}

/// Reads the exercise whose directory this is.
pub fn read_exercise(lab: &'static Lab, root: &Path, directory: &Path) -> Result<Exercise, String> {
    let manifest = Manifest::read(root, &directory.join("exercise.toml"))?;
    let file: ExerciseFile = manifest.parse()?;
    let number = manifest.number_of(lab, directory)?;
    if !(1..=MOST_MINUTES).contains(file.minutes.get_ref()) {
        return Err(manifest.fault(file.minutes.span(), format!("minutes are 1 to {MOST_MINUTES}")));
    }
    let fault = |what: &String| manifest.fault(file.kind.span(), what.clone());
    faults_of(&file).first().map_or(Ok(()), |what| Err(fault(what)))?;
    let scene = match &file.scene {
        Some(name) if !directory.join(name.get_ref()).is_file() => {
            return Err(manifest.fault(name.span(), format!("there is no file {:?} beside it", name.get_ref())));
        }
        scene => scene.as_ref().map(|name| directory.join(name.get_ref())),
    };
    Ok(Exercise {
        lab,
        number,
        kind: *file.kind.get_ref(),
        minutes: *file.minutes.get_ref(),
        look: file.look.iter().map(|line| look(line)).collect(),
        terminals: file.terminals.iter().map(|line| manifest.typed(line)).collect::<Result<_, _>>()?,
        hints: trimmed(file.hints),
        scene,
        mutant: file.mutant,
        check: file.check,
        also: file.also,
        args: file.args,
        dependencies: file.dependencies,
        start: manifest.changes(file.start),
        solution: manifest.changes(file.solution),
        title: file.title.trim().into(),
        question: file.question.trim().into(),
        explanation: file.explanation.map(|text| text.trim().into()),
        directory: directory.into(),
    })
}

/// Reads a fault.
pub fn read_mutant(lab: &'static Lab, root: &Path, path: &Path) -> Result<Mutant, String> {
    let manifest = Manifest::read(root, path)?;
    let file: MutantFile = manifest.parse()?;
    if file.change.is_empty() {
        return Err(manifest.fault(0..0, "a fault has at least one [[change]]".into()));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let changes = manifest.changes(file.change);
    let reasons = file.because.iter().map(|text| manifest.reason(text)).collect::<Result<Vec<_>, _>>()?;
    if reasons.is_empty() {
        return Err(manifest.fault(0..0, "a fault says at least one reason: because = [\"KIND: TEXT\"]".into()));
    }
    Ok(Mutant { lab, name, fault: file.fault, caught_by: file.caught_by, reasons, changes, file: path.into() })
}

/// What does not go together with its kind, or is missing.
fn faults_of(file: &ExerciseFile) -> Vec<String> {
    let kind = *file.kind.get_ref();
    let (is, is_not) = (|these: &[Kind]| these.contains(&kind), |these: &[Kind]| !these.contains(&kind));
    let by_hand = [Kind::Experiment];
    let with_files = [Kind::Break, Kind::Build];
    let hints = if is(&by_hand) { 0 } else { HINTS };
    let (has_start, has_solution) = (!file.start.is_empty(), !file.solution.is_empty());
    let rules = [
        (file.title.trim().is_empty(), "needs a title"),
        (file.question.trim().is_empty(), "needs a question"),
        (is_not(&by_hand) && file.terminals.is_empty(), "needs terminals: what to type where"),
        (is_not(&by_hand) && file.look.is_empty(), "needs look: what to look at alongside"),
        (
            (kind == Kind::Predict) != file.explanation.is_some(),
            "and `explanation` go together: that of others is in EXERCISES.md",
        ),
        ((kind == Kind::Predict) != file.scene.is_some(), "and `scene` go together"),
        ((kind == Kind::Break) != file.mutant.is_some(), "and `mutant` go together"),
        (is(&with_files) != file.check.is_some(), "and `check` go together"),
        (is_not(&with_files) && !file.also.is_empty(), "has no server of its own"),
        (kind == Kind::Build && !has_start, "needs a [[start]]: how the starting file differs from the lab's"),
        (is_not(&with_files) && (has_start || has_solution), "has no files of its own: no [[start]], no [[solution]]"),
        (is_not(&with_files) && !(file.args.is_empty() && file.dependencies.is_empty()), "has no server of its own"),
    ];
    // What is said of a kind that has to be there is said of the kind that it belongs to, too.
    let word = kind.word();
    let mut faults: Vec<String> =
        rules.iter().filter(|(broken, _)| *broken).map(|(_, what)| format!("kind {word:?} {what}")).collect();
    if file.hints.len() != hints {
        faults.push(format!("kind {word:?} has {hints} hints; here are {}", file.hints.len()));
    }
    faults
}

impl Manifest {
    fn read(root: &Path, path: &Path) -> Result<Self, String> {
        let name = harmless(path.strip_prefix(root).unwrap_or(path).to_string_lossy().as_bytes());
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        toml::from_str(&self.text).map_err(|error| self.fault(error.span().unwrap_or(0..0), error.message().into()))
    }

    /// `wrong-state: is still open in the parent`
    fn reason(&self, text: &Spanned<String>) -> Result<Reason, String> {
        let (kind, because) = text.get_ref().split_once(": ").ok_or_else(|| {
            self.fault(text.span(), "a reason is a kind of failure, a colon, and a part of what the check says".into())
        })?;
        Ok(Reason { kind: kind.into(), because: because.into() })
    }

    /// What is wrong, with its place.
    fn fault(&self, span: Range<usize>, what: String) -> String {
        let before = self.text.get(..span.start).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[begin..].chars().count() + 1;
        format!("{}:{}:{column}: {}", self.name, self.line(span.start), harmless(what.as_bytes()))
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// The directory says the number.
    fn number_of(&self, lab: &Lab, directory: &Path) -> Result<Number, String> {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        match name.parse::<Number>() {
            Ok(number) if number.lab == lab.number => Ok(number),
            Ok(_) => Err(format!("{}: an exercise of lab {} is numbered {}.N", self.name, lab.number, lab.number)),
            Err(error) => Err(format!("{}: the directory's name: {error}", self.name)),
        }
    }

    fn changes(&self, tables: Vec<ChangeTable>) -> Vec<Change> {
        let change = |table: ChangeTable| Change {
            place: format!("{}:{}", self.name, self.line(table.from.span().start)),
            file: table.file,
            from: table.from.into_inner(),
            to: table.to,
        };
        tables.into_iter().map(change).collect()
    }

    /// `1$ make lab1   what it is for`
    fn typed(&self, line: &Spanned<String>) -> Result<Typed, String> {
        let wrong =
            || self.fault(line.span(), "not what is typed in a terminal: \"1$ make lab1   what it is for\"".into());
        let (number, rest) = line.get_ref().split_once('$').ok_or_else(wrong)?;
        let terminal = number.parse().ok().filter(|number| (1..=9).contains(number)).ok_or_else(wrong)?;
        let Look { command, shows: remark } = look(rest.trim());
        if command.is_empty() { Err(wrong()) } else { Ok(Typed { terminal, command, remark }) }
    }
}

/// A command, three spaces or more, and what it shows.
fn look(line: &str) -> Look {
    let (command, shows) = line.split_once("   ").unwrap_or((line, ""));
    Look { command: command.trim().into(), shows: shows.trim().into() }
}

fn trimmed(texts: Vec<String>) -> Vec<String> {
    texts.iter().map(|text| text.trim_end().into()).collect()
}

#[cfg(test)]
mod tests;
