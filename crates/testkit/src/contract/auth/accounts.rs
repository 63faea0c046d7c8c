//! Registrations, credentials and mailed tokens.

use convene_application::auth::ports::{
    ADDRESS_TAKEN, AdminGrant, NewMailedToken, Recipient, TokenFor,
};
use convene_application::user::offers::NewUser;
use convene_domain::ids::UserId;
use convene_domain::text::{DisplayName, EmailAddress};

use super::{Ports, ada, at, credential, digest, id, key, registration};

/// Each registration keeps its own password and is found by its own token.
pub async fn registrations_of_an_address_wait_side_by_side(ports: &Ports) {
    ports.register(1, "Ada@example.org", 1).await;
    ports.register(2, "ada@example.org", 2).await;
    for number in [1, 2] {
        let mut tx = ports.begin().await;
        let found = tx.lock_registration(&digest(number)).await.expect("it is read");
        let found = found.expect("it is there");
        assert_eq!(found.id, id(number.into()));
        assert_eq!(found.password_hash, format!("hash {number}"));
        assert_eq!(found.display_name.as_str(), format!("Ada {number}"));
        assert_eq!(found.token_expires_at, at(500));
    }
    let mut tx = ports.begin().await;
    assert_eq!(tx.lock_registration(&digest(9)).await.expect("it is read"), None);
}

/// Discarding compares addresses without case and leaves other addresses alone.
pub async fn discarded_registrations_take_their_tokens_along(ports: &Ports) {
    ports.register(1, "Ada@example.org", 1).await;
    ports.register(2, "ada@example.org", 2).await;
    ports.register(3, "eve@example.org", 3).await;
    ports
        .write(|tx| tx.discard_registrations("ada@example.org"))
        .await
        .expect("they are discarded");
    for (token, is_left) in [(1, false), (2, false), (3, true)] {
        let found = ports.reads.mailed_token(&digest(token)).await.expect("it is read");
        assert_eq!(found.is_some(), is_left, "token {token}");
    }
    assert_eq!(ports.pending("ada@example.org", 10).await, []);
    assert_eq!(ports.pending("eve@example.org", 10).await, [id(3)]);
}

/// Newest first, up to a limit, without what has expired.
pub async fn pending_registrations_are_found_newest_first(ports: &Ports) {
    for number in [1, 3, 2] {
        ports.register(number.into(), "ada@example.org", number).await;
    }
    let mut expired = registration(4, "ada@example.org");
    expired.expires_at = at(100);
    ports.write(|tx| tx.insert_registration(expired)).await.expect("it is stored");
    assert_eq!(ports.pending("ada@example.org", 10).await, [id(3), id(2), id(1)]);
    assert_eq!(ports.pending("ada@example.org", 2).await, [id(3), id(2)]);
}

/// A token whose registration or account is gone is not stored, and fails nothing.
pub async fn a_token_needs_its_subject(ports: &Ports) {
    for (number, subject) in [(1, TokenFor::Registration(id(1))), (2, TokenFor::Account(ada()))] {
        let token = NewMailedToken { digest: digest(number), subject, expires_at: at(500) };
        ports.write(|tx| tx.insert_mailed_token(token)).await.expect("nothing fails");
        assert_eq!(ports.reads.mailed_token(&digest(number)).await.expect("it is read"), None);
    }
}

/// A second credential of an address takes the whole unit of work with it.
pub async fn an_address_has_one_credential(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let error = ports
        .write(|tx| {
            tx.insert_registration(registration(1, "eve@example.org"));
            tx.insert_credential(credential(id(2), "ada@example.org"), key(1));
        })
        .await
        .expect_err("the address is taken");
    assert!(error.violates(ADDRESS_TAKEN), "{error:?}");
    assert_eq!(ports.pending("eve@example.org", 10).await, []);
    let found = ports.reads.credential("ada@example.org").await.expect("it is read");
    assert_eq!(found, Some(credential(ada(), "ada@example.org")));
    assert_eq!(ports.reads.credential("eve@example.org").await.expect("it is read"), None);
}

/// The profile is there with the credential, and can be reached.
pub async fn a_person_is_provisioned_with_the_credential(ports: &Ports) {
    let user: UserId = ada();
    let email = EmailAddress::new("Ada@example.org").expect("it is an address");
    let display_name = DisplayName::new("Ada").expect("it is a name");
    let new = NewUser {
        id: user,
        email: email.clone(),
        display_name: display_name.clone(),
        created_at: at(0),
    };
    ports
        .write(|tx| {
            tx.insert_credential(credential(user, "ada@example.org"), key(1));
            tx.provision_user(new);
        })
        .await
        .expect("the account is made");
    let contact = ports.directory.contact(user).await.expect("it is read").expect("it is there");
    assert_eq!((contact.email, contact.display_name), (email, display_name));
    assert_eq!(ports.directory.contact(id(2)).await.expect("it is read"), None);
}

