//! What each message says, as text and as HTML.
//!
//! Everything that people have written goes through [`one_line`] first: a line break in a name must not start a line that
//! looks like ours. In HTML the engine escapes it.

use convene_application::kernel::mail::Message;
use jiff::Timestamp;
use jiff::civil::DateTime;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name)))),+]
    };
}

const TEMPLATES: &[(&str, &str)] = templates![
    "layout.html",
    "verify_email.txt",
    "verify_email.html",
    "already_registered.txt",
    "already_registered.html",
    "reset_password.txt",
    "reset_password.html",
    "session_revoked.txt",
    "session_revoked.html",
    "promoted.txt",
    "promoted.html",
    "event_cancelled.txt",
    "event_cancelled.html",
    "webhook_failing.txt",
    "webhook_failing.html",
];

/// A message in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// The templates of all messages.
#[derive(Debug)]
pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// Reads the templates, which are part of the program.
    ///
    /// # Errors
    /// The engine's, for a template that does not parse.
    pub(super) fn load() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| {
            if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
        });
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        Ok(Self(environment))
    }

    /// Puts a message into words.
    ///
    /// # Errors
    /// The engine's, for a template that asks for what the message does not have.
    pub(super) fn render(&self, message: &Message) -> Result<Rendered, minijinja::Error> {
        let (name, subject, values) = describe(message);
        let values = context! { subject => &subject, ..values };
        let render = |kind| self.0.get_template(&format!("{name}.{kind}"))?.render(&values);
        // The engine drops the line break at the end of a template.
        Ok(Rendered { text: render("txt")? + "\n", html: render("html")? + "\n", subject })
    }
}

/// The template of a message, its subject and its values.
fn describe(message: &Message) -> (&'static str, String, Value) {
    match message {
        Message::VerifyEmail { display_name, token, expires_at } => (
            "verify_email",
            "Confirm your e-mail address".to_owned(),
            context! {
                name => greetable(display_name),
                token => one_line(token),
                expires_at => instant(*expires_at),
            },
        ),
        Message::AlreadyRegistered => {
            ("already_registered", "You have a Convene account already".to_owned(), context! {})
        }
        Message::ResetPassword { token, expires_at } => (
            "reset_password",
            "Reset your password".to_owned(),
            context! { token => one_line(token), expires_at => instant(*expires_at) },
        ),
        Message::SessionRevoked => {
            ("session_revoked", "One of your sessions was ended".to_owned(), context! {})
        }
        Message::Promoted { event, starts_at_local, time_zone, party_size } => (
            "promoted",
            format!("You have a seat: {}", one_line(event)),
            context! {
                event => one_line(event),
                starts_at => local_time(*starts_at_local, time_zone),
                seats => if *party_size == 1 { "a seat".to_owned() } else { format!("{party_size} seats") },
            },
        ),
        Message::EventCancelled { event, starts_at_local, time_zone } => (
            "event_cancelled",
            format!("Cancelled: {}", one_line(event)),
            context! {
                event => one_line(event),
                starts_at => local_time(*starts_at_local, time_zone),
            },
        ),
        Message::WebhookFailing { url, disabled } => (
            "webhook_failing",
            if *disabled {
                "A webhook endpoint was disabled".to_owned()
            } else {
                "A webhook could not be delivered".to_owned()
            },
            context! { url => one_line(url), disabled },
        ),
    }
}

/// Text without line breaks of any kind and other control characters.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
}

/// A name to greet somebody by who has not proved to own the address: none if mail programs could turn it into a link,
/// or registration would be a way to send anybody an advertisement in our name.
fn greetable(name: &str) -> Option<String> {
    let name = one_line(name);
    let has_inner_dot =
        name.split('.').skip(1).any(|rest| rest.starts_with(|c: char| !c.is_whitespace()));
    (!has_inner_dot && !name.contains(['/', ':', '@'])).then_some(name)
}

fn instant(timestamp: Timestamp) -> String {
    timestamp.strftime("%-d %B %Y, %H:%M UTC").to_string()
}

