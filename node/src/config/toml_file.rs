//! TOML: the same names as in `.properties`, either dotted or as tables.

use toml::Value;

/// Reads all entries: names with dots, values as Kafka writes them.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut entries = Vec::new();
    flatten("", &Value::Table(table), &mut entries)?;
    Ok(entries)
}

fn flatten(name: &str, value: &Value, entries: &mut Vec<(String, String)>) -> Result<(), String> {
    let Value::Table(table) = value else {
        entries.push((name.to_owned(), text(name, value)?));
        return Ok(());
    };
    for (key, value) in table {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        flatten(&name, value, entries)?;
    }
    Ok(())
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(value) => Ok(value.to_string()),
        Value::Array(values) => {
            let words: Result<Vec<_>, _> = values.iter().map(|value| text(name, value)).collect();
            Ok(words?.join(","))
        }
        Value::Table(_) | Value::Datetime(_) => {
            Err(format!("{name} wants text, a number, a boolean or a list"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_dots_are_the_same() {
        let forms = [
            "log.retention.ms = 5\nlisteners = ['A://:1', 'B://:2']",
            "listeners = 'A://:1,B://:2'\n[log.retention]\nms = 5",
            "'log.retention.ms' = '5'\nlisteners = 'A://:1,B://:2'",
        ];
        for form in forms {
            let mut entries = parse(form).expect("legal");
            entries.sort();
            let expect = [("listeners", "A://:1,B://:2"), ("log.retention.ms", "5")];
            assert_eq!(entries, expect.map(|(k, v)| (k.to_owned(), v.to_owned())), "{form}");
        }
        assert!(parse("a = ").is_err());
        assert!(parse("a = 1979-05-27").is_err());
        assert!(parse("a = [{b = 1}]").is_err());
    }
}
