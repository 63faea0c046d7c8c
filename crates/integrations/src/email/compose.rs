//! Turns a message in words into one that mail servers take.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use convene_domain::text::EmailAddress;
use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Mail};

use super::templates::Rendered;

/// Why a message could not be composed; another attempt would not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum ComposeError {
    /// The recipient's domain is no internationalised domain name, or the address is none.
    #[error("the recipient's address cannot be written in a mail")]
    Recipient,
    #[error("the message could not be composed")]
    Message(#[from] lettre::error::Error),
}

/// A name for a mail that is the same for each attempt to send it and fits into any header, path or URL.
pub(super) fn stable_name(id: &str) -> String {
    digest(&SHA256, id.as_bytes()).as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A multipart message with text first and HTML as the richer alternative. All attempts for one id have the same
/// Message-ID, so that a recipient's server can drop the second of two.
pub(super) fn compose(
    id: &str,
    from: &Mailbox,
    to: &EmailAddress,
    rendered: Rendered,
    now: Timestamp,
) -> Result<Mail, ComposeError> {
    let name = stable_name(id);
    let body = MultiPart::alternative()
        .boundary(&name)
        .singlepart(part(ContentType::TEXT_PLAIN, rendered.text))
        .singlepart(part(ContentType::TEXT_HTML, rendered.html));
    let mail = Mail::builder()
        .from(from.clone())
        .to(Mailbox::new(None, address(to)?))
        .subject(rendered.subject)
        .date(SystemTime::from(now))
        .message_id(Some(format!("<{name}@{}>", from.email.domain())))
        // Keeps answering machines from answering (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .multipart(body)?;
    Ok(mail)
}

fn part(content_type: ContentType, body: String) -> SinglePart {
    SinglePart::builder().header(content_type).body(body)
}

/// The address with its domain in the form of the DNS.
fn address(to: &EmailAddress) -> Result<Address, ComposeError> {
    let (local, domain) = to.as_str().rsplit_once('@').ok_or(ComposeError::Recipient)?;
    match url::Host::parse(domain) {
        Ok(url::Host::Domain(domain)) => {
            Address::new(local, domain).map_err(|_| ComposeError::Recipient)
        }
        _ => Err(ComposeError::Recipient),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(subject: &str, to: &str) -> String {
        let rendered = Rendered {
            subject: subject.to_owned(),
            text: "Hello,\n\ntoken: abc\n".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        };
        let from = "Convene <no-reply@convene.example>".parse().unwrap();
        let to = EmailAddress::new(to).unwrap();
        let now = "2027-05-01T18:00:00Z".parse().unwrap();
        String::from_utf8(compose("job-7/ada", &from, &to, rendered, now).unwrap().formatted())
            .unwrap()
    }

    #[test]
    fn has_the_headers_of_an_automatic_mail() {
        let mail = composed("Hello", "ada@example.org");
        for line in [
            "From: Convene <no-reply@convene.example>\r\n",
            "To: ada@example.org\r\n",
            "Subject: Hello\r\n",
            "Date: Sat, 01 May 2027 18:00:00 +0000\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "MIME-Version: 1.0\r\n",
            "\r\ntoken: abc\r\n",
            "\r\n<p>Hello</p>\r\n",
        ] {
            assert!(mail.contains(line), "{line:?} in\n{mail}");
        }
    }

    #[test]
    fn attempts_are_the_same_mail() {
        let first = composed("Hello", "ada@example.org");
        assert_eq!(first, composed("Hello", "ada@example.org"));
        assert!(
            first.contains(&format!("Message-ID: <{}@convene.example>", stable_name("job-7/ada")))
        );
        assert_ne!(stable_name("a"), stable_name("b"));
    }

    #[test]
    fn a_subject_cannot_add_a_header() {
        for subject in [
            "Hi\r\nBcc: all@example.org",
            "Hi\nBcc: all@example.org",
            "Hi\rBcc: x",
            "Zoë\r\nBcc: x",
        ] {
            let mail = composed(subject, "ada@example.org");
            let head = mail.split("\r\n\r\n").next().unwrap();
            let names: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with(' ')).collect();
            assert!(names.iter().all(|line| !line.starts_with("Bcc")), "{head}");
            assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{head:?}");
        }
    }

    #[test]
    fn international_addresses_are_written_for_the_dns() {
        assert!(composed("Hi", "ada@bücher.example").contains("To: ada@xn--bcher-kva.example\r\n"));
    }

    #[test]
    fn an_address_that_no_mail_can_carry_is_refused_for_good() {
        let rendered = Rendered { subject: "Hi".into(), text: "Hi".into(), html: "Hi".into() };
        let from = "no-reply@convene.example".parse().unwrap();
        let to = EmailAddress::new("ada@xn--a.example").unwrap();
        let result = compose("1", &from, &to, rendered, Timestamp::UNIX_EPOCH);
        assert!(matches!(result, Err(ComposeError::Recipient)), "{result:?}");
    }
}
