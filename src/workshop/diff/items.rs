//! Two programs, item by item: a function that only stands elsewhere has not changed.

use std::collections::{HashMap, HashSet};

use similar::{ChangeTag, DiffOp, TextDiff};

/// How many unchanged lines are shown around a change, so that it can be found.
const CONTEXT: usize = 2;
/// More lines than this in a row that are gone are counted: they were read where they came from.
const GONE: usize = 8;
/// A shorter line stands in many places: it says nothing that the same one stands in another, too.
const TELLING: usize = 12;
/// An item that has less than this in common with what it was is shown as it is now, and not line against line.
const ALIKE: f32 = 0.3;

/// A line of code, and the comment that stands above it.
struct Line<'a> {
    code: &'a str,
    comment: Vec<&'a str>,
}

/// A function, a type, a constant: all its lines, and the name by which it is found again.
struct Item<'a> {
    name: String,
    lines: Vec<Line<'a>>,
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
            _ if text.starts_with("mod ") && text.ends_with(';') => {}
            _ if text.starts_with("//") => comment.push(line),
            _ => lines.push(Line { code: line, comment: std::mem::take(&mut comment) }),
        }
    }
    lines
}

/// Line by line into items: an item ends with a line that is not indented, and ends what was opened.
fn items(source: &str) -> Vec<Item<'_>> {
    let mut items: Vec<Item> = Vec::new();
    let mut open: Vec<Line> = Vec::new();
    for line in teaching(source) {
        let ends = !line.code.starts_with([' ', '#']) && line.code.ends_with([';', '}']);
        open.push(line);
        if ends {
            let lines = std::mem::take(&mut open);
            items.push(Item { name: name_of(&lines), lines });
        }
    }
    if !open.is_empty() {
        items.push(Item { name: name_of(&open), lines: open });
    }
    items
}

/// `fn serve`, `impl Connection`, `const BACKLOG`: what an item is called, whatever its arguments are.
fn name_of(lines: &[Line]) -> String {
    let first = lines.iter().map(|line| line.code).find(|code| !code.starts_with('#')).unwrap_or_default();
    let first = first.strip_prefix("pub ").unwrap_or(first);
    let first = first.strip_prefix("extern \"C\" ").unwrap_or(first);
    let ends = if first.starts_with("impl") { ['{', ';', '{'] } else { ['(', ':', '{'] };
    let name = first.split(ends).next().unwrap_or(first);
    let name = if first.starts_with("impl") { name } else { name.split('<').next().unwrap_or(name) };
    name.trim_end().trim_end_matches(';').to_string()
}

/// What was read in the lab before.
struct Known<'a> {
    comments: HashSet<&'a str>,
    /// Lines, without their indentation, that are there as often as before: where one is new, it stood elsewhere.
    moved: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(text: &'a str, old: &[Item<'a>], new: &[Item<'a>]) -> Self {
        let comments = text.lines().map(str::trim).filter(|line| line.starts_with("//")).collect();
        let mut counts: HashMap<&str, i32> = HashMap::new();
        for (items, one) in [(old, 1), (new, -1)] {
            for line in items.iter().flat_map(|item| &item.lines) {
                *counts.entry(line.code.trim()).or_default() += one;
            }
        }
        let moved = counts.into_iter().filter(|(code, left)| *left == 0 && code.len() >= TELLING).map(|(code, _)| code);
        Self { comments, moved: moved.collect() }
    }

    fn has_moved(&self, code: &str) -> bool {
        self.moved.contains(code.trim())
    }

    /// How many of these lines are gone.
    fn gone(&self, lines: &[Line]) -> usize {
        lines.iter().filter(|line| !self.has_moved(line.code)).count()
    }
}

/// Marked with `+` and `-` as in any diff, and with `=` where it only stood elsewhere. Comments of the old lab are left out,
/// gone or not: they were read there. What is gone as a whole is named, not repeated.
pub fn what_is_new(old: &str, new: &str) -> Vec<String> {
    let (old_text, old, new) = (old, items(old), items(new));
    let known = Known::of(old_text, &old, &new);
    let mut before: HashMap<&str, &Item> = old.iter().map(|item| (item.name.as_str(), item)).collect();
    let mut shown: Vec<String> = Vec::new();
    // What is new as a whole follows what is: there is nothing left out in between.
    let mut was_new = false;
    for item in &new {
        let found = before.remove(item.name.as_str());
        let part = match found {
            Some(its) => changes(its, item, &known),
            None => added(item, &known),
        };
        let is_new = found.is_none();
        let is_behind_it = was_new && is_new;
        if !part.is_empty() && !shown.is_empty() && !is_behind_it {
            shown.push("⋮".into());
        }
        was_new = is_new;
        shown.extend(part);
    }
    let gone: Vec<&str> = old.iter().map(|item| item.name.as_str()).filter(|name| before.contains_key(name)).collect();
    if !gone.is_empty() {
        if !shown.is_empty() {
            shown.push("⋮".into());
        }
        shown.push(format!("- {}", gone.join(", ")));
    }
    shown
}

fn added(item: &Item, known: &Known) -> Vec<String> {
    item.lines.iter().flat_map(|line| with_comment(line, known)).collect()
}

