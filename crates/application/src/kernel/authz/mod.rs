//! Who may do what: `policy` grants, everything else asks. Whatever is not granted there is refused.

mod policy;

use convene_domain::ids::{CommunityId, EventId};
use convene_domain::role::Role;

use super::error::{Code, Failure};
pub use policy::{Action, Grant, Object, POLICY, Rule, Who};

/// Who somebody is to a community, and to the event at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The community.
    pub community: CommunityId,
    /// The event at hand, if there is one.
    pub event: Option<EventId>,
    /// The role in the community; none for people who are no members, and for the anonymous: what asks for a login
    /// refuses them before.
    pub role: Option<Role>,
    /// Whether the person organises the event at hand. It counts for members alone.
    pub organizes_event: bool,
}

/// What was refused: audit entries are made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What somebody wanted to do.
    pub action: Action,
    /// The community that it was about; none for the installation itself.
    pub community: Option<CommunityId>,
    /// The identifier of what it was to be done to.
    pub object: String,
}

impl Standing {
    /// Whether the policy grants the action to this standing.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        let rule = action.rule();
        let Some(role) = self.role else { return rule.allows(Who::Stranger) };
        rule.allows(role.into()) || (self.organizes_event && rule.allows(Who::Host))
    }

    /// Grants the action or says why not.
    ///
    /// # Errors
    /// 403: `membership_required` for people who lack nothing but to be members, else `forbidden`.
    pub fn require(self, action: Action) -> Result<(), Failure> {
        if self.may(action) {
            return Ok(());
        }
        if self.role.is_none() && action.rule().allows(Who::Member) {
            let failure = Failure::new(
                Code::MembershipRequired,
                "Only members of the community may do this.",
            );
            return Err(self.told(action, failure));
        }
        Err(self.refusal(action, "Your role does not allow this."))
    }

    /// Refuses the action for a reason that lies in its object, such as the rank of the person that it is about.
    #[must_use]
    pub fn refusal(self, action: Action, detail: &'static str) -> Failure {
        self.told(action, Failure::new(Code::Forbidden, detail))
    }

    fn told(self, action: Action, failure: Failure) -> Failure {
        let object =
            self.event.map_or_else(|| self.community.to_string(), |event| event.to_string());
        let refused = Refused { action, community: Some(self.community), object };
        Failure { refused: Some(Box::new(refused)), ..failure }
    }

    /// Whether this standing may know that the community exists.
    #[must_use]
    pub fn sees_community(self, private: bool, archived: bool) -> bool {
        self.may(Action::seeing(private, archived))
    }

    /// Whether this standing may know that the event exists: what was never published is for those who manage it. That a
    /// community is archived hides no event.
    #[must_use]
    pub fn sees_event(self, private: bool, published: bool) -> bool {
        self.sees_community(private, false) && (published || self.may(Action::ManageEvent))
    }
}

#[cfg(test)]
mod tests {
    use convene_domain::ids::TypedId as _;
    use uuid::Uuid;

    use super::*;

    fn standing(role: Option<Role>, organizes_event: bool) -> Standing {
        let community = CommunityId::from_uuid(Uuid::from_u128(1));
        let event = Some(EventId::from_uuid(Uuid::from_u128(2)));
        Standing { community, event, role, organizes_event }
    }

    fn code(standing: Standing, action: Action) -> Option<Code> {
        standing.require(action).err().map(|failure| failure.code)
    }

    #[test]
    fn who_lacks_membership_alone_is_told_so() {
        let stranger = standing(None, false);
        assert_eq!(code(stranger, Action::ReadMembers), Some(Code::MembershipRequired));
        assert_eq!(code(stranger, Action::Attend), Some(Code::MembershipRequired));
        assert_eq!(code(stranger, Action::CreateEvent), Some(Code::Forbidden));
        assert_eq!(
            code(standing(Some(Role::Member), false), Action::CreateEvent),
            Some(Code::Forbidden)
        );
        assert_eq!(code(standing(Some(Role::Member), false), Action::Attend), None);
    }

    #[test]
    fn organising_an_event_counts_for_members() {
        assert!(standing(Some(Role::Member), true).may(Action::ManageEvent));
        assert!(!standing(Some(Role::Member), true).may(Action::CreateEvent));
        assert!(!standing(Some(Role::Organizer), false).may(Action::ManageEvent));
        assert!(!standing(None, true).may(Action::ManageEvent));
    }

    #[test]
    fn a_refusal_tells_what_it_was_about() {
        let failure = standing(None, false).require(Action::ManageEvent).unwrap_err();
        let refused = *failure.refused.expect("a refusal is told of");
        let event = EventId::from_uuid(Uuid::from_u128(2)).to_string();
        assert_eq!((refused.action, refused.object), (Action::ManageEvent, event));
    }

    #[test]
    fn a_private_community_is_for_its_members_and_an_archived_one_for_those_who_run_it() {
        for (private, archived, role, visible) in [
            (false, false, None, true),
            (false, false, Some(Role::Member), true),
            (true, false, None, false),
            (true, false, Some(Role::Member), true),
            (false, true, None, false),
            (false, true, Some(Role::Organizer), false),
            (false, true, Some(Role::Admin), true),
            (true, true, Some(Role::Owner), true),
        ] {
            let sees = standing(role, false).sees_community(private, archived);
            assert_eq!(sees, visible, "{private} {archived} {role:?}");
        }
    }

    #[test]
    fn a_draft_is_for_those_who_manage_it() {
        assert!(standing(None, false).sees_event(false, true));
        assert!(!standing(None, false).sees_event(true, true));
        assert!(!standing(Some(Role::Organizer), false).sees_event(false, false));
        assert!(standing(Some(Role::Organizer), true).sees_event(true, false));
        assert!(standing(Some(Role::Admin), false).sees_event(false, false));
    }
}
