//! A client of the HTTP API that keeps everything it is answered.

use std::time::Duration;

use bytes::Bytes;
use convene_testkit::poll::poll_until;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// How long anything that happens behind the API may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Speaks to one API.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the API listens, such as `http://127.0.0.1:40123`.
    pub base: String,
    http: reqwest::Client,
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub struct Person {
    /// The id.
    pub id: String,
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// The access token of the last login.
    pub token: String,
    /// The refresh token of the last login.
    pub refresh_token: String,
}

/// What the API answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The bytes of the body.
    pub body: Bytes,
}

/// A request that is being put together.
pub struct Call<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    token: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Client {
    /// A client of the API that listens there, or will.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a plain client can be built");
        Self { base: base.into(), http }
    }

    /// A request by nobody.
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        let path = path.into();
        Call { client: self, method, path, token: None, headers: Vec::new(), body: None }
    }

    /// A GET.
    pub fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// A POST.
    pub fn post(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, path)
    }

    /// A PUT.
    pub fn put(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::PUT, path)
    }

    /// A PATCH.
    pub fn patch(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::PATCH, path)
    }

    /// A DELETE.
    pub fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    /// Somebody who registered, verified the address by the mailed token and logged in.
    pub async fn person(&self, name: &str) -> Person {
        let tag = uuid::Uuid::new_v4().simple().to_string();
        let email = format!("{name}-{tag}@example.org");
        let password = format!("a long passphrase {tag}");
        let account = json!({"email": email, "password": password, "display_name": name});
        self.post("/v1/auth/register").json(account).await.expect(202);
        let token = self.mailed_token(&email).await;
        self.post("/v1/auth/verify-email").json(json!({"token": token})).await.expect(204);
        let mut person = Person {
            id: String::new(),
            email,
            password,
            token: String::new(),
            refresh_token: String::new(),
        };
        self.login(&mut person).await;
        let me = self.get("/v1/users/me").by(&person).await.expect(200).json();
        person.id = text(&me["id"]);
        person
    }

    /// Logs a person in anew.
    pub async fn login(&self, person: &mut Person) {
        let credentials = json!({"email": person.email, "password": person.password});
        let tokens = self.post("/v1/auth/login").json(credentials).await.expect(200).json();
        person.token = text(&tokens["access_token"]);
        person.refresh_token = text(&tokens["refresh_token"]);
    }

    /// The token of the newest mail to an address that holds one.
    pub async fn mailed_token(&self, email: &str) -> String {
        let path = format!("/dev/mail/messages?to={email}");
        poll_until(PATIENCE, "a mail with a token arrives", async || {
            let mails = self.get(&path).await.expect(200).json();
            mails["data"].as_array()?.iter().find_map(|mail| {
                let text = mail["text"].as_str()?;
                text.lines().find_map(|line| line.strip_prefix("token: ").map(str::to_owned))
            })
        })
        .await
    }

    /// A public community of this person, with a slug of its own; its id.
    pub async fn community(&self, owner: &Person) -> String {
        self.community_of(owner, "public").await
    }

    /// A community of this person with this visibility; its id.
    pub async fn community_of(&self, owner: &Person, visibility: &str) -> String {
        let slug = format!("c-{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        let community = json!({"slug": slug, "name": "A community", "visibility": visibility});
        let made = self.post("/v1/communities").by(owner).json(community).await.expect(201).json();
        text(&made["id"])
    }

    /// A published event in the far future; its id.
    pub async fn event(
        &self,
        organizer: &Person,
        community: &str,
        capacity: Option<u32>,
    ) -> String {
        let draft = self.draft(organizer, community, capacity).await;
        self.post(format!("/v1/events/{draft}/publish")).by(organizer).await.expect(200);
        draft
    }

    /// A draft of an event in the far future; its id.
    pub async fn draft(
        &self,
        organizer: &Person,
        community: &str,
        capacity: Option<u32>,
    ) -> String {
        let event = json!({
            "title": "An event",
            "starts_at_local": "2035-05-01T18:00:00",
            "ends_at_local": "2035-05-01T21:00:00",
            "time_zone": "Europe/Berlin",
            "capacity": capacity,
        });
        let path = format!("/v1/communities/{community}/events");
        text(&self.post(path).by(organizer).json(event).await.expect(201).json()["id"])
    }

    /// Makes somebody a member.
    pub async fn join(&self, person: &Person, community: &str) {
        self.post(format!("/v1/communities/{community}/join")).by(person).await.expect(200);
    }

    /// RSVPs for one.
    pub async fn rsvp(&self, person: &Person, event: &str) -> Answer {
        self.put(format!("/v1/events/{event}/rsvps/me")).by(person).json(json!({})).await
    }
}

impl Call<'_> {
    /// With this person's access token.
    #[must_use]
    pub fn by(self, person: &Person) -> Self {
        self.token(&person.token)
    }

    /// With this access token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this JSON body.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a body is built where it is sent")]
    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string())
    }

    /// With these bytes as the body.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it.
    pub async fn send(self) -> Answer {
        let request = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("{request}: {error:?}"))
    }

    /// Sends it to a server that may not be there, or go away in the middle.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let request = format!("{} {}", self.method, self.path);
        let Client { base, http } = self.client;
        let mut builder = http.request(self.method, format!("{base}{}", self.path));
        if let Some(token) = self.token {
            builder = builder.bearer_auth(token);
        }
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = self.body {
            builder = builder.body(body);
        }
        let response = builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { request, status, headers, body: response.bytes().await? })
    }
}

impl<'a> IntoFuture for Call<'a> {
    type Output = Answer;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Answer {
    /// Insists on a status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{} answered {}",
            self.request,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// Insists on a problem with this status and code.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{}",
            answer.request
        );
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{} answered {problem}", answer.request);
        assert_eq!(problem["status"], status, "{problem}");
        problem
    }

    /// The body as JSON; null if there is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} answered no JSON ({error}): {:?}", self.request, self.body)
        })
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `ETag`.
    #[track_caller]
    #[must_use]
    pub fn etag(&self) -> String {
        self.header("etag").unwrap_or_else(|| panic!("{} has no ETag", self.request)).to_owned()
    }
}

/// A JSON string.
#[track_caller]
#[must_use]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
