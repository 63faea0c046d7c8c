//! What was asked and what was answered.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

/// What somebody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A draft with a title that no other has.
    CreateEvent,
    /// Publishing it.
    PublishEvent,
    /// A title that no event has had.
    RenameEvent,
    /// Another capacity.
    ResizeEvent,
    /// Cancelling it.
    CancelEvent,
    /// Seats, or another number of them.
    Attend,
    /// Giving them up.
    Withdraw,
    /// Another role for somebody.
    GiveRole,
    /// A description that the community has not had.
    DescribeCommunity,
    /// Nothing but to see something.
    Read,
}

/// What an answer, or the lack of one, says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Acknowledged,
    /// It was not done.
    Refused,
    /// Either.
    Unknown,
}

impl Outcome {
    /// The outcome of an answer with this status; `None` where there was none. A commit whose answer was lost is answered
    /// with 503 too.
    #[must_use]
    pub fn of(status: Option<u16>) -> Self {
        match status {
            Some(200..300) => Self::Acknowledged,
            Some(300..500) => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// When it was sent, in milliseconds after the begin.
    pub at_ms: u64,
    /// How long the answer took, or the waiting for it.
    pub took_ms: u64,
    /// The person.
    pub who: String,
    /// The process that was asked.
    pub process: String,
    /// What was wanted.
    pub operation: Operation,
    /// Where.
    pub path: String,
    /// `Idempotency-Key`, the same for each attempt.
    pub key: Option<String>,
    /// `X-Request-Id`, another one for each attempt. Events and audit entries hold it.
    pub request: String,
    /// The body.
    pub wanted: Value,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What that says.
    pub outcome: Outcome,
    /// Whether the answer was a stored one.
    pub replayed: bool,
    /// The answer.
    pub answer: Value,
}

impl Record {
    /// What the attempts of one wish have in common.
    #[must_use]
    pub fn wish(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.request)
    }

    /// Whether this was done, and certainly changed something.
    #[must_use]
    pub fn certainly_changed(&self) -> bool {
        self.outcome == Outcome::Acknowledged
            && match self.operation {
                Operation::CreateEvent | Operation::RenameEvent | Operation::DescribeCommunity => {
                    true
                }
                // Seats that were there before are answered with 200.
                Operation::Attend => self.status == Some(201),
                _ => false,
            }
    }
}

/// The requests of a trial.
#[derive(Default)]
pub struct History(Mutex<Vec<Record>>);

impl History {
    /// Adds one that was answered, or given up.
    pub fn add(&self, record: Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// All of them so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many had this outcome so far.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().filter(|record| record.outcome == outcome).count()
    }
}

/// Writes values as lines of JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_lines<T: Serialize>(path: &Path, values: &[T]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for value in values {
        serde_json::to_writer(&mut file, value)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
