//! Kafka's `.properties` format, which is Java's: one setting a line, escapes, continuation lines.

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// From 1.
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// Reads all entries in their order, with their line numbers; a later one of the same name is meant to win.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, String, String)>, SyntaxError> {
    let mut entries = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((next, _)) => logical.push_str(next.trim_start_matches(BLANK)),
                None => break,
            }
        }
        let (name, value) = split(&logical);
        let unescape = |text| unescape(text).map_err(|message| SyntaxError { line: number, message });
        entries.push((number, unescape(name)?, unescape(value)?));
    }
    Ok(entries)
}

const BLANK: [char; 3] = [' ', '\t', '\x0c'];

/// An odd number of backslashes at the end.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// The name ends at the first unescaped `=`, `:` or blank; blanks around the separator belong to neither.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANK.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, rest.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    // UTF-16 halves, as Java writes characters beyond the first plane
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { chars.next() } else { None };
        if escape == Some('u') {
            let digits: String = chars.by_ref().take(4).collect();
            let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
            units.push(unit.ok_or("\\u wants four hexadecimal digits")?);
            continue;
        }
        flush(&mut units, &mut plain)?;
        match (c, escape) {
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('r')) => plain.push('\r'),
            ('\\', Some('f')) => plain.push('\x0c'),
            ('\\', Some(other)) => plain.push(other),
            ('\\', None) => {}
            (c, _) => plain.push(c),
        }
    }
    flush(&mut units, &mut plain)?;
    Ok(plain)
}

fn flush(units: &mut Vec<u16>, plain: &mut String) -> Result<(), &'static str> {
    for c in char::decode_utf16(units.drain(..)) {
        plain.push(c.map_err(|_| "\\u names half a character")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).expect("legal").into_iter().map(|(_, name, value)| (name, value)).collect()
    }

    #[test]
    fn javas_rules() {
        let cases = [
            ("a=b", ("a", "b")),
            ("  a = b ", ("a", "b ")),
            ("a:b", ("a", "b")),
            ("a b=c", ("a", "b=c")),
            ("a", ("a", "")),
            ("a=", ("a", "")),
            ("a\\ b\\==c", ("a b=", "c")),
            ("a=b\\\n   c", ("a", "bc")),
            ("a=b\\\\", ("a", "b\\")),
            ("a=b\\", ("a", "b")),
            ("a=\\t\\u00e9\\q", ("a", "\téq")),
            ("a=\\ud83d\\ude00!", ("a", "😀!")),
            ("listeners=PLAINTEXT://:9092", ("listeners", "PLAINTEXT://:9092")),
            ("a=b#c", ("a", "b#c")),
            ("a=b\r\n", ("a", "b")),
        ];
        for (text, (name, value)) in cases {
            assert_eq!(pairs(text), [(name.to_owned(), value.to_owned())], "{text:?}");
        }
        assert_eq!(pairs("# a=b\n! c=d\n\n   \n"), []);
        assert_eq!(pairs("# a\\\nb=c"), [("b".to_owned(), "c".to_owned())], "comments do not continue");
    }

    #[test]
    fn errors_name_their_line() {
        for bad in ["a=b\n\nc=\\u12", "a=b\n\nc=\\uzzzz", "a=b\n\nc=\\ud83d"] {
            assert_eq!(parse(bad).map_err(|error| error.line), Err(3), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ \\\\=:#!a-c\\nu0-9\\t]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_was_escaped_comes_back(name in "[a-z=: .#]{1,10}", value in "\\PC{0,20}") {
            let escape = |text: &str| -> String {
                let escaped = |c: char| !c.is_ascii_alphanumeric() && c.is_ascii();
                text.chars().flat_map(|c| escaped(c).then_some('\\').into_iter().chain([c])).collect()
            };
            let text = format!("{}={}", escape(&name), escape(&value));
            prop_assert_eq!(pairs(&text), [(name, value)]);
        }
    }
}
