//! The W3C trace context (<https://www.w3.org/TR/trace-context/>): continuing a client's trace, or beginning one.

use std::fmt;

use convene_application::kernel::random::Random;

/// A `traceparent`: which trace, which span of it, with which flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads a header. Anything but version 00's form is treated as absent, as the specification asks.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        // Later versions may append fields; version ff is never valid.
        let form = version != 0xff && (version != 0 || parts.next().is_none());
        (form && trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// The span of this request: in the client's trace, or in a new one.
    pub(crate) fn continued(parent: Option<Self>, random: &dyn Random) -> Self {
        let span = u64::from_be_bytes(random.bytes()).max(1);
        match parent {
            Some(parent) => Self { span, ..parent },
            None => Self { trace: u128::from_be_bytes(random.bytes()).max(1), span, flags: 0 },
        }
    }

    /// The id of the trace, as logs show it.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Exactly so many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let form = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    form.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    struct Ones;

    impl Random for Ones {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0x11);
        }
    }

    #[test]
    fn reads_what_the_specification_shows() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn ignores_what_is_malformed() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn continues_a_trace_with_a_span_of_its_own() {
        let span = TraceParent::continued(TraceParent::parse(GOOD), &Ones);
        assert_eq!(span.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01");
    }
}
