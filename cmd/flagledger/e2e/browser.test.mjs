// The published @flagsmith/flagsmith, unmodified, in a page of a real Chromium: flags, traits, variants, and live updates over the event
// stream. The page comes from another origin than Flagledger, as it does in life. ../e2e_test.go starts the server.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, createServer as createTunnel } from 'node:net';
import { createRequire } from 'node:module';
import { after, before, beforeEach, afterEach, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import { administer, apiUrl, url } from './flagledger.mjs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const skip = existsSync(executablePath) || process.env.CI ? false : `there is no ${executablePath}`;

const project = '/projects/browser';
const clientKey = 'browser-client-key';
const feature = (key, state) => administer('PATCH', `${project}/environments/test/features/${key}`, state);

/** Has the server listen on this machine, and returns its address as a URL. */
async function listen(server, port = 0) {
    await new Promise(resolve => server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${server.address().port}/`;
}

describe('@flagsmith/flagsmith in Chromium', { skip }, () => {
    let browser, site, origin, page, requests;

    before(async () => {
        await administer('POST', '/projects', { key: 'browser', name: 'Browser' });
        const rules = [{ type: 'ALL', conditions: [{ property: 'email', operator: 'CONTAINS', value: '@example.com' }] }];
        const variants = [
            { key: 'grid', value: 'grid', weight: 50 },
            { key: 'list', value: 'list', weight: 50 }
        ];
        const own = { environment: 'test', identifier: 'vip' };
        await administer('POST', `${project}/changes`, {
            commands: [
                { command: 'create_environment', key: 'test', name: 'Test', client_key: clientKey },
                { command: 'create_feature', key: 'Text', initial_value: 'größer 🙂', default_enabled: true },
                { command: 'create_feature', key: 'number', initial_value: 20, default_enabled: true },
                { command: 'create_feature', key: 'boolean', initial_value: true, default_enabled: true },
                { command: 'create_feature', key: 'nothing', default_enabled: false },
                { command: 'create_feature', key: 'json', initial_value: '{"columns":[1,2]}', default_enabled: true },
                { command: 'create_feature', key: 'search', initial_value: 'classic', default_enabled: true, variants },
                { command: 'create_feature', key: 'banner', initial_value: 'none', default_enabled: false },
                { command: 'create_feature', key: 'live', initial_value: 'before', default_enabled: true },
                { command: 'create_segment', key: 'beta', rules },
                { command: 'set_segment_override', environment: 'test', feature: 'banner', segment: 'beta', enabled: true, value: 'welcome' },
                { command: 'set_identity_override', ...own, feature: 'number', enabled: true, value: 99 },
                { command: 'set_identity_override', ...own, feature: 'search', enabled: true, variant: 'list' }
            ]
        });
        const script = await readFile(createRequire(import.meta.url).resolve('@flagsmith/flagsmith'));
        site = createServer((request, response) => {
            const isScript = request.url === '/flagsmith.js';
            response.setHeader('Content-Type', `${isScript ? 'text/javascript' : 'text/html'}; charset=utf-8`);
            response.end(isScript ? script : '<!doctype html><title>Shop</title><script src="/flagsmith.js"></script>');
        });
        origin = await listen(site);
        browser = await chromium.launch({
            executablePath,
            args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-sync']
        });
    });
    after(async () => {
        await browser?.close();
        site?.close();
    });

    beforeEach(async () => {
        page = await browser.newPage(); // in a context of its own, with nothing in its storage
        requests = [];
        page.on('request', request => request.url().startsWith(url) && requests.push(`${request.method()} ${request.url().slice(url.length)}`));
        await page.goto(origin);
    });
    afterEach(() => page.close());

    /** Initialises the client and returns what it then tells of all flags. */
    const init = options =>
        page.evaluate(
            async options => {
                window.changes = [];
                await flagsmith.init({ ...options, onChange: () => window.changes.push(flagsmith.getValue('live')) });
                const flags = Object.keys(flagsmith.getAllFlags()).sort();
                return Object.fromEntries(flags.map(name => [name, [flagsmith.hasFeature(name), flagsmith.getValue(name)]]));
            },
            { environmentID: clientKey, api: apiUrl, ...options }
        );

    const environmentFlags = {
        banner: [false, 'none'],
        boolean: [true, true],
        json: [true, '{"columns":[1,2]}'],
        live: [true, 'before'],
        nothing: [false, null],
        number: [true, 20],
        search: [true, 'classic'],
        text: [true, 'größer 🙂']
    };

    test('flags of the environment', async () => {
        assert.deepEqual(await init(), environmentFlags);
        assert.deepEqual(await page.evaluate(() => flagsmith.getValue('json', { json: true })), { columns: [1, 2] });
        assert.deepEqual(requests, ['GET /api/v1/flags/']);
    });

    test('flags of an identity without traits, with an override of its own', async () => {
        const flags = await init({ identity: 'vip' });
        assert.deepEqual(flags, { ...environmentFlags, number: [true, 99], search: [true, 'list'] });
        assert.equal(await page.evaluate(() => flagsmith.getAllFlags().search.variant), 'list');
        assert.deepEqual(requests, ['GET /api/v1/identities/?identifier=vip']);
    });

    test('flags of an identity with traits, which are kept, and a variant', async () => {
        const traits = { email: 'ana@example.com', age: 42, score: 1.5, member: true };
        const flags = await init({ identity: 'ana', traits });
        const variant = await page.evaluate(() => flagsmith.getAllFlags().search.variant);
        assert.ok(['grid', 'list'].includes(variant), variant);
        assert.deepEqual(flags, { ...environmentFlags, banner: [true, 'welcome'], search: [true, variant] });
        assert.deepEqual(await page.evaluate(() => flagsmith.getAllTraits()), traits);
        assert.deepEqual(requests, ['POST /api/v1/identities/']);

        await page.goto(origin); // another day
        assert.deepEqual(await init({ identity: 'ana' }), flags);
        assert.deepEqual(await page.evaluate(() => flagsmith.getAllTraits()), traits);
    });

    test('identify, setTrait, a trait taken back, logout', async () => {
        await init();
        const banner = act => page.evaluate(async act => (await eval(act), flagsmith.getValue('banner')), act);
        assert.equal(await banner(`flagsmith.identify('ben')`), 'none');
        assert.equal(await banner(`flagsmith.setTrait('email', 'ben@example.com')`), 'welcome');
        assert.equal(await banner(`flagsmith.setTrait('email', null)`), 'none');
        assert.equal(await banner(`flagsmith.identify('cleo', { email: 'cleo@example.com' }, true)`), 'welcome', 'transient');
        assert.equal(await banner(`flagsmith.identify('cleo', {})`), 'none');
        assert.equal(await banner(`flagsmith.identify('dora', { email: { value: 'dora@example.com', transient: true } })`), 'welcome');
        assert.equal(await banner(`flagsmith.logout()`), 'none');
    });

    test('a page of another origin may send and read what the client needs', async () => {
        const read = await page.evaluate(
            async ({ apiUrl, clientKey }) => {
                const headers = { 'X-Environment-Key': clientKey, 'Flagsmith-Application-Name': 'shop', 'Flagsmith-Application-Version': '1.0' };
                const response = await fetch(`${apiUrl}flags/`, { headers });
                const again = await fetch(`${apiUrl}flags/`, { headers: { ...headers, 'If-None-Match': response.headers.get('ETag') }, cache: 'no-store' });
                const wrong = await fetch(`${apiUrl}flags/`, { headers: { 'X-Environment-Key': 'wrong' } });
                return {
                    updated: Number(response.headers.get('X-Flagsmith-Document-Updated-At')),
                    statuses: [response.status, again.status, wrong.status],
                    detail: (await wrong.json()).detail
                };
            },
            { apiUrl, clientKey }
        );
        assert.deepEqual(read.statuses, [200, 304, 403]);
        assert.match(read.detail, /environment key/i);
        assert.ok(Math.abs(read.updated - Date.now() / 1000) < 3600, `${read.updated} are seconds`);
        await init();
        assert.equal(await page.evaluate(() => flagsmith.timestamp), read.updated);
    });

    test('analytics are accepted', async () => {
        await init({ enableAnalytics: true });
        const answer = page.waitForResponse(response => response.url() === `${apiUrl}analytics/flags/`);
        await page.evaluate(() => flagsmith.getValue('number') && flagsmith.analyticsFlags());
        assert.equal((await answer).status(), 200);
        assert.ok(JSON.parse((await answer).request().postData()).number >= 1);
    });

    describe('realtime', () => {
        let tunnel, connections, eventSourceUrl;

        // The stream goes through a tunnel of which the ends can be cut.
        before(async () => {
            connections = new Set();
            tunnel = createTunnel(client => {
                const server = connect(new URL(url).port, new URL(url).hostname);
                connections.add(client);
                for (const [one, other] of [
                    [client, server],
                    [server, client]
                ]) {
                    one.pipe(other);
                    one.on('error', () => {}).on('close', () => {
                        connections.delete(client);
                        other.destroy();
                    });
                }
            });
            eventSourceUrl = await listen(tunnel);
        });
        after(() => {
            tunnel.close();
            cut();
        });

        function cut() {
            connections.forEach(client => client.destroy());
        }

        const sees = value => page.waitForFunction(value => flagsmith.getValue('live') === value, value, { timeout: 10000, polling: 5 });

        test('a change is seen at once, without polling', async t => {
            const opened = page.waitForResponse(response => response.url().startsWith(eventSourceUrl));
            await init({ realtime: true, eventSourceUrl, identity: 'emil' });
            assert.equal((await opened).url(), `${eventSourceUrl}sse/environments/${clientKey}/stream`);
            const asked = requests.length;
            const took = [];
            for (let i = 1; i <= 5; i++) {
                const start = performance.now();
                await feature('live', { value: `change ${i}` });
                await sees(`change ${i}`);
                took.push(performance.now() - start);
                assert.equal(requests.length, asked + i, `one request for each change: ${requests}`);
            }
            assert.equal(requests.at(-1), 'GET /api/v1/identities/?identifier=emil');
            t.diagnostic(`from asking for a change until the page has it: ${took.map(Math.round).join(', ')} ms`);
        });

        test('the answer of a replica that is behind the one with the stream is made good soon', async () => {
            await init({ realtime: true, eventSourceUrl, identity: 'nora' });
            const path = 'identities/?identifier=nora';
            const before = await fetch(apiUrl + path, { headers: { 'X-Environment-Key': clientKey, Origin: 'http://page.example' } });
            const behind = { status: 200, contentType: 'application/json', headers: {}, body: await before.text() };
            for (const name of ['access-control-allow-origin', 'access-control-expose-headers', 'x-flagsmith-document-updated-at']) {
                behind.headers[name] = before.headers.get(name);
            }
            let answered = 0;
            await page.route(`${apiUrl}${path}`, route => (answered++ ? route.fallback() : route.fulfill(behind)));
            await feature('live', { value: 'after all' });
            await sees('after all');
            assert.equal(answered, 2);
        });

        test('what changed while the stream was away is seen when it is back', async () => {
            await init({ realtime: true, eventSourceUrl });
            await feature('live', { value: 'with the stream' });
            await sees('with the stream');
            tunnel.close(); // nobody is let in
            cut();
            await feature('live', { value: 'without the stream' });
            await listen(tunnel, new URL(eventSourceUrl).port);
            await sees('without the stream');
        });
    });
});
