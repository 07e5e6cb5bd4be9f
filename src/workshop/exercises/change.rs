//! A change to a lab's file: one place, and what stands there instead.

/// One place in a file, and what it is changed to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The file, relative to the lab's directory.
    pub file: String,
    /// What stands there: in this file exactly once.
    pub from: String,
    /// What is to stand there.
    pub to: String,
    /// Where the manifest says so, as `path:line`, for messages.
    pub place: String,
}

impl Change {
    /// The text of the file with the change made.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        let places = text.matches(&self.from).count();
        match places {
            // An empty one is found everywhere.
            _ if self.from.is_empty() => {
                Err(format!("{}: `from` is empty: it has to be one place in {}", self.place, self.file))
            }
            1 => Ok(text.replacen(&self.from, &self.to, 1)),
            0 => Err(format!("{}: {} has no such place{}", self.place, self.file, self.where_it_fails(text))),
            _ => Err(format!("{}: {} has {places} such places; there has to be one", self.place, self.file)),
        }
    }

    /// The first line that the file does not have.
    fn where_it_fails(&self, text: &str) -> String {
        let missing = self.from.lines().find(|line| !text.contains(line));
        missing.map_or(String::new(), |line| format!(": nowhere in it is {:?}", line.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(from: &str, to: &str) -> Change {
        Change { file: "server.rs".into(), from: from.into(), to: to.into(), place: "x.toml:7".into() }
    }

    #[test]
    fn one_place_is_changed() {
        assert_eq!(change("b\n", "B\n").apply("a\nb\nc\n"), Ok("a\nB\nc\n".into()));
        assert_eq!(change("b\n", "").apply("a\nb\nc\n"), Ok("a\nc\n".into()));
    }

    #[test]
    fn a_place_that_is_missing_or_not_the_only_one_is_told_with_where_it_was_asked_for() {
        let missing = change("a\nnone\n", "").apply("a\nb\n").unwrap_err();
        assert!(
            missing.starts_with("x.toml:7: server.rs has no such place") && missing.contains("\"none\""),
            "{missing}"
        );
        let twice = change("a", "").apply("a a").unwrap_err();
        assert!(twice.contains("2 such places"), "{twice}");
        assert!(change("", "x").apply("").unwrap_err().contains("is empty"));
    }
}
