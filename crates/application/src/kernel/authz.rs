//! Roles and what they may do: the one place that grants anything. Whatever is not granted here is refused.

use convene_domain::role::Role;

use super::error::{Code, Failure};

/// What somebody wants to do in a community or to one of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter)]
pub enum Action {
    /// List the members.
    ReadMembers,
    /// Change the settings.
    UpdateCommunity,
    /// Archive it.
    ArchiveCommunity,
    /// Give organizers and members their role.
    AppointOrganizer,
    /// Give somebody the role of an admin.
    AppointAdmin,
    /// Make an event.
    CreateEvent,
    /// See a draft, edit, publish or cancel an event.
    ManageEvent,
    /// List an event's RSVPs.
    ReadRsvps,
    /// Read the recorded events.
    ReadEventLog,
    /// Manage webhook endpoints and see their deliveries.
    ManageWebhooks,
}

/// Who somebody is to a community, and to the event at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The role in the community; none for people who are no members.
    pub role: Option<Role>,
    /// Whether the person organises the event at hand.
    pub organizes_event: bool,
}

impl Standing {
    /// Whether this standing grants the action.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        use Action::{
            AppointAdmin, AppointOrganizer, ArchiveCommunity, CreateEvent, ManageEvent,
            ManageWebhooks, ReadEventLog, ReadMembers, ReadRsvps, UpdateCommunity,
        };
        let Some(role) = self.role else { return false };
        match action {
            ReadMembers => true,
            ArchiveCommunity | AppointAdmin => role == Role::Owner,
            UpdateCommunity | AppointOrganizer | ReadEventLog | ManageWebhooks => {
                role >= Role::Admin
            }
            CreateEvent => role >= Role::Organizer,
            ManageEvent | ReadRsvps => role >= Role::Admin || self.organizes_event,
        }
    }

    /// Grants the action or says why not.
    ///
    /// # Errors
    /// 403: `membership_required` for people who are no members, else `forbidden`.
    pub fn require(self, action: Action) -> Result<(), Failure> {
        if self.may(action) {
            Ok(())
        } else if self.role.is_none() && action == Action::ReadMembers {
            Err(Failure::new(
                Code::MembershipRequired,
                "Only members of the community may see this.",
            ))
        } else {
            Err(Failure::forbidden("Your role does not allow this."))
        }
    }
}
