//! The use cases of a community's members.

use convene_contracts::community::JoinedVia;
use convene_domain::community::{
    AssignableRole, CannotLeave, CommunityRef, Membership, RankRefusal, Role,
};
use convene_domain::ids::UserId;
use serde_json::json;

use super::events;
use super::ports::{LockedMembers, MEMBER_ONCE, MemberView, SeenCommunity};
use super::service::{CommunityService, archived};
use crate::kernel::authz::{Action, Standing};
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::error::{Checked, Code, Failure};
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::jobs::NewJob;
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::retry::retrying;
use crate::kernel::store::StoreError;
use crate::kernel::uow;
use crate::rsvp::offers::ReleaseMember;

impl CommunityService {
    /// Becomes a member. Whoever is one already stays as they are, and nothing is recorded.
    ///
    /// # Errors
    /// `not_found` for private communities too, `community_archived`.
    pub async fn join(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        idempotency: Option<Idempotency<MemberView>>,
    ) -> Result<Reply<MemberView>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let locked = tx.lock_members(community, &[principal.user]).await?;
            let locked = visible(locked, principal.user)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            locked.community.ensure_writable().map_err(archived)?;
            // The token outlived the account.
            let person = locked.person(principal.user).ok_or_else(Failure::unauthenticated)?;

            let now = self.env.now();
            let membership = person.membership.unwrap_or_else(|| {
                let community = locked.community.id;
                Membership::new(self.env.id(now), community, principal.user, Role::Member, now)
            });
            if person.membership.is_none() {
                tx.insert_member(&membership);
                let recorder = self.env.recorder(context, now, Some(membership.community));
                let staged = tx.staged();
                staged.events.push(events::joined(&recorder, &membership, JoinedVia::Open));
                let facts = json!({ "role": membership.role.as_str() });
                let community = Some(membership.community);
                staged.audit(context, community, "community.join", membership.id, facts);
            }
            let member = person.as_member(membership);
            tx.staged().reply(idempotency.as_ref(), &member);
            tx.commit().await.map_err(joined_elsewhere)?;
            Ok(Reply::Fresh(member))
        })
        .await
    }

    /// Is a member no more. One's future RSVPs are cancelled by a job. Whoever is no member stays as they are.
    ///
    /// # Errors
    /// `not_found`, `community_archived`, `owner_cannot_leave`.
    pub async fn leave(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        idempotency: Option<Idempotency<()>>,
    ) -> Result<Reply<()>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let locked = tx.lock_members(community, &[principal.user]).await?;
            let locked = visible(locked, principal.user)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            locked.community.ensure_writable().map_err(archived)?;

            if let Some(membership) = locked.membership(principal.user) {
                let version = membership.last_version().map_err(owner_cannot_leave)?;
                let now = self.env.now();
                tx.delete_member(&membership);
                let community = membership.community;
                let recorder = self.env.recorder(context, now, Some(community));
                let staged = tx.staged();
                staged.events.push(events::left(&recorder, &membership, version));
                let facts = json!({ "role": membership.role.as_str() });
                staged.audit(context, Some(community), "community.leave", membership.id, facts);
                let release = ReleaseMember { community, user: membership.user, left_at: now };
                staged.jobs.push(NewJob::new(&release).unique(membership.id).caused_by(context));
            }
            tx.staged().reply(idempotency.as_ref(), &());
            tx.commit().await?;
            Ok(Reply::Fresh(()))
        })
        .await
    }

    /// The members, by joining.
    ///
    /// # Errors
    /// `not_found`, `membership_required`, mistakes of the query.
    pub async fn members(
        &self,
        principal: Principal,
        community: &CommunityRef,
        query: Checked<PageQuery>,
    ) -> Result<Page<MemberView>, Failure> {
        let seen = self.visible(community, Some(principal.user)).await?;
        seen.standing().standing().require(Action::ReadMembers)?;
        Ok(self.reads.members_of(seen.community.id, query?).await?)
    }

    /// One's own membership.
    ///
    /// # Errors
    /// `not_found`, `membership_required`.
    pub async fn own_membership(
        &self,
        principal: Principal,
        community: &CommunityRef,
    ) -> Result<MemberView, Failure> {
        let seen = self.visible(community, Some(principal.user)).await?;
        seen.standing().standing().require(Action::ReadMembers)?;
        let member = self.reads.member(seen.community.id, principal.user).await?;
        // Left between the two reads.
        member.ok_or_else(Failure::not_found)
    }

    /// Gives a member another role. The role that the member has already changes nothing.
    ///
    /// # Errors
    /// `not_found` for people who are no members too, `forbidden` on oneself, an equal or a higher rank, and for all but
    /// the owner when it is the role of an admin, the input's own mistakes, `community_archived`.
    pub async fn set_role(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        user: UserId,
        role: Checked<AssignableRole>,
        idempotency: Option<Idempotency<MemberView>>,
    ) -> Result<Reply<MemberView>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let locked = tx.lock_members(community, &[principal.user, user]).await?;
            let locked = visible(locked, principal.user)?;
            let (person, membership) = appointee(&locked, principal.user, user, &role)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            let role = Role::from(role.clone()?);
            locked.community.ensure_writable().map_err(archived)?;

            let now = self.env.now();
            let changed = membership.with_role(role, now);
            if let Some(changed) = &changed {
                tx.update_member(changed);
                let recorder = self.env.recorder(context, now, Some(changed.community));
                let staged = tx.staged();
                staged.events.push(events::role_changed(&recorder, membership.role, changed));
                let (old, new) = (membership.role.as_str(), changed.role.as_str());
                let facts = json!({ "role": { "old": old, "new": new } });
                let community = Some(changed.community);
                staged.audit(context, community, "community.set_role", changed.id, facts);
            }
            let member = person.as_member(changed.unwrap_or(membership));
            tx.staged().reply(idempotency.as_ref(), &member);
            tx.commit().await?;
            Ok(Reply::Fresh(member))
        })
        .await
    }

    pub(super) async fn visible(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<SeenCommunity, Failure> {
        self.reads
            .community(community, viewer)
            .await?
            .filter(SeenCommunity::is_visible)
            .ok_or_else(Failure::not_found)
    }
}

