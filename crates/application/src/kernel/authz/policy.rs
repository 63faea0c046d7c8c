//! The policy: one row for each action, one column for each kind of person. Nothing else grants anything.
//!
//! It is data of the program, checked while the program is compiled: an action without its one row does not build. So there
//! is no policy that could fail to load, and nothing that is served without one. `http/permissions.rs` says which operations
//! ask for which actions, and `docs/permissions.md` is made of both.

use convene_domain::role::Role;
use strum::{EnumCount as _, IntoEnumIterator as _};

/// What somebody wants to do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::EnumCount, strum::EnumIter,
)]
pub enum Action {
    /// Read what says nothing about anybody: documentation, probes, public keys.
    ReadInstallation,
    /// Register, log in, refresh, verify an address, get back into an account.
    Authenticate,
    /// Log out.
    EndSession,
    /// Read one's own profile.
    ReadOneself,
    /// Change one's own profile.
    UpdateOneself,
    /// List the communities that one is a member of.
    ListOwnCommunities,
    /// List one's own RSVPs.
    ListOwnRsvps,
    /// Make a community, and be its owner.
    CreateCommunity,
    /// See a public community and its published events.
    ReadPublicCommunity,
    /// See a private community and its published events.
    ReadPrivateCommunity,
    /// See a community that is archived.
    ReadArchivedCommunity,
    /// Become a member.
    JoinCommunity,
    /// Be a member no more.
    LeaveCommunity,
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
    /// Read the recorded events.
    ReadEventLog,
    /// Read who did what.
    ReadAuditLog,
    /// Manage webhook endpoints and see their deliveries.
    ManageWebhooks,
    /// Make an event.
    CreateEvent,
    /// See a draft, edit, publish or cancel an event.
    ManageEvent,
    /// List an event's RSVPs.
    ReadRsvps,
    /// See one's own RSVP.
    ReadOwnRsvp,
    /// Come to an event.
    Attend,
    /// Come no more.
    Withdraw,
    /// See how the installation is doing, and what it has to do.
    InspectPlatform,
    /// Change what the installation does: its jobs, its logs.
    OperatePlatform,
}

/// The columns of the policy: who somebody is to what the action is about. Whoever is several of them may do what any of
/// them may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumCount, strum::EnumIter)]
pub enum Who {
    /// Administers the platform: reaches the installation, by its own listener, with a reason for each change. To a
    /// community an administrator is what anybody else is.
    PlatformAdmin,
    /// Owns the community.
    Owner,
    /// Is an admin of it.
    Admin,
    /// Has the role of an organizer in it.
    Organizer,
    /// Is a member, and organises the event at hand.
    Host,
    /// Judges the event at hand. Reserved: there is no judging yet.
    Judge,
    /// Is a member.
    Member,
    /// Has an account, and is no member.
    Stranger,
    /// Has not logged in.
    Anonymous,
}

/// What a cell of the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It is refused.
    No,
    /// It is granted on what is one's own; such actions take nobody else as their object.
    Own,
    /// It is granted.
    Yes,
}

/// What an action is done to, and so how far a grant reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// The installation itself.
    Installation,
    /// The caller.
    Oneself,
    /// One community, that of the role.
    Community,
    /// Another member of that community whose rank is below the caller's.
    LowerRank,
    /// One event; organisers are those of this event alone.
    Event,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What is to be done.
    pub action: Action,
    /// Its stable name, as audit entries of refusals have it.
    pub name: &'static str,
    /// What it is done to.
    pub object: Object,
    /// Who may do it, in the order of [`Who`].
    pub grants: [Grant; Who::COUNT],
    /// The scope that an API key needs for it; none means that no key ever does it.
    pub key_scope: Option<&'static str>,
}

const N: Grant = Grant::No;
const S: Grant = Grant::Own;
const Y: Grant = Grant::Yes;

const fn rule(
    action: Action,
    name: &'static str,
    object: Object,
    grants: [Grant; Who::COUNT],
    key_scope: Option<&'static str>,
) -> Rule {
    Rule { action, name, object, grants, key_scope }
}

