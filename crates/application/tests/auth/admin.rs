//! Making somebody an administrator of the platform.

use convene_application::auth::{AdminMade, NewAdmin};
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::error::{Code, Failure};
use convene_domain::auth::password::Password;
use convene_domain::text::DisplayName;

use crate::scene::{OTHER_PASSWORD, PASSWORD, Scene, address, code};

async fn make_admin(scene: &Scene, email: &str, password: &str) -> Result<AdminMade, Failure> {
    let admin = NewAdmin {
        email: address(email),
        display_name: DisplayName::new("Ada").unwrap(),
        password: Password::choose(password, None).unwrap(),
        reason: "on call".to_owned(),
    };
    scene.service.make_admin(&RequestContext::system("operator-1"), admin).await
}

#[tokio::test]
async fn a_stranger_gets_a_verified_account_that_administers() {
    let scene = Scene::new();
    // Somebody else has tried to take the address.
    scene.register("ada@example.org", OTHER_PASSWORD).await.unwrap();
    scene.store.take_jobs();
    let made = scene
        .survives_each_failure(async || make_admin(&scene, "Ada@example.org", PASSWORD).await)
        .await;
    let AdminMade::Created(user) = made else { panic!("{made:?}") };
    let tables = scene.store.peek().await.clone();
    assert!(tables.users.0[&user].email_verified);
    assert!(tables.registrations.is_empty(), "nobody's planted password is left");
    let grant = &tables.platform_admins[&user];
    assert_eq!((grant.granted_by, grant.reason.as_str()), (None, "on call"));

    let ledger = scene.store.ledger();
    let event: serde_json::Value = serde_json::from_slice(&ledger.events[0].envelope).unwrap();
    assert_eq!((&event["type"], &event["actor"]), (&"user.registered".into(), &"system".into()));
    let entry = ledger.audit.last().unwrap();
    assert_eq!((entry.action, &entry.object), ("auth.make_admin", &user.to_string()));
    assert_eq!(entry.context.actor.to_string(), "system");

    scene.login("ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(
        code(scene.login("ada@example.org", OTHER_PASSWORD).await),
        Code::InvalidCredentials
    );
}

#[tokio::test]
async fn an_account_is_promoted_and_keeps_its_password_and_sessions() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let tokens = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let (before, work) = (scene.store.peek().await.clone(), scene.passwords.work());
    let made = scene
        .survives_each_failure(async || make_admin(&scene, "ADA@example.org", OTHER_PASSWORD).await)
        .await;
    assert!(matches!(made, AdminMade::Promoted(_)), "{made:?}");
    assert_eq!(scene.passwords.work(), work, "the given password is not even hashed");
    let mut after = scene.store.peek().await.clone();
    assert_eq!(after.platform_admins.remove(&made.user()).unwrap().reason, "on call");
    assert_eq!(after, before);
    assert_eq!(scene.authenticate(&tokens).await.unwrap().user, made.user());
    make_admin(&scene, "ada@example.org", OTHER_PASSWORD).await.unwrap();
    assert_eq!(scene.store.peek().await.platform_admins.len(), 1);
}
