"""Verifies webhooks with the official library for Python.

Reads a JSON list of {secret, headers, body} on standard input and prints, for each, "verified" or why it is not.
"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def verdict(webhook):
    try:
        Webhook(webhook["secret"]).verify(webhook["body"], webhook["headers"])
    except WebhookVerificationError as error:
        return str(error)
    return "verified"


json.dump([verdict(webhook) for webhook in json.load(sys.stdin)], sys.stdout)
