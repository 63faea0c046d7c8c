"""Fills a server with something to find, and writes Schemathesis' configuration for it.

Usage: fixtures.py URL CONFIGURATION. The server must show its mails (/dev/mail) and have its limits off.
"""

import json
import re
import sys
import time
import urllib.request
from pathlib import Path

PASSWORD = "a tremendous otter in a fuzz"
TEMPLATE = Path(__file__).with_name("schemathesis.toml")

base = sys.argv[1]


def call(method, path, body=None, token=None):
    """Sends a request and insists on its success."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{base}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as reply:
        text = reply.read()
    return json.loads(text) if text else None


def until(what, attempt):
    """The first result of `attempt` that is something, within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if result := attempt():
            return result
        time.sleep(0.1)
    sys.exit(f"fixtures: {what} did not come")


def login(email):
    return call("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})["access_token"]


def person(name):
    """Makes an account and returns its address."""
    email = f"{name}@example.org"
    account = {"email": email, "password": PASSWORD, "display_name": name}
    call("POST", "/v1/auth/register", account)

    def mailed():
        mails = call("GET", f"/dev/mail/messages?to={email}")["data"]
        return next((found for mail in mails if (found := re.search(r"token: (\S+)", mail["text"]))), None)

    call("POST", "/v1/auth/verify-email", {"token": until("the mail", mailed)[1]})
    return email


def make_community(slug):
    return call("POST", "/v1/communities", {"slug": slug, "name": slug, "visibility": "public"}, token)["id"]


def make_webhook(community):
    hook = {"url": f"{base}/livez", "event_types": ["*"]}
    return call("POST", f"/v1/communities/{community}/webhooks", hook, token)["id"]


def make_event(community):
    plan = {
        "title": "To be fuzzed",
        "starts_at_local": "2031-05-01T18:00:00",
        "ends_at_local": "2031-05-01T21:00:00",
        "time_zone": "Europe/Berlin",
        "capacity": 20,
    }
    event = call("POST", f"/v1/communities/{community}/events", plan, token)["id"]
    call("POST", f"/v1/events/{event}/publish", None, token)
    return event


olga, ada = person("olga"), person("ada")
token = login(olga)
# One of each, so that the ids of a path belong together.
community = make_community("fuzz")
webhook = make_webhook(community)
event = make_event(community)
call("PUT", f"/v1/events/{event}/rsvps/me", {"party_size": 2}, token)
deliveries = f"/v1/communities/{community}/webhooks/{webhook}/deliveries"
delivery = until("a delivery", lambda: call("GET", deliveries, None, token)["data"])[0]["id"]
guest = call("GET", "/v1/users/me", None, login(ada))["id"]
call("POST", f"/v1/communities/{community}/join", None, login(ada))
# What is archived, cancelled or deleted is not there for the others.
doomed = range(20)

ids = {
    "communities": [community],
    "webhooks": [webhook],
    "events": [event],
    "deliveries": [delivery],
    "users": [guest],
    "doomed_communities": [make_community(f"doomed-{number}") for number in doomed],
    "doomed_webhooks": [make_webhook(community) for _ in doomed],
    "doomed_events": [make_event(community) for _ in doomed],
}
values = {"email": olga, "password": PASSWORD, **{kind: json.dumps(found) for kind, found in ids.items()}}
configuration = re.sub(r"@(\w+)@", lambda found: values[found[1]], TEMPLATE.read_text())
Path(sys.argv[2]).write_text(configuration)
