// An OpenID Connect provider on loopback, and somebody who signs in at it as a browser would.
//
//   node provider.mjs PORT CONTROL_PORT RELYING_PARTY_URL
//
// The control port takes: POST /sign-in {url, login} -> {location}: follows a relying party's request to the provider, signs in, and answers
// where the provider sends the browser back to. POST /approve {url, login}: the same for a device. POST /sign-out: ends the provider's session
// of whoever signed in last, which calls the relying party's back channel. POST /rotate: the provider signs with another key.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, controlPort, relyingParty] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const keys = [];

function addKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys.unshift({ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: `key-${keys.length + 1}` });
}

function provider() {
  const made = new Provider(issuer, {
    clients: [
      {
        client_id: 'novasphere',
        client_secret: 'a-secret-of-the-tests',
        token_endpoint_auth_method: 'client_secret_post',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
        response_types: ['code'],
        redirect_uris: [`${relyingParty}/api/v1/auth/oidc/corp/callback`],
        backchannel_logout_uri: `${relyingParty}/api/v1/auth/oidc/corp/backchannel-logout`,
        backchannel_logout_session_required: true,
      },
    ],
    claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'groups'],
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: `id-of-${id}`, preferred_username: id, groups: ['ops'] }),
    }),
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    pkce: { required: () => true },
    // Its dispatcher keeps the provider from calling loopback addresses, where the tests are.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    cookies: { keys: ['a key of the tests'] },
    jwks: { keys: [...keys] },
  });
  made.on('backchannel.error', (_, error, client) => console.error('back channel of', client.clientId, error, error.cause));
  made.on('server_error', (_, error) => console.error(error));
  return made.callback();
}

addKey();
let handler = provider();
createServer((request, response) => handler(request, response)).listen(Number(port), '127.0.0.1');

// A browser of few words: cookies, redirects and forms.
class Browser {
  cookies = new Map();

  async fetch(url, form) {
    const answer = await fetch(url, {
      method: form ? 'POST' : 'GET',
      redirect: 'manual',
      headers: {
        cookie: [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; '),
        ...(form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
      },
      body: form ? new URLSearchParams(form).toString() : undefined,
    });
    for (const cookie of answer.headers.getSetCookie()) {
      const [pair] = cookie.split(';');
      const at = pair.indexOf('=');
      this.cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return answer;
  }

  // Goes on until somebody else than the provider is asked, or nothing is left to fill in.
  async go(url, login) {
    let form;
    for (let step = 0; step < 20; step += 1) {
      const answer = await this.fetch(url, form);
      form = undefined;
      const location = answer.headers.get('location');
      if (location) {
        url = new URL(location, url).href;
        if (!url.startsWith(issuer)) return { location: url };
        continue;
      }
      const text = await answer.text();
      const action = /<form[^>]*action="([^"]+)"/.exec(text)?.[1];
      if (!action) return { text };
      const fields = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)];
      form = Object.fromEntries(fields.map(([, name, value]) => [name, value]));
      if (text.includes('name="login"')) Object.assign(form, { login, password: 'any' });
      if (text.includes('value="yes"')) form.logout = 'yes';
      if (text.includes('abort')) form.confirm = 'yes';
      url = new URL(action.replaceAll('&amp;', '&'), url).href;
    }
    throw new Error(`no end at ${url}`);
  }
}

let last = new Browser();
const commands = {
  '/sign-in': async ({ url, login }) => {
    last = new Browser();
    return last.go(url, login);
  },
  '/approve': async ({ url, login }) => {
    last = new Browser();
    return last.go(url, login);
  },
  '/sign-out': async () => last.go(`${issuer}/session/end`, ''),
  '/rotate': async () => {
    addKey();
    keys.length = 1;
    handler = provider();
    return {};
  },
};

createServer(async (request, response) => {
  try {
    let body = '';
    for await (const part of request) body += part;
    const answer = await commands[request.url](JSON.parse(body || '{}'));
    response.end(JSON.stringify(answer));
  } catch (error) {
    response.statusCode = 500;
    response.end(JSON.stringify({ error: String(error?.stack ?? error) }));
  }
}).listen(Number(controlPort), '127.0.0.1');
