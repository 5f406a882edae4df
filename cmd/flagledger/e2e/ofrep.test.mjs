// The published OpenFeature providers that speak OFREP, unmodified, against a running Flagledger: the one for servers (a request per flag), the
// one for the web (all flags, kept up to date by an event stream) and the client beneath both.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature as ServerFeature } from '@openfeature/server-sdk';
import { ClientProviderEvents, OpenFeature as WebFeature } from '@openfeature/web-sdk';
import { EventSource } from 'eventsource';
import { OFREPApi } from 'ofrep-core-2';
import { administer, url } from './flagledger.mjs';

globalThis.EventSource = EventSource; // Node has none

const project = '/projects/ofrep';
const environment = `${project}/environments/test`;
const keys = {};

before(async () => {
    await administer('POST', '/projects', { key: 'ofrep', name: 'OFREP' });
    keys.client = (await administer('POST', `${project}/environments`, { key: 'test', name: 'Test' })).client_key;
    keys.server = (await administer('POST', `${environment}/keys`, { name: 'e2e', kind: 'server' })).key;
    const rules = (property, operator, value) => [{ type: 'ALL', conditions: [{ property, operator, value }] }];
    await administer('POST', `${project}/segments`, { key: 'beta', name: 'Beta', rules: rules('email', 'CONTAINS', '@example.com') });
    await administer('POST', `${project}/segments`, { key: 'adults', name: 'Adults', rules: rules('age', 'GREATER_THAN_INCLUSIVE', '18') });
    const feature = body => administer('POST', `${project}/features`, { default_enabled: true, ...body });
    await feature({ key: 'banner', initial_value: 'none' });
    await feature({ key: 'max_items', initial_value: 20 });
    await feature({ key: 'dark_mode', initial_value: true });
    await feature({ key: 'theme', initial_value: '{"color":"red","sizes":[1,2]}', object_value: true });
    await feature({ key: 'kill_switch', initial_value: true, default_enabled: false });
    await feature({ key: 'fraud_score', initial_value: 70, server_key_only: true });
    await feature({
        key: 'search',
        initial_value: 'classic',
        variants: [
            { key: 'grid', value: 'grid', weight: 50 },
            { key: 'list', value: 'list', weight: 50 }
        ]
    });
    await administer('PUT', `${environment}/features/banner/segment-overrides/beta`, { enabled: true, value: 'welcome' });
    await administer('PUT', `${environment}/features/max_items/segment-overrides/adults`, { enabled: true, value: 100 });
    await administer('PUT', `${environment}/features/banner/identity-overrides/vip`, { enabled: true, value: 'concierge' });
});

const set = (feature, state) => administer('PATCH', `${environment}/features/${feature}`, state);

describe('the provider for servers', () => {
    let client;
    before(async () => {
        await ServerFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers: [['Authorization', `Bearer ${keys.server}`]] }));
        client = ServerFeature.getClient();
    });
    after(() => ServerFeature.close());

    test('values of every type', async () => {
        const who = { targetingKey: 'ana' };
        assert.equal(await client.getStringValue('banner', '', who), 'none');
        assert.equal(await client.getNumberValue('max_items', 0, who), 20);
        assert.equal(await client.getBooleanValue('dark_mode', false, who), true);
        assert.deepEqual(await client.getObjectValue('theme', {}, who), { color: 'red', sizes: [1, 2] });
        assert.equal(await client.getNumberValue('fraud_score', 0, who), 70);
    });

    test('reasons, variants and metadata', async () => {
        const { reason, variant, flagMetadata } = await client.getStringDetails('search', '', { targetingKey: 'ana' });
        assert.equal(reason, 'SPLIT');
        assert.match(variant, /^(grid|list)$/);
        assert.equal(typeof flagMetadata.featureId, 'number');
        assert.ok(flagMetadata.version > 0 && flagMetadata.position > 0);
        assert.equal((await client.getStringDetails('banner', '', { targetingKey: 'ana' })).reason, 'STATIC');
    });

    test('attributes of the context, and the identity itself', async () => {
        assert.equal(await client.getStringValue('banner', '', { targetingKey: 'ana', email: 'ana@example.com' }), 'welcome');
        assert.equal(await client.getStringValue('banner', '', { targetingKey: 'vip', email: 'vip@example.com' }), 'concierge');
        assert.equal(await client.getNumberValue('max_items', 0, { targetingKey: 'ana', age: 18, since: new Date(), address: { city: 'Graz' } }), 100);
    });

    test('the default of the code where there is no value', async () => {
        assert.equal(await client.getBooleanValue('kill_switch', false, { targetingKey: 'ana' }), false);
        assert.equal((await client.getStringDetails('missing', 'default', { targetingKey: 'ana' })).errorCode, 'FLAG_NOT_FOUND');
        assert.equal((await client.getStringDetails('max_items', 'default', { targetingKey: 'ana' })).errorCode, 'TYPE_MISMATCH');
    });

    test('without a targeting key', async () => {
        assert.equal(await client.getStringValue('banner', '', { email: 'somebody@example.com' }), 'welcome');
        assert.equal((await client.getStringDetails('search', 'default', {})).errorCode, 'TARGETING_KEY_MISSING');
    });
});

