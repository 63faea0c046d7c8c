//! What this process logs.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, get, put};
use convene_application::kernel::error::{Code, Failure, FieldError, Place};
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::AdminServices;
use super::guard::ReasonHeader;
use super::ports::{LogFilterControl, LogFilterState};
use crate::extract::{Body, Ctx};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// Read what this process logs.
///
/// Each process has a filter of its own: ask the listener of the process that you mean.
#[utoipa::path(
    tag = "admin",
    operation_id = "get_log_filter",
    responses((status = 200, description = "The filter in force.", body = LogFilterBody)),
)]
#[get("/log-filter")]
pub(super) async fn read_log_filter(
    services: Data<AdminServices>,
) -> Result<HttpResponse, Problem> {
    Ok(reply::json(&LogFilterBody::from(control(&services)?.state())))
}

/// Change what this process logs, for a while.
///
/// The filter of the configuration is in force again when the time is over, or when the process starts anew. Other processes
/// are not touched.
#[utoipa::path(
    tag = "admin",
    operation_id = "set_log_filter",
    params(ReasonHeader),
    request_body = SetLogFilter,
    responses((status = 200, description = "The filter in force.", body = LogFilterBody)),
)]
#[put("/log-filter")]
pub(super) async fn set_log_filter(
    body: Body<SetLogFilter>,
    Ctx(context): Ctx,
    _: ReasonHeader,
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let wanted = body.into_input()?;
    let control = control(&services)?;
    let before = control.state().filter;
    let lasting = Duration::from_mins(wanted.minutes.into());
    let state = control.set(&wanted.filter, lasting).map_err(|why| {
        Failure::invalid(vec![FieldError {
            place: Place::Pointer("/filter".to_owned()),
            code: "unknown_value",
            detail: format!("cannot be read: {why}").into(),
        }])
    })?;
    tracing::warn!(
        filter = wanted.filter,
        minutes = wanted.minutes,
        "another log filter is in force"
    );
    let changed = json!({
        "filter": { "old": before, "new": wanted.filter },
        "minutes": wanted.minutes,
    });
    let access = services.access.clone();
    let told = async move {
        access.write(&context, "platform.set_log_filter", "log-filter", changed).await
    };
    http.run(told).await?;
    Ok(reply::json(&LogFilterBody::from(state)))
}

fn control(services: &AdminServices) -> Result<Arc<dyn LogFilterControl>, Failure> {
    services.log_filter.clone().ok_or_else(|| {
        Failure::new(Code::Unavailable, "Something else decides what this process logs.")
    })
}

fn default_minutes() -> u16 {
    15
}

/// What is to be logged.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct SetLogFilter {
    /// Directives of tracing's `EnvFilter`, separated by commas.
    #[garde(length(chars, min = 1, max = 1000))]
    #[schema(min_length = 1, max_length = 1000, example = "info,convene_http=debug")]
    filter: String,
    /// For how long, in minutes.
    #[serde(default = "default_minutes")]
    #[garde(range(min = 1, max = 1440))]
    #[schema(minimum = 1, maximum = 1440, default = 15, example = 15)]
    minutes: u16,
}

/// What a process logs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogFilter)]
struct LogFilterBody {
    /// The directives in force.
    #[schema(example = "info,convene_http=debug")]
    filter: String,
    /// Those of the configuration.
    #[schema(example = "info,lapin=off")]
    configured: String,
    /// When those of the configuration are in force again; null where they are.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    until: Option<Timestamp>,
    /// Always `process`: other processes have filters of their own.
    #[schema(value_type = String, example = "process")]
    scope: &'static str,
}

impl From<LogFilterState> for LogFilterBody {
    fn from(state: LogFilterState) -> Self {
        let LogFilterState { filter, configured, until } = state;
        Self { filter, configured, until, scope: "process" }
    }
}
