//! What a change changed, field by field, as events and audit entries tell it.

use convene_contracts::{Change, Changes};
use serde::Serialize;

/// Compares a resource before and after, field by field, by the names and in the form that clients know.
#[derive(Debug)]
pub struct Diff<'a, R> {
    old: &'a R,
    new: &'a R,
    changes: Changes,
}

impl<'a, R> Diff<'a, R> {
    /// Nothing compared yet.
    #[must_use]
    pub fn between(old: &'a R, new: &'a R) -> Self {
        Self { old, new, changes: Changes::new() }
    }

    /// Compares one field.
    ///
    /// # Panics
    /// Never for fields that are plain data.
    #[must_use]
    pub fn field<T: PartialEq + Serialize>(
        mut self,
        name: &str,
        value: impl Fn(&'a R) -> T,
    ) -> Self {
        let (old, new) = (value(self.old), value(self.new));
        if old != new {
            let json =
                |value| serde_json::to_value(value).expect("fields of resources are plain data");
            self.changes.insert(name.to_owned(), Change { old: json(&old), new: json(&new) });
        }
        self
    }

    /// What differs.
    #[must_use]
    pub fn changes(self) -> Changes {
        self.changes
    }
}

/// Changes as an audit entry holds them.
///
/// # Panics
/// Never: changes are plain data.
#[must_use]
pub fn audited(changes: &Changes) -> serde_json::Value {
    serde_json::to_value(changes).expect("changes are plain data")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let (old, new) = (("Rust Berlin", None), ("Rust Berlin", Some("We meet on Saturdays.")));
        let changes = Diff::between(&old, &new)
            .field("name", |community| community.0)
            .field("description", |community| community.1)
            .changes();
        assert_eq!(
            audited(&changes),
            json!({ "description": { "old": null, "new": "We meet on Saturdays." } })
        );
    }
}
