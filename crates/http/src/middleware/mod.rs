//! What happens to every request around its handler, outermost first:
//!
//! 1. [`identify`]: request id, trace, span; they are on every reply, whatever happens further inside;
//! 2. [`measure`]: access log and metrics, per route template;
//! 3. [`security_headers`];
//! 4. [`problems`], once outside and once inside of CORS and compression: every failure in one form;
//! 5. CORS and compression;
//! 6. [`shed`]: a cap on requests in flight;
//! 7. [`well_formed`] and [`pin_version`]: 400 and 406, before anybody asks who it is;
//! 8. [`authenticate`]: finds out who asks and leaves the refusal to the extractors;
//! 9. [`head_as_get`] and [`catch_panics`], next to the router.

mod authenticate;
mod compression;
mod cors;
mod head;
mod identify;
mod measure;
mod panics;
mod problems;
mod security;
mod shed;
mod version;
mod well_formed;

pub(crate) use authenticate::authenticate;
pub(crate) use compression::{mark_tags, spare_small};
pub(crate) use cors::cors;
pub(crate) use head::head_as_get;
pub(crate) use identify::{RequestIds, identify};
pub(crate) use measure::measure;
pub(crate) use panics::catch_panics;
pub(crate) use problems::problems;
pub(crate) use security::{cache_control, security_headers};
pub(crate) use shed::shed;
pub(crate) use version::pin_version;
pub(crate) use well_formed::well_formed;