/// A second grant changes nothing; others are none, and without a commit nobody is.
pub async fn a_grant_makes_a_platform_admin(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    ports.open_account(id(2), "eve@example.org").await;
    let grant = |reason: &str| AdminGrant {
        user: ada(),
        granted_by: Some(id(2)),
        reason: reason.to_owned(),
        at: at(0),
    };
    let is_admin =
        async |user| ports.admins.is_platform_admin(user).await.expect("the grants are read");
    let mut dropped = ports.begin().await;
    dropped.grant_platform_admin(grant("never"));
    drop(dropped);
    assert!(!is_admin(ada()).await);
    for reason in ["first", "again"] {
        ports.write(|tx| tx.grant_platform_admin(grant(reason))).await.expect("it is granted");
        assert!(is_admin(ada()).await, "{reason}");
    }
    assert!(!is_admin(id(2)).await);
}

/// A registrant with whether the address is taken, or the holder of an account.
pub async fn a_token_tells_whom_it_is_mailed_to(ports: &Ports) {
    ports.register(1, "Ada@example.org", 1).await;
    let registrant = |address_taken| Recipient::Registrant {
        email: EmailAddress::new("Ada@example.org").expect("it is an address"),
        display_name: DisplayName::new("Ada 1").expect("it is a name"),
        address_taken,
    };
    let recipient = async |token| {
        let found = ports.reads.mailed_token(&digest(token)).await.expect("it is read");
        found.expect("it is there").recipient
    };
    assert_eq!(recipient(1).await, registrant(false));
    ports.open_account(ada(), "ada@example.org").await;
    assert_eq!(recipient(1).await, registrant(true));

    let token = NewMailedToken {
        digest: digest(2),
        subject: TokenFor::Account(ada()),
        expires_at: at(500),
    };
    ports.write(|tx| tx.insert_mailed_token(token)).await.expect("it is stored");
    let holder = Recipient::Holder { user: ada(), address: "ada@example.org".to_owned() };
    assert_eq!(recipient(2).await, holder);
}

/// A reset token finds its account; discarding takes all reset tokens of the person, and a new hash is kept.
pub async fn a_reset_is_locked_with_the_sessions(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    ports.register(1, "eve@example.org", 9).await;
    let session = ports.open_session(1, 1).await;
    for number in [2, 3] {
        let subject = TokenFor::Account(ada());
        let token = NewMailedToken { digest: digest(number), subject, expires_at: at(500) };
        ports.write(|tx| tx.insert_mailed_token(token)).await.expect("it is stored");
    }
    let mut tx = ports.begin().await;
    let reset = tx.lock_reset(&digest(2)).await.expect("it is read").expect("it is there");
    assert_eq!(reset.account.credential, credential(ada(), "ada@example.org"));
    assert_eq!((reset.account.sessions, reset.token_expires_at), (vec![session], at(500)));
    tx.set_password_hash(ada(), "another".to_owned());
    tx.discard_reset_tokens(ada());
    tx.commit().await.expect("it is committed");

    let mut tx = ports.begin().await;
    for token in [2, 3, 9] {
        assert_eq!(tx.lock_reset(&digest(token)).await.expect("it is read"), None, "token {token}");
    }
    drop(tx);
    let found = ports.reads.credential("ada@example.org").await.expect("it is read");
    assert_eq!(found.expect("it is there").password_hash, "another");
    assert!(ports.reads.mailed_token(&digest(9)).await.expect("it is read").is_some());
}

/// A unit of work that is dropped leaves nothing, and lets go of what it locked.
pub async fn what_is_not_committed_did_not_happen(ports: &Ports) {
    ports.open_account(ada(), "ada@example.org").await;
    let mut tx = ports.begin().await;
    tx.lock_account(ada()).await.expect("it is read").expect("it is there");
    tx.set_password_hash(ada(), "another".to_owned());
    drop(tx);
    let mut tx = ports.begin().await;
    let account = tx.lock_account(ada()).await.expect("it is read").expect("it is there");
    assert_eq!(account.credential.password_hash, "hash");
}
