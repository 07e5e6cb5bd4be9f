//! Command lines and typed text, from the words in which they are given.

use std::ffi::OsString;

use crate::workshop::Problem;

/// A command line as a shell would split it: quotes and backslashes, but no variables and no patterns.
pub fn split(line: &str) -> Result<Vec<OsString>, Problem> {
    match shlex::split(line) {
        Some(words) if !words.is_empty() => Ok(words.into_iter().map(OsString::from).collect()),
        Some(_) => Err(Problem::Told("an empty command line".into())),
        None => Err(Problem::Told(format!("{line:?}: a quote is not closed"))),
    }
}

/// Text with `\n`, `\r`, `\t`, `\\` and `\xHH` in place of what cannot be written on a command line.
pub fn unescaped(text: &str) -> Result<Vec<u8>, Problem> {
    let unknown = |what: &str| Problem::Told(format!("--type {text:?}: {what} is none of \\n \\r \\t \\\\ \\xHH"));
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let kind = after.chars().next().ok_or_else(|| unknown("a backslash at the end"))?;
        rest = &after[kind.len_utf8()..];
        match kind {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let digits = rest.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let digits = digits.ok_or_else(|| unknown("\\x without two hexadecimal digits"))?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| unknown("\\x"))?);
                rest = &rest[2..];
            }
            _ => return Err(unknown(&format!("\\{kind}"))),
        }
    }
    bytes.extend(rest.as_bytes());
    Ok(bytes)
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

    #[test]
    fn escapes_become_the_bytes_that_they_stand_for() {
        assert_eq!(unescaped("hello\\n").unwrap(), b"hello\n");
        assert_eq!(unescaped("a\\\\n\\x00\\xff").unwrap(), b"a\\n\0\xff");
        assert_eq!(unescaped("é\\t").unwrap(), "é\t".as_bytes());
        for wrong in ["\\", "\\q", "\\x1", "\\xzz", "\\x+1"] {
            assert!(unescaped(wrong).is_err(), "{wrong}");
        }
    }
}
