//! RSVPs to events over HTTP.

pub(crate) mod dto;
mod routes;

use convene_application::rsvp::RsvpService;

use crate::Routes;

/// What the handlers of this module take as `Data`.
pub type Service = RsvpService;

/// Registers the routes of this module, and with them their documentation.
pub fn routes(api: &mut Routes<'_>) {
    api.service(routes::put_mine)
        .service(routes::get_mine)
        .service(routes::delete_mine)
        .service(routes::list_of_event)
        .service(routes::list_mine)
        .service(routes::availability);
}
