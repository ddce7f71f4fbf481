//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate with the smallest edit distance to `name`, if it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is another word. Long names are cut, the cost is quadratic.
    let name: Vec<char> = name.chars().take(NAME_CHARS_MAX).map(normal).collect();
    let limit = (name.len() / 3).clamp(1, 6);
    candidates
        .map(|candidate| (distance(&name, candidate, limit), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

const NAME_CHARS_MAX: usize = 80;

/// People write `_` and `-` for `.`, and capitals; neither counts as a difference.
fn normal(c: char) -> char {
    match c {
        '_' | '-' => '.',
        c => c.to_ascii_lowercase(),
    }
}

/// Levenshtein distance, or something above `limit` if it is above.
fn distance(name: &[char], candidate: &str, limit: usize) -> usize {
    if candidate.chars().count().abs_diff(name.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (i, c) in candidate.chars().map(normal).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, n) in name.iter().enumerate() {
            let replaced = diagonal + usize::from(*n != c);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["retention.ms", "retention.bytes", "segment.bytes", "cleanup.policy"];
        let cases = [
            ("retention.m", Some("retention.ms")),
            ("retention_ms", Some("retention.ms")),
            ("Retention.Bytes", Some("retention.bytes")),
            ("cleanup.polcy", Some("cleanup.policy")),
            ("segments.byte", Some("segment.bytes")),
            ("no.such.setting", None),
            ("", None),
        ];
        for (name, expect) in cases {
            assert_eq!(nearest(name, names.into_iter()), expect, "{name}");
        }
    }

    #[test]
    fn a_hostile_name_costs_little() {
        assert_eq!(nearest(&"x".repeat(1 << 20), ["retention.ms"].into_iter()), None);
    }
}
