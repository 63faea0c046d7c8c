//! Keyset pages: a slice of a list between two of its items, stable while the list grows.

use uuid::Uuid;

/// The place of an item in its list: the sort key, ties broken by the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageKey {
    /// The sort key: microseconds since 1970 for times, a position for logs.
    pub sort: i64,
    /// The id of the item.
    pub id: Uuid,
}

/// Which slice of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// The most items to return, 1–100.
    pub limit: u16,
    /// From where, and in which direction.
    pub travel: Travel,
}

/// From where a page is read. The direction never changes the order of the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travel {
    /// From the beginning.
    First,
    /// What follows this item.
    After(PageKey),
    /// What precedes this item.
    Before(PageKey),
}

/// A slice of a list, in the list's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether there is more in the direction of travel.
    pub has_more: bool,
    /// The cursor to what follows; none on the last page.
    pub next: Option<PageKey>,
    /// The cursor to what precedes; none on the first page.
    pub prev: Option<PageKey>,
}

impl PageQuery {
    /// How many rows to fetch: one more than asked for tells whether there are more.
    #[must_use]
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Whether the rows are to be fetched in the reverse of the list's order.
    #[must_use]
    pub fn backwards(&self) -> bool {
        matches!(self.travel, Travel::Before(_))
    }

    /// The item next to which the slice lies.
    #[must_use]
    pub fn edge(&self) -> Option<PageKey> {
        match self.travel {
            Travel::First => None,
            Travel::After(key) | Travel::Before(key) => Some(key),
        }
    }

    /// Cuts fetched rows, which are in the order of travel and at most one more than the limit, into a page.
    pub fn page<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> PageKey) -> Page<T> {
        let has_more = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        if self.backwards() {
            rows.reverse();
        }
        let first = rows.first().map(&key);
        let last = rows.last().map(&key);
        let (next, prev) = match self.travel {
            Travel::First => (last.filter(|_| has_more), None),
            Travel::After(_) => (last.filter(|_| has_more), first),
            Travel::Before(_) => (last, first.filter(|_| has_more)),
        };
        Page { items: rows, has_more, next, prev }
    }
}

impl<T> Page<T> {
    /// The same page with each item turned into something else, unless one cannot be.
    ///
    /// # Errors
    /// The first item's that cannot.
    pub fn try_map<U, E>(self, item: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        let items = self.items.into_iter().map(item).collect::<Result<_, _>>()?;
        Ok(Page { items, has_more: self.has_more, next: self.next, prev: self.prev })
    }

    /// The same page with something beside each item, in their order.
    pub fn zip<U>(self, beside: Vec<U>) -> Page<(T, U)> {
        let Self { items, has_more, next, prev } = self;
        Page { items: items.into_iter().zip(beside).collect(), has_more, next, prev }
    }

    /// The same page with each item turned into something else.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(item).collect(),
            has_more: self.has_more,
            next: self.next,
            prev: self.prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sort: i64) -> PageKey {
        PageKey { sort, id: Uuid::nil() }
    }

    /// Reads a slice of 1..=9 as a store would.
    fn read(travel: Travel, limit: u16) -> Page<i64> {
        let query = PageQuery { limit, travel };
        let fetch = usize::try_from(query.fetch()).unwrap();
        let rows: Vec<i64> = match travel {
            Travel::First => (1..=9).take(fetch).collect(),
            Travel::After(edge) => (1..=9).filter(|n| *n > edge.sort).take(fetch).collect(),
            Travel::Before(edge) => (1..=9).rev().filter(|n| *n < edge.sort).take(fetch).collect(),
        };
        query.page(rows, |n| key(*n))
    }

    #[test]
    fn walks_forth_and_back_over_the_same_items() {
        let first = read(Travel::First, 4);
        assert_eq!((first.items, first.prev, first.next), (vec![1, 2, 3, 4], None, Some(key(4))));
        let second = read(Travel::After(key(4)), 4);
        assert_eq!(second.items, [5, 6, 7, 8]);
        assert!(second.has_more);
        let last = read(Travel::After(key(8)), 4);
        assert_eq!((last.items.as_slice(), last.has_more, last.next), (&[9][..], false, None));
        let back = read(Travel::Before(last.prev.unwrap()), 4);
        assert_eq!((back.items.as_slice(), back.has_more), (&[5, 6, 7, 8][..], true));
        let start = read(Travel::Before(back.prev.unwrap()), 4);
        assert_eq!((start.items.as_slice(), start.has_more), (&[1, 2, 3, 4][..], false));
        assert_eq!((start.prev, start.next), (None, Some(key(4))));
    }

    #[test]
    fn an_exact_fit_is_the_last_page() {
        let page = read(Travel::First, 9);
        assert_eq!((page.items.len(), page.has_more, page.next), (9, false, None));
    }
}
