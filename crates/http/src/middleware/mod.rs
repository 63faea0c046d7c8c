//! What happens to every request around its handler, outermost first:
//!
//! 1. [`identify`]: request id, trace, span; they are on every reply, whatever happens further inside;
//! 2. [`measure`]: access log and metrics, per route template;
//! 3. [`security_headers`];
//! 4. [`problems`], once outside and once inside of CORS and compression: every failure in one form;
//! 5. CORS and compression;
//! 6. [`pin_version`]: which version the client knows, and translation for older ones;
//! 7. [`shed`]: lets in what can be answered in time;
//! 8. [`limit_clients`]: 429 by address, and on the way back the headers of all limits;
//! 9. [`well_formed`]: 400 and 406, before anybody asks who it is;
//! 10. [`announce_deprecation`]: what goes away says so;
//! 11. [`authenticate`]: finds out who asks and leaves the refusal to the extractors;
//! 12. [`limit_callers`]: 429 by person and community;
//! 13. [`head_as_get`] and [`catch_panics`], next to the router.

mod authenticate;
mod compression;
mod cors;
mod deprecation;
mod head;
mod identify;
mod limit;
mod measure;
mod panics;
mod problems;
mod security;
mod shed;
mod unread;
mod version;
mod well_formed;

pub(crate) use authenticate::authenticate;
pub(crate) use compression::{mark_tags, spare_small};
pub(crate) use cors::cors;
pub(crate) use deprecation::announce_deprecation;
pub(crate) use head::head_as_get;
pub(crate) use identify::{RequestIds, identify};
pub(crate) use limit::{Applied, Limits, limit_callers, limit_clients};
pub(crate) use measure::measure;
pub(crate) use panics::{catch_panics, message as panic_message};
pub(crate) use problems::problems;
pub(crate) use security::{cache_control, security_headers};
pub use shed::Connected;
pub(crate) use shed::{Gate, shed};
pub(crate) use version::pin_version;
pub(crate) use well_formed::well_formed;
