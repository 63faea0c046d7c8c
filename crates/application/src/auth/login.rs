//! Logging in and out.

use convene_domain::auth::password::Password;
use convene_domain::ids::SessionId;
use convene_domain::text::EmailAddress;
use secrecy::SecretString;
use serde_json::json;

use super::crypto::PasswordError;
use super::ports::{AccountKey, Credential, NewRefreshToken, NewSession};
use super::service::{AuthService, Inner, LoggedIn, Tokens, on_behalf_of, password_failure};
use super::token::OpaqueToken;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::error::{Code, Failure};

/// The most sessions that a person has at a time; a login beyond it ends the oldest. It bounds what a password reset has
/// to end in one transaction.
const MAX_SESSIONS: usize = 100;

/// What somebody logs in with.
#[derive(Clone, Debug)]
pub struct Login {
    /// The address.
    pub email: EmailAddress,
    /// The password that was presented.
    pub password: Password,
}

impl AuthService {
    /// Begins a session. An unknown address, a wrong password, an address that is not verified and an account that is
    /// locked look the same and take the same time.
    ///
    /// # Errors
    /// `invalid_credentials`, `rate_limited`, `overloaded`.
    pub async fn login(&self, context: &RequestContext, login: Login) -> Result<Tokens, Failure> {
        let auth = &*self.0;
        let account = auth.account_key(&login.email);
        auth.guard.admit_login(context.client_ip, &account).await?;
        let locked = auth.guard.count_attempt(&account, auth.env.now()).await?;
        match auth.proven(login, account).await? {
            Some(proven) if !locked => auth.begin_session(context, proven, account).await,
            _ => {
                auth.guard.login_failed(context.client_ip).await;
                auth.record_refusal(context, &account).await?;
                Err(invalid_credentials())
            }
        }
    }

    /// Ends the session of the access token that was presented, and with it all its tokens.
    ///
    /// # Errors
    /// The store's.
    pub async fn logout(
        &self,
        context: &RequestContext,
        principal: Principal,
    ) -> Result<(), Failure> {
        let auth = &*self.0;
        let mut tx = auth.uow.begin(Vec::new()).await?;
        tx.end_sessions(&[principal.session]);
        tx.staged().audit(context, None, "auth.logout", principal.session, json!({}));
        tx.commit().await?;
        auth.revocations.revoked_here(&[principal.session]);
        Ok(())
    }
}

/// A credential whose password was presented.
struct Proven {
    credential: Credential,
    /// The password's hash with the current parameters, if the stored one was made with others.
    rehashed: Option<String>,
}

impl Inner {
    /// Compares the password outside any transaction. For an address without account it is compared with a dummy.
    async fn proven(&self, login: Login, account: AccountKey) -> Result<Option<Proven>, Failure> {
        let credential = self.reads.credential(&login.email.normalized()).await?;
        let password = SecretString::from(login.password.into_string());
        let hash = credential.as_ref().map(|credential| credential.password_hash.clone());
        let verdict = match self.passwords.verify(password.clone(), hash).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if matches!(error, PasswordError::Busy) {
                    self.guard.take_back_attempt(&account).await?;
                }
                return Err(password_failure(error));
            }
        };
        let Some(credential) = credential.filter(|_| verdict.matches) else { return Ok(None) };
        // A pool that is full now has room at one of the next logins.
        let rehashed =
            if verdict.outdated { self.passwords.hash(password).await.ok() } else { None };
        Ok(Some(Proven { credential, rehashed }))
    }

    /// Audits a login that failed, under the digest of the address, whether or not it has an account. Of one account or
    /// one client only so many are kept.
    async fn record_refusal(
        &self,
        context: &RequestContext,
        account: &AccountKey,
    ) -> Result<(), Failure> {
        if !self.guard.admit_refusal(context.client_ip, account).await {
            return Ok(());
        }
        let mut tx = self.uow.begin(Vec::new()).await?;
        tx.staged().audit_refusal(context, None, "auth.login", format!("account:{account}"));
        Ok(tx.commit().await?)
    }

    async fn begin_session(
        &self,
        context: &RequestContext,
        proven: Proven,
        account: AccountKey,
    ) -> Result<Tokens, Failure> {
        let Proven { credential, rehashed } = proven;
        let user = credential.user;
        let mut tx = self.uow.begin(Vec::new()).await?;
        let current = tx
            .lock_account(user)
            .await?
            // The password was changed since it was compared: what was presented is no longer good.
            .filter(|current| current.credential == credential)
            .ok_or_else(invalid_credentials)?;

        let now = self.env.now();
        let session: SessionId = self.env.id(now);
        let expires_at = now + self.options.refresh_token_lifetime;
        let refresh_token = OpaqueToken::generate(&*self.env.random);
        tx.insert_session(NewSession {
            id: session,
            user,
            created_at: now,
            expires_at,
            client_ip: context.client_ip,
            user_agent: context.user_agent.clone(),
        });
        tx.insert_refresh_token(NewRefreshToken {
            digest: refresh_token.digest(&*self.digester),
            session,
            predecessor: None,
            expires_at,
        });
        let surplus = current.sessions.get(MAX_SESSIONS - 1..).unwrap_or_default();
        if !surplus.is_empty() {
            tx.end_sessions(surplus);
        }
        tx.forget_attempts(account);
        if let Some(hash) = rehashed {
            tx.set_password_hash(user, hash);
        }
        let context = on_behalf_of(context, user, Some(session));
        tx.staged().audit(&context, None, "auth.login", session, json!({}));
        let login = LoggedIn { user, session, at: now };
        let tokens = self.tokens(login, &refresh_token, expires_at, now)?;
        tx.commit().await?;
        self.revocations.revoked_here(surplus);
        Ok(tokens)
    }
}

fn invalid_credentials() -> Failure {
    Failure::new(
        Code::InvalidCredentials,
        "The address or the password is wrong, or the address is not verified yet. \
         After many failed attempts, only resetting the password helps.",
    )
}