describe('the client beneath', () => {
    const api = (key = keys.client) => new OFREPApi({ baseUrl: url, headers: [['X-API-Key', key]] });
    const ana = { context: { targetingKey: 'ana', email: 'ana@example.org' } };

    test('all flags, and that nothing has changed', async () => {
        const first = await api().postBulkEvaluateFlags(ana);
        assert.equal(first.httpStatus, 200);
        const flags = Object.fromEntries(first.value.flags.map(flag => [flag.key, flag]));
        assert.deepEqual(Object.keys(flags).sort(), ['banner', 'dark_mode', 'kill_switch', 'max_items', 'search', 'theme']);
        assert.deepEqual({ ...flags.kill_switch, metadata: 0 }, { key: 'kill_switch', reason: 'DISABLED', metadata: 0 });
        const etag = first.httpResponse.headers.get('etag');
        assert.equal((await api().postBulkEvaluateFlags(ana, etag)).httpStatus, 304);
        const other = { context: { ...ana.context, email: 'ana@example.com' } };
        assert.equal((await api().postBulkEvaluateFlags(other, etag)).httpStatus, 200, 'of another context');
        await set('max_items', { value: 21 });
        assert.equal((await api().postBulkEvaluateFlags(ana, etag)).httpStatus, 200, 'after a change');
        await set('max_items', { value: 20 });
    });

    test('failures', async () => {
        const failure = async (flag, body) => {
            const { httpStatus, value } = await api().postEvaluateFlag(flag, body);
            return [httpStatus, value.key, value.errorCode];
        };
        assert.deepEqual(await failure('missing', ana), [404, 'missing', 'FLAG_NOT_FOUND']);
        assert.deepEqual(await failure('a/b?c', ana), [404, 'a/b?c', 'FLAG_NOT_FOUND']);
        assert.deepEqual(await failure('fraud_score', ana), [404, 'fraud_score', 'FLAG_NOT_FOUND']);
        assert.deepEqual(await failure('search', { context: {} }), [400, 'search', 'TARGETING_KEY_MISSING']);
        assert.deepEqual(await failure('banner', {}), [400, 'banner', 'INVALID_CONTEXT']);
        const { httpStatus, value } = await api().postBulkEvaluateFlags({ context: 'ana' });
        assert.deepEqual([httpStatus, value.errorCode], [400, 'INVALID_CONTEXT']);
        await assert.rejects(api('unknown').postBulkEvaluateFlags(ana), { name: 'OFREPApiUnauthorizedError' });
        await assert.rejects(api('unknown').postEvaluateFlag('banner', ana), { name: 'OFREPApiUnauthorizedError' });
    });
});

/** A line to Flagledger that can be cut. */
async function cuttableLine() {
    const { hostname, port } = new URL(url);
    const sockets = new Set();
    let up = true;
    const proxy = net.createServer(socket => {
        if (!up) {
            socket.destroy();
            return;
        }
        const upstream = net.connect(Number(port), hostname);
        for (const [one, other] of [
            [socket, upstream],
            [upstream, socket]
        ]) {
            sockets.add(one);
            one.pipe(other);
            one.on('error', () => other.destroy());
            one.on('close', () => {
                sockets.delete(one);
                other.destroy();
            });
        }
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    return {
        url: `http://127.0.0.1:${proxy.address().port}`,
        cut() {
            up = false;
            sockets.forEach(socket => socket.destroy());
        },
        mend() {
            up = true;
        },
        close() {
            this.cut();
            proxy.close();
        }
    };
}

describe('the provider for the web', () => {
    let client, line;
    before(async () => {
        line = await cuttableLine();
        await WebFeature.setContext({ targetingKey: 'ana' });
        const provider = new OFREPWebProvider({ baseUrl: line.url, headers: [['Authorization', `Bearer ${keys.client}`]], cacheMode: 'disabled' });
        await WebFeature.setProviderAndWait(provider);
        client = WebFeature.getClient();
    });
    after(async () => {
        await WebFeature.close();
        line.close();
    });

    /** The flags that the provider says have changed, as soon as it does. */
    const nextChange = () =>
        new Promise(resolve => {
            const handler = details => {
                client.removeHandler(ClientProviderEvents.ConfigurationChanged, handler);
                resolve(details.flagsChanged);
            };
            client.addHandler(ClientProviderEvents.ConfigurationChanged, handler);
        });

    test('all flags at once', () => {
        assert.equal(client.getStringValue('banner', ''), 'none');
        assert.equal(client.getNumberValue('max_items', 0), 20);
        assert.equal(client.getBooleanValue('dark_mode', false), true);
        assert.deepEqual(client.getObjectValue('theme', {}), { color: 'red', sizes: [1, 2] });
        assert.match(client.getStringDetails('search', '').variant, /^(grid|list)$/);
        const disabled = client.getBooleanDetails('kill_switch', false);
        assert.deepEqual([disabled.value, disabled.reason, disabled.errorCode], [false, 'DISABLED', undefined]);
        assert.equal(client.getNumberDetails('fraud_score', 0).errorCode, 'FLAG_NOT_FOUND');
    });

    test('another attribute of the same person', async () => {
        await WebFeature.setContext({ targetingKey: 'ana', email: 'ana@example.com', age: 40 });
        assert.equal(client.getStringValue('banner', ''), 'welcome');
        assert.equal(client.getNumberValue('max_items', 0), 100);
        await WebFeature.setContext({ targetingKey: 'ana' });
        assert.equal(client.getStringValue('banner', ''), 'none');
    });

    test('a change is pushed, and says which flag it is', async () => {
        const change = nextChange();
        await set('banner', { value: 'sale' });
        assert.deepEqual(await change, ['banner']);
        assert.equal(client.getStringValue('banner', ''), 'sale');
    });

    test('a change that was missed is told after an interruption', async () => {
        line.cut();
        const change = nextChange();
        await set('banner', { value: 'sold out' });
        line.mend();
        assert.deepEqual(await change, ['banner']);
        assert.equal(client.getStringValue('banner', ''), 'sold out');
    });
});
