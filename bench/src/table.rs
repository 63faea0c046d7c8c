//! The table that a run prints.

/// One line of the table.
pub(crate) struct Row {
    what: String,
    ours: String,
    base: String,
    ratio: String,
    goal: &'static str,
    how: String,
}

impl Row {
    /// A rate beside that of a base line.
    pub(crate) fn ratio(what: &str, ours: f64, base: f64, goal: &'static str, how: &str) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.0} /s"),
            base: format!("{base:.0} /s"),
            ratio: format!("{:.2}", ours / base),
            goal,
            how: how.to_owned(),
        }
    }

    /// A number that stands for itself.
    pub(crate) fn number(what: &str, ours: String, goal: &'static str, how: &str) -> Self {
        let (what, how) = (what.to_owned(), how.to_owned());
        Self { what, ours, base: String::new(), ratio: String::new(), goal, how }
    }

    /// Two times, and how much longer the first is.
    pub(crate) fn times(what: &str, ours: f64, base: f64, goal: &'static str, how: &str) -> Self {
        Self {
            ours: format!("{:.0} µs", ours * 1e6),
            base: format!("{:.0} µs", base * 1e6),
            ..Self::ratio(what, ours, base, goal, how)
        }
    }

    /// A part that could not be measured.
    pub(crate) fn failed(what: &str, why: &str) -> Self {
        let first_line = why.lines().next().unwrap_or_default();
        Self::number(what, "failed".to_owned(), "", first_line)
    }
}

/// The rows in Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let head = "| what | ours | base line | ratio | goal | how |\n|---|---:|---:|---:|---:|---|";
    let lines = rows.iter().map(|Row { what, ours, base, ratio, goal, how }| {
        format!("| {what} | {ours} | {base} | {ratio} | {goal} | {how} |")
    });
    std::iter::once(head.to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}