/// The policy, in the order of [`Action`]. The columns are those of [`Who`]: platform admin, owner, admin, organizer,
/// organiser of the event, judge, member, stranger, anonymous.
#[rustfmt::skip]
pub const POLICY: [Rule; Action::COUNT] = [
    //                                                                                              PA O  A  R  E  J  M  S  G
    rule(Action::ReadInstallation,      "installation.read",      Object::Installation, [Y, Y, Y, Y, Y, Y, Y, Y, Y], None),
    rule(Action::Authenticate,          "auth.authenticate",      Object::Oneself,      [S, S, S, S, S, S, S, S, S], None),
    rule(Action::EndSession,            "auth.logout",            Object::Oneself,      [S, S, S, S, S, S, S, S, N], None),
    rule(Action::ReadOneself,           "user.read",              Object::Oneself,      [S, S, S, S, S, S, S, S, N], None),
    rule(Action::UpdateOneself,         "user.update",            Object::Oneself,      [S, S, S, S, S, S, S, S, N], None),
    rule(Action::ListOwnCommunities,    "user.communities",       Object::Oneself,      [S, S, S, S, S, S, S, S, N], Some("community:read")),
    rule(Action::ListOwnRsvps,          "user.rsvps",             Object::Oneself,      [S, S, S, S, S, S, S, S, N], Some("rsvp:self")),
    rule(Action::CreateCommunity,       "community.create",       Object::Installation, [Y, Y, Y, Y, Y, Y, Y, Y, N], None),
    rule(Action::ReadPublicCommunity,   "community.read",         Object::Community,    [Y, Y, Y, Y, Y, Y, Y, Y, Y], Some("event:read")),
    rule(Action::ReadPrivateCommunity,  "community.read_private", Object::Community,    [N, Y, Y, Y, Y, N, Y, N, N], Some("community:read")),
    rule(Action::ReadArchivedCommunity, "community.read_archived", Object::Community,   [N, Y, Y, N, N, N, N, N, N], Some("community:read")),
    rule(Action::JoinCommunity,         "community.join",         Object::Community,    [S, S, S, S, S, S, S, S, N], None),
    rule(Action::LeaveCommunity,        "community.leave",        Object::Community,    [S, S, S, S, S, S, S, S, N], None),
    rule(Action::ReadMembers,           "community.members",      Object::Community,    [N, Y, Y, Y, Y, N, Y, N, N], Some("community:read")),
    rule(Action::UpdateCommunity,       "community.update",       Object::Community,    [N, Y, Y, N, N, N, N, N, N], Some("community:write")),
    rule(Action::ArchiveCommunity,      "community.archive",      Object::Community,    [N, Y, N, N, N, N, N, N, N], None),
    rule(Action::AppointOrganizer,      "community.set_role",     Object::LowerRank,    [N, Y, Y, N, N, N, N, N, N], Some("member:write")),
    rule(Action::AppointAdmin,          "community.set_role_admin", Object::LowerRank,  [N, Y, N, N, N, N, N, N, N], None),
    rule(Action::ReadEventLog,          "community.event_log",    Object::Community,    [N, Y, Y, N, N, N, N, N, N], None),
    rule(Action::ReadAuditLog,          "community.audit_log",    Object::Community,    [N, Y, Y, N, N, N, N, N, N], None),
    rule(Action::ManageWebhooks,        "webhook.manage",         Object::Community,    [N, Y, Y, N, N, N, N, N, N], Some("webhook:write")),
    rule(Action::CreateEvent,           "event.create",           Object::Community,    [N, Y, Y, Y, N, N, N, N, N], Some("event:write")),
    rule(Action::ManageEvent,           "event.manage",           Object::Event,        [N, Y, Y, N, Y, N, N, N, N], Some("event:write")),
    rule(Action::ReadRsvps,             "rsvp.list",              Object::Event,        [N, Y, Y, N, Y, N, N, N, N], Some("rsvp:pii")),
    rule(Action::ReadOwnRsvp,           "rsvp.read",              Object::Event,        [S, S, S, S, S, S, S, S, N], Some("rsvp:self")),
    rule(Action::Attend,                "rsvp.attend",            Object::Event,        [N, S, S, S, S, N, S, N, N], Some("rsvp:self")),
    rule(Action::Withdraw,              "rsvp.withdraw",          Object::Event,        [S, S, S, S, S, S, S, S, N], Some("rsvp:self")),
    rule(Action::InspectPlatform,       "platform.inspect",       Object::Installation, [Y, N, N, N, N, N, N, N, N], None),
    rule(Action::OperatePlatform,       "platform.operate",       Object::Installation, [Y, N, N, N, N, N, N, N, N], None),
];

