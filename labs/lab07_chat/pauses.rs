//! How long to wait before the next attempt: longer each time, so that a server that is in trouble is not knocked down by
//! all its clients at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses between attempts: half a second, then twice the one before, up to half a minute.
pub struct Pauses {
    most: u32,
    taken: u32,
}

impl Pauses {
    /// Before so many attempts in a row, and no more.
    pub fn new(most: u32) -> Self {
        Self { most, taken: 0 }
    }

    /// An attempt was a success: the next pause is short again.
    pub fn start_over(&mut self) {
        self.taken = 0;
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.taken >= self.most {
            return None;
        }
        let pause = FIRST.saturating_mul(1 << self.taken.min(16)).min(LONGEST);
        self.taken += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_one_before_until_the_longest() {
        let seconds: Vec<_> = Pauses::new(9).map(|pause| pause.as_secs_f32()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(Pauses { most: u32::MAX, taken: u32::MAX - 1 }.next(), Some(LONGEST));
    }

    #[test]
    fn after_a_success_the_pauses_begin_anew() {
        let mut pauses = Pauses::new(1);
        assert_eq!((pauses.next(), pauses.next()), (Some(FIRST), None));
        pauses.start_over();
        assert_eq!(pauses.next(), Some(FIRST));
    }
}
