//! Who asks.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use convene_application::kernel::context::Principal;
use convene_application::kernel::error::Failure;

use crate::problem::Problem;

/// What became of the request's credentials. A middleware puts it there before any extractor runs, so that extractors
/// can decide without waiting, in the order of the handler's arguments.
#[derive(Clone, Debug)]
pub(crate) enum Authentication {
    /// There were none.
    Anonymous,
    /// They are good.
    Known(Principal),
    /// They are not, or it cannot be told.
    Failed(Problem),
}

/// What became of this request's credentials.
pub(crate) fn authentication(request: &HttpRequest) -> Authentication {
    request.extensions().get().cloned().unwrap_or(Authentication::Anonymous)
}

/// The person with the request's access token. Without one the reply is 401.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Principal);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match authentication(request) {
            Authentication::Known(principal) => Ok(Self(principal)),
            Authentication::Anonymous => Err(Failure::unauthenticated().into()),
            Authentication::Failed(problem) => Err(problem),
        })
    }
}

/// The person with the request's access token, if it has one. A token that is there and not valid is 401 all the same.
#[derive(Clone, Copy, Debug)]
pub struct MaybeCaller(pub Option<Principal>);

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match authentication(request) {
            Authentication::Known(principal) => Ok(Self(Some(principal))),
            Authentication::Anonymous => Ok(Self(None)),
            Authentication::Failed(problem) => Err(problem),
        })
    }
}
