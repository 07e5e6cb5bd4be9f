//! Who may be called what.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The most characters that a name may have.
pub const LONGEST: usize = 32;

/// A name that everybody can see as it is: 1 to 32 letters of any script, digits, `-`, `_` and `.`.
///
/// It is kept in Unicode's form NFC, in which an é is always the same bytes, however it was typed. Capitals matter: Alice is
/// not alice. Letters of two scripts that look alike are two letters: this cannot be told without knowing the reader's eyes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAName {
    /// There is nothing in it.
    Empty,
    /// It has more than 32 characters.
    TooLong,
    /// A character that may not be in a name, or not in this place.
    Character(char),
}

impl Name {
    /// Takes a text as a name, if it is one.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        // It is not composed further than we would take it: a line of accents is long.
        let name: String = text.nfc().take(LONGEST + 1).collect();
        let mut before = None;
        for character in name.chars() {
            if !may_stand(before, character) {
                return Err(NotAName::Character(character));
            }
            before = Some(character);
        }
        match name.chars().count() {
            0 => Err(NotAName::Empty),
            1..=LONGEST => Ok(Self(name.into())),
            _ => Err(NotAName::TooLong),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character may follow the one before it in a name.
fn may_stand(before: Option<char>, character: char) -> bool {
    use GeneralCategory as G;
    let is_letter = |character: char| {
        let category = character.general_category();
        let is_letter = matches!(
            category,
            G::UppercaseLetter | G::LowercaseLetter | G::TitlecaseLetter | G::ModifierLetter | G::OtherLetter
        );
        is_letter && !is_invisible(character)
    };
    let is_mark = |character: char| {
        let category = character.general_category();
        // Not those that enclose what is before them: a circle around an a is no letter.
        matches!(category, G::NonspacingMark | G::SpacingMark) && !is_invisible(character)
    };
    if is_mark(character) {
        return before.is_some_and(|before| is_letter(before) || is_mark(before));
    }
    is_letter(character) || character.general_category() == G::DecimalNumber || matches!(character, '-' | '_' | '.')
}

/// Letters and marks that take no room, or only an empty one: Unicode's `Default_Ignorable_Code_Point` among them.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{34f}' // joins graphemes
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers of Hangul
            | '\u{16fe4}' // the filler of Khitan
            | '\u{17b4}' | '\u{17b5}' // vowels of Khmer that are not written
            | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' // choose among shapes
    )
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for NotAName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RULE: &str = "1 to 32 letters of any script, digits, - _ and .";
        match self {
            Self::Empty => write!(formatter, "an empty name: {RULE}"),
            Self::TooLong => write!(formatter, "a name of more than 32 characters: {RULE}"),
            Self::Character(' ') => write!(formatter, "no space in a name: {RULE}"),
            Self::Character(character) => {
                write!(formatter, "U+{:04X} may not be there in a name: {RULE}", u32::from(*character))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> NotAName {
        Name::new(text).expect_err(text)
    }

    #[test]
    fn letters_of_any_script_are_names() {
        for name in [
            "Alice",
            "bob-2_x.y",
            "Zoë",
            "Ὀδυσσεύς",
            "Мария",
            "हिन्दी",
            "محمد",
            "李小龍",
            "ひらがな",
            "이름",
            "ไทย",
            "٣",
        ] {
            assert_eq!(Name::new(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn two_spellings_of_one_letter_are_one_name_and_capitals_are_another() {
        let composed = Name::new("Andr\u{e9}").unwrap();
        assert_eq!(Name::new("Andre\u{301}"), Ok(composed));
        assert_ne!(Name::new("Alice"), Name::new("alice"));
    }

    #[test]
    fn a_name_has_1_to_32_characters_however_many_bytes_these_take() {
        assert_eq!(refused(""), NotAName::Empty);
        assert!(Name::new(&"字".repeat(32)).is_ok());
        assert_eq!(refused(&"字".repeat(33)), NotAName::TooLong);
        // They are counted as they are kept: 64 code points, 32 letters.
        assert!(Name::new(&"e\u{301}".repeat(32)).is_ok());
        assert_eq!(refused(&"x".repeat(100_000)), NotAName::TooLong);
    }

    #[test]
    fn what_cannot_be_seen_or_moves_its_surroundings_is_in_no_name() {
        let everything_odd = [
            ' ',
            '\t',
            '\n',
            '\0',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{16fe4}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{180f}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fffd}',
            '\u{e000}',
            '\u{e0001}',
            '\u{e0061}',
            '\u{e0100}',
            '\u{378}',
            '😀',
            '@',
            '/',
            '"',
            '<',
            '$',
            '²',
            '½',
            'Ⅳ',
            '\u{20dd}',
        ];
        for odd in everything_odd {
            let text = format!("a{odd}b");
            assert_eq!(refused(&text), NotAName::Character(odd));
        }
    }

    #[test]
    fn an_accent_stands_on_a_letter_or_not_at_all() {
        for (text, accent) in [("\u{301}a", '\u{301}'), ("1\u{301}", '\u{301}'), ("-\u{93f}", '\u{93f}')] {
            assert_eq!(refused(text), NotAName::Character(accent));
        }
        // More than one may stand there: some languages need it.
        assert!(Name::new("q\u{307}\u{323}").is_ok());
    }

    #[test]
    fn a_refusal_shows_nothing_of_what_it_refuses() {
        for text in ["a\u{1b}[2J", "a\u{202e}", "\u{3164}"] {
            let message = refused(text).to_string();
            assert!(message.is_ascii() && !message.contains('\u{1b}'), "{message}");
        }
    }
}
