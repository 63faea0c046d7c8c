//! Lists that are read page by page.

use std::fmt::Debug;

use convene_application::kernel::page::{Page, PageQuery, Travel};

/// Reads a list to its end and back, two items at a time, and returns it. Both ways must show the same.
pub(super) async fn walk<T: Clone + PartialEq + Debug>(
    read: impl AsyncFn(PageQuery) -> Page<T>,
) -> Vec<T> {
    let read = async |travel| read(PageQuery { limit: 2, travel }).await;
    let mut page = read(Travel::First).await;
    assert_eq!(page.prev, None, "nothing precedes the first page");
    let mut forth = page.items.clone();
    while let Some(next) = page.next {
        assert!(page.has_more);
        page = read(Travel::After(next)).await;
        forth.extend(page.items.iter().cloned());
    }
    assert!(!page.has_more, "a page without a next one is the last");

    let mut back = page.items.clone();
    while let Some(prev) = page.prev {
        page = read(Travel::Before(prev)).await;
        back.splice(0..0, page.items.iter().cloned());
    }
    assert_eq!(back, forth, "the way back shows what the way forth showed");
    forth
}
