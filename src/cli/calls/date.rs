//! Days and times of UTC, from and to milliseconds of Unix time, in the Gregorian calendar.

const DAY_MS: i64 = 86_400_000;

/// Reads `2026-11-23` or `2026-11-23T09:30`, with or without seconds and Z.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    read(text).ok_or_else(|| "use a day or time of UTC: 2026-11-23 or 2026-11-23T09:30".to_owned())
}

fn read(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('Z');
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, by: char| {
        text.split(by).map(|part| part.parse::<i64>().ok()).collect::<Option<Vec<_>>>()
    };
    let [year, month, date] = numbers(day, '-')?[..] else { return None };
    let time = numbers(time, ':')?;
    let (hour, minute) = (*time.first()?, *time.get(1)?);
    let second = time.get(2).copied().unwrap_or(0);
    let days = days(year, month, date);
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    let is_day = (1970..=9999).contains(&year) && civil(days) == (year, month, date);
    (is_time && is_day && time.len() <= 3)
        .then(|| days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000)
}

/// `2026-11-23 09:30:05`.
pub(super) fn show(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let second = ms.rem_euclid(DAY_MS) / 1000;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Days since 1970-01-01. Both after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_come_and_go() {
        assert_eq!(parse("1970-01-01"), Ok(0));
        assert_eq!(parse("2026-11-23"), Ok(1_795_392_000_000));
        assert_eq!(show(parse("2024-02-29T23:59:58Z").unwrap()), "2024-02-29 23:59:58");
        assert_eq!(show(parse("2000-12-31 06:07").unwrap()), "2000-12-31 06:07:00");
        for wrong in ["", "yesterday", "2026-02-29", "2026-13-01", "2026-11-23T24:00", "26-1-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for day in 0..40_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }
}
