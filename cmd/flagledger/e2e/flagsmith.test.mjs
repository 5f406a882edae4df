// The published flagsmith-nodejs, unmodified, against a running Flagledger: remote evaluation (the server decides) and local evaluation
// (the SDK decides from the environment document). ../e2e_test.go starts the server, fills it and passes its addresses and keys.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Flagsmith } from 'flagsmith-nodejs';
import { administer, apiUrl } from './flagledger.mjs';

const { FLAGLEDGER_CLIENT_KEY, FLAGLEDGER_SERVER_KEY } = process.env;
const environment = '/projects/e2e/environments/test';

const remote = new Flagsmith({ environmentKey: FLAGLEDGER_CLIENT_KEY, apiUrl });
const local = new Flagsmith({ environmentKey: FLAGLEDGER_SERVER_KEY, apiUrl, enableLocalEvaluation: true });
after(() => local.close());

const modes = { remote, local };

/** What the server says of an identity, with the members that the SDK does not show. */
async function identify(identifier, traits = {}) {
    const response = await fetch(`${apiUrl}identities/`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Environment-Key': FLAGLEDGER_CLIENT_KEY },
        body: JSON.stringify({
            identifier,
            traits: Object.entries(traits).map(([trait_key, trait_value]) => ({ trait_key, trait_value }))
        })
    });
    assert.equal(response.status, 200);
    const { flags } = await response.json();
    return Object.fromEntries(flags.map(flag => [flag.feature.name, flag]));
}

/** Enabled and value of every flag, by name. */
const content = flags =>
    Object.fromEntries(
        flags
            .allFlags()
            .map(flag => [flag.featureName, { enabled: flag.enabled, value: flag.value ?? null }])
            .sort(([a], [b]) => (a < b ? -1 : 1))
    );

/** Five hundred people with every mixture of the traits that the segments ask for. */
const people = Array.from({ length: 500 }, (_, i) => ({
    identifier: `person-${i}`,
    traits: {
        email: `person-${i}@example.${i % 3 ? 'org' : 'com'}`,
        country: ['US', 'CA', 'MX', 'DE', 'JP'][i % 5],
        app_version: ['3.9.9', '4.2.0-rc.1', '4.2.0', '4.10.1'][i % 4],
        blocked: i % 7 === 0
    }
}));

for (const [mode, client] of Object.entries(modes)) {
    describe(`${mode} evaluation`, () => {
        test('environment flags: states and values of every type', async () => {
            assert.deepEqual(content(await client.getEnvironmentFlags()), {
                ai_recommendations: { enabled: false, value: null },
                beta_banner: { enabled: false, value: 'none' },
                changing: { enabled: true, value: 'before' },
                checkout: { enabled: true, value: 'classic' },
                dark_mode: { enabled: true, value: true },
                kill_switch: { enabled: false, value: null },
                max_items: { enabled: true, value: 20 },
                new_search: { enabled: true, value: 'classic' }
            });
        });

        test('a trait brings an identity into a segment', async () => {
            const inside = await client.getIdentityFlags('ana', { email: 'ana@example.com' });
            assert.equal(inside.isFeatureEnabled('beta_banner'), true);
            assert.equal(inside.getFeatureValue('beta_banner'), 'welcome');
            const outside = await client.getIdentityFlags('ben', { email: 'ben@example.org' });
            assert.equal(outside.isFeatureEnabled('beta_banner'), false);
            assert.equal(outside.getFeatureValue('beta_banner'), 'none');
        });

        test('nested rules and the order of overrides', async () => {
            const items = async (identifier, traits) => (await client.getIdentityFlags(identifier, traits)).getFeatureValue('max_items');
            assert.equal(await items('cleo', { country: 'CA' }), 50);
            assert.equal(await items('dora', { country: 'MX' }), 50);
            assert.equal(await items('emil', { country: 'DE' }), 20);
            assert.equal(await items('fred', { country: 'US', blocked: true }), 20);
            assert.equal(await items('gina', { app_version: '4.10.0' }), 100);
            assert.equal(await items('hugo', { app_version: '4.2.0-rc.1' }), 20);
            assert.equal(await items('iris', { country: 'US', app_version: '4.2.0' }), 100, 'the first override in order wins');
        });

        test('an identity override wins over everything', async () => {
            const flags = await client.getIdentityFlags('vip-1', { email: 'vip@example.com' });
            assert.equal(flags.getFeatureValue('checkout'), 'concierge');
            assert.equal(flags.getFeatureValue('new_search'), 'grid', 'and over a segment override with weights');
            assert.equal(flags.getFeatureValue('beta_banner'), 'welcome', 'its segments still count elsewhere');
        });

        test('a segment override brings its own variant weights', async () => {
            for (const { identifier } of people.slice(0, 20)) {
                const flags = await client.getIdentityFlags(`${identifier}-beta`, { email: 'someone@example.com' });
                assert.equal(flags.getFeatureValue('new_search'), 'list');
            }
        });
    });
}

