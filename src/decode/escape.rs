//! Text in which escapes stand for bytes that cannot be written on a line.

/// Text with `\n`, `\r`, `\t`, `\\` and `\xHH` replaced by what they stand for; or what is none of them.
pub fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let unknown = |what: &str| format!("{what} is none of \\n \\r \\t \\\\ \\xHH");
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
    fn escapes_become_the_bytes_that_they_stand_for() {
        assert_eq!(unescaped("hello\\n").unwrap(), b"hello\n");
        assert_eq!(unescaped("a\\\\n\\x00\\xff").unwrap(), b"a\\n\0\xff");
        assert_eq!(unescaped("é\\t").unwrap(), "é\t".as_bytes());
        for wrong in ["\\", "\\q", "\\x1", "\\xzz", "\\x+1"] {
            assert!(unescaped(wrong).is_err(), "{wrong}");
        }
    }
}
