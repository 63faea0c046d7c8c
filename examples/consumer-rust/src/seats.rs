//! The effect: how many seats each RSVP holds, in a file of one JSON line per event.
//!
//! A line is the effect and the memory that the event was taken, in one write. A database does the same with one
//! transaction; what must not happen is that the one is kept without the other.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use convene_contracts::{CloudEvent, EventPayload as _, rsvp};
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// What became of an event.
pub(crate) enum Taken {
    Applied,
    /// It was taken before: the broker delivers at least once.
    Duplicate,
    /// A later one of the same RSVP was taken before: redelivery may reorder.
    Outdated,
    /// An earlier one of the same RSVP is missing: it may come yet.
    NotYet,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    rsvp: String,
    version: i32,
    seats: u64,
}

/// The seats, as the file has them.
pub(crate) struct Seats {
    file: File,
    /// A real service forgets ids that are older than any redelivery.
    taken: HashSet<String>,
    rsvps: HashMap<String, Line>,
}

impl Seats {
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A crash may have left half a line behind: its event was not acknowledged and comes again.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.rewind()?;
        let mut seats = Self { file, taken: HashSet::new(), rsvps: HashMap::new() };
        for line in text[..whole].lines() {
            seats.remember(serde_json::from_str(line)?);
        }
        Ok(seats)
    }

    /// Applies an event, once and in order. It is kept when this returns.
    pub(crate) fn take(&mut self, event: &CloudEvent) -> Outcome<Taken> {
        let id = event.id.to_string();
        if self.taken.contains(&id) {
            return Ok(Taken::Duplicate);
        }
        // Versions have no gaps. The first that we see may be any: the queue is younger than the RSVP.
        let known = self.rsvps.get(&event.subject);
        match known.map(|known| event.aggregateversion - known.version) {
            Some(..1) => return Ok(Taken::Outdated),
            Some(2..) => return Ok(Taken::NotYet),
            None | Some(1) => {}
        }
        let party = event.data["party_size"].as_u64().unwrap_or(0);
        let seats = match event.r#type.as_str() {
            rsvp::RsvpConfirmed::TYPE => party,
            rsvp::RsvpPartyChanged::TYPE if known.is_some_and(|known| known.seats > 0) => party,
            // A type that joins later must not stop us: what it says is not about seats that we know of.
            _ => 0,
        };
        let line = Line { id, rsvp: event.subject.clone(), version: event.aggregateversion, seats };
        self.file.write_all((serde_json::to_string(&line)? + "\n").as_bytes())?;
        self.file.sync_data()?;
        self.remember(line);
        Ok(Taken::Applied)
    }

    fn remember(&mut self, line: Line) {
        self.taken.insert(line.id.clone());
        self.rsvps.insert(line.rsvp.clone(), line);
    }
}
