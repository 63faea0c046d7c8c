//! The use cases of communities themselves.

use std::collections::HashMap;
use std::sync::Arc;

use convene_contracts::community::JoinedVia;
use convene_domain::community::{
    Archived, Community, CommunityPatch, CommunityRef, Membership, NewCommunity, Role,
};
use convene_domain::ids::{CommunityId, UserId};
use serde_json::json;

use super::events;
use super::offers::{self, CommunityStanding};
use super::ports::{
    CommunityReads, CommunityTx, LockedCommunity, MemberView, SLUG_TAKEN, SeenCommunity,
};
use super::standings::Standings;
use crate::kernel::authz::Action;
use crate::kernel::cache::Held;
use crate::kernel::changes::audited;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Checked, Code, Failure};
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::precondition::IfMatch;
use crate::kernel::store::StoreError;
use crate::kernel::uow::{self, Uow};

/// The use cases of communities and their members. Cheap to clone.
#[derive(Clone)]
pub struct CommunityService {
    pub(super) env: Env,
    pub(super) uow: Uow<dyn CommunityTx>,
    pub(super) reads: Arc<dyn CommunityReads>,
    standings: Standings,
}

impl CommunityService {
    /// The service over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn CommunityTx>,
        reads: Arc<dyn CommunityReads>,
        standings: Standings,
    ) -> Self {
        Self { env, uow, reads, standings }
    }

    /// Makes a community; who makes it owns it.
    ///
    /// # Errors
    /// The input's own mistakes, `slug_taken`.
    pub async fn create(
        &self,
        context: &RequestContext,
        principal: Principal,
        input: Checked<NewCommunity>,
        idempotency: Option<Idempotency<Community>>,
    ) -> Result<Reply<Community>, Failure> {
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let slug = input.as_ref().ok().map(|new| &new.slug);
        let holder = tx.slug_holder(slug).await?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        let input = input?;
        if holder.is_some() {
            return Err(slug_taken());
        }

        let now = self.env.now();
        let community = Community::new(self.env.id(now), input, now);
        let owner =
            Membership::new(self.env.id(now), community.id, principal.user, Role::Owner, now);
        tx.insert_community(&community);
        tx.insert_member(&owner);

        let recorder = self.env.recorder(context, now, Some(community.id));
        let staged = tx.staged();
        staged.events.push(events::created(&recorder, &community));
        staged.events.push(events::joined(&recorder, &owner, JoinedVia::Created));
        let facts = json!({
            "slug": community.slug.as_str(),
            "name": community.name.as_str(),
            "visibility": community.visibility.as_str(),
        });
        staged.audit(context, Some(community.id), "community.create", community.id, facts);
        staged.reply(idempotency.as_ref(), &community);
        tx.commit().await.map_err(slug_conflict)?;
        Ok(Reply::Fresh(community))
    }

    /// A community, by its id or by a slug that it has or had, if that can be told without waiting.
    #[must_use]
    pub fn peek(
        &self,
        viewer: Option<UserId>,
        community: &CommunityRef,
    ) -> Option<Result<Arc<Held<Community>>, Failure>> {
        let Some(found) = self.standings.peek(community)? else {
            return Some(Err(Failure::not_found()));
        };
        let role = if is_visible(&found, None) {
            None
        } else {
            self.standings.peek_role(found.id, viewer)?
        };
        Some(shown(found, role))
    }

    /// A community, by its id or by a slug that it has or had. While the database is away, what everybody may see is
    /// answered as it was known last.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn get(
        &self,
        viewer: Option<UserId>,
        community: &CommunityRef,
    ) -> Result<Arc<Held<Community>>, Failure> {
        match self.found(viewer, community).await {
            Err(failure) if failure.is_temporary() => {
                let last_known = self.standings.last_known(community);
                last_known.filter(|found| is_visible(found, None)).ok_or(failure)
            }
            outcome => outcome,
        }
    }

    async fn found(
        &self,
        viewer: Option<UserId>,
        community: &CommunityRef,
    ) -> Result<Arc<Held<Community>>, Failure> {
        if !self.standings.are_believed() {
            return Ok(Arc::new(Held::new(self.visible(community, viewer).await?.community)));
        }
        let found = self.standings.get(community).await?.ok_or_else(Failure::not_found)?;
        let role = if is_visible(&found, None) {
            None
        } else {
            self.standings.role(found.id, viewer).await?
        };
        shown(found, role)
    }

    /// Those of these communities that the viewer may see.
    ///
    /// # Errors
    /// The store's.
    pub async fn several(
        &self,
        viewer: Option<UserId>,
        communities: &[CommunityId],
    ) -> Result<HashMap<CommunityId, Community>, Failure> {
        let found = self.reads.communities(communities, viewer).await?;
        let visible = found.into_iter().filter(SeenCommunity::is_visible);
        Ok(visible.map(|seen| (seen.community.id, seen.community)).collect())
    }

    /// One's own memberships of these communities.
    ///
    /// # Errors
    /// The store's.
    pub async fn own_memberships(
        &self,
        principal: Principal,
        communities: &[CommunityId],
    ) -> Result<HashMap<CommunityId, MemberView>, Failure> {
        let found = self.reads.memberships(communities, principal.user).await?;
        Ok(found.into_iter().map(|member| (member.membership.community, member)).collect())
    }

    /// Public communities and one's own, newest first.
    ///
    /// # Errors
    /// Mistakes of the query.
    pub async fn list(
        &self,
        viewer: Option<UserId>,
        query: Checked<PageQuery>,
    ) -> Result<Page<Community>, Failure> {
        Ok(self.reads.visible_to(viewer, query?).await?)
    }

    /// One's own communities, the one joined last first.
    ///
    /// # Errors
    /// Mistakes of the query.
    pub async fn joined(
        &self,
        principal: Principal,
        query: Checked<PageQuery>,
    ) -> Result<Page<Community>, Failure> {
        Ok(self.reads.joined_by(principal.user, query?).await?)
    }

    /// Changes a community. A slug that it had stays its own. A change of nothing answers like any other and records
    /// nothing.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `precondition_required`, `precondition_failed`, the input's own mistakes,
    /// `community_archived`, `slug_taken`.
    pub async fn update(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        patch: Checked<CommunityPatch>,
        if_match: &IfMatch<Community>,
        idempotency: Option<Idempotency<Community>>,
    ) -> Result<Reply<Community>, Failure> {
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let new_slug = patch.as_ref().ok().and_then(|patch| patch.slug.as_ref());
        let locked = tx.lock_community(community, principal.user, new_slug).await?;
        let LockedCommunity { seen, slug_holder } = visible(locked)?;
        seen.standing().standing().require(Action::UpdateCommunity)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        let current = seen.community;
        if_match.check(&current)?;

        let now = self.env.now();
        let patched = current.patched(patch?, now).map_err(archived)?;
        if slug_holder.is_some_and(|holder| holder != current.id) {
            return Err(slug_taken());
        }
        if let Some(patched) = &patched {
            let changed = events::differences(&current, patched);
            let audit = audited(&changed);
            tx.update_community(patched);
            let recorder = self.env.recorder(context, now, Some(patched.id));
            let staged = tx.staged();
            staged.events.push(events::updated(&recorder, patched, changed));
            staged.audit(context, Some(patched.id), "community.update", patched.id, audit);
        }
        let outcome = patched.unwrap_or(current);
        tx.staged().reply(idempotency.as_ref(), &outcome);
        tx.commit().await.map_err(slug_conflict)?;
        Ok(Reply::Fresh(outcome))
    }

    /// Archives a community: it leaves every list, and takes no changes any more.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `precondition_required`, `precondition_failed`, `community_archived` the second time.
    pub async fn archive(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        if_match: &IfMatch<Community>,
        idempotency: Option<Idempotency<()>>,
    ) -> Result<Reply<()>, Failure> {
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_community(community, principal.user, None).await?;
        let LockedCommunity { seen, .. } = visible(locked)?;
        seen.standing().standing().require(Action::ArchiveCommunity)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        if_match.check(&seen.community)?;

        let now = self.env.now();
        let archived = seen.community.archived(now).map_err(archived)?;
        tx.update_community(&archived);
        let recorder = self.env.recorder(context, now, Some(archived.id));
        let staged = tx.staged();
        staged.events.push(events::archived(&recorder, &archived));
        staged.audit(context, Some(archived.id), "community.archive", archived.id, json!({}));
        staged.reply(idempotency.as_ref(), &());
        tx.commit().await?;
        Ok(Reply::Fresh(()))
    }
}

fn is_visible(community: &Community, role: Option<Role>) -> bool {
    CommunityStanding::of(community, role).is_visible()
}

fn shown(found: Arc<Held<Community>>, role: Option<Role>) -> Result<Arc<Held<Community>>, Failure> {
    if is_visible(&found, role) { Ok(found) } else { Err(Failure::not_found()) }
}

fn visible(locked: Option<LockedCommunity>) -> Result<LockedCommunity, Failure> {
    locked.filter(|locked| locked.seen.is_visible()).ok_or_else(Failure::not_found)
}

pub(super) fn archived(_: Archived) -> Failure {
    offers::archived()
}

fn slug_taken() -> Failure {
    Failure::new(Code::SlugTaken, "Another community has or had this slug.")
}

fn slug_conflict(error: StoreError) -> Failure {
    if error.violates(SLUG_TAKEN) { slug_taken() } else { error.into() }
}
