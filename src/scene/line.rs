//! One line of a scene, word by word.

use super::Mistake;
use super::mistake::nearest;

/// A line that is being read.
#[derive(Clone)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// All of it.
    pub text: &'a str,
    /// Where the next word is looked for.
    at: usize,
}

/// A word, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// The word.
    pub text: &'a str,
    /// Where it begins, in bytes.
    start: usize,
}

impl<'a> Line<'a> {
    /// The line with this number.
    pub fn new(number: usize, text: &'a str) -> Self {
        Self { number, text, at: 0 }
    }

    /// The next word, if there is one.
    pub fn next(&mut self) -> Option<Word<'a>> {
        let word = self.peek()?;
        self.at = word.start + word.text.len();
        Some(word)
    }

    /// The next word, which stays the next.
    pub fn peek(&self) -> Option<Word<'a>> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let text = self.text[start..].split_whitespace().next()?;
        Some(Word { text, start })
    }

    /// The next word if it is this one.
    pub fn take(&mut self, wanted: &str) -> bool {
        let is_it = self.peek().is_some_and(|word| word.text == wanted);
        if is_it {
            self.next();
        }
        is_it
    }

    /// The next word, or what is missing.
    pub fn word(&mut self, what: &str) -> Result<Word<'a>, Mistake> {
        self.next().ok_or_else(|| self.at_end(&format!("{what} is missing here")))
    }

    /// All that is left of the line.
    pub fn rest(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim();
        self.at = self.text.len();
        rest
    }

    /// There must be nothing left.
    pub fn end(&mut self) -> Result<(), Mistake> {
        match self.next() {
            Some(word) => Err(self.wrong(word, format!("nothing is expected here, and {:?} stands there", word.text))),
            None => Ok(()),
        }
    }

    /// A mistake about a word.
    pub fn wrong(&self, word: Word, what: String) -> Mistake {
        Mistake {
            line: self.number,
            column: self.text[..word.start].chars().count() + 1,
            length: word.text.chars().count(),
            what,
            text: self.text.into(),
        }
    }

    /// A word that is none of those that may stand here.
    pub fn unknown<'w>(&self, word: Word, what: &str, known: impl IntoIterator<Item = &'w str> + Clone) -> Mistake {
        let suggestion = nearest(word.text, known.clone());
        let known: Vec<&str> = known.into_iter().collect();
        let all =
            if suggestion.is_empty() && known.len() <= 12 { format!(": {}", known.join(", ")) } else { suggestion };
        self.wrong(word, format!("{:?} is no {what}{all}", word.text))
    }

    /// A mistake at the end of the line.
    pub fn at_end(&self, what: &str) -> Mistake {
        let text = self.text.trim_end();
        Mistake {
            line: self.number,
            column: text.chars().count() + 1,
            length: 1,
            what: what.into(),
            text: self.text.into(),
        }
    }
}
