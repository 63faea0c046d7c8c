//! Limits on requests, for every route: how many in a time, and how many at once.
//!
//! Addresses are counted before anybody asks who it is, so that wrong credentials cost their sender as much as right ones;
//! people and communities once it is known who asks. Whose credentials are wrong is answered 401 by the route, and spends
//! nobody else's quota.

mod fields;
mod places;

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use convene_application::kernel::error::Failure;
use convene_application::kernel::limits::{
    Quota, RequestLimiter, Standing, Subject, Verdict, client_network,
};
use metrics::Counter;

use crate::class::{self, Priority};
use crate::client_ip::client_ip;
use crate::extract::{Authentication, authentication, http_of};
use crate::problem::Problem;
use crate::settings::RequestLimits;
use fields::{PolicyFields, RATE_LIMIT, RATE_LIMIT_POLICY, rate_limit};
use places::{Place, Places};

/// How many policies there are.
const POLICIES: usize = 3;
/// When to try again after too many at once: any of those in flight may end now.
const PLACE_SOON: Duration = Duration::from_secs(1);

/// What a request is counted by. The names are those that clients and metrics see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Policy {
    /// The client's address.
    Client,
    /// The person.
    User,
    /// The community that the path names.
    Community,
}

impl Policy {
    const ALL: [Self; POLICIES] = [Self::Client, Self::User, Self::Community];

    fn name(self) -> &'static str {
        self.into()
    }

    fn bit(self) -> usize {
        1 << self as usize
    }
}

/// The limits that are in force.
pub(crate) struct Limits {
    limiter: Arc<dyn RequestLimiter>,
    settings: RequestLimits,
    places: Arc<Places>,
    policies: PolicyFields,
    /// By policy and outcome.
    outcomes: [[Counter; OUTCOMES]; POLICIES],
}

/// What a policy says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Outcome {
    Allowed,
    Refused,
    TooManyAtOnce,
}

const OUTCOMES: usize = 3;

impl Outcome {
    const ALL: [Self; OUTCOMES] = [Self::Allowed, Self::Refused, Self::TooManyAtOnce];
}

impl Limits {
    pub(crate) fn new(limiter: Arc<dyn RequestLimiter>, settings: RequestLimits) -> Self {
        let policies = PolicyFields::new(|policy| quota(&settings, policy));
        let outcomes =
            Policy::ALL.map(|policy| Outcome::ALL.map(|outcome| counter(policy, outcome)));
        Self { limiter, settings, places: Arc::default(), policies, outcomes }
    }

    /// Spends of one quota and notes what is left of it; the failure if nothing is.
    async fn spend(
        &self,
        policy: Policy,
        subject: Subject,
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        let (quota, cost) = (quota(&self.settings, policy), applied.cost);
        let standing = match self.limiter.try_spend(subject, quota, cost) {
            Some(standing) => standing,
            None => self.limiter.spend(subject, quota, cost).await,
        };
        applied.note(policy, subject, quota, standing);
        match standing.verdict {
            Verdict::Allowed => {
                self.count(policy, Outcome::Allowed);
                Ok(())
            }
            Verdict::Refused { retry_after } => {
                self.count(policy, Outcome::Refused);
                Err(Failure::rate_limited(retry_after))
            }
        }
    }

    /// Takes a place among those that are in flight for a subject.
    fn place(&self, policy: Policy, subject: Subject, most: u32) -> Result<Place, Failure> {
        self.places.take(subject, most).ok_or_else(|| {
            self.count(policy, Outcome::TooManyAtOnce);
            Failure::rate_limited(PLACE_SOON)
        })
    }

    fn count(&self, policy: Policy, outcome: Outcome) {
        self.outcomes[policy as usize][outcome as usize].increment(1);
    }

    /// Spends what was added while the request was served, and tells the client how it stands.
    fn conclude(&self, applied: &Applied, headers: &mut HeaderMap) {
        if applied.extra > 0 {
            for (policy, (subject, _)) in applied.met() {
                self.limiter.charge(subject, quota(&self.settings, policy), applied.extra);
            }
        }
        if let Some((closest, standing)) = applied.closest() {
            headers.insert(RATE_LIMIT_POLICY, self.policies.of(applied.set()));
            headers.insert(RATE_LIMIT, rate_limit(closest, &standing));
        }
    }
}

fn quota(settings: &RequestLimits, policy: Policy) -> Quota {
    match policy {
        Policy::Client => settings.client,
        Policy::User => settings.user,
        Policy::Community => settings.community,
    }
}

