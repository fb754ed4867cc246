"""Who asks, and what they may do."""

from __future__ import annotations

from serving.errors.base import RollcallError


class TokenMissing(RollcallError):
    code = "token_missing"
    status = 401
    title = "This route needs a bearer token or an API key"
    cure = "Send `Authorization: Bearer <token or key>`; sign in, or `rollcall token` prints one."


class TokenInvalid(RollcallError):
    code = "token_invalid"
    status = 401
    title = "The bearer token is not one of ours"
    cure = "Get a new token from this service; `rollcall token` prints one."


class TokenExpired(RollcallError):
    code = "token_expired"
    status = 401
    title = "The bearer token has expired"
    cure = "Get a new token; `rollcall token` prints one."


class Forbidden(RollcallError):
    code = "forbidden"
    status = 403
    title = "This identity may not do that"
    cure = "Ask an administrator for the role that context.needs names."


class TokenRevoked(RollcallError):
    code = "token_revoked"
    status = 401
    title = "The bearer token has been revoked"
    cure = "Sign in again; the session was ended, the password changed or the account disabled."


class SignInFailed(RollcallError):
    code = "sign_in_failed"
    status = 401
    title = "The name and the secret do not belong together"
    cure = "Check both; after several failures wait as long as Retry-After says."


class SignUpClosed(RollcallError):
    code = "sign_up_closed"
    status = 403
    title = "This service does not let people sign up by themselves"
    cure = "Ask an administrator for an account."


class WeakPassword(RollcallError):
    code = "weak_password"
    status = 422
    title = "The password breaks a rule"
    cure = "Choose a longer one; context.min_chars is the least."


class AccountExists(RollcallError):
    code = "account_exists"
    status = 409
    title = "An account with this name exists already"
    cure = "Choose another name, or sign in."


class UnknownAccount(RollcallError):
    code = "unknown_account"
    status = 404
    title = "There is no such account"
    cure = "List the accounts with GET /v1/accounts."


class LastAdministrator(RollcallError):
    code = "last_administrator"
    status = 409
    title = "Nobody would be left to administer this service"
    cure = "Make another account an administrator first."


class ApiKeyInvalid(RollcallError):
    code = "api_key_invalid"
    status = 401
    title = "The API key is not one of ours, has expired or was revoked"
    cure = "Make a new one with POST /v1/api-keys."


class UnknownApiKey(RollcallError):
    code = "unknown_api_key"
    status = 404
    title = "There is no such API key"
    cure = "List the keys with GET /v1/api-keys."


class RateLimited(RollcallError):
    code = "rate_limited"
    status = 429
    title = "This identity has sent more requests than it may"
    cure = "Wait as long as Retry-After says; the RateLimit header shows what is left."
    retry_after_s = 1.0
