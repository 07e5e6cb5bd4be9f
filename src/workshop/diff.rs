//! `socklab diff N`: what lab N adds to the lab before, and nothing else.

use std::collections::HashSet;
use std::fs;
use std::process::ExitCode;

use anstyle::AnsiColor;
use similar::{ChangeTag, TextDiff};

use crate::view::paint::{Page, QUIET, STRONG, in_style};
use crate::workshop::labs::{LABS, Lab};
use crate::workshop::{Problem, build};

/// How many unchanged lines are shown around a change, so that it can be found.
const CONTEXT: usize = 2;

/// Shows, for server and client, the lines that are new in this lab and those that they replace.
pub fn diff(lab: &Lab) -> Result<ExitCode, Problem> {
    let Some(before) = LABS.iter().find(|other| other.number + 1 == lab.number) else {
        return Err(Problem::Told(format!("lab {} is the first one: there is no lab before it", lab.number)));
    };
    let labs = build::workspace()?.join("labs");
    let mut page = Page::stdout();
    for file in ["server.rs", "client.rs"] {
        let read = |lab: &Lab| {
            let path = labs.join(lab.package).join(file);
            fs::read_to_string(&path).map_err(|error| Problem::Told(format!("{}: {error}", path.display())))
        };
        page.line(&in_style(STRONG, &format!("{file}: {} → {}", before.package, lab.package)), 0)?;
        page.gap()?;
        for line in what_is_new(&read(before)?, &read(lab)?) {
            let style = match line.as_bytes().first() {
                Some(b'+') => AnsiColor::Green.on_default(),
                Some(b'-') => AnsiColor::Red.on_default(),
                _ => QUIET,
            };
            page.line(&in_style(style, &line), 4)?;
        }
        page.gap()?;
    }
    page.line("Left out: headers, imports, and comments that have not changed.", 0)?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A line of code, and the comment that stands above it.
struct Line<'a> {
    code: &'a str,
    comment: Vec<&'a str>,
}

/// The lines of a program that teach: neither header nor imports nor empty lines; comments go with what they are about.
fn teaching(source: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut comment = Vec::new();
    let mut in_import = false;
    for line in source.lines() {
        let text = line.trim_start();
        in_import |= text.starts_with("use ");
        match text {
            _ if in_import => in_import = !text.ends_with(';'),
            "" => {}
            _ if text.starts_with("//!") => {}
            _ if text.starts_with("//") => comment.push(line),
            _ => lines.push(Line { code: line, comment: std::mem::take(&mut comment) }),
        }
    }
    lines
}

/// Marked with `+` and `-` as in any diff. Comments of the old lab are left out, gone or not: they were read there.
fn what_is_new(old: &str, new: &str) -> Vec<String> {
    let read_before: HashSet<&str> = old.lines().map(str::trim).filter(|line| line.starts_with("//")).collect();
    let (old, new) = (teaching(old), teaching(new));
    let codes = |lines: &[Line]| lines.iter().map(|line| line.code.to_string()).collect::<Vec<_>>();
    let (old_codes, new_codes) = (codes(&old), codes(&new));
    let diff = TextDiff::from_slices(
        &old_codes.iter().map(String::as_str).collect::<Vec<_>>(),
        &new_codes.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let mut shown = Vec::new();
    for group in diff.grouped_ops(CONTEXT) {
        for operation in group {
            for change in diff.iter_changes(&operation) {
                let comment = change.new_index().and_then(|index| new.get(index)).map(|line| &line.comment);
                match change.tag() {
                    ChangeTag::Insert => {
                        let comment = comment.into_iter().flatten().filter(|line| !read_before.contains(line.trim()));
                        shown.extend(comment.map(|line| format!("+{line}")));
                        shown.push(format!("+{}", change.value()));
                    }
                    ChangeTag::Delete => shown.push(format!("-{}", change.value())),
                    ChangeTag::Equal => shown.push(format!(" {}", change.value())),
                }
            }
        }
        shown.push("⋮".into());
    }
    shown.pop();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_imports_and_old_comments_are_left_out_and_new_comments_stay() {
        let old = "//! Lab 1.\nuse a::{\n    b,\n};\n// Opens.\nopen();\n// Closes.\nclose();\n";
        let new = "//! Lab 2.\nuse a::c;\nopen();\n// Forks.\n// Opens.\nfork();\nclose();\n";
        assert_eq!(what_is_new(old, new), [" open();", "+// Forks.", "+fork();", " close();"]);
    }

    #[test]
    fn labs_that_do_not_differ_have_nothing_to_show() {
        assert!(what_is_new("a();\n", "//! other header\na();\n").is_empty());
    }
}
