//! Accounts, logins and tokens over HTTP.
//!
//! These calls know no `Idempotency-Key`: their replies hold secrets or say nothing, and each is safe to repeat by its own
//! means, refreshing by the grace of a spent token.

mod dto;
mod routes;

use convene_application::auth::AuthService;

use crate::Routes;

/// What the handlers of this module take as `Data`.
pub type Service = AuthService;

/// Registers the routes of this module, and with them their documentation.
pub fn routes(api: &mut Routes<'_>) {
    api.service(routes::register)
        .service(routes::verify_email)
        .service(routes::resend_verification)
        .service(routes::forgot_password)
        .service(routes::reset_password)
        .service(routes::login)
        .service(routes::refresh)
        .service(routes::logout);
}