fn visible(locked: Option<LockedMembers>, viewer: UserId) -> Result<LockedMembers, Failure> {
    locked.filter(|locked| locked.standing(viewer).is_visible()).ok_or_else(Failure::not_found)
}

/// The member who is to get the role, if the actor may give it. Only members learn who is a member.
fn appointee<'a>(
    locked: &'a LockedMembers,
    actor: UserId,
    user: UserId,
    role: &Checked<AssignableRole>,
) -> Result<(&'a super::ports::Person, Membership), Failure> {
    let standing = locked.standing(actor).standing();
    let Some(actor) = locked.membership(actor) else {
        return Err(standing.refusal(Action::AppointOrganizer, "Only members can give roles."));
    };
    let person = locked.person(user).ok_or_else(Failure::not_found)?;
    let membership = person.membership.ok_or_else(Failure::not_found)?;

    standing.require(Action::AppointOrganizer)?;
    actor.ensure_outranks(&membership).map_err(|refusal| refused(standing, refusal))?;
    if matches!(role, Ok(AssignableRole::Admin)) {
        standing.require(Action::AppointAdmin)?;
    }
    Ok((person, membership))
}

fn refused(standing: Standing, refusal: RankRefusal) -> Failure {
    let detail = match refusal {
        RankRefusal::Oneself => "Nobody can change their own role.",
        RankRefusal::NotBelow => "The member's rank is not below yours.",
    };
    standing.refusal(Action::AppointOrganizer, detail)
}

/// The person became a member in another request meanwhile: a row that is not there cannot be locked.
fn joined_elsewhere(error: StoreError) -> StoreError {
    if error.violates(MEMBER_ONCE) { StoreError::Retryable(Box::new(error)) } else { error }
}

fn owner_cannot_leave(_: CannotLeave) -> Failure {
    Failure::new(Code::OwnerCannotLeave, "The owner cannot leave: a community always has one.")
}
