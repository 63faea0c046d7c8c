//! Sessions, their tokens and their end.

use std::time::Duration;

use convene_domain::auth::refresh::Spent;
use convene_domain::ids::SessionId;

use super::{Ports, ada, at, digest, id, refresh_token};

/// A token names its session, and stays known once it is spent.
pub async fn a_session_has_a_token_that_is_spent_once(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let session = ports.open_session(1, 1).await;
    let mut tx = ports.begin().await;
    let first = tx.lock_refresh_token(&digest(1)).await.expect("it is read").expect("it is there");
    assert_eq!((first.session, first.user), (session, ada()));
    assert_eq!((first.logged_in_at, first.session_expires_at), (at(1), at(1_000)));
    assert_eq!((first.token.expires_at, first.token.spent), (at(1_000), None));
    tx.spend_refresh_token(&digest(1), at(10), vec![1, 2, 3]);
    tx.insert_refresh_token(refresh_token(2, session, Some(1)));
    tx.commit().await.expect("it is committed");

    let mut tx = ports.begin().await;
    let spent = tx.lock_refresh_token(&digest(1)).await.expect("it is read").expect("it is there");
    assert_eq!(spent.token.spent, Some(Spent { at: at(10), successor_unused: true }));
    assert_eq!(spent.sealed_successor, Some(vec![1, 2, 3]));
    assert_eq!(tx.lock_refresh_token(&digest(9)).await.expect("it is read"), None);
}

/// Spending a token erases what was kept beside its predecessor, and nothing else.
pub async fn what_is_kept_for_a_repetition_is_erased(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let session = ports.open_session(1, 1).await;
    for number in 1..=2 {
        ports
            .write(|tx| {
                tx.spend_refresh_token(&digest(number), at(10), vec![number]);
                tx.insert_refresh_token(refresh_token(number + 1, session, Some(number)));
            })
            .await
            .expect("a token is exchanged");
    }
    let mut tx = ports.begin().await;
    let first = tx.lock_refresh_token(&digest(1)).await.expect("it is read").expect("it is there");
    assert_eq!(first.token.spent, Some(Spent { at: at(10), successor_unused: false }));
    assert_eq!(first.sealed_successor, None);
    let second = tx.lock_refresh_token(&digest(2)).await.expect("it is read").expect("it is there");
    assert_eq!(second.sealed_successor, Some(vec![2]));
}

/// A session that is used lasts longer.
pub async fn a_session_is_prolonged(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let session = ports.open_session(1, 1).await;
    ports
        .write(|tx| tx.prolong_session(session, at(10), at(2_000)))
        .await
        .expect("it is prolonged");
    let mut tx = ports.begin().await;
    let found = tx.lock_refresh_token(&digest(1)).await.expect("it is read").expect("it is there");
    assert_eq!((found.session_expires_at, found.logged_in_at), (at(2_000), at(1)));
}

/// The end of a session is told to whoever asks, also twice; its tokens are good for nothing.
pub async fn sessions_that_end_are_revoked(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let (one, other) = (ports.open_session(1, 1).await, ports.open_session(2, 2).await);
    let before = ports.revocations.since(None).await.expect("they are read");
    assert_eq!(before.sessions, []);
    for _ in 0..2 {
        ports.write(|tx| tx.end_sessions(&[one])).await.expect("it ends");
    }
    let all = ports.revocations.since(None).await.expect("they are read");
    assert_eq!(all.sessions, [one]);
    let lately = ports.revocations.since(Some(before.as_of)).await.expect("they are read");
    assert_eq!(lately.sessions, [one]);
    assert!(ports.revocations.is_revoked(one).await.expect("it is read"));
    assert!(!ports.revocations.is_revoked(other).await.expect("it is read"));

    let mut tx = ports.begin().await;
    assert_eq!(tx.lock_refresh_token(&digest(1)).await.expect("it is read"), None);
    assert!(tx.lock_refresh_token(&digest(2)).await.expect("it is read").is_some());
}

/// Who presents the same token at the same time waits, and then sees what the first did.
pub async fn a_presented_token_is_locked(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let session: SessionId = ports.open_session(1, 1).await;
    let mut first = ports.begin().await;
    first.lock_refresh_token(&digest(1)).await.expect("it is read");
    let uow = ports.uow.clone();
    let mut second = tokio::spawn(async move {
        let mut tx = uow.begin(Vec::new()).await.expect("a unit of work begins");
        let found = tx.lock_refresh_token(&digest(1)).await.expect("it is read");
        found.expect("it is there").token.spent
    });
    let waits = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
    assert!(waits.is_err(), "the second read went past the lock");
    first.spend_refresh_token(&digest(1), at(10), vec![1]);
    first.insert_refresh_token(refresh_token(2, session, Some(1)));
    first.commit().await.expect("it is committed");
    let spent = second.await.expect("it does not panic");
    assert_eq!(spent, Some(Spent { at: at(10), successor_unused: true }));
}

/// The newest first.
pub async fn an_account_is_locked_with_its_sessions(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    for number in [2, 3, 1] {
        ports.open_session(number.into(), number).await;
    }
    let mut tx = ports.begin().await;
    let account = tx.lock_account(ada()).await.expect("it is read").expect("it is there");
    assert_eq!(account.sessions, [id(3), id(2), id(1)]);
    tx.end_sessions(&account.sessions[1..]);
    tx.commit().await.expect("it is committed");
    let mut tx = ports.begin().await;
    let account = tx.lock_account(ada()).await.expect("it is read").expect("it is there");
    assert_eq!(account.sessions, [id(3)]);
    assert_eq!(tx.lock_account(id(9)).await.expect("it is read"), None);
}
