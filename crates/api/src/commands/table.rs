//! Rows for people: aligned columns.

use std::time::Duration;

use super::say;
use crate::error::StartError;

/// Prints rows under their headings; `empty` where there are none.
pub(super) fn print<const N: usize>(
    headings: [&str; N],
    rows: &[[String; N]],
    empty: &str,
) -> Result<(), StartError> {
    if rows.is_empty() {
        return say(empty);
    }
    for line in lines(headings, rows) {
        say(line)?;
    }
    Ok(())
}

fn lines<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    std::iter::once(line(headings))
        .chain(rows.iter().map(|row| line(row.each_ref().map(String::as_str))))
        .collect()
}

/// What may be missing.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A length of time to a tenth of a second.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1".to_owned(), "webhook.drain".to_owned()], ["12".to_owned(), String::new()]];
        assert_eq!(lines(["id", "kind"], &rows), ["id  kind", "1   webhook.drain", "12"]);
    }
}
