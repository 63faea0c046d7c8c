//! What a route costs and how much it matters: the one place where limits and shedding learn about routes. Most follow from
//! the shape of the path, so a new route needs no entry; [`RULES`] names the exceptions.

use actix_web::HttpMessage as _;
use actix_web::HttpRequest;
use actix_web::dev::RequestHead;
use actix_web::http::{Method, header};
use convene_application::kernel::limits::Subject;

use crate::middleware::Applied;

/// What is let go first when there is more to do than can be done, from the last to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// What operators, load balancers and verifiers of tokens ask: always answered, never limited.
    Operations,
    /// Changes, and what is needed to come in.
    High,
    /// Reading one thing.
    Middle,
    /// Lists, documentation, and what is read by nobody in particular.
    Low,
}

/// What a request costs of its quotas, and how much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) cost: u32,
    pub(crate) priority: Priority,
}

const READ: Class = Class { cost: 1, priority: Priority::Middle };
const LIST: Class = Class { cost: 2, priority: Priority::Low };
const CHANGE: Class = Class { cost: 2, priority: Priority::High };
/// A password is hashed for it: tens of milliseconds of a core.
const HASHING: Class = Class { cost: 5, priority: Priority::High };
const PAGE: Class = Class { cost: 1, priority: Priority::Low };
const OPERATIONS: Class = Class { cost: 0, priority: Priority::Operations };

/// Routes whose class does not follow from their shape: method, path and class. `*` stands for one segment, `**` for all
/// that follow.
const RULES: [(Method, &str, Class); 9] = [
    (Method::GET, "/livez", OPERATIONS),
    (Method::GET, "/readyz", OPERATIONS),
    (Method::GET, "/metrics", OPERATIONS),
    (Method::GET, "/.well-known/**", OPERATIONS),
    (Method::POST, "/v1/auth/register", HASHING),
    (Method::POST, "/v1/auth/login", HASHING),
    (Method::POST, "/v1/auth/reset-password", HASHING),
    (Method::GET, "/v1/events/*/availability", READ),
    (Method::GET, "/v1/communities/*/webhooks/*/stats", READ),
];

/// The class of a request. What is read without credentials matters less: a page can be shown again.
pub(crate) fn of(head: &RequestHead) -> Class {
    let class = of_route(&head.method, head.uri.path());
    if class.priority == Priority::Middle && !head.headers.contains_key(header::AUTHORIZATION) {
        return Class { priority: Priority::Low, ..class };
    }
    class
}

/// The class of a route: by entry, or by shape. Outside of the API there are pages; inside, what does not read changes, and
/// a path of an odd number of segments names a collection (`/v1/events/{event}/rsvps`), one of an even number a thing.
fn of_route(method: &Method, path: &str) -> Class {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let rule = RULES.iter().find(|(of, pattern, _)| of == method && matches(pattern, path));
    if let Some((_, _, class)) = rule {
        return *class;
    }
    let Some(inside) = path.strip_prefix("/v1/") else { return PAGE };
    match *method {
        Method::OPTIONS => PAGE,
        Method::GET if inside.split('/').count() % 2 == 1 => LIST,
        Method::GET => READ,
        _ => CHANGE,
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        match (expected, segments.next()) {
            ("**", Some(_)) => return true,
            ("*", Some(_)) => {}
            (expected, Some(segment)) if expected == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// The community that a path names.
pub(crate) fn community(path: &str) -> Option<Subject> {
    let named = path.strip_prefix("/v1/communities/")?.split('/').next()?;
    // Neither ids nor slugs need escapes: those who write them so are counted together, not as many communities.
    let named = if named.contains('%') { "%" } else { named };
    (!named.is_empty()).then(|| Subject::community(named))
}

/// Adds to what a request costs, once it is known what it asks for; `?expand=` adds one for each relation. It is spent when
/// the request has been answered, so it never refuses the request itself.
pub fn add_cost(request: &HttpRequest, units: u32) {
    if let Some(applied) = request.extensions_mut().get_mut::<Applied>() {
        applied.add_cost(units);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use utoipa::openapi::RefOr;

    use super::*;
    use crate::openapi::operations_mut;

    /// Each documented route, its class by method and template, and whether it answers pages of a list.
    fn routes() -> Vec<(Method, String, Class, bool)> {
        let mut document = crate::openapi();
        let mut routes = Vec::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations_mut(item) {
                let paged = operation.parameters.iter().flatten().any(
                    |parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "after"),
                );
                let class = of_route(&method, path);
                routes.push((method, path.clone(), class, paged));
            }
        }
        assert!(routes.len() > 30);
        routes
    }

    #[test]
    fn every_route_has_the_class_that_its_kind_calls_for() {
        for (method, path, class, paged) in routes() {
            let expected = match (&method, path.as_str()) {
                (_, path) if !path.starts_with("/v1/") => [OPERATIONS, PAGE].as_slice(),
                (&Method::GET, _) if paged => &[LIST],
                (&Method::GET, _) => &[READ],
                (_, path) if path.starts_with("/v1/auth/") => &[HASHING, CHANGE],
                _ => &[CHANGE],
            };
            assert!(expected.contains(&class), "{method} {path} has {class:?}: add a rule");
        }
    }

    #[test]
    fn every_rule_is_of_a_route() {
        let routes = routes();
        for (method, pattern, _) in &RULES {
            let used = routes.iter().any(|(of, path, ..)| of == method && matches(pattern, path));
            assert!(used, "{method} {pattern} is no route");
        }
    }

    #[test]
    fn what_nobody_in_particular_reads_comes_last() {
        let path = "/v1/events/event_1";
        let anonymous = TestRequest::get().uri(path).to_srv_request();
        assert_eq!(of(anonymous.head()).priority, Priority::Low);
        let known = TestRequest::get().uri(path).insert_header((header::AUTHORIZATION, "Bearer x"));
        assert_eq!(of(known.to_srv_request().head()), READ);
        let head = TestRequest::default().method(Method::HEAD).uri("/readyz").to_srv_request();
        assert_eq!(of(head.head()), OPERATIONS);
    }

    #[test]
    fn patterns_match_whole_paths() {
        assert!(matches("/.well-known/**", "/.well-known/jwks.json"));
        assert!(!matches("/.well-known/**", "/.well-known"));
        assert!(!matches("/livez", "/livez/"));
        assert!(!matches("/v1/events/*/availability", "/v1/events/availability"));
    }

    #[test]
    fn a_path_names_one_community_however_it_is_written() {
        assert_eq!(community("/v1/communities/a/members"), Some(Subject::community("a")));
        assert_eq!(community("/v1/communities/%61"), community("/v1/communities/%62/events"));
        assert_eq!(community("/v1/communities"), None);
        assert_eq!(community("/v1/events/a"), None);
    }
}
