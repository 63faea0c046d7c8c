DROP TABLE login_failures, signing_keys, revocations, refresh_tokens, sessions, email_tokens, registrations, credentials;
