//! People's profiles.

use std::sync::Arc;

use convene_application::user::UserService;

use super::Platform;

pub(super) fn wire(platform: &Platform) -> UserService {
    let store = Arc::new(platform.store.clone());
    UserService::new(platform.env.clone(), store.clone(), store)
}
