//! How long a scene waits: until nothing changes any more, and for what is to become so. On a busy machine a clock alone says
//! little of that: the time may have passed without anybody having had a turn, neither the programs nor whoever looks at them.

use std::time::{Duration, Instant};

/// For how long nothing must have changed until what the kernel shows counts as settled. Longer than the 40 ms by which Linux may
/// delay an ACK.
const STILL: Duration = Duration::from_millis(100);
/// And how often one must have looked meanwhile.
const LOOKS: u32 = 5;
/// A program that never rests is not waited for any longer,
const RESTLESS: Duration = Duration::from_secs(2);
/// if one has looked as often as this.
const RESTLESS_LOOKS: u32 = 40;
/// How many times as long as its limit a step may take while somebody is at work.
const MERCY: u32 = 5;

/// Whether it has become calm, from looks at it one after another.
#[derive(Debug)]
pub struct Calm {
    begun: Instant,
    looks: u32,
    still_since: Instant,
    looks_since: u32,
}

impl Calm {
    /// The first look is to come.
    pub fn from(now: Instant) -> Self {
        Self { begun: now, looks: 0, still_since: now, looks_since: 0 }
    }

    /// Notes a look, and whether all was then as it had been before.
    pub fn looked(&mut self, now: Instant, is_unchanged: bool) {
        self.looks += 1;
        if is_unchanged {
            self.looks_since += 1;
        } else {
            self.still_since = now;
            self.looks_since = 0;
        }
    }

    /// Whether it is calm, or never will be.
    pub fn is_over(&self, now: Instant) -> bool {
        let is_calm = self.looks_since >= LOOKS && now - self.still_since >= STILL;
        is_calm || self.looks >= RESTLESS_LOOKS && now - self.begun >= RESTLESS
    }
}

/// Whether a step has taken too long. While somebody is at work a busy machine gets more time than the limit, but not for ever.
pub fn is_over(took: Duration, limit: Duration, is_somebody_at_work: impl FnOnce() -> bool) -> bool {
    took >= limit && (took >= limit * MERCY || !is_somebody_at_work())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(25);

    #[test]
    fn time_that_has_passed_without_a_look_makes_no_calm() {
        let mut now = Instant::now();
        let mut calm = Calm::from(now);
        now += RESTLESS * 100;
        assert!(!calm.is_over(now), "nobody has looked yet");
        calm.looked(now, true);
        assert!(!calm.is_over(now));
        calm.looked(now, false);
        now += RESTLESS * 100;
        for _ in 1..LOOKS {
            calm.looked(now, true);
            assert!(!calm.is_over(now));
        }
        calm.looked(now, true);
        assert!(calm.is_over(now));
    }

    #[test]
    fn looks_in_quick_succession_make_no_calm_either() {
        let mut now = Instant::now();
        let mut calm = Calm::from(now);
        for _ in 0..LOOKS * 10 {
            calm.looked(now, true);
        }
        assert!(!calm.is_over(now));
        now += STILL;
        assert!(calm.is_over(now));
        calm.looked(now, false);
        assert!(!calm.is_over(now), "now it has changed");
    }

    #[test]
    fn who_never_rests_is_looked_at_often_enough_and_then_no_longer() {
        let mut now = Instant::now();
        let mut calm = Calm::from(now);
        for _ in 1..RESTLESS_LOOKS {
            now += RESTLESS;
            calm.looked(now, false);
            assert!(!calm.is_over(now));
        }
        calm.looked(now, false);
        assert!(calm.is_over(now));
        let mut quick = Calm::from(now);
        for _ in 0..RESTLESS_LOOKS * 2 {
            quick.looked(now, false);
        }
        assert!(!quick.is_over(now + RESTLESS - MOMENT));
        assert!(quick.is_over(now + RESTLESS));
    }

    #[test]
    fn a_step_takes_no_longer_than_its_limit_but_while_somebody_is_at_work_and_then_not_for_ever() {
        let limit = Duration::from_secs(5);
        let after = |took| (is_over(took, limit, || true), is_over(took, limit, || false));
        assert_eq!(after(limit - MOMENT), (false, false));
        assert_eq!(after(limit), (false, true));
        assert_eq!(after(limit * MERCY - MOMENT), (false, true));
        assert_eq!(after(limit * MERCY), (true, true));
    }
}
