//! Events of a community over HTTP.

pub(crate) mod dto;
mod instant;
mod routes;

use convene_application::event::EventService;

use crate::Routes;

/// What the handlers of this module take as `Data`.
pub type Service = EventService;

/// Registers the routes of this module, and with them their documentation.
pub fn routes(api: &mut Routes<'_>) {
    api.service(routes::create)
        .service(routes::list_of_community)
        .service(routes::get)
        .service(routes::update)
        .service(routes::publish)
        .service(routes::cancel);
}

#[cfg(test)]
mod tests;
