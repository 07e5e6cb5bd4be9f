//! Moments as text, in the form of RFC 3339 and always in UTC: `2026-03-21T14:05:09.123456789Z`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serializer};

const DAY: u64 = 24 * 60 * 60;
const EPOCH: u64 = 1970;
/// The last year that has four digits.
const LAST_YEAR: u64 = 9999;

/// The moment as text, with nine decimals; `None` before 1970 and after 9999.
pub fn to_text(moment: SystemTime) -> Option<String> {
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    let (mut days, of_day) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let mut year = EPOCH;
    while days >= length_of_year(year) {
        days -= length_of_year(year);
        year += 1;
        if year > LAST_YEAR {
            return None;
        }
    }
    let mut month = 1;
    while days >= length_of_month(year, month) {
        days -= length_of_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let nanos = since.subsec_nanos();
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z", days + 1))
}

/// Reads it back; there may be fewer decimals, or none.
pub fn from_text(text: &str) -> Result<SystemTime, String> {
    read(text).ok_or_else(|| "a moment like 2026-03-21T14:05:09.123456789Z was expected".into())
}

fn read(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, decimals) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (EPOCH..=LAST_YEAR).contains(&year)
        && (1..=12).contains(&month)
        && (1..=length_of_month(year, month)).contains(&day)
        && (hour < 24 && minute < 60 && second < 60);
    if !in_range || decimals.is_empty() || decimals.len() > 9 {
        return None;
    }
    let [nanos] = numbers(&format!("{decimals:0<9}"), '.', [9])?;
    let days: u64 = (EPOCH..year).map(length_of_year).sum::<u64>()
        + (1..month).map(|month| length_of_month(year, month)).sum::<u64>()
        + (day - 1);
    let seconds = days * DAY + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::new(seconds, u32::try_from(nanos).ok()?))
}

/// Numbers with so many digits each, with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn length_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn length_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(super) fn serialize<S: Serializer>(moment: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = to_text(*moment).ok_or_else(|| serde::ser::Error::custom("the clock is before 1970 or after 9999"))?;
    serializer.serialize_str(&text)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    from_text(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_date_writes_them() {
        // date -u -d @951782399 +%FT%TZ, and so on.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (951_868_800, "2000-03-01T00:00:00.000000007Z"),
            (1_774_101_909, "2026-03-21T14:05:09.000000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000007Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::new(seconds, 7);
            assert_eq!(to_text(moment).as_deref(), Some(text));
            assert_eq!(from_text(text), Ok(moment));
        }
        assert_eq!(to_text(UNIX_EPOCH + Duration::from_secs(253_402_300_800)), None);
        assert_eq!(to_text(UNIX_EPOCH - Duration::from_nanos(1)), None);
    }

    #[test]
    fn decimals_may_be_fewer_or_left_out() {
        for (decimals, nanos) in [("", 0), (".5", 500_000_000), (".000001", 1000)] {
            let read = from_text(&format!("1970-01-01T00:00:00{decimals}Z"));
            assert_eq!(read, Ok(UNIX_EPOCH + Duration::from_nanos(nanos)));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "now",
            "2026-03-21",
            "2026-03-21T14:05:09",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00.+1Z",
            "2026-01-01T00:00:00+02:00",
            "2026-01-01-01T00:00:00Z",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }
}
