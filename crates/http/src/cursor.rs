//! Page cursors: the place of an item, signed so that it is good only for the list, the filters and the caller that it
//! was given to. What a cursor holds is no secret; that nobody can make one up is the point.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene_application::kernel::page::PageKey;
use convene_application::kernel::secrets::Digester;
use convene_domain::ids::UserId;
use uuid::Uuid;

const PURPOSE: &str = "cursor";
/// 128 bits of the MAC are kept: forging takes 2^127 tries, each of them a request.
const MAC_LENGTH: usize = 16;
const KEY_LENGTH: usize = 8 + 16;

/// What a cursor is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The list, with the ids in its path.
    pub(crate) path: String,
    /// The filters, as they stand in the query, sorted by name.
    pub(crate) filters: String,
    /// The caller; none for anonymous ones.
    pub(crate) principal: Option<UserId>,
}

impl Binding {
    /// What is signed: the binding and the place.
    fn message(&self, key: &[u8; KEY_LENGTH]) -> Vec<u8> {
        let principal = self.principal.map_or_else(String::new, |user| user.to_string());
        let mut message = Vec::with_capacity(128);
        for part in [principal.as_bytes(), self.path.as_bytes(), self.filters.as_bytes(), key] {
            // Lengths keep the parts apart.
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }

    /// The cursor of an item.
    pub(crate) fn write(&self, digester: &dyn Digester, item: PageKey) -> String {
        let key = key_bytes(item);
        let mac = digester.mac(PURPOSE, &self.message(&key));
        URL_SAFE_NO_PAD.encode([&key[..], &mac[..MAC_LENGTH]].concat())
    }

    /// The item of a cursor; `None` for whatever was not written by [`Binding::write`] of an equal binding.
    pub(crate) fn read(&self, digester: &dyn Digester, cursor: &str) -> Option<PageKey> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (key, mac) = bytes.split_at_checked(KEY_LENGTH)?;
        let key: [u8; KEY_LENGTH] = key.try_into().ok()?;
        // Cursors outlive the key that signed them for as long as that key is known.
        let macs = digester.macs(PURPOSE, &self.message(&key));
        let is_signed = |known: &[u8; 32]| {
            aws_lc_rs::constant_time::verify_slices_are_equal(mac, &known[..MAC_LENGTH]).is_ok()
        };
        macs.iter().any(is_signed).then_some(())?;
        let (sort, id) = key.split_at(8);
        Some(PageKey {
            sort: i64::from_be_bytes(sort.try_into().ok()?),
            id: Uuid::from_bytes(id.try_into().ok()?),
        })
    }
}

fn key_bytes(item: PageKey) -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    key[..8].copy_from_slice(&item.sort.to_be_bytes());
    key[8..].copy_from_slice(item.id.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use convene_domain::ids::TypedId as _;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::FakeDigester;

    fn binding() -> Binding {
        Binding {
            path: "/v1/communities".to_owned(),
            filters: "status=confirmed".to_owned(),
            principal: Some(UserId::from_uuid(Uuid::from_u128(1))),
        }
    }

    #[test]
    fn is_good_for_its_own_list_filters_and_caller_alone() {
        let item = PageKey { sort: -5, id: Uuid::from_u128(7) };
        let cursor = binding().write(&FakeDigester, item);
        assert_eq!(binding().read(&FakeDigester, &cursor), Some(item));
        for other in [
            Binding { path: "/v1/users/me/communities".to_owned(), ..binding() },
            Binding { filters: String::new(), ..binding() },
            Binding { principal: None, ..binding() },
            Binding { principal: Some(UserId::from_uuid(Uuid::from_u128(2))), ..binding() },
            Binding {
                path: "/v1/communities".to_owned() + "status=",
                filters: "confirmed".to_owned(),
                ..binding()
            },
        ] {
            assert_eq!(other.read(&FakeDigester, &cursor), None);
        }
    }

    proptest! {
        #[test]
        fn an_altered_cursor_is_refused(sort: i64, id: u128, place in 0_usize..54, letter in "[A-Za-z0-9_-]") {
            let item = PageKey { sort, id: Uuid::from_u128(id) };
            let cursor = binding().write(&FakeDigester, item);
            prop_assert_eq!(binding().read(&FakeDigester, &cursor), Some(item));
            let mut altered = cursor.clone();
            altered.replace_range(place..=place, &letter);
            let expected = (altered == cursor).then_some(item);
            prop_assert_eq!(binding().read(&FakeDigester, &altered), expected);
        }

        #[test]
        fn anything_else_is_refused(text in ".{0,80}") {
            prop_assert_eq!(binding().read(&FakeDigester, &text), None);
        }
    }
}