/// Looked up once, not for each request.
fn counter(policy: Policy, outcome: Outcome) -> Counter {
    let outcome: &'static str = outcome.into();
    metrics::counter!("convene_request_limits_total", "policy" => policy.name(), "outcome" => outcome)
}

/// The policies that a request has met, and what was added to its cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Applied {
    cost: u32,
    standings: [Option<(Subject, Quota, Standing)>; POLICIES],
    extra: u32,
}

impl Applied {
    /// Adds to what the request costs.
    pub(crate) fn add_cost(&mut self, units: u32) {
        self.extra = self.extra.saturating_add(units);
    }

    fn note(&mut self, policy: Policy, subject: Subject, quota: Quota, standing: Standing) {
        self.standings[policy as usize] = Some((subject, quota, standing));
    }

    fn met(&self) -> impl Iterator<Item = (Policy, (Subject, Standing))> {
        Policy::ALL.into_iter().zip(self.standings).filter_map(|(policy, noted)| {
            let (subject, _, standing) = noted?;
            Some((policy, (subject, self.less_extra(standing))))
        })
    }

    fn less_extra(&self, standing: Standing) -> Standing {
        Standing { remaining: standing.remaining.saturating_sub(self.extra), ..standing }
    }

    fn set(&self) -> usize {
        self.met().map(|(policy, _)| policy.bit()).sum()
    }

    /// The policy of which the least part is left.
    fn closest(&self) -> Option<(Policy, Standing)> {
        let part = |(policy, standing): &(Policy, Standing)| {
            let burst = self.standings[*policy as usize].map_or(1, |(_, quota, _)| quota.burst);
            u64::from(standing.remaining) * 1_000_000 / u64::from(burst.max(1))
        };
        self.met().map(|(policy, (_, standing))| (policy, standing)).min_by_key(part)
    }
}

/// Counts the client's address, before anybody asks who it is, and puts on the reply how the request stands with all
/// limits that it met.
pub(crate) async fn limit_clients<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let http = http_of(request.request());
    let class = class::of(request.head());
    let limited = class.priority != Priority::Operations;
    let (Some(limits), true) = (&http.limits, limited) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let mut applied = Applied { cost: class.cost, ..Applied::default() };
    let client = client_ip(request.head(), &http.settings.trusted_proxies).map(client_network);
    let mut place = None;
    if let Some(subject) = client.map(Subject::Client) {
        let admitted = limits
            .spend(Policy::Client, subject, &mut applied)
            .await
            .and_then(|()| limits.place(Policy::Client, subject, limits.settings.client_at_once));
        match admitted {
            Ok(taken) => place = Some(taken),
            Err(failure) => {
                let mut response = request.error_response(Problem::from(failure));
                limits.conclude(&applied, response.headers_mut());
                return Ok(response.map_into_right_body());
            }
        }
    }
    request.extensions_mut().insert(applied);
    let mut response = next.call(request).await?;
    drop(place);
    let applied = response.request().extensions().get().copied().unwrap_or_default();
    limits.conclude(&applied, response.headers_mut());
    Ok(response.map_into_left_body())
}

/// Counts the person who asks and the community that the path names.
pub(crate) async fn limit_callers<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let http = http_of(request.request());
    let applied = request.extensions().get::<Applied>().copied();
    let user = match authentication(request.request()) {
        Authentication::Known(principal) => Some(Subject::User(principal.user)),
        Authentication::Anonymous => None,
        // The route is going to say 401, or asks nobody's name.
        Authentication::Failed(_) => return Ok(next.call(request).await?.map_into_left_body()),
    };
    let (Some(limits), Some(mut applied)) = (&http.limits, applied) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let admitted = limits.admit(user, class::community(request.path()), &mut applied).await;
    if let Some(noted) = request.extensions_mut().get_mut() {
        *noted = applied;
    }
    match admitted {
        Ok(place) => {
            let response = next.call(request).await?;
            drop(place);
            Ok(response.map_into_left_body())
        }
        Err(failure) => Ok(request.error_response(Problem::from(failure)).map_into_right_body()),
    }
}

impl Limits {
    /// The person first: one who is refused does not spend of a community that others share.
    async fn admit(
        &self,
        user: Option<Subject>,
        community: Option<Subject>,
        applied: &mut Applied,
    ) -> Result<Option<Place>, Failure> {
        let mut place = None;
        if let Some(user) = user {
            self.spend(Policy::User, user, applied).await?;
            place = Some(self.place(Policy::User, user, self.settings.user_at_once)?);
        }
        if let Some(community) = community {
            self.spend(Policy::Community, community, applied).await?;
        }
        Ok(place)
    }
}
