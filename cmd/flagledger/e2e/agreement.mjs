// Does the server ever disagree with an SDK that evaluates by itself? Random environments are made over the administration; flagsmith-nodejs
// gets their environment documents and evaluates random identities, and the server is asked about the same ones. A difference is reduced to
// the smallest environment and identity that still show it, and printed as the change that makes it. ../agreement_test.go starts the server
// and this:
//
//     node agreement.mjs <identities> <seed>
import assert from 'node:assert/strict';
import { Flagsmith } from 'flagsmith-nodejs';
import { administer, apiUrl, Refused } from './flagledger.mjs';
import { commandsOf, operators, Random, randomIdentity, randomRules, randomWorld } from './worlds.mjs';

const peopleInAWorld = 50;
const clientKey = 'agreement-key'; // it is hashed: the same for all worlds, so that one is the same whenever it is made

let made = 0;

/** The condition that a warning is about: commands[3].rules[0].conditions[1]. */
const conditionAt = (value, path) => path.match(/\w+/g).reduce((value, name) => value?.[name], value);

/** Makes a world, calls use with an SDK that has its document, and takes the environment away again. */
async function inhabit(world, use) {
    const project = `world-${made++}`; // what is deleted leaves numbers behind, which are hashed, too
    const change = commands => administer('POST', `/projects/${project}/changes`, { commands });
    await administer('POST', '/projects', { key: project, name: 'World' });
    const commands = commandsOf(world, clientKey);
    const { warnings = [] } = await change(commands);
    const warned = warnings.find(w => world.wild?.has(conditionAt({ commands }, w.field)?.property) && !w.detail.includes('line feed')); // no text here ends in one
    if (warned) {
        await change([{ command: 'delete_environment', environment: 'test' }]);
        throw new Refused('a warning', { status: 200, ...warned });
    }
    const { id, key } = await administer('POST', `/projects/${project}/environments/test/keys`, { name: 'agreement', kind: 'server' });
    const sdk = new Flagsmith({ environmentKey: key, apiUrl, enableLocalEvaluation: true });
    try {
        return await use(sdk);
    } finally {
        await sdk.close();
        await change([
            { command: 'revoke_sdk_key', environment: 'test', id },
            { command: 'delete_environment', environment: 'test' }
        ]);
    }
}

/**
 * Draws a world that Flagledger takes, and calls use with it and with the SDK. Segments that are refused, since they cannot work or engines do
 * not agree on them, are drawn again.
 */
async function draw(random, use) {
    const world = randomWorld(random, peopleInAWorld);
    for (let refused = 0; ; refused++) {
        try {
            return await inhabit(world, sdk => use(world, sdk, refused));
        } catch (error) {
            const index = error instanceof Refused && /^commands\[(\d+)\]\.rules/.exec(error.problem.field)?.[1];
            if (!index) {
                throw error;
            }
            const { key } = commandsOf(world, clientKey)[index];
            world.segments.find(s => s.key === key).rules = randomRules(random, world);
        }
    }
}

/** What the server answers, by feature. */
async function byServer(identity) {
    const response = await fetch(apiUrl + (identity ? 'identities/' : 'flags/'), {
        method: identity ? 'POST' : 'GET',
        headers: { 'Content-Type': 'application/json', 'X-Environment-Key': clientKey },
        body: identity && JSON.stringify({ ...identity, traits: identity.traits.map(({ name, value }) => ({ trait_key: name, trait_value: value })) })
    });
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify({ identity, answer }));
    return Object.fromEntries(
        (identity ? answer.flags : answer).map(({ feature: { id, name }, enabled, feature_state_value: value, variant = null }) => [
            name,
            { id, enabled, value, variant }
        ])
    );
}

/** What the SDK finds by itself, in the same form. It does not name variants, but what it tells leaves no choice. */
async function bySDK(world, sdk, identity) {
    const flags = identity
        ? await sdk.getIdentityFlags(identity.identifier, Object.fromEntries(identity.traits.map(({ name, value }) => [name, value])))
        : await sdk.getEnvironmentFlags();
    const variant = ({ featureName, value, reason }) => {
        const { variants, identities } = world.features.find(f => f.key === featureName);
        const own = identities.find(o => o.identifier === identity?.identifier);
        if (own || !identity || variants.length === 0) {
            return own?.variant ?? null;
        }
        return reason.startsWith('SPLIT') ? variants.find(v => v.value === value)?.key : 'control';
    };
    return Object.fromEntries(
        flags
            .allFlags()
            .map(flag => [flag.featureName, { id: flag.featureId, enabled: flag.enabled, value: flag.value ?? null, variant: variant(flag) }])
    );
}

