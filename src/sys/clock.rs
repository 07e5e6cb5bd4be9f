//! Clocks: packets are stamped with CLOCK_REALTIME, which may be set; everything else here is timed by CLOCK_MONOTONIC.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// So many readings are taken, and the one that took the shortest counts.
const READINGS: usize = 8;
/// Two measurements that differ by no more than this, and by what they are uncertain by, are of the same relation.
const NOISE_NS: i64 = 1_000;
/// How far outside of the time in which it must lie a moment may come out, for inexact measurement.
const TOLERANCE: Duration = Duration::from_micros(100);

/// CLOCK_MONOTONIC now: the clock of [`Instant`] on Linux, as a duration since some moment before this machine started.
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CLOCK_MONOTONIC at `instant`, to some tens of nanoseconds.
pub fn monotonic_at(instant: Instant) -> Duration {
    let bracketed = || {
        let (before, now, after) = (Instant::now(), monotonic(), Instant::now());
        (after.duration_since(before), before, now)
    };
    let readings = (0..READINGS).map(|_| bracketed());
    let Some((width, before, now)) = readings.min_by_key(|(width, ..)| *width) else { return monotonic() };
    let middle = before + width / 2;
    match middle.checked_duration_since(instant) {
        Some(ago) => now.saturating_sub(ago),
        None => now + instant.duration_since(middle),
    }
}

/// Fails only for a clock that the kernel does not have: every Linux has these two.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// By how much CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, as it was measured once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Offset {
    nanoseconds: i64,
    uncertainty: i64,
}

impl Offset {
    fn measure() -> Self {
        let bracketed = || {
            let (before, real, after) = (monotonic(), read(ClockId::CLOCK_REALTIME), monotonic());
            let (before, real, after) = (nanoseconds(before), nanoseconds(real), nanoseconds(after));
            let half = (after - before) / 2;
            Self { nanoseconds: real - before - half, uncertainty: half }
        };
        let first = bracketed();
        (1..READINGS)
            .map(|_| bracketed())
            .fold(first, |best, one| if one.uncertainty < best.uncertainty { one } else { best })
    }

    fn to_monotonic(self, realtime: Duration) -> Duration {
        let nanoseconds = nanoseconds(realtime).saturating_sub(self.nanoseconds);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
    }
}

/// How the two clocks relate, before and after the last time that somebody set CLOCK_REALTIME.
///
/// Where the clock is only made to run faster or slower, as NTP does, both run so: the relation changes by steps alone.
#[derive(Clone, Copy, Debug)]
pub struct Relation {
    now: Offset,
    before: Option<Offset>,
}

impl Relation {
    /// Measures it.
    pub fn measure() -> Self {
        Self { now: Offset::measure(), before: None }
    }

    /// Measures it again: to be called before times are converted that came after the last call.
    pub fn update(&mut self) {
        self.note(Offset::measure());
    }

    fn note(&mut self, measured: Offset) {
        let difference = measured.nanoseconds.saturating_sub(self.now.nanoseconds).saturating_abs();
        if difference > NOISE_NS + measured.uncertainty + self.now.uncertainty {
            self.before = Some(self.now);
            self.now = measured;
        } else if measured.uncertainty < self.now.uncertainty {
            self.now = measured;
        }
    }

    /// CLOCK_MONOTONIC at a moment of CLOCK_REALTIME that is known to lie between two moments of CLOCK_MONOTONIC.
    ///
    /// Had the clock been set in between, the moment would fit one of the two relations only.
    pub fn to_monotonic(&self, realtime: Duration, between: (Duration, Duration)) -> Duration {
        let fits = |moment: &Duration| *moment + TOLERANCE >= between.0 && *moment <= between.1 + TOLERANCE;
        let by_now = self.now.to_monotonic(realtime);
        let by_before = self.before.map(|before| before.to_monotonic(realtime)).filter(fits);
        if fits(&by_now) { by_now } else { by_before.unwrap_or(by_now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn offset(seconds: i64) -> Offset {
        Offset { nanoseconds: seconds * SECOND, uncertainty: 50 }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn now_as_realtime_is_now_as_monotonic() {
        let relation = Relation::measure();
        let before = monotonic();
        let real = read(ClockId::CLOCK_REALTIME);
        let after = monotonic();
        let moment = relation.to_monotonic(real, (before, after));
        assert!(moment + TOLERANCE >= before && moment <= after + TOLERANCE, "{before:?} {moment:?} {after:?}");
    }

    #[test]
    fn an_instant_lies_between_the_readings_around_it() {
        let before = monotonic();
        let instant = Instant::now();
        let after = monotonic();
        let noise = Duration::from_micros(50);
        let at = monotonic_at(instant);
        assert!(at + noise >= before && at <= after + noise, "{before:?} {at:?} {after:?}");
    }

    #[test]
    fn when_the_clock_is_set_what_came_before_keeps_its_time_and_what_comes_after_gets_the_right_one() {
        // Forward by an hour, and back by an hour; one second before the step, and one after it, at second 100.
        for (was, set_to) in [(1_000, 4_600), (10_000, 6_400)] {
            let mut relation = Relation { now: offset(was), before: None };
            relation.note(offset(set_to));
            let between = (seconds(98), seconds(102));
            assert_eq!(
                relation.to_monotonic(seconds(99 + was.cast_unsigned()), between),
                seconds(99),
                "{was} to {set_to}"
            );
            assert_eq!(
                relation.to_monotonic(seconds(101 + set_to.cast_unsigned()), between),
                seconds(101),
                "{was} to {set_to}"
            );
        }
    }

    #[test]
    fn measuring_again_changes_nothing_but_for_a_step() {
        let mut relation = Relation { now: offset(5), before: None };
        relation.note(Offset { nanoseconds: 5 * SECOND + 700, uncertainty: 400 });
        assert_eq!((relation.now, relation.before), (offset(5), None));
        let better = Offset { nanoseconds: 5 * SECOND + 20, uncertainty: 20 };
        relation.note(better);
        assert_eq!((relation.now, relation.before), (better, None));
    }
}
