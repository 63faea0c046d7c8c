//! A small client of the HTTP API.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::Outcome;

/// Somebody with an account.
pub(crate) struct Person {
    pub(crate) email: String,
    /// The access token; empty before the login.
    pub(crate) token: String,
}

/// Calls the API at the address of CONVENE__HTTP__BIND.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(crate) fn new() -> Self {
        let address =
            std::env::var("CONVENE__HTTP__BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
        Self { http: reqwest::Client::new(), base: format!("http://{address}") }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and insists on the status of its reply; returns the body, null if there is none.
    pub(crate) async fn expect(
        &self,
        status: u16,
        method: Method,
        path: &str,
        caller: Option<&Person>,
        body: Option<Value>,
    ) -> Outcome<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(person) = caller {
            request = request.bearer_auth(&person.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let got = response.status().as_u16();
        let text = response.text().await?;
        if got != status {
            return Err(
                format!("{method} {path} answered {got} instead of {status}: {text}").into()
            );
        }
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Waits for a mail to a person whose text holds this.
    pub(crate) async fn mail_to(
        &self,
        person: &Person,
        containing: &str,
        patience: Duration,
    ) -> Outcome<Value> {
        let path = format!("/dev/mail/messages?to={}", person.email);
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let mails = self.expect(200, Method::GET, &path, None, None).await?;
            let found =
                mails["data"].as_array().into_iter().flatten().find(|mail| {
                    mail["text"].as_str().is_some_and(|text| text.contains(containing))
                });
            if let Some(mail) = found {
                return Ok(mail.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("no mail to {} arrived", person.email).into())
    }
}
