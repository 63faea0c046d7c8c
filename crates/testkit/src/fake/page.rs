//! Keyset pages of lists in memory.

use std::cmp::Ordering;

use convene_application::kernel::page::{Page, PageKey, PageQuery, Travel};

/// Which end of time a list begins at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Cuts a page out of all items of a list.
pub(super) fn page<T>(
    mut items: Vec<T>,
    order: Order,
    query: PageQuery,
    key: impl Fn(&T) -> PageKey,
) -> Page<T> {
    let compare = |a: PageKey, b: PageKey| {
        let by_age = (a.sort, a.id).cmp(&(b.sort, b.id));
        match order {
            Order::OldestFirst => by_age,
            Order::NewestFirst => by_age.reverse(),
        }
    };
    items.sort_by(|a, b| compare(key(a), key(b)));
    match query.travel {
        Travel::First => {}
        Travel::After(edge) => items.retain(|item| compare(key(item), edge) == Ordering::Greater),
        Travel::Before(edge) => {
            items.retain(|item| compare(key(item), edge) == Ordering::Less);
            items.reverse();
        }
    }
    items.truncate(usize::try_from(query.fetch()).unwrap_or(usize::MAX));
    query.page(items, key)
}
