//! The mailbox of the development profile: what would have been sent, to look at.
//!
//! Served only where the process keeps mails instead of sending them; not part of the API and therefore not of its
//! document.

use std::fmt::Write as _;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get};
use convene_application::kernel::error::Failure;
use serde::{Deserialize, Serialize};

use crate::Routes;
use crate::docs::html;
use crate::ports::{DevMail, DevMessage};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// The paths that are served, most specific first.
pub(crate) const PATHS: [&str; 3] = ["/dev/mail", "/dev/mail/messages", "/dev/mail/{id}"];

/// Registers the pages.
pub(crate) fn routes(routes: &mut Routes<'_>) {
    routes.map(|config| config.service(inbox).service(messages).service(message));
}

#[derive(Debug, Deserialize)]
struct To {
    to: Option<String>,
}

#[derive(Serialize)]
struct Messages {
    data: Vec<DevMessage>,
}

#[get("/dev/mail")]
async fn inbox(http: Data<Http>, query: Query<To>) -> Result<HttpResponse, Problem> {
    let mails = list(&http, query.into_inner().to).await?;
    let mut rows = String::new();
    for mail in &mails {
        writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td><a href=\"/dev/mail/{}\">{}</a></td></tr>",
            mail.sent_at,
            escape(&mail.to),
            escape(&mail.id),
            escape(&mail.subject),
        )
        .map_err(Failure::internal)?;
    }
    Ok(page(
        "Mailbox",
        &format!(
            "<h1>Mailbox</h1>\n<p>Mails that this development server would have sent, newest first.</p>\n\
             <table>\n<tr><th>sent</th><th>to</th><th>subject</th></tr>\n{rows}</table>"
        ),
    ))
}

#[get("/dev/mail/messages")]
async fn messages(http: Data<Http>, query: Query<To>) -> Result<HttpResponse, Problem> {
    let data = list(&http, query.into_inner().to).await?;
    let mut response = reply::json(&Messages { data });
    reply::set_header(&mut response, header::CACHE_CONTROL, "no-store");
    Ok(response)
}

#[get("/dev/mail/{id}")]
async fn message(http: Data<Http>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let mailbox = mailbox(&http)?;
    let found = http
        .run(async move { mailbox.find(&id).await.map_err(Failure::unavailable) })
        .await?
        .ok_or_else(Failure::not_found)?;
    let source = found.html.as_deref().map_or_else(String::new, |html| {
        format!("<h2>HTML part</h2>\n<pre>{}</pre>", escape(html))
    });
    Ok(page(
        &found.subject,
        &format!(
            "<p><a href=\"/dev/mail\">Mailbox</a></p>\n<h1>{}</h1>\n<p>From {} to {}, {}</p>\n<pre>{}</pre>\n{source}",
            escape(&found.subject),
            escape(&found.from),
            escape(&found.to),
            found.sent_at,
            escape(&found.text),
        ),
    ))
}

async fn list(http: &Http, to: Option<String>) -> Result<Vec<DevMessage>, Problem> {
    let mailbox = mailbox(http)?;
    http.run(async move { mailbox.list(to.as_deref()).await.map_err(Failure::unavailable) }).await
}

fn mailbox(http: &Http) -> Result<Arc<dyn DevMail>, Failure> {
    http.ports.dev_mail.clone().ok_or_else(Failure::not_found)
}

fn page(title: &str, body: &str) -> HttpResponse {
    let mut response = html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         pre{{background:#f4f6f8;padding:1rem;white-space:pre-wrap}}td,th{{text-align:left;padding:.2rem .8rem}}</style>\
         </head><body>\n{body}\n</body></html>\n",
        escape(title)
    ));
    reply::set_header(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// Text as HTML, in elements and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
