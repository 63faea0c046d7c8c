//! Webhook endpoints and their deliveries over HTTP.

mod deliveries;
mod dto;
mod replays;
mod routes;
mod stats;

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
        .service(routes::rotate_secret)
        .service(deliveries::list)
        .service(deliveries::resend)
        .service(deliveries::test)
        .service(replays::create)
        .service(replays::get)
        .service(replays::cancel)
        .service(stats::get);
}