fn local_time(time: DateTime, zone: &str) -> String {
    format!("{} ({})", time.strftime("%A, %-d %B %Y, %H:%M"), one_line(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(message: &Message) -> Rendered {
        Templates::load().unwrap().render(message).unwrap()
    }

    fn at() -> Timestamp {
        "2027-05-01T18:00:00Z".parse().unwrap()
    }

    fn verify(display_name: &str) -> Rendered {
        let (display_name, token) = (display_name.to_owned(), "t0ken-_x".to_owned());
        render(&Message::VerifyEmail { display_name, token, expires_at: at() })
    }

    fn every_message(text: &str) -> [Message; 8] {
        let (event, time_zone, url) =
            (text.to_owned(), "Europe/Berlin".to_owned(), text.to_owned());
        let starts_at_local = "2027-05-01T20:00:00".parse().unwrap();
        [
            Message::VerifyEmail {
                display_name: text.to_owned(),
                token: "t".into(),
                expires_at: at(),
            },
            Message::AlreadyRegistered,
            Message::ResetPassword { token: "t".into(), expires_at: at() },
            Message::SessionRevoked,
            Message::Promoted {
                event: event.clone(),
                starts_at_local,
                time_zone: time_zone.clone(),
                party_size: 1,
            },
            Message::EventCancelled { event, starts_at_local, time_zone },
            Message::WebhookFailing { url: url.clone(), disabled: false },
            Message::WebhookFailing { url, disabled: true },
        ]
    }

    #[test]
    fn the_token_stands_on_a_line_of_its_own() {
        let reset = Message::ResetPassword { token: "t0ken-_x".into(), expires_at: at() };
        for mail in [verify("Ada"), render(&reset)] {
            let lines: Vec<&str> =
                mail.text.lines().filter(|line| line.contains("token:")).collect();
            assert_eq!(lines, ["token: t0ken-_x"]);
            assert!(mail.text.contains("before 1 May 2027, 18:00 UTC:"), "{}", mail.text);
            assert!(mail.html.contains(">t0ken-_x</code>"), "{}", mail.html);
        }
    }

    #[test]
    fn every_message_has_a_subject_a_text_and_a_page() {
        for message in every_message("Rust & friends") {
            let mail = render(&message);
            assert!(!mail.subject.is_empty() && mail.text.len() > 50, "{message:?}");
            assert!(mail.html.starts_with("<!doctype html>"), "{}", mail.html);
            assert!(mail.html.contains("<title>"), "{}", mail.html);
            assert!(!mail.text.contains("{{") && !mail.text.contains("&amp;"), "{}", mail.text);
            assert!(mail.text.ends_with('\n'));
        }
    }

    #[test]
    fn what_people_wrote_is_escaped_in_html() {
        for message in every_message("<img src=x onerror=alert(1)> \"&'") {
            let html = render(&message).html;
            assert!(!html.contains("<img"), "{html}");
        }
    }

    #[test]
    fn what_people_wrote_cannot_start_a_line_or_a_header() {
        for line_break in ["\n", "\r\n", "\r", "\u{85}", "\u{2028}", "\u{b}", "\0"] {
            let text = format!("Party{line_break}token: forged{line_break}Bcc: all@example.org");
            for message in every_message(&text) {
                let mail = render(&message);
                assert!(!mail.subject.contains(['\r', '\n', '\0']), "{:?}", mail.subject);
                assert!(mail.text.lines().all(|line| line != "token: forged"), "{}", mail.text);
            }
        }
    }

    #[test]
    fn nobody_is_greeted_by_a_link() {
        for name in ["Ada Lovelace", "Dr. Ada", "J. R. R. Tolkien", "Zoë", "Ada & Bob"] {
            assert!(verify(name).text.starts_with(&format!("Hello {name},")), "{name}");
        }
        for name in ["Win at casino.example", "https://evil", "evil.example/x", "a@b", "www.x"] {
            assert!(verify(name).text.starts_with("Hello,"), "{name}");
        }
    }

    #[test]
    fn a_promotion_tells_seats_place_and_local_time() {
        let mail = render(&Message::Promoted {
            event: "Rust & Rhine".into(),
            starts_at_local: "2027-05-01T18:05:00".parse().unwrap(),
            time_zone: "Europe/Berlin".into(),
            party_size: 3,
        });
        assert_eq!(mail.subject, "You have a seat: Rust & Rhine");
        assert!(mail.text.contains("have 3 seats at"), "{}", mail.text);
        assert!(
            mail.text.contains("\nSaturday, 1 May 2027, 18:05 (Europe/Berlin)\n"),
            "{}",
            mail.text
        );
        assert!(mail.html.contains("Rust &amp; Rhine"), "{}", mail.html);
    }
}
