//! What waits to be written to one connection.

/// Whole lines go in, and bytes go out, as many at a time as the socket takes.
///
/// The kernel may take a line and a half: what is left begins in the middle of a line, and is the first to go out next time.
/// A client that does not read would have us keep everything: what waits is bounded, in bytes and in lines.
pub struct Outbox {
    bytes: Vec<u8>,
    /// Where the first byte that was not sent yet stands.
    start: usize,
    /// How many lines end in what waits.
    lines: usize,
    /// Whether the first line that waits has been sent in part.
    begun: bool,
    limits: Limits,
}

/// How much may wait before its reader counts as too slow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In bytes.
    pub bytes: usize,
    /// In lines.
    pub messages: usize,
}

/// As much waits as may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Outbox {
    /// Nothing waits, and no memory is taken.
    pub const fn new(limits: Limits) -> Self {
        Self { bytes: Vec::new(), start: 0, lines: 0, begun: false, limits }
    }

    /// Adds a line, its newline included, behind all that waits.
    ///
    /// It is taken as long as less than the limits waits before it, so that no line is ever too long for a client that reads.
    pub fn push(&mut self, line: &[u8]) -> Result<(), Full> {
        if self.unsent().len() >= self.limits.bytes || self.lines >= self.limits.messages {
            return Err(Full);
        }
        self.append(line);
        Ok(())
    }

    fn append(&mut self, line: &[u8]) {
        debug_assert!(line.ends_with(b"\n") && newlines(line) == 1, "not one line");
        // What was sent makes room as soon as it is the larger part: no byte is moved more than once for each that was sent.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(line);
        self.lines += 1;
    }

    /// All that waits, in order: what to hand to write(2).
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// How many lines wait, one that was sent in part included.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Forgets the first `count` bytes of [`unsent`](Self::unsent): the kernel has them now.
    pub fn sent(&mut self, count: usize) {
        let sent = &self.bytes[self.start..self.start + count];
        let Some(&last) = sent.last() else { return };
        self.begun = last != b'\n';
        self.start += count;
        if !self.is_empty() {
            // A short write.
            self.lines -= newlines(sent);
            return;
        }
        self.lines = 0;
        self.start = 0;
        self.bytes.clear();
    }

    /// Gives back the memory that nothing waits in. A busy connection needs it again at once: not to be done after each write.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Forgets every line that was not begun, and keeps the rest of the one that was, so that a line that follows is one of
    /// its own. Returns how many lines are lost.
    pub fn drop_to_frame_boundary(&mut self) -> usize {
        let kept = match self.unsent().iter().position(|&byte| byte == b'\n') {
            Some(newline) if self.begun => newline + 1,
            _ => 0,
        };
        let lost = newlines(&self.unsent()[kept..]);
        self.bytes.truncate(self.start + kept);
        self.lines -= lost;
        lost
    }

    /// The last line of all, in place of every line that was not begun. There is always room for it.
    pub fn end_with(&mut self, last: &[u8]) -> usize {
        let lost = self.drop_to_frame_boundary();
        self.append(last);
        lost
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(bytes: usize, messages: usize) -> Outbox {
        Outbox::new(Limits { bytes, messages })
    }

    #[test]
    fn a_short_write_may_leave_off_in_the_middle_of_a_line() {
        let mut outbox = outbox(100, 10);
        outbox.push(b"abc\n").unwrap();
        outbox.push(b"de\n").unwrap();
        outbox.sent(2);
        assert_eq!((outbox.unsent(), outbox.lines()), (&b"c\nde\n"[..], 2));
        outbox.sent(2);
        assert_eq!((outbox.unsent(), outbox.lines()), (&b"de\n"[..], 1));
        outbox.sent(3);
        assert!(outbox.is_empty());
        assert_eq!(outbox.lines(), 0);
    }

    #[test]
    fn a_line_that_was_begun_is_kept_when_the_rest_is_dropped() {
        let mut outbox = outbox(100, 10);
        for line in [b"abc\n", b"def\n", b"ghi\n"] {
            outbox.push(line).unwrap();
        }
        outbox.sent(1);
        assert_eq!(outbox.end_with(b"bye\n"), 2);
        assert_eq!((outbox.unsent(), outbox.lines()), (&b"bc\nbye\n"[..], 2));
    }

    #[test]
    fn a_line_that_was_not_begun_is_dropped_like_all_the_others() {
        let mut outbox = outbox(100, 10);
        for line in [b"abc\n", b"def\n", b"ghi\n"] {
            outbox.push(line).unwrap();
        }
        outbox.sent(4);
        assert_eq!(outbox.end_with(b"bye\n"), 2);
        assert_eq!((outbox.unsent(), outbox.lines()), (&b"bye\n"[..], 1));
    }

    #[test]
    fn a_reader_that_is_behind_by_the_limit_gets_no_more_and_loses_nothing_that_was_taken() {
        let mut by_bytes = outbox(5, 10);
        assert_eq!([by_bytes.push(b"abc\n"), by_bytes.push(b"de\n")], [Ok(()), Ok(())]);
        assert_eq!(by_bytes.push(b"\n"), Err(Full));
        assert_eq!(by_bytes.unsent(), b"abc\nde\n");
        by_bytes.sent(3);
        assert_eq!(by_bytes.push(b"f\n"), Ok(()));

        let mut by_lines = outbox(100, 2);
        assert_eq!([by_lines.push(b"\n"), by_lines.push(b"\n"), by_lines.push(b"\n")], [Ok(()), Ok(()), Err(Full)]);
        by_lines.sent(1);
        assert_eq!(by_lines.push(b"\n"), Ok(()));
    }

    #[test]
    fn no_line_is_too_long_for_a_reader_that_keeps_up_and_the_last_one_always_fits() {
        let mut outbox = outbox(4, 1);
        outbox.push(b"a long answer\n").unwrap();
        outbox.sent(1);
        assert_eq!(outbox.push(b"b\n"), Err(Full));
        outbox.end_with(b"bye\n");
        assert_eq!(outbox.unsent(), b" long answer\nbye\n");
    }

    #[test]
    fn memory_is_given_back_when_nothing_waits_in_it() {
        let mut outbox = outbox(usize::MAX, usize::MAX);
        let line = [vec![b'x'; 1000], b"\n".to_vec()].concat();
        outbox.push(&line).unwrap();
        outbox.sent(line.len() - 1);
        outbox.release();
        assert_eq!(outbox.unsent(), b"\n");
        outbox.sent(1);
        outbox.release();
        assert_eq!(outbox.bytes.capacity(), 0);
    }

    #[test]
    fn a_reader_that_is_always_a_little_behind_does_not_make_the_memory_grow() {
        let mut outbox = outbox(100, 10);
        outbox.push(b"0123456789\n").unwrap();
        for _ in 0..10_000 {
            outbox.push(b"0123456789\n").unwrap();
            outbox.sent(11);
            assert!(outbox.bytes.capacity() < 200, "{}", outbox.bytes.capacity());
        }
    }
}
