//! Webhook endpoints and their deliveries over HTTP.

mod deliveries;
mod dto;
mod routes;

use convene_application::webhook::WebhookService;

use crate::Routes;

/// What the handlers of this module take as `Data`.
pub type Service = WebhookService;

/// Registers the routes of this module, and with them their documentation.
pub fn routes(api: &mut Routes<'_>) {
    api.service(routes::create)
        .service(routes::list_endpoints)
        .service(routes::get)
        .service(routes::update)
        .service(routes::delete)
        .service(deliveries::list)
        .service(deliveries::resend);
}
