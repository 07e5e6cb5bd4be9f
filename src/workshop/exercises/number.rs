//! The numbers of exercises.

use std::fmt;
use std::str::FromStr;

use crate::workshop::labs::Lab;

/// `3.2`: the second exercise of lab 3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Number {
    /// The lab.
    pub lab: u8,
    /// Which one of the lab, from 1.
    pub exercise: u8,
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no exercise: they have numbers like 3.2");
        let (lab, exercise) = text.trim_start_matches("ex").split_once('.').ok_or_else(wrong)?;
        let number = |digits: &str| {
            digits.parse().ok().filter(|&number| number > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        Ok(Self { lab: number(lab).ok_or_else(wrong)?, exercise: number(exercise).ok_or_else(wrong)? })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As one word, so that a width is heeded.
        f.pad(&format!("{}.{}", self.lab, self.exercise))
    }
}

/// What `make ex3` and `make ex3.2` stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LabOrExercise {
    /// All of a lab.
    Lab(&'static Lab),
    /// One exercise.
    Exercise(Number),
}

impl FromStr for LabOrExercise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_start_matches("lab");
        if number.contains('.') {
            return number.parse().map(Self::Exercise);
        }
        Lab::find(text).map(Self::Lab).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_as_it_is_written() {
        for text in ["1.1", "3.2", "12.10"] {
            assert_eq!(text.parse::<Number>().map(|number| number.to_string()), Ok(text.to_string()));
        }
        assert_eq!("ex3.2".parse(), Ok(Number { lab: 3, exercise: 2 }));
    }

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let order = |text: &str| text.parse::<Number>().unwrap();
        assert!(order("1.9") < order("1.10") && order("1.10") < order("2.1"));
    }

    #[test]
    fn what_is_no_number_is_answered_with_an_example() {
        for text in ["", ".", "3", "3.", ".2", "0.1", "1.0", "+1.2", "1.+2", "1.2.3", "300.1", "a.b"] {
            let answer = text.parse::<Number>().unwrap_err();
            assert!(answer.contains("3.2"), "{answer}");
        }
    }

    #[test]
    fn a_lab_and_an_exercise_are_told_apart() {
        for text in ["3", "lab3"] {
            assert!(matches!(text.parse(), Ok(LabOrExercise::Lab(lab)) if lab.number == 3));
        }
        assert_eq!("3.2".parse(), Ok(LabOrExercise::Exercise(Number { lab: 3, exercise: 2 })));
        assert!("0".parse::<LabOrExercise>().unwrap_err().contains("the nearest is lab 1"));
    }
}
