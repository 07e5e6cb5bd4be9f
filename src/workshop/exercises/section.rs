//! An exercise's section in EXERCISES.md, for the terminal.

use std::fs;
use std::io;
use std::path::Path;

use crate::view::paint::{Page, QUIET, STRONG, harmless, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::Exercise;

/// The document with a section for every exercise.
pub const DOCUMENT: &str = "EXERCISES.md";

/// A section: what is asked, and what is only for afterwards.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Section {
    /// The text, without its heading and the line below.
    pub text: String,
    /// What stands in its `<details>`.
    pub explanation: String,
}

impl Section {
    /// That of an exercise.
    pub fn of(root: &Path, exercise: &Exercise) -> Result<Self, Problem> {
        let document = fs::read_to_string(root.join(DOCUMENT))
            .map_err(|error| Problem::Told(format!("{DOCUMENT}: {}", crate::sys::with_name(&error))))?;
        Self::find(&document, &exercise.heading())
            .ok_or_else(|| Problem::Told(format!("{DOCUMENT} has no section {:?}", exercise.heading())))
    }

    /// What comes before its first transcript: what is to be done, without how it looks in the terminals.
    pub fn task(&self) -> &str {
        self.text.split("```console").next().unwrap_or_default()
    }

    fn find(document: &str, heading: &str) -> Option<Self> {
        let mut lines = document.lines().skip_while(|line| line.strip_prefix("### ") != Some(heading)).skip(1);
        // "15 minutes · break"
        let about = lines.find(|line| !line.is_empty())?;
        let is_about = about.contains(" minutes · ");
        let mut section = Self::default();
        let mut is_explanation = false;
        for line in (!is_about).then_some(about).into_iter().chain(lines) {
            match line.trim() {
                _ if line.starts_with("## ") || line.starts_with("### ") => break,
                "<details>" => is_explanation = true,
                "</details>" => is_explanation = false,
                "<summary>Explanation</summary>" => {}
                _ => {
                    let part = if is_explanation { &mut section.explanation } else { &mut section.text };
                    part.push_str(line);
                    part.push('\n');
                }
            }
        }
        Some(section)
    }
}

/// Prints Markdown as plain text: paragraphs as wide as the terminal, blocks as they are.
pub fn print(page: &mut Page, markdown: &str) -> io::Result<()> {
    let mut paragraph = String::new();
    let mut is_block = false;
    for line in markdown.trim().lines() {
        let is_fence = line.starts_with("```");
        let begins_anew = line.starts_with("- ") || line.starts_with("| ");
        if is_fence || is_block || line.is_empty() || begins_anew {
            end_paragraph(page, &mut paragraph)?;
        }
        if is_fence {
            is_block = !is_block;
        } else if is_block {
            page.line(&in_style(QUIET, &format!("    {}", harmless(line.as_bytes()))), 8)?;
        } else if line.is_empty() {
            page.gap()?;
        } else if !line.starts_with("|--") {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line.trim());
        }
    }
    end_paragraph(page, &mut paragraph)
}

fn end_paragraph(page: &mut Page, paragraph: &mut String) -> io::Result<()> {
    if !paragraph.is_empty() {
        let indent = if paragraph.starts_with("- ") { 2 } else { 0 };
        page.line(&in_words(&harmless(paragraph.as_bytes())), indent)?;
    }
    paragraph.clear();
    Ok(())
}

/// Takes the marks out: `**strong**`, `[text](link)`. Those of code stay, they are read as quotation marks.
fn in_words(text: &str) -> String {
    let mut words = String::new();
    for (index, part) in text.split("**").enumerate() {
        let part = without_links(part);
        words.push_str(&if index % 2 == 1 { in_style(STRONG, &part) } else { part });
    }
    words
}

fn without_links(text: &str) -> String {
    let mut rest = text;
    let mut words = String::new();
    while let Some((before, after)) = rest.split_once("](") {
        let link = before.rfind('[').zip(after.find(')'));
        let Some((begin, end)) = link else { break };
        words.push_str(&before[..begin]);
        words.push_str(&before[begin + 1..]);
        rest = &after[end + 1..];
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# E\n\n### 1.1 One\n\n10 minutes · predict\n\nWhat **is** it?\n\n```console\n1$ ## no heading\n\
                            ```\n\n<details>\n<summary>Explanation</summary>\n\nThat.\n</details>\n\n### 1.2 Two\n\nX\n";

    #[test]
    fn a_section_is_found_and_its_explanation_is_kept_apart() {
        let section = Section::find(DOCUMENT, "1.1 One").unwrap();
        assert_eq!(section.text.trim(), "What **is** it?\n\n```console\n1$ ## no heading\n```");
        assert_eq!(section.explanation.trim(), "That.");
        assert_eq!(section.task().trim(), "What **is** it?");
        assert_eq!(Section::find(DOCUMENT, "1.2 Two").unwrap().text, "X\n");
        assert_eq!(Section::find(DOCUMENT, "1.3 Three"), None);
    }

    #[test]
    fn marks_are_taken_out_of_text() {
        assert_eq!(without_links("see [the states](x.md#y), [z](w)."), "see the states, z.");
        assert_eq!(without_links("a[0](b"), "a[0](b");
        assert_eq!(in_words("a **b** `c`"), format!("a {} `c`", in_style(STRONG, "b")));
    }
}