/** Both answers about an identity, or without one about the environment, and the flags on which they differ. */
async function compare(world, sdk, identity) {
    const [server, local] = await Promise.all([byServer(identity), bySDK(world, sdk, identity)]);
    const differences = [...new Set([...Object.keys(server), ...Object.keys(local)])]
        .filter(name => JSON.stringify(server[name]) !== JSON.stringify(local[name]))
        .map(feature => ({ feature, server: server[feature], sdk: local[feature] }));
    return { identity, server, differences };
}

/** Every list in a value, however deep. */
function* lists(value) {
    if (Array.isArray(value)) {
        yield value;
    }
    for (const member of Object.values(value ?? {})) {
        if (typeof member === 'object') {
            yield* lists(member);
        }
    }
}

/** Takes elements out of the lists of a world and an identity, one after the other, as long as there is a difference without them. */
async function reduce({ features, segments, name, late }, identity) {
    let smallest = { world: { features, segments, name, late }, identity };
    const differ = ({ world, identity }) =>
        inhabit(world, async sdk => (await compare(world, sdk, identity)).differences).catch(error => {
            assert.ok(error instanceof Refused, error);
            return []; // what is refused is no difference
        });
    for (let before; before !== (before = JSON.stringify(smallest)); ) {
        for (let list = 0, element = 0; ; ) {
            const candidate = structuredClone(smallest);
            const elements = [...lists(candidate)][list];
            if (!elements) {
                break;
            }
            if (element === elements.length) {
                list++;
                element = 0;
                continue;
            }
            elements.splice(element, 1);
            if ((await differ(candidate)).length > 0) {
                smallest = candidate;
            } else {
                element++;
            }
        }
    }
    return { ...smallest, differences: await differ(smallest) };
}

/**
 * That nothing is found must mean something. The SDK is known to lose a trait that is 0 of somebody who has an override; put into a world that
 * is full of other things, that is found, and nothing else is left of the world.
 */
async function provesItself() {
    const random = new Random('a known difference');
    const [world, identity] = await draw(random, world => [world, randomIdentity(random, world, 0)]);
    const lost = { property: 'lost', operator: 'IS_SET', value: '' };
    world.segments.push({ key: 'lost', rules: [{ type: 'ANY', conditions: [lost, { ...lost, property: 'neither' }], rules: [] }] });
    world.features[0].identities.push({ identifier: identity.identifier, enabled: true });
    world.features[1].overrides.push({ segment: 'lost', place: 0, enabled: false, value: 'found', weights: [] });
    identity.traits.push({ name: 'lost', value: 0 });
    const found = await reduce(world, identity);
    assert.deepEqual(found.identity, { identifier: identity.identifier, traits: [{ name: 'lost', value: 0 }] });
    assert.deepEqual(found.world.segments, [{ key: 'lost', rules: [{ type: 'ANY', conditions: [lost], rules: [] }] }]);
    assert.equal(found.world.features.length, 2);
    assert.equal(found.differences[0].server.value, 'found');
}

const [identities = 2000, seed = 1] = process.argv.slice(2);
const worlds = Math.ceil(identities / peopleInAWorld);
const tally = { refused: 0, belong: 0, asked: 0, split: 0, conditions: {} };
await provesItself();
for (let i = 0; i < worlds; i++) {
    const random = new Random(`${seed}/${i}`);
    const [world, answers] = await draw(random, async (world, sdk, refused) => {
        tally.refused += refused;
        const people = world.people.map((_, i) => randomIdentity(random, world, i));
        return [world, await Promise.all([undefined, ...people].map(identity => compare(world, sdk, identity)))];
    });
    const different = answers.find(a => a.differences.length > 0);
    if (different) {
        const { world: smallest, ...found } = await reduce(world, different.identity);
        console.log(JSON.stringify({ seed, world: i, ...found, commands: commandsOf(smallest, clientKey) }, null, 2));
        assert.fail(`the server and the SDK disagree on an identity of world ${i}, seed ${seed}; what is left of it stands above`);
    }
    for (const { server } of answers.slice(1)) {
        tally.asked += world.segments.length;
        tally.belong += world.segments.filter(({ key }) => server[`in_${key}`].enabled).length;
        tally.split += Object.values(server).filter(({ variant }) => variant && variant !== 'control').length;
    }
    for (const operator of operators(world)) {
        tally.conditions[operator] = (tally.conditions[operator] ?? 0) + 1;
    }
}
const share = Math.round((100 * tally.belong) / tally.asked);
console.log(`${worlds * peopleInAWorld} identities of ${worlds} environments (seed ${seed}): no difference.`);
console.log(`They belong to ${share} % of ${tally.asked} segments and get ${tally.split} variants. ${tally.refused} times segments were refused and drawn again.`);
console.log('Conditions:', tally.conditions);
assert.ok(share > 20 && share < 80, 'segments with nearly all or nobody in them say little');
assert.equal(Object.keys(tally.conditions).length, 13, 'all operators occur but NOT_CONTAINS, which is refused');
