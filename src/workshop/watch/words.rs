//! Command lines and typed text, from the words in which they are given.

use std::ffi::OsString;

use crate::decode::escape;
use crate::workshop::Problem;

/// A command line as a shell would split it: quotes and backslashes, but no variables and no patterns.
pub fn split(line: &str) -> Result<Vec<OsString>, Problem> {
    match shlex::split(line) {
        Some(words) if !words.is_empty() => Ok(words.into_iter().map(OsString::from).collect()),
        Some(_) => Err(Problem::Told("an empty command line".into())),
        None => Err(Problem::Told(format!("{line:?}: a quote is not closed"))),
    }
}

/// The text after `--type`, in which escapes stand for other bytes.
pub fn unescaped(text: &str) -> Result<Vec<u8>, Problem> {
    escape::unescaped(text).map_err(|what| Problem::Told(format!("--type {text:?}: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_does_it() {
        let words = split("python3 -c 'print(\"a b\")' {port}").unwrap();
        assert_eq!(words, ["python3", "-c", "print(\"a b\")", "{port}"].map(OsString::from));
        assert!(split("nc 'x").is_err());
        assert!(split("  ").is_err());
    }
}
