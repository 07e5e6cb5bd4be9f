//! A client that writes and does not read: until the kernel takes no more from it.

use std::time::Duration;

use nix::errno::Errno;

use super::Client;
use super::case::{Case, SOON, Step};
use super::evidence;
use super::report::Kind;

/// For how long nothing is taken from a client that has to wait.
const STILL: Duration = Duration::from_millis(200);

/// How much is poured at once, where it is waited for in between.
const PIECE: usize = 16 * 1024;

/// What is poured: a block, again and again.
pub struct Pour {
    block: Vec<u8>,
    /// How many bytes the kernel has taken.
    pub written: usize,
}

/// How far it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poured {
    /// The kernel takes no more.
    Stuck,
    /// All of it.
    Through,
    /// The connection broke.
    Broken(Errno),
}

impl Pour {
    /// Of this block.
    pub fn of(block: Vec<u8>) -> Self {
        Self { block, written: 0 }
    }

    /// Writes what the kernel takes at this moment, but no more than `most` in all. True if that was something.
    pub fn go_on(&mut self, client: &mut Client, most: usize) -> Result<bool, Errno> {
        let before = self.written;
        while self.written < most {
            let start = self.written % self.block.len();
            let end = self.block.len().min(start + most - self.written);
            let wanted = end - start;
            let count = client.write(&self.block[start..end])?;
            self.written += count;
            if count < wanted {
                break;
            }
        }
        Ok(self.written > before)
    }
}

/// Where the bytes are that a client has written, and has not read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whereabouts {
    /// Not acknowledged yet by the server's kernel: the client's Send-Q.
    pub on_the_way: usize,
    /// Not read yet: the server's Recv-Q.
    pub unread: usize,
    /// Written back: the server's Send-Q and the client's Recv-Q. For a moment a byte may be in both.
    pub back: usize,
    /// In none of the kernel's queues: the server itself has them.
    pub kept: usize,
}

impl Case<'_> {
    /// Where those are that were poured by a client that has read all of what it wrote before that, and nothing since. `None`
    /// where there is no connection any more.
    pub fn whereabouts(&mut self, client: &Client, pour: &Pour) -> Step<Option<Whereabouts>> {
        let sockets = self.sockets()?;
        let own = evidence::end_of(&sockets, client.local, client.remote);
        let servers = evidence::end_of(&sockets, client.remote, client.local);
        let (Some(own), Some(servers)) = (own, servers) else { return Ok(None) };
        let (on_the_way, unread) = (own.send_queue as usize, servers.receive_queue as usize);
        let back = servers.send_queue as usize + own.receive_queue as usize;
        let kept = pour.written.saturating_sub(on_the_way + unread + back);
        Ok(Some(Whereabouts { on_the_way, unread, back, kept }))
    }

    /// Pours piece by piece, each when the server has read the one before and rests, until it keeps bytes which it could not
    /// write back and there is nothing more for it to read. Says how many it keeps; `None` where it does not come to that: it
    /// leaves bytes unread, or writes all of them.
    pub fn pour_until_kept(&mut self, client: &mut Client, pour: &mut Pour, most: usize) -> Step<Option<usize>> {
        while pour.written < most {
            let until = most.min(pour.written + PIECE);
            if pour.go_on(client, until).is_err() {
                return Ok(None);
            }
            let at_rest = self.until(STILL, |case| {
                let was_busy = case.is_busy();
                let found = case.whereabouts(client, pour)?;
                let is_read = |found: &Whereabouts| found.on_the_way + found.unread == 0 && found.back <= pour.written;
                Ok(found.filter(|found| is_read(found) && !was_busy && !case.is_busy()))
            })?;
            match at_rest {
                Some(found) if found.kept > 0 => return Ok(Some(found.kept)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Pours until no more is taken for a while, or `most` is through.
    pub fn pour(&mut self, client: &mut Client, pour: &mut Pour, most: usize) -> Step<Poured> {
        loop {
            let went_on = self.until(STILL, |_| match pour.go_on(client, most) {
                Ok(false) if pour.written < most => Ok(None),
                other => Ok(Some(other)),
            })?;
            match went_on {
                Some(Err(errno)) => return Ok(Poured::Broken(errno)),
                Some(Ok(_)) if pour.written >= most => return Ok(Poured::Through),
                Some(Ok(_)) => {}
                None => return Ok(Poured::Stuck),
            }
        }
    }

    /// The client reads, and writes on until `most` is through: all of it has to come back as it was; a step. The block has to
    /// be as long as that.
    pub fn collect(&mut self, client: &mut Client, pour: &mut Pour, most: usize, step: &str) -> Step {
        let mut got = 0;
        while got < most {
            self.until(SOON, |_| {
                let _ = pour.go_on(client, most);
                client.listen();
                Ok((!client.received.is_empty() || client.ended.is_some()).then_some(()))
            })?;
            let bytes = client.take(usize::MAX);
            let start = got % pour.block.len();
            let wanted = &pour.block[start..pour.block.len().min(start + bytes.len())];
            let expected = format!("{step}: {most} bytes, in order");
            if bytes.is_empty() {
                return Err(self.came_to_an_end(client, expected, got, most));
            }
            if !bytes.starts_with(wanted) || got + bytes.len() > most {
                let same = wanted.iter().zip(&bytes).take_while(|(wanted, got)| wanted == got).count();
                let seen = format!("from byte {} on it got others", got + same);
                return Err(self.fail(Kind::WrongBytes, expected, seen).because("some were left out, or came twice"));
            }
            got += bytes.len();
        }
        self.done(step);
        Ok(())
    }

    fn came_to_an_end(&mut self, client: &Client, expected: String, got: usize, most: usize) -> super::case::Stopped {
        use super::client::EndedBy;
        match client.ended {
            Some(EndedBy::Fin) => {
                let seen = format!("after {got} bytes the server closed (FIN)");
                self.fail(Kind::WrongBytes, expected, seen).because(format!("{} bytes were lost", most - got))
            }
            Some(EndedBy::Errno(errno)) => {
                let seen = format!("after {got} bytes the connection broke: {errno:?} ({})", errno.desc());
                self.fail(Kind::WrongState, expected, seen).into()
            }
            None => {
                let socket = self.servers_end(client).ok().flatten();
                let failure = self.fail(Kind::TimedOut, expected, format!("after {got} bytes no more came"));
                failure.because(evidence::why_not_served(socket.as_ref(), self.main()))
            }
        }
    }
}

/// So many bytes, no two words of which are the same: what is lost, or comes twice, is seen.
pub fn counted(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 4);
    for word in 0..=u32::MAX {
        if bytes.len() >= length {
            break;
        }
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_bytes_differ_from_word_to_word() {
        let bytes = counted(4 * 1000 + 2);
        assert_eq!(bytes.len(), 4002);
        let words: std::collections::BTreeSet<&[u8]> = bytes.chunks_exact(4).collect();
        assert_eq!(words.len(), 1000);
    }
}
