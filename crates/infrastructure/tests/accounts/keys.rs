//! The keys that sign access tokens.

use convene_application::auth::crypto::{SigningKey, SigningKeyStore as _};
use jiff::Timestamp;

fn key(kid: &str) -> SigningKey {
    SigningKey {
        kid: kid.to_owned(),
        sealed_private: vec![0, 1, 255],
        public: vec![7; 32],
        created_at: Timestamp::constant(1_806_580_800, 0),
        retired_at: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_that_start_at_once_one_makes_the_key() {
    let (store, _kept) = crate::database().await;
    let inserts = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.insert_if_none(key(&number.to_string())).await })
    });
    for insert in futures::future::join_all(inserts).await {
        insert.unwrap().unwrap();
    }
    let keys = store.load().await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0], key(&keys[0].kid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_makes_room_for_the_next() {
    let (store, _kept) = crate::database().await;
    let retired =
        SigningKey { retired_at: Some(Timestamp::constant(1_806_580_900, 0)), ..key("old") };
    store.insert_if_none(retired.clone()).await.unwrap();
    store.insert_if_none(key("new")).await.unwrap();
    store.insert_if_none(key("newer")).await.unwrap();
    let mut keys = store.load().await.unwrap();
    keys.sort_by(|a, b| b.kid.cmp(&a.kid));
    assert_eq!(keys, [retired, key("new")]);
}
