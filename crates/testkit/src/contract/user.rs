//! The store of people.

use std::sync::Arc;

use convene_application::auth::ports::AuthTx;
use convene_application::kernel::uow::Uow;
use convene_application::user::offers::{Directory, NewUser};
use convene_application::user::ports::{HANDLE_TAKEN, UserReads, UserTx};
use convene_domain::ids::{TypedId as _, UserId};
use convene_domain::text::{DisplayName, EmailAddress, Handle};
use convene_domain::user::User;
use convene_domain::zone::TimeZoneName;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// The ports under test, over one empty store.
pub struct Ports {
    /// Units of work.
    pub uow: Uow<dyn UserTx>,
    /// Where people come from.
    pub provisioning: Uow<dyn AuthTx>,
    /// Reads.
    pub reads: Arc<dyn UserReads>,
    /// How people are reached.
    pub directory: Arc<dyn Directory>,
}

/// Makes a test of each part of the contract. The argument is an expression that makes a future of [`Ports`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! user_contract {
    ($ports:expr) => {
        $crate::user_contract! { $ports;
            a_new_person_has_no_handle_and_lives_in_utc
            a_profile_is_kept_as_it_is
            a_handle_has_one_holder
            a_person_is_locked
        }
    };
    ($ports:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (ports, _kept) = $ports.await;
            $crate::contract::user::$part(&ports).await;
        }
    )+};
}

fn at(second: i64) -> Timestamp {
    Timestamp::constant(1_806_580_800, 123_456_000) + SignedDuration::from_secs(second)
}

fn id(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

fn handle(text: &str) -> Option<Handle> {
    Some(Handle::new(text).expect("it is a handle"))
}

impl Ports {
    async fn person(&self, number: u128) -> User {
        let mut tx = self.provisioning.begin(Vec::new()).await.expect("a unit of work begins");
        tx.provision_user(NewUser {
            id: id(number),
            email: EmailAddress::new(format!("Person-{number}@example.org"))
                .expect("it is an address"),
            display_name: DisplayName::new("Zoë").expect("it is a name"),
            created_at: at(0),
        });
        tx.commit().await.expect("a person is provisioned");
        self.read(number).await.expect("it is there")
    }

    async fn read(&self, number: u128) -> Option<User> {
        self.reads.user(id(number)).await.expect("it is read")
    }
}

/// What a person begins with; nobody else is there.
pub async fn a_new_person_has_no_handle_and_lives_in_utc(ports: &Ports) {
    let person = ports.person(1).await;
    assert_eq!((person.id, person.email.as_str()), (id(1), "Person-1@example.org"));
    assert_eq!((person.created_at, person.updated_at), (at(0), at(0)));
    assert!(person.email_verified);
    assert_eq!(person.profile.display_name.as_str(), "Zoë");
    assert_eq!(person.profile.handle, None);
    assert_eq!(person.profile.time_zone.as_str(), "UTC");
    assert_eq!(ports.read(2).await, None);
    let contact = ports.directory.contact(id(1)).await.expect("it is read").expect("it is there");
    assert_eq!((contact.email, contact.display_name), (person.email, person.profile.display_name));
    assert_eq!(ports.directory.contact(id(2)).await.expect("it is read"), None);
}

/// All that can change, and nothing else.
pub async fn a_profile_is_kept_as_it_is(ports: &Ports) {
    let mut person = ports.person(1).await;
    let other = ports.person(2).await;
    person.profile.display_name = DisplayName::new("Ada").expect("it is a name");
    person.profile.handle = handle("ada");
    person.profile.time_zone = TimeZoneName::new("Europe/London").expect("it is a zone");
    person.updated_at = at(60);
    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.lock_user(id(1)).await.expect("it is read").expect("it is there");
    tx.save_profile(&person);
    tx.commit().await.expect("it is saved");
    assert_eq!(ports.read(1).await.as_ref(), Some(&person));
    assert_eq!(ports.read(2).await, Some(other));

    person.profile.handle = None;
    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.save_profile(&person);
    tx.commit().await.expect("it is saved");
    assert_eq!(ports.read(1).await, Some(person));
}

/// The second gets nothing; whoever has it may save it again.
pub async fn a_handle_has_one_holder(ports: &Ports) {
    for (number, is_free) in [(1, true), (2, false), (1, true)] {
        let mut person = match ports.read(number).await {
            Some(person) => person,
            None => ports.person(number).await,
        };
        let before = person.clone();
        person.profile.handle = handle("ada");
        let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.save_profile(&person);
        match tx.commit().await {
            Ok(()) => assert!(is_free),
            Err(error) => {
                assert!(!is_free && error.violates(HANDLE_TAKEN), "{error:?}");
                assert_eq!(ports.read(number).await, Some(before));
            }
        }
    }
}

/// Who changes the same profile at the same time waits, and then sees what the first did.
pub async fn a_person_is_locked(ports: &Ports) {
    let mut person = ports.person(1).await;
    let mut first = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    first.lock_user(id(1)).await.expect("it is read").expect("it is there");
    let uow = ports.uow.clone();
    let mut second = tokio::spawn(async move {
        let mut tx = uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.lock_user(id(1)).await.expect("it is read").expect("it is there").profile.handle
    });
    let waits = tokio::time::timeout(std::time::Duration::from_millis(200), &mut second).await;
    assert!(waits.is_err(), "the second read went past the lock");
    person.profile.handle = handle("ada");
    first.save_profile(&person);
    first.commit().await.expect("it is committed");
    assert_eq!(second.await.expect("it does not panic"), handle("ada"));
}