fn with_comment(line: &Line, known: &Known) -> Vec<String> {
    let comment = line.comment.iter().filter(|comment| !known.comments.contains(comment.trim()));
    let code = format!("{}{}", if known.has_moved(line.code) { '=' } else { '+' }, line.code);
    comment.map(|line| format!("+{line}")).chain([code]).collect()
}

/// What of an item has changed; nothing if nothing has. That it is visible elsewhere now is no change.
fn changes(old: &Item, new: &Item, known: &Known) -> Vec<String> {
    let codes = |item: &Item| item.lines.iter().map(|line| line.code.replacen("pub ", "", 1)).collect::<Vec<_>>();
    let (old_codes, new_codes) = (codes(old), codes(new));
    let diff = TextDiff::from_slices(
        &old_codes.iter().map(String::as_str).collect::<Vec<_>>(),
        &new_codes.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    if diff.ratio() < ALIKE && old.lines.len() > GONE {
        let mut shown = vec![format!("- {} as it was: {} lines", old.name, known.gone(&old.lines))];
        shown.extend(added(new, known));
        return shown;
    }
    let mut shown = Vec::new();
    for group in diff.grouped_ops(CONTEXT) {
        if !shown.is_empty() {
            shown.push("⋮".into());
        }
        for operation in group {
            let gone = match operation {
                DiffOp::Delete { .. } | DiffOp::Replace { .. } => known.gone(&old.lines[operation.old_range()]),
                _ => 0,
            };
            if gone > GONE {
                shown.push(format!("- {gone} lines"));
            }
            for change in diff.iter_changes(&operation) {
                let line = change.new_index().and_then(|index| new.lines.get(index));
                match (change.tag(), line) {
                    (ChangeTag::Insert, Some(line)) => shown.extend(with_comment(line, known)),
                    (ChangeTag::Delete, _) if gone > GONE || known.has_moved(change.value()) => {}
                    (ChangeTag::Delete, _) => shown.push(format!("-{}", change.value())),
                    (_, line) => shown.push(format!(" {}", line.map_or(change.value(), |line| line.code))),
                }
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_imports_and_old_comments_are_left_out_and_new_comments_stay() {
        let old = "//! Lab 1.\nuse a::{\n    b,\n};\nfn main() {\n    // Opens.\n    open();\n    // Closes.\n    close();\n}\n";
        let new = "//! Lab 2.\nuse a::c;\nfn main() {\n    open();\n    // Forks.\n    // Opens.\n    fork();\n    close();\n}\n";
        let expected = [" fn main() {", "     open();", "+    // Forks.", "+    fork();", "     close();", " }"];
        assert_eq!(what_is_new(old, new), expected);
    }

    #[test]
    fn labs_that_do_not_differ_have_nothing_to_show() {
        assert!(what_is_new("fn a() {}\n", "//! other header\nfn a() {}\n").is_empty());
    }

    #[test]
    fn a_function_that_stands_elsewhere_has_not_changed_and_one_that_is_gone_is_named() {
        let old = "fn a() {\n    one();\n}\nfn b() {\n    two();\n}\nextern \"C\" fn reap(_: i32) {\n    three();\n}\n";
        let new = "pub fn b() {\n    two();\n}\nfn a() {\n    one();\n}\n";
        assert_eq!(what_is_new(old, new), ["- fn reap"]);
    }

    #[test]
    fn lines_that_went_from_one_function_into_another_are_neither_new_nor_gone() {
        let old = "fn main() {\n    let listener = socket();\n    serve();\n}\n";
        let new = "fn main() {\n    listen();\n    serve();\n}\nfn listen() {\n    let listener = socket();\n}\n";
        let expected = [
            " fn main() {",
            "+    listen();",
            "     serve();",
            " }",
            "⋮",
            "+fn listen() {",
            "=    let listener = socket();",
            "+}",
        ];
        assert_eq!(what_is_new(old, new), expected);
    }

    #[test]
    fn items_are_known_by_their_kind_and_name() {
        let source = "#[derive(Parser)]\nstruct Options {\n    a: u8,\n}\nconst A: &[u8] = &[\n    1,\n];\n\
                      impl<'a> List<'a> {\n    fn new() {\n    }\n}\nimpl Drop for Place {\n}\nstruct Unit;\n\
                      fn f<T: A>(\n    a: T,\n) -> u8 {\n    1\n}\n";
        let names: Vec<String> = items(source).into_iter().map(|item| item.name).collect();
        assert_eq!(
            names,
            ["struct Options", "const A", "impl<'a> List<'a>", "impl Drop for Place", "struct Unit", "fn f"]
        );
    }

    #[test]
    fn of_a_long_piece_that_is_gone_only_its_length_is_said_and_a_rewritten_function_is_shown_as_it_is_now() {
        let lines = |name: &str, range: std::ops::Range<u8>| {
            range.map(|number| format!("    {name}{number}();\n")).collect::<String>()
        };
        let old = format!("fn main() {{\n{}    stay();\n    too();\n}}\n", lines("go", 0..9));
        let new = "fn main() {\n    stay();\n    too();\n}\n";
        assert_eq!(what_is_new(&old, new), [" fn main() {", "- 9 lines", "     stay();", "     too();"]);
        let new = format!("fn main() {{\n{}}}\n", lines("come", 0..2));
        let expected = ["- fn main as it was: 13 lines", "+fn main() {", "+    come0();", "+    come1();", "+}"];
        assert_eq!(what_is_new(&old, &new), expected);
    }
}
