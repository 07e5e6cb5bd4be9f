//! `socklab diff N`: what lab N adds to the lab that it goes on from, and nothing else.

mod items;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::AnsiColor;

use crate::view::paint::{Page, QUIET, STRONG, in_style};
use crate::workshop::labs::Lab;
use crate::workshop::{Problem, build};

/// Shows, for server and client, the lines that are new in this lab and those that they replace.
pub fn diff(lab: &Lab) -> Result<ExitCode, Problem> {
    let (Some(servers), Some(clients)) = (lab.before_its_server(), lab.before_its_client()) else {
        return Err(Problem::Told(format!("lab {} is the first one: there is no lab before it", lab.number)));
    };
    let labs = build::workspace()?.join("labs");
    let mut page = Page::stdout();
    for (file, before) in [("server.rs", servers), ("client.rs", clients)] {
        let old = Program::read(&labs.join(before.package), file)?;
        let new = Program::read(&labs.join(lab.package), file)?;
        page.line(&in_style(STRONG, &format!("{}: {} → {}", new.files(), before.package, lab.package)), 0)?;
        for line in new.libraries(&labs) {
            page.line(&in_style(QUIET, &line), 2)?;
        }
        page.gap()?;
        for line in items::what_is_new(&old.source, &new.source) {
            let style = match line.as_bytes().first() {
                Some(b'+') => AnsiColor::Green.on_default(),
                Some(b'-') => AnsiColor::Red.on_default(),
                _ => QUIET,
            };
            page.line(&in_style(style, &line), 4)?;
        }
        page.gap()?;
    }
    let left_out = "+ new  - gone  = stood elsewhere before. Left out: headers, imports, comments that have not changed. What \
                    is gone in one piece is named, or its lines are counted.";
    page.line(left_out, 0)?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A program as one text: its file, and the modules that stand beside it.
struct Program {
    /// The names of its files, its own first.
    names: Vec<String>,
    source: String,
}

impl Program {
    fn read(directory: &Path, file: &str) -> Result<Self, Problem> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|error| Problem::Told(format!("{}: {error}", path.display())))
        };
        let mut names = vec![file.to_string()];
        let mut source = read(&directory.join(file))?;
        for module in modules(&source) {
            let path = directory.join(&module);
            if path.is_file() {
                source.push_str(&read(&path)?);
                names.push(module);
            }
        }
        Ok(Self { names, source })
    }

    /// `server.rs`, or `server.rs and connection.rs`.
    fn files(&self) -> String {
        match self.names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => self.names.concat(),
        }
    }

    /// The labs' libraries that it uses, and where they are: they are not compared.
    fn libraries(&self, labs: &Path) -> Vec<String> {
        let used = used_modules(&self.source);
        let packages: BTreeSet<&str> = used.iter().map(|(package, _)| package.as_str()).collect();
        let of_package = |package: &&str| {
            let modules = used.iter().filter(|(its, _)| its == package);
            let file = |(_, module): &(String, String)| {
                Some(format!("{module}.rs")).filter(|file| labs.join(package).join(file).is_file())
            };
            let files: BTreeSet<String> = modules.map(|used| file(used).unwrap_or_else(|| "lib.rs".into())).collect();
            let place = PathBuf::from("labs").join(package);
            let files: Vec<String> = files.iter().map(|file| place.join(file).display().to_string()).collect();
            format!("it uses the library {package}: {}", files.join(", "))
        };
        packages.iter().map(of_package).collect()
    }
}

/// The files of the modules that a file declares, in their order.
fn modules(source: &str) -> Vec<String> {
    let name = |line: &str| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        Some(format!("{}.rs", line.strip_prefix("mod ")?.strip_suffix(';')?))
    };
    source.lines().filter_map(name).collect()
}

/// What a program imports of the libraries of labs: package, and module.
fn used_modules(source: &str) -> BTreeSet<(String, String)> {
    let word = |text: &str| {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default().to_string()
    };
    let mut used = BTreeSet::new();
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("lab0") {
            let package = word(&line[at..]);
            let Some(rest) = line[at + package.len()..].strip_prefix("::") else { continue };
            match rest.strip_prefix('{') {
                // Those that a list names, one behind the other, each up to its first `::`.
                Some(list) => used.extend(
                    list.split([',', '}'])
                        .map(|part| (package.clone(), word(part.trim())))
                        .filter(|(_, module)| !module.is_empty()),
                ),
                None => drop(used.insert((package, word(rest)))),
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_of_a_program_are_those_that_it_declares() {
        assert_eq!(modules("//! mod no;\nmod connection;\nuse a;\nmod b;\nmod tests {\n"), ["connection.rs", "b.rs"]);
    }

    #[test]
    fn the_libraries_of_labs_that_a_program_uses_are_found_with_their_modules() {
        let source = "use lab04_messages::frames::{Frames, TooLong};\nuse lab04_messages::Client;\n\
                      use lab07_chat::{hub::Hub, names};\n// lab05_poll::x\nuse kit::say;\n";
        let found: Vec<String> =
            used_modules(source).into_iter().map(|(package, module)| package + "/" + &module).collect();
        assert_eq!(found, ["lab04_messages/Client", "lab04_messages/frames", "lab07_chat/hub", "lab07_chat/names"]);
    }
}
