//! Log lines as JSON, one object each: `timestamp`, `level`, the event's fields, `target`, and the request's under `span`.
//!
//! The formatter of tracing-subscriber keeps a span's fields as JSON text and parses that again whenever a field is added
//! and whenever a line is written, which costs a request more than all else that it does. This one keeps the text of the
//! fields without braces, adds to it, and copies it.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Fields as `"name":value,` one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fragments;

/// Lines made of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lines;

impl<'w> FormatFields<'w> for Fragments {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        write_fields(&mut writer, &fields)
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        write_fields(&mut current.as_writer(), fields)
    }
}

impl<S> FormatEvent<S, Fragments> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Fragments>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\",", metadata.level())?;
        write_fields(&mut writer, &event)?;
        writer.write_str("\"target\":")?;
        write_text(&mut writer, metadata.target())?;
        if let Some(span) = context.lookup_current() {
            writer.write_str(",\"span\":{")?;
            if let Some(fields) = span.extensions().get::<FormattedFields<Fragments>>() {
                writer.write_str(fields)?;
            }
            writer.write_str("\"name\":")?;
            write_text(&mut writer, span.name())?;
            writer.write_char('}')?;
        }
        writer.write_str("}\n")
    }
}

fn write_fields(writer: &mut Writer<'_>, fields: &impl RecordFields) -> fmt::Result {
    let mut visitor = Fields { writer, outcome: Ok(()) };
    fields.record(&mut visitor);
    visitor.outcome
}

struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    outcome: fmt::Result,
}

impl Fields<'_, '_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.outcome.is_ok() {
            let name = field.name();
            self.outcome = write_text(self.writer, name.strip_prefix("r#").unwrap_or(name))
                .and_then(|()| self.writer.write_char(':'))
                .and_then(|()| value(self.writer))
                .and_then(|()| self.writer.write_char(','));
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |writer| write_text(writer, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |writer| write!(writer, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |writer| write!(writer, "{value}"));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.field(field, |writer| write!(writer, "\"{value}\""));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.field(field, |writer| write!(writer, "\"{value}\""));
    }

    /// JSON has no other numbers than finite ones.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |writer| {
            if value.is_finite() { write!(writer, "{value:?}") } else { writer.write_str("null") }
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.field(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value}")?;
            writer.write_char('"')
        });
    }
}

fn write_text(writer: &mut impl Write, text: &str) -> fmt::Result {
    writer.write_char('"')?;
    Escaped(writer).write_str(text)?;
    writer.write_char('"')
}

/// Escapes what JSON strings must not hold (RFC 8259 §7).
struct Escaped<'a, W: Write>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        while let Some(place) = text.bytes().position(special) {
            let (plain, rest) = text.split_at(place);
            self.0.write_str(plain)?;
            match rest.as_bytes()[0] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                other => write!(self.0, "\\u{other:04x}")?,
            }
            text = &rest[1..];
        }
        self.0.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::field::Empty;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(Fragments)
            .event_format(Lines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_fields_of_its_event_and_of_its_span() {
        let lines = lines(|| {
            let span =
                tracing::info_span!("http.request", request_id = "r\"1\\", user = Empty, n = 3);
            let _entered = span.enter();
            tracing::info!(target: "t", route = "/v1", bytes = Some(7_u64), took = 0.5, "done\n{}", '\u{1}');
            span.record("user", tracing::field::display("user_1"));
            let error = io::Error::other("broken \"pipe\"");
            tracing::warn!(error = &error as &dyn Error, ok = false, nothing = f64::NAN);
        });
        assert_eq!(lines.len(), 2);
        let fields = |line: &Value| {
            let mut line = line.clone();
            let object = line.as_object_mut().unwrap();
            assert!(object.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
            line
        };
        assert_eq!(
            fields(&lines[0]),
            json!({"level": "INFO", "message": "done\n\u{1}", "route": "/v1", "bytes": 7, "took": 0.5,
                   "target": "t", "span": {"request_id": "r\"1\\", "n": 3, "name": "http.request"}})
        );
        let second = fields(&lines[1]);
        assert_eq!(second["error"], "broken \"pipe\"");
        assert_eq!((&second["ok"], &second["nothing"]), (&json!(false), &Value::Null));
        assert_eq!(second["span"]["user"], "user_1");
    }

    #[test]
    fn without_a_span_there_is_none() {
        let lines = lines(|| tracing::error!("alone"));
        assert_eq!((&lines[0]["message"], lines[0].get("span")), (&json!("alone"), None));
    }
}
