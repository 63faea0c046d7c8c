//! Counting what fails and removing what is over.

use super::{Ports, ada, at, digest, key};

const A_DAY: i64 = 24 * 3_600;

/// Accounts are counted apart; taking back stops at nothing.
pub async fn attempts_are_counted_until_they_are_forgotten(ports: &Ports) {
    let count =
        async |number| ports.attempts.count(&key(number), at(0)).await.expect("it is counted");
    assert_eq!((count(1).await, count(1).await, count(2).await), (1, 2, 1));
    for _ in 0..3 {
        ports.attempts.take_back(&key(1)).await.expect("it is taken back");
    }
    assert_eq!((count(1).await, count(1).await), (1, 2));
    ports.attempts.take_back(&key(9)).await.expect("there is nothing to take back");
    ports.write(|tx| tx.forget_attempts(key(1))).await.expect("they are forgotten");
    assert_eq!((count(1).await, count(2).await), (1, 2));
}

/// Each kind of row at its own time; failed logins of accounts that exist never.
pub async fn the_sweep_takes_what_is_over(ports: &Ports) {
    let sweep = async |now| ports.sweep.sweep(at(now), 100).await.expect("it is swept");
    let token = async |number| ports.reads.mailed_token(&digest(number)).await.expect("it is read");
    ports.open_account(ada(), "ada@example.org").await;
    ports.register(1, "eve@example.org", 1).await;
    ports.open_session(1, 2).await;
    for account in [1, 2] {
        ports.attempts.count(&key(account), at(0)).await.expect("it is counted");
    }
    assert!(!sweep(499).await);
    assert!(token(1).await.is_some());
    sweep(500).await;
    assert!(token(1).await.is_none());
    assert_eq!(ports.pending("eve@example.org", 10).await.len(), 1);

    let mut tx = ports.begin().await;
    assert!(tx.lock_refresh_token(&digest(2)).await.expect("it is read").is_some());
    drop(tx);
    sweep(1_000).await;
    assert_eq!(ports.pending("eve@example.org", 10).await, []);
    let mut tx = ports.begin().await;
    assert_eq!(tx.lock_refresh_token(&digest(2)).await.expect("it is read"), None);
    assert_eq!(
        tx.lock_account(ada()).await.expect("it is read").expect("it is there").sessions,
        []
    );
    drop(tx);

    sweep(A_DAY).await;
    let counted =
        async |number| ports.attempts.count(&key(number), at(0)).await.expect("it is counted");
    assert_eq!((counted(1).await, counted(2).await), (2, 1), "the account's own is remembered");
}

/// A sweep that reaches its limit says that there may be more.
pub async fn a_sweep_is_bounded(ports: &Ports) {
    for number in 1..=3 {
        ports.register(number.into(), "eve@example.org", number).await;
    }
    let sweep = async || ports.sweep.sweep(at(1_000), 2).await.expect("it is swept");
    assert!(sweep().await);
    assert!(!sweep().await);
}
