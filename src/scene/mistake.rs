//! A mistake in a scene: where it is, and what was meant perhaps.

use crate::view::paint::harmless;

/// What is wrong with a scene's text, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The column of its first character, from 1.
    pub column: usize,
    /// How many characters it is about.
    pub length: usize,
    /// What is wrong.
    pub what: String,
    /// The line itself.
    pub text: String,
}

impl Mistake {
    /// The mistake as it is shown: `FILE:LINE:COLUMN: what`, then the line with the place marked.
    pub fn shown(&self, file: &str) -> String {
        let Self { line, column, length, what, text } = self;
        let margin = " ".repeat(line.to_string().len());
        // A tab is shown as wide as the paint makes it.
        let before: String = text.chars().take(column - 1).collect();
        let space = " ".repeat(harmless(before.as_bytes()).chars().count());
        let marks = "^".repeat((*length).max(1));
        let (file, text, what) = (harmless(file.as_bytes()), harmless(text.as_bytes()), harmless(what.as_bytes()));
        format!("{file}:{line}:{column}: {what}\n  {line} | {text}\n  {margin} | {space}{marks}")
    }
}

/// The word of `known` that is nearest to what was written, as `; do you mean "…"?`, if one is near.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let written = written.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&written, &word.to_lowercase());
    let best = known.into_iter().map(|word| (distance(word), word)).min_by_key(|(distance, _)| *distance);
    match best {
        Some((distance, word)) if distance <= 1 + word.chars().count() / 4 => format!("; do you mean {word:?}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_shows_its_line_and_marks_the_place() {
        let mistake =
            Mistake { line: 7, column: 9, length: 6, what: "no verb".into(), text: "server  untill x".into() };
        let shown = mistake.shown("queue.scene");
        assert_eq!(shown, "queue.scene:7:9: no verb\n  7 | server  untill x\n    |         ^^^^^^");
    }

    #[test]
    fn the_nearest_word_is_suggested_only_if_it_is_near() {
        assert_eq!(nearest("untill", ["freely", "until"]), "; do you mean \"until\"?");
        assert_eq!(nearest("ESTABLISHD", ["LISTEN", "ESTABLISHED"]), "; do you mean \"ESTABLISHED\"?");
        assert_eq!(nearest("elephant", ["freely", "until"]), "");
    }
}
