//! People's profiles over HTTP.

mod dto;
mod routes;

use convene_application::user::UserService;

use crate::Routes;

/// What the handlers of this module take as `Data`.
pub type Service = UserService;

/// Registers the routes of this module, and with them their documentation.
pub fn routes(api: &mut Routes<'_>) {
    api.service(routes::get_me).service(routes::patch_me);
}