/// Each action has its row, where it is looked for.
const _: () = {
    let mut place = 0;
    while place < POLICY.len() {
        assert!(POLICY[place].action as usize == place, "a row stands where its action does not");
        place += 1;
    }
};

impl Action {
    /// Its row.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        &POLICY[self as usize]
    }

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.rule().name
    }

    /// Every action, in the order of the policy.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }

    /// What seeing a community is.
    #[must_use]
    pub fn seeing(private: bool, archived: bool) -> Self {
        match (archived, private) {
            (true, _) => Self::ReadArchivedCommunity,
            (false, true) => Self::ReadPrivateCommunity,
            (false, false) => Self::ReadPublicCommunity,
        }
    }
}

impl Rule {
    /// What somebody of this kind is granted.
    #[must_use]
    pub fn grant(&self, who: Who) -> Grant {
        self.grants[who as usize]
    }

    /// Whether somebody of this kind may do it, be it on what is their own alone.
    #[must_use]
    pub fn allows(&self, who: Who) -> bool {
        self.grant(who) != Grant::No
    }
}

impl Who {
    /// The letter that heads the column.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::PlatformAdmin => "PA",
            Self::Owner => "O",
            Self::Admin => "A",
            Self::Organizer => "R",
            Self::Host => "E",
            Self::Judge => "J",
            Self::Member => "M",
            Self::Stranger => "S",
            Self::Anonymous => "G",
        }
    }

    /// Every kind, in the order of the columns.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }
}

impl From<Role> for Who {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Organizer => Self::Organizer,
            Role::Member => Self::Member,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_stable_words_and_each_is_one_actions() {
        let names: BTreeSet<&str> = POLICY.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), Action::COUNT);
        for name in names {
            let (module, verb) = name.split_once('.').expect("module.verb");
            let is_word = |word: &str| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            assert!(is_word(module) && is_word(verb), "{name}");
        }
    }

    /// More trust never takes anything away, and nobody gets more by logging out or by not being a member.
    #[test]
    fn grants_grow_with_trust() {
        for rule in &POLICY {
            for (less, more) in [
                (Who::Anonymous, Who::Stranger),
                (Who::Stranger, Who::Member),
                (Who::Stranger, Who::PlatformAdmin),
                (Who::Stranger, Who::Judge),
                (Who::Member, Who::Organizer),
                (Who::Member, Who::Host),
                (Who::Organizer, Who::Admin),
                (Who::Host, Who::Admin),
                (Who::Admin, Who::Owner),
            ] {
                assert!(
                    !rule.allows(less) || rule.allows(more),
                    "{}: {less:?}, {more:?}",
                    rule.name
                );
            }
        }
    }

    /// Judging does not exist yet, and administering the platform reaches nothing of communities and people: there these
    /// columns grant what anybody with an account may.
    #[test]
    fn administrators_and_judges_are_strangers_to_communities() {
        for rule in &POLICY {
            let stranger = rule.grant(Who::Stranger);
            assert_eq!(rule.grant(Who::Judge), stranger, "{}", rule.name);
            if rule.object != Object::Installation {
                assert_eq!(rule.grant(Who::PlatformAdmin), stranger, "{}", rule.name);
            }
        }
    }

    #[test]
    fn a_key_never_does_what_needs_a_person() {
        for action in [Action::ArchiveCommunity, Action::AppointAdmin, Action::Authenticate] {
            assert_eq!(action.rule().key_scope, None, "{action:?}");
        }
    }
}
