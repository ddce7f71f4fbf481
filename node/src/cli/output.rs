//! What commands print: tables for people, JSON for machines, progress on a terminal.

use super::CliError;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Which of the two a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    is_json: bool,
}

impl Output {
    /// JSON, or text for people.
    pub fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Whether machines read it.
    pub fn is_json(self) -> bool {
        self.is_json
    }

    /// Prints one document, or the text that `human` makes of it.
    pub(super) fn print<T: Serialize>(
        self,
        document: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        if self.is_json {
            json_line(&mut out, document)?;
        } else {
            let text = human(document);
            out.write_all(text.as_bytes())?;
            if !text.is_empty() && !text.ends_with('\n') {
                out.write_all(b"\n")?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Writes one JSON document on one line.
pub(super) fn json_line(out: &mut impl Write, document: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer(&mut *out, document).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// A table without lines, whose columns are as wide as they need.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Puts numbers to the right.
pub(super) fn align_right(table: &mut Table, columns: &[usize]) {
    for &index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The table's text, without blanks at the ends of lines.
pub(super) fn text(table: &Table) -> String {
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// A bar on standard error if that is a terminal, else nothing.
pub(super) fn progress(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let is_shown = io::stderr().is_terminal();
    bar.set_draw_target(if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.expect("templates are constants that tests draw"))
}

/// Tells on standard error what is no result.
pub(super) fn note(text: impl std::fmt::Display) {
    // Nobody reads it: no reason to stop.
    let _ = writeln!(io::stderr(), "highwater: {text}");
}

/// `1 record`, `2 records`.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (n, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(count(1, "record", "records"), "1 record");
        assert_eq!(count(0, "record", "records"), "0 records");
    }

    #[test]
    fn tables_end_without_blanks() {
        let mut table = table(["NAME", "N"]);
        table.add_row(["orders", "3"]);
        assert_eq!(text(&table), "NAME    N\norders  3\n");
    }
}
