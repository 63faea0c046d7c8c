//! `convene audit …`

use convene_application::kernel::operate::audit::{ChainReport, Erasure, Flaw};
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, say};
use crate::cli::AuditCommand;
use crate::error::StartError;
use crate::wiring::operators;

/// Chains with faults that are told one by one; the others are counted.
const TOLD: usize = 100;

pub(super) async fn run(command: AuditCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    match command {
        AuditCommand::Verify { community } => verify(&session, community.as_deref(), json).await,
        AuditCommand::Erase { user, before, destructive } => {
            erase(&session, &Erasure { user, before }, destructive, json).await
        }
    }
}

async fn verify(session: &Session, community: Option<&str>, json: bool) -> Result<(), StartError> {
    let community = session.community(community).await?;
    let (mut chains, mut entries, mut broken) = (0_u64, 0_u64, 0_u64);
    let mut faults = Vec::new();
    let mut end = None;
    let verifier = operators::audit_verifier(&session.platform);
    verifier
        .verify(community, |report| {
            chains += 1;
            entries += report.entries;
            broken += u64::from(report.fault.is_some());
            if community.is_some() {
                end = Some(report.end.clone());
            }
            if report.fault.is_some() && faults.len() < TOLD {
                faults.push(report);
            }
        })
        .await?;
    if json {
        let faults: Vec<Value> = faults.iter().map(fault_json).collect();
        let end = end.map(|end| json!({ "number": end.number, "hash": hexadecimal(&end.hash) }));
        print_json(&json!({
            "ok": broken == 0,
            "chains": chains,
            "entries": entries,
            "broken": broken,
            "end": end,
            "faults": faults,
        }))?;
    } else {
        for report in &faults {
            say(sentence(report))?;
        }
        say(format_args!("{entries} entries in {chains} chain(s) follow from those before them."))?;
        if let Some(end) = end.filter(|_| broken == 0) {
            say(format_args!("The chain ends at {} with {}.", end.number, hexadecimal(&end.hash)))?;
        }
    }
    match broken {
        0 => Ok(()),
        broken => Err(StartError::Told(format!("{broken} chain(s) of the audit log are broken"))),
    }
}

async fn erase(
    session: &Session,
    what: &Erasure,
    destructive: bool,
    json: bool,
) -> Result<(), StartError> {
    let eraser = operators::audit_eraser(&session.platform);
    let entries = eraser.erase(&session.context, what, destructive).await?;
    if json {
        print_json(&json!({ "entries": entries, "erased": destructive }))?;
    }
    if destructive {
        return if json {
            Ok(())
        } else {
            say(format_args!("Erased what is personal of {entries} entries."))
        };
    }
    Err(StartError::Told(format!(
        "nothing was erased: with --destructive, the address and the user agent of {entries} entries are, for good"
    )))
}

fn fault_json(report: &ChainReport) -> Value {
    let fault = report.fault.map(|fault| (fault.number, fault.flaw.to_string()));
    json!({
        "community": report.community.map(|community| community.to_string()),
        "number": fault.as_ref().map(|(number, _)| number),
        "flaw": fault.as_ref().map(|(_, flaw)| flaw),
    })
}

fn sentence(report: &ChainReport) -> String {
    let whose = report
        .community
        .map_or_else(|| "outside communities".to_owned(), |community| community.to_string());
    let Some(fault) = report.fault else { return format!("{whose}: whole") };
    let number = fault.number;
    match fault.flaw {
        Flaw::Missing => format!("{whose}: entry {number} is missing"),
        Flaw::Changed => format!("{whose}: entry {number} was changed"),
        Flaw::PersonalChanged => format!("{whose}: what is personal of entry {number} was changed"),
        Flaw::PersonalStray => {
            format!("{whose}: something personal is kept under {number}, which is no entry")
        }
        Flaw::EndChanged => format!("{whose}: the end of the chain, behind {number}, was changed"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
