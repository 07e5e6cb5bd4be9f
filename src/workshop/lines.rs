//! What comes from a descriptor, line by line.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys::readiness;

/// A longer line is handed on in pieces of this many bytes.
const LONGEST_LINE: usize = 4096;

/// Cuts what comes from a descriptor into lines.
pub struct Lines {
    source: File,
    begun: Vec<u8>,
    at_end: bool,
}

impl Lines {
    /// Nothing has come yet.
    pub fn new(source: OwnedFd) -> Self {
        Self { source: source.into(), begun: Vec::new(), at_end: false }
    }

    /// What to wait for; `None` when nothing more will come.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        (!self.at_end).then(|| self.source.as_fd())
    }

    /// Whether nothing more will come.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// The lines that are there, without their ends. A line that is not finished is kept until it is, or until the end.
    pub fn read_what_is_there(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut buffer = [0; 16 * 1024];
        if !self.at_end && readiness::wait(&[self.source.as_fd()], Duration::ZERO)?[0] {
            match self.source.read(&mut buffer) {
                // EIO is how a pseudo terminal says that nobody has its other side open any more.
                Ok(0) | Err(_) => self.at_end = true,
                Ok(length) => self.begun.extend(&buffer[..length]),
            }
        }
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let mut line: Vec<u8> = self.begun.drain(..=end).collect();
            line.pop();
            lines.extend(line.chunks(LONGEST_LINE).map(<[u8]>::to_vec));
            if line.is_empty() {
                lines.push(line);
            }
        }
        if self.begun.len() >= LONGEST_LINE || (self.at_end && !self.begun.is_empty()) {
            lines.push(std::mem::take(&mut self.begun));
        }
        Ok(lines)
    }
}