describe('both evaluations', () => {
    test('answer the same for 500 identities, and split as the weights say', async () => {
        const counts = {};
        let recommended = 0;
        let searched = 0;
        for (let i = 0; i < people.length; i += 20) {
            await Promise.all(
                people.slice(i, i + 20).map(async ({ identifier, traits }) => {
                    const [server, sdk] = await Promise.all([
                        remote.getIdentityFlags(identifier, traits),
                        local.getIdentityFlags(identifier, traits)
                    ]);
                    assert.deepEqual(content(sdk), content(server), identifier);
                    recommended += server.isFeatureEnabled('ai_recommendations') ? 1 : 0;
                    if (!traits.email.endsWith('@example.com')) {
                        searched++;
                        const value = server.getFeatureValue('new_search');
                        counts[value] = (counts[value] ?? 0) + 1;
                    }
                })
            );
        }
        // Four standard deviations on either side: the hash is fixed, so this does not change from run to run.
        const near = (count, total, percent) => {
            const p = percent / 100;
            assert.ok(
                Math.abs(count - total * p) <= 4 * Math.sqrt(total * p * (1 - p)),
                `${count} of ${total} is not about ${percent} %`
            );
        };
        near(recommended, people.length, 10);
        near(counts.grid, searched, 30);
        near(counts.list, searched, 20);
        near(counts.classic, searched, 50);
    });

    test('the server names the variant', async () => {
        const names = new Set();
        for (const { identifier } of people.slice(0, 60)) {
            const flags = await identify(identifier, { email: null });
            const { variant, feature_state_value: value } = flags.new_search;
            assert.equal(variant, value === 'classic' ? 'control' : value);
            assert.equal(flags.checkout.variant, null, 'a standard feature has none');
            names.add(variant);
        }
        assert.deepEqual([...names].sort(), ['control', 'grid', 'list']);
    });
});

describe('changes', () => {
    test('the next call sees a change', async () => {
        for (let i = 0; i < 20; i++) {
            const value = `change ${i}`;
            await administer('PATCH', `${environment}/features/changing`, { enabled: i % 2 === 0, value });
            const flag = (await remote.getEnvironmentFlags()).getFlag('changing');
            assert.deepEqual({ enabled: flag.enabled, value: flag.value }, { enabled: i % 2 === 0, value });
            assert.equal((await remote.getIdentityFlags('jana')).getFeatureValue('changing'), value);
        }
    });

    test('local evaluation sees a change with the next environment document', async () => {
        await administer('PATCH', `${environment}/features/changing`, { enabled: true, value: 'in the document' });
        await local.updateEnvironment();
        assert.equal((await local.getEnvironmentFlags()).getFeatureValue('changing'), 'in the document');
    });

    test('an identity override comes and goes', async () => {
        const override = `${environment}/features/kill_switch/identity-overrides/kurt`;
        await administer('PUT', override, { enabled: true, value: 'off for him' });
        for (const client of Object.values(modes)) {
            await local.updateEnvironment();
            assert.equal((await client.getIdentityFlags('kurt')).getFeatureValue('kill_switch'), 'off for him');
            assert.equal((await client.getIdentityFlags('lena')).isFeatureEnabled('kill_switch'), false);
        }
        await administer('DELETE', override);
        assert.equal((await remote.getIdentityFlags('kurt')).isFeatureEnabled('kill_switch'), false);
    });
});

describe('traits', () => {
    const banner = async (identifier, traits, transient) =>
        (await remote.getIdentityFlags(identifier, traits, transient)).isFeatureEnabled('beta_banner');

    test('are kept from call to call, and null deletes one', async () => {
        assert.equal(await banner('mia', { email: 'mia@example.com' }), true);
        assert.equal(await banner('mia', {}), true, 'kept');
        assert.equal(await banner('mia', { email: null }), false);
        assert.equal(await banner('mia', {}), false, 'deleted');
    });

    test('a transient trait counts once', async () => {
        assert.equal(await banner('nils', { email: { value: 'nils@example.com', transient: true } }), true);
        assert.equal(await banner('nils', {}), false);
    });

    test('a transient identity leaves nothing behind', async () => {
        assert.equal(await banner('olga', { email: 'olga@example.com' }, true), true);
        assert.equal(await banner('olga', {}), false);
    });
});

describe('keys', () => {
    test('an unknown key is refused', async () => {
        const stranger = new Flagsmith({ environmentKey: 'unknown', apiUrl });
        await assert.rejects(stranger.getEnvironmentFlags(), error => /403/.test(error.cause.message));
    });

    test('the environment document needs a server-side key', async () => {
        const response = await fetch(`${apiUrl}environment-document/`, { headers: { 'X-Environment-Key': FLAGLEDGER_CLIENT_KEY } });
        assert.equal(response.status, 403);
    });
});
