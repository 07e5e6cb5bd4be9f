//! Where one message ends and the next begins.

/// Bytes go in as they arrive, frames come out: a frame is what stands before a newline.
///
/// TCP hands over bytes. One read(2) may bring half a message, or ten and a half; what is not whole yet is kept here until the
/// rest of it has come. What is kept is bounded: of a frame longer than the limit nothing is stored but that it is too long.
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the first frame that was not handed out yet begins.
    start: usize,
    /// How far we have looked for its newline, so that no byte is looked at twice.
    searched: usize,
    limit: usize,
    /// Whether the frame that is coming in has been found too long already: its rest is thrown away.
    skips: bool,
}

/// The frame is longer than what its reader is ready to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

impl Frames {
    /// No frame may be longer than `limit` bytes, its newline not counted.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, searched: 0, limit, skips: false }
    }

    /// Keeps bytes in the order in which they came. Take out every whole frame before you put in more.
    pub fn put(&mut self, bytes: &[u8]) {
        // What was handed out goes first. Most of the time that is all there is, and nothing has to be moved.
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, without its newline; `None` until more bytes are put in.
    ///
    /// A frame that is too long is reported once, as soon as that is certain. Its rest is thrown away as it comes in, and
    /// the frame after it is handed out as if nothing had happened.
    pub fn next_frame(&mut self) -> Option<Result<&[u8], TooLong>> {
        loop {
            let newline = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n');
            let Some(length) = newline.map(|position| self.searched + position - self.start) else {
                self.searched = self.bytes.len();
                return self.is_too_long().then_some(Err(TooLong));
            };
            let frame = self.start..self.start + length;
            self.start = frame.end + 1;
            self.searched = self.start;
            match (std::mem::take(&mut self.skips), length > self.limit) {
                // The end of one that was reported already.
                (true, _) => {}
                (false, true) => return Some(Err(TooLong)),
                (false, false) => return Some(Ok(&self.bytes[frame])),
            }
        }
    }

    /// Whether a frame has begun that has not ended: what the end of the connection would cut in two. One that was reported
    /// as too long does not count: there is nothing more to say of it.
    pub fn is_cut(&self) -> bool {
        !self.skips && self.start < self.bytes.len()
    }

    /// How many bytes are kept: those of a frame that has not ended yet.
    pub fn kept(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Looks at a frame without an end so far, and lets go of what need not be kept. True if it is to be reported now.
    fn is_too_long(&mut self) -> bool {
        let is_too_long = !self.skips && self.bytes.len() - self.start > self.limit;
        self.skips |= is_too_long;
        if self.skips || self.start == self.bytes.len() {
            // Nobody waits for these bytes: not even their memory is kept, as most connections are silent most of the time.
            *self = Self { skips: self.skips, ..Self::new(self.limit) };
        }
        is_too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(frames: &mut Frames) -> Vec<Result<String, TooLong>> {
        let mut taken = Vec::new();
        while let Some(frame) = frames.next_frame() {
            taken.push(frame.map(|frame| String::from_utf8_lossy(frame).into_owned()));
        }
        taken
    }

    #[test]
    fn a_frame_may_come_in_byte_by_byte() {
        let mut frames = Frames::new(10);
        for byte in b"hello" {
            frames.put(&[*byte]);
            assert_eq!(frames.next_frame(), None);
            assert!(frames.is_cut());
        }
        frames.put(b"\n");
        assert_eq!(taken(&mut frames), [Ok("hello".into())]);
        assert!(!frames.is_cut());
    }

    #[test]
    fn many_frames_may_come_in_at_once_and_the_last_one_cut() {
        let mut frames = Frames::new(10);
        frames.put(b"a\n\nbc\nd");
        assert_eq!(taken(&mut frames), [Ok("a".into()), Ok(String::new()), Ok("bc".into())]);
        frames.put(b"ef\ng");
        assert_eq!(taken(&mut frames), [Ok("def".into())]);
        assert!(frames.is_cut());
    }

    #[test]
    fn a_frame_that_is_too_long_is_reported_once_and_the_next_one_is_whole() {
        let mut frames = Frames::new(3);
        frames.put(b"abc\nabcd");
        assert_eq!(taken(&mut frames), [Ok("abc".into()), Err(TooLong)]);
        frames.put(b"efgh");
        assert_eq!(taken(&mut frames), []);
        frames.put(b"ij\nklm\nnopq\nr\n");
        assert_eq!(taken(&mut frames), [Ok("klm".into()), Err(TooLong), Ok("r".into())]);
    }

    #[test]
    fn of_a_frame_that_is_too_long_nothing_is_kept() {
        let mut frames = Frames::new(1000);
        for _ in 0..1000 {
            frames.put(&[b'x'; 1024]);
            frames.next_frame();
            assert!(frames.bytes.capacity() <= 2 * 1024, "{}", frames.bytes.capacity());
        }
    }
}
