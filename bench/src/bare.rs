//! The base line of a GET: an actix handler that verifies the same token and answers the same bytes, and nothing else.

use std::path::PathBuf;

use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::Fault;

/// The argument that makes this program the server.
pub(crate) const COMMAND: &str = "bare-server";

struct State {
    key: DecodingKey,
    validation: Validation,
    body: Bytes,
}

/// Serves the bytes of a file at an address to whoever has a token of a key: `address x file`.
pub(crate) fn serve(arguments: &[String]) -> Result<(), Fault> {
    let [address, key, file] = arguments else { return Err("address, key and file".into()) };
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["convene"]);
    validation.set_audience(&["convene-api"]);
    let state = Data::new(State {
        key: DecodingKey::from_ed_components(key)?,
        validation,
        body: std::fs::read(PathBuf::from(file))?.into(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        HttpServer::new(move || {
            App::new().app_data(state.clone()).default_service(web::to(answer))
        })
        .bind(address.as_str())?
        .run()
        .await?;
        Ok(())
    })
}

async fn answer(request: HttpRequest, state: Data<State>) -> HttpResponse {
    let token = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let verified = token.is_some_and(|token| {
        jsonwebtoken::decode::<Value>(token, &state.key, &state.validation).is_ok()
    });
    if !verified {
        return HttpResponse::Unauthorized().finish();
    }
    HttpResponse::Ok().content_type("application/json").body(state.body.clone())
}
