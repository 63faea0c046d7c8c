//! Keyset pages in SQL: a condition that an index can answer, whichever way the reader travels.

use convene_application::kernel::page::PageQuery;
use jiff::Timestamp;

use super::sql::Sql;

/// The order of a list by a time, ties broken by an id.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// The parts of a statement that reads one page.
pub(crate) struct Slice {
    /// For WHERE: beyond the edge, in the direction of travel.
    pub(crate) condition: String,
    /// In place of ORDER BY and LIMIT.
    pub(crate) order: String,
}

/// Cuts a page out of a list by these two columns. The statement's parameters from `$first` on are those that
/// [`Sql::bind_page`] adds. Without an edge the page starts beyond every row, so there is no OR that would keep a generic
/// plan from using the index.
pub(crate) fn slice(columns: [&str; 2], order: Order, query: PageQuery, first: usize) -> Slice {
    let [sort, id] = columns;
    let ascends = matches!(order, Order::OldestFirst) != query.backwards();
    let (beyond, direction, time, uuid) = if ascends {
        (">", "ASC", "-infinity", "00000000-0000-0000-0000-000000000000")
    } else {
        ("<", "DESC", "infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")
    };
    let (second, third) = (first + 1, first + 2);
    Slice {
        condition: format!(
            "({sort}, {id}) {beyond} (coalesce(${first}, timestamptz '{time}'), coalesce(${second}, uuid '{uuid}'))"
        ),
        order: format!("ORDER BY {sort} {direction}, {id} {direction} LIMIT ${third}"),
    }
}

impl Sql {
    /// Adds the edge of a page, its time and its id, and how many rows to fetch.
    pub(crate) fn bind_page(self, query: PageQuery) -> Self {
        let edge = query.edge();
        self.bind(edge.and_then(|edge| Timestamp::from_microsecond(edge.sort).ok()))
            .bind(edge.map(|edge| edge.id))
            .bind(query.fetch())
    }
}
