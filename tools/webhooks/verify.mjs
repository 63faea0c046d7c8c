// Verifies webhooks with the official library for JavaScript, and those that are signed with Ed25519, which it does not
// know, with Node's own cryptography after the specification.
//
// Reads a JSON list of {secret, headers, body} on standard input and prints, for each, "verified" or why it is not.

import crypto from "node:crypto";
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const PUBLIC = "whpk_";

function verifyAsymmetric({ secret, headers, body }) {
  const x = Buffer.from(secret.slice(PUBLIC.length), "base64").toString("base64url");
  const key = crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  const signatures = headers["webhook-signature"].split(" ").map((signature) => signature.split(","));
  const matches = ([version, signature]) =>
    version === "v1a" && crypto.verify(null, signed, key, Buffer.from(signature, "base64"));
  if (!signatures.some(matches)) {
    throw new Error("No matching signature found");
  }
}

function verdict(webhook) {
  try {
    if (webhook.secret.startsWith(PUBLIC)) {
      verifyAsymmetric(webhook);
    } else {
      new Webhook(webhook.secret).verify(webhook.body, webhook.headers);
    }
    return "verified";
  } catch (error) {
    return error.message;
  }
}

const webhooks = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(webhooks.map(verdict)));
