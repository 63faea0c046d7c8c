//! The routes of accounts, logins and tokens.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use convene_application::auth::{self, AuthService, Registration, Reset};
use convene_domain::text::EmailAddress;

use super::dto::{
    Login, MailRequested, MailTo, Refresh, Register, ResetPassword, Tokens, VerifyEmail,
};
use crate::extract::{Body, Caller, Ctx, NoFilter, Query};
use crate::problem::{self, Problem, ProblemDetails};
use crate::reply;
use crate::state::Http;

/// Register an address.
///
/// Mails a token to it, which `POST /v1/auth/verify-email` takes; until then nobody can log in. An address that has an
/// account gets the same answer, and its owner a mail that says so.
#[utoipa::path(
    tag = "auth",
    operation_id = "register",
    security(()),
    request_body = Register,
    responses(
        (status = 202, description = "A mail is on its way.", body = MailRequested, example = json!({"status": "verification_sent"})),
        (status = 429, description = "`rate_limited`: the address was registered too often.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/register")]
pub(super) async fn register(
    Ctx(context): Ctx,
    body: Body<Register>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let registration = body.into_input().and_then(Registration::try_from)?;
    http.run(async move { auth.register(&context, registration).await }).await?;
    Ok(reply::send(reply::accepted(&MailRequested::VERIFICATION)))
}

/// Verify an address with the token that was mailed to it.
///
/// This makes the account of the registration that the mail belongs to; other registrations of the address are void.
#[utoipa::path(
    tag = "auth",
    operation_id = "verify_email",
    security(()),
    request_body = VerifyEmail,
    responses(
        (status = 204, description = "The account is there; log in."),
        (status = 422, description = "`invalid_token`: the token is unknown, expired or spent; or `validation_failed`.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/verify-email")]
pub(super) async fn verify_email(
    Ctx(context): Ctx,
    body: Body<VerifyEmail>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let VerifyEmail { token } = body.into_input()?;
    http.run(async move { auth.verify_email(&context, &token).await }).await?;
    Ok(reply::send(reply::no_content()))
}

/// Ask for the verification mail again.
///
/// The answer is the same whether or not the address waits for one.
#[utoipa::path(
    tag = "auth",
    operation_id = "resend_verification",
    security(()),
    request_body = MailTo,
    responses(
        (status = 202, description = "If the address waits for a verification, a mail is on its way.", body = MailRequested, example = json!({"status": "sent"})),
        (status = 429, description = "`rate_limited`: too many mails were asked for.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/resend-verification")]
pub(super) async fn resend_verification(
    Ctx(context): Ctx,
    body: Body<MailTo>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let email = body.into_input().and_then(EmailAddress::try_from)?;
    http.run(async move { auth.resend_verification(&context, email).await }).await?;
    Ok(reply::send(reply::accepted(&MailRequested::OTHER)))
}

/// Ask for a mail that lets one choose a new password.
///
/// The answer is the same whether or not the address has an account.
#[utoipa::path(
    tag = "auth",
    operation_id = "forgot_password",
    security(()),
    request_body = MailTo,
    responses(
        (status = 202, description = "If the address has an account, a mail is on its way.", body = MailRequested, example = json!({"status": "sent"})),
        (status = 429, description = "`rate_limited`: too many mails were asked for.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/forgot-password")]
pub(super) async fn forgot_password(
    Ctx(context): Ctx,
    body: Body<MailTo>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let email = body.into_input().and_then(EmailAddress::try_from)?;
    http.run(async move { auth.forgot_password(&context, email).await }).await?;
    Ok(reply::send(reply::accepted(&MailRequested::OTHER)))
}

/// Choose a new password with the token of a reset mail.
///
/// All sessions end, and an account that was locked after too many failed logins is open again.
#[utoipa::path(
    tag = "auth",
    operation_id = "reset_password",
    security(()),
    request_body = ResetPassword,
    responses(
        (status = 204, description = "The password is changed; log in with it."),
        (status = 422, description = "`invalid_token`: the token is unknown, expired or spent; or `validation_failed`.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/reset-password")]
pub(super) async fn reset_password(
    Ctx(context): Ctx,
    body: Body<ResetPassword>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let reset = body.into_input().and_then(Reset::try_from)?;
    http.run(async move { auth.reset_password(&context, reset).await }).await?;
    Ok(reply::send(reply::no_content()))
}

/// Log in.
///
/// Begins a session. Send the access token with every request, and exchange the refresh token before the other expires.
#[utoipa::path(
    tag = "auth",
    operation_id = "login",
    security(()),
    request_body = Login,
    responses(
        (status = 200, description = "The tokens of a new session.", body = Tokens),
        (status = 401, description = "`invalid_credentials`: the address or the password is wrong, or the address is not verified yet.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
        (status = 429, description = "`rate_limited`: too many logins were tried.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/login")]
pub(super) async fn login(
    Ctx(context): Ctx,
    body: Body<Login>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let credentials = body.into_input().and_then(auth::Login::try_from)?;
    let tokens = http.run(async move { auth.login(&context, credentials).await }).await?;
    Ok(reply::json(&Tokens::from(tokens)))
}

/// Exchange a refresh token for the next pair of tokens.
///
/// Each is good once. A client whose reply got lost may repeat the call within 30 seconds and gets the same refresh token
/// again. After that, or when its successor was used, a spent token means that two hold it, and the session ends.
#[utoipa::path(
    tag = "auth",
    operation_id = "refresh_tokens",
    security(()),
    request_body = Refresh,
    responses(
        (status = 200, description = "The next pair of tokens.", body = Tokens),
        (status = 401, description = "`invalid_refresh_token`: the token is unknown, expired, spent or revoked.", body = ProblemDetails, content_type = problem::CONTENT_TYPE),
    ),
)]
#[post("/v1/auth/refresh")]
pub(super) async fn refresh(
    Ctx(context): Ctx,
    body: Body<Refresh>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let Refresh { refresh_token } = body.into_input()?;
    let tokens = http.run(async move { auth.refresh(&context, &refresh_token).await }).await?;
    Ok(reply::json(&Tokens::from(tokens)))
}

/// Log out.
///
/// The session of the access token ends, and all its tokens with it.
#[utoipa::path(
    tag = "auth",
    operation_id = "logout",
    responses((status = 204, description = "The session has ended.")),
)]
#[post("/v1/auth/logout")]
pub(super) async fn logout(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    query: Query<NoFilter>,
    auth: Data<AuthService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    query.open()?;
    http.run(async move { auth.logout(&context, caller).await }).await?;
    Ok(reply::send(reply::no_content()))
}
