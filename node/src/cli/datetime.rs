//! Points in time as people write them: RFC 3339, or milliseconds since 1970.

use highwater_core::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// Reads `2026-11-22`, `2026-11-22T19:30`, `2026-11-22T19:30:05.250Z`, `2026-11-22 19:30:05+02:00`; without a zone it
/// is UTC. `@1763840000000` is milliseconds since 1970.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("{text:?} is no time; write 2026-11-22T19:30:00Z, or @ and milliseconds since 1970");
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().ok().filter(|ms| *ms >= 0).map(Timestamp).ok_or_else(wrong);
    }
    parse_rfc3339(text).map(Timestamp).ok_or_else(wrong)
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    if !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_since_1970(year, month, day) * DAY_MS;
    if rest.is_empty() {
        return Some(midnight);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    Some(midnight + time_ms(time)? - zone_ms(zone)?)
}

fn time_ms(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let seconds = parts.next().unwrap_or("00");
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = number(whole, 2)?;
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || !is_fraction {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

fn zone_ms(text: &str) -> Option<i64> {
    let (sign, rest) = match text.chars().next() {
        None | Some('Z' | 'z') => return (text.len() <= 1).then_some(0),
        Some('+') => (1, &text[1..]),
        _ => (-1, &text[1..]),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, by counting from the first of March of year 0: so the leap day is
/// a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// A timestamp in RFC 3339; −1 is `none`.
pub(super) fn format(timestamp: Timestamp) -> String {
    let ms = timestamp.0;
    // Years of more than four digits are no real times.
    if !(0..253_402_300_800_000).contains(&ms) {
        return if ms == -1 { "none".to_owned() } else { format!("@{ms}") };
    }
    let (days, ms) = (ms / DAY_MS, ms % DAY_MS);
    let mut year = 1970 + days / 366;
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_since_1970(year, month, 1) + 1;
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("@1763840000123", 1_763_840_000_123),
            ("2000-02-29T12:00Z", 951_825_600_000),
            ("2025-11-22T19:33:20.123Z", 1_763_840_000_123),
            ("2025-11-22 21:33:20.1239+02:00", 1_763_840_000_123),
            ("2025-11-22t14:03:20.123-05:30", 1_763_840_000_123),
        ] {
            assert_eq!(parse(text), Ok(Timestamp(ms)), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2025-13-01",
            "2025-02-29",
            "2025-11-22T25:00",
            "2025-11-22T",
            "@-1",
            "@",
            "2025-11-22T10:00:00.Z",
            "2025-11-22T10:00+2",
            "2025-11-2\u{e9}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for ms in
            [0, 951_825_600_000, 951_782_399_999, 1_763_840_000_123, 1_735_689_599_999, 4_102_444_800_000]
        {
            assert_eq!(parse(&format(Timestamp(ms))), Ok(Timestamp(ms)), "{}", format(Timestamp(ms)));
        }
        assert_eq!(format(Timestamp(1_763_840_000_123)), "2025-11-22T19:33:20.123Z");
        assert_eq!(format(Timestamp(-1)), "none");
    }
}
