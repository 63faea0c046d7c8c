// Calls a server through the types that openapi-typescript made of its document. Usage: call.js URL
import createClient from 'openapi-fetch';

import type { components, paths } from './schema.js';

const client = createClient<paths>({ baseUrl: process.argv[2] ?? '' });

const page = await client.GET('/v1/communities', { params: { query: { limit: 1 } } });
if (!page.data) {
  throw new Error(`no page of communities: ${JSON.stringify(page.error)}`);
}
const communities: components['schemas']['Community'][] = page.data.data;

const nowhere = await client.GET('/v1/events/{event}', { params: { path: { event: 'event_01k6sw8zayf9g8yasc3mf0yjhq' } } });
if (nowhere.error?.code !== 'not_found') {
  throw new Error(`not a problem: ${JSON.stringify(nowhere)}`);
}
console.log(`TypeScript: ${communities.length} communities, has_more ${page.data.has_more}, then ${nowhere.error.code}`);
