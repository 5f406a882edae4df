// Random environments and the people in them. What is drawn is as wild as Flagledger lets it be saved. Most traits have one kind all over an
// environment, and conditions ask of them what can be asked of that kind: engines are known not to agree on, say, whether the number 10 is
// greater than the text "9", and Flagledger warns who writes such a rule, but cannot know the traits that will come. Wild traits, and the
// identifiers of some environments, are anything at all; conditions about them are to be saved without a warning.

/** The same seed, the same draws: sfc32, seeded by the characters of a text. */
export class Random {
    #state = [0x9e3779b9, 0x243f6a88, 0xb7e15162, 1];

    constructor(seed) {
        for (const c of String(seed)) {
            this.#state[0] = Math.imul(this.#state[0] ^ c.codePointAt(0), 0x85ebca6b);
            this.next();
        }
        for (let i = 0; i < 12; i++) {
            this.next();
        }
    }

    /** From 0 to below 1. */
    next() {
        let [a, b, c, counter] = this.#state;
        const t = (((a + b) | 0) + counter) | 0;
        a = b ^ (b >>> 9);
        b = (c + (c << 3)) | 0;
        c = (((c << 21) | (c >>> 11)) + t) | 0;
        this.#state = [a, b, c, (counter + 1) | 0];
        return (t >>> 0) / 2 ** 32;
    }

    /** From 0 to below n. */
    int = n => Math.floor(this.next() * n);
    chance = p => this.next() < p;
    pick = list => list[this.int(list.length)];
    /** Between least and most elements made by one. */
    some = (least, most, one) => Array.from({ length: least + this.int(most - least + 1) }, (_, i) => one(i));
    /** A few of the list, in its order. */
    subset = (list, p) => list.filter(() => this.chance(p));
}

const comparisons = ['EQUAL', 'NOT_EQUAL', 'GREATER_THAN', 'GREATER_THAN_INCLUSIVE', 'LESS_THAN', 'LESS_THAN_INCLUSIVE'];
const words = ['a', 'b', 'ab', 'premium', 'Premium', 'US', 'CA', 'DE', 'ada@example.com', 'bob@example.org', 'null', 'True', 'true', 'x_1', '4x'];
const texts = [
    ...words,
    ...['', ' ', 'two words', 'Größe', 'größe', 'grosse', '日本', '日', 'İ', 'e\u0301', 'é', '🙂', '🙂🙂', '\u2028'],
    ...['a,b', '["a"]', '[', '|', 'a"b', "a'b", 'a\\b', '<a&b>']
];
const versions = ['0.9.9', '1.0.0', '1.2.3', '1.2.10', '1.10.0', '2.0.0-alpha', '2.0.0-alpha.1', '2.0.0-rc.2', '2.0.0-rc.10', '2.0.0', '10.0.0'];
const counts = [1, 2, 3, 4, 5, 9, 10, 17, 99, 100, 1000, 20000, 2147483647];
const integers = [-1000, -10, -9, -2, -1, 0, 1, 2, 9, 10, 1000];
const fractions = [0.5, 1.5, 2.25, 3.75, 9.99, 10.01, 99.5, 1000.125];
// Texts that the server takes for numbers, some of them spelled in another way than numbers are printed.
const numberTexts = ['0', '00', '1', '007', '7', '7.0', '7.00', '1.50', '1.5', '01.5', '-7', '-07', '-0.5', '-0.50', '12', '012', '0151', '10115', '12345678901234567890', '012345678901234567890'];
const dates = ['2024', '2024-01-31', '2024-02-01', '2024-01-31T12:00:00Z', '12:30', '1.2.3', '-', '5.', '.5', '+7', '7e1', ' 7', '0x7', '1e+21', '4e8b', '1_000', 'inf'];
// Numbers that are printed with an exponent.
const exponents = [1e21, -1.5e300, 1e-7];
const percentages = ['0', '1', '10', '33.3', '50', '66.67', '90', '100'];

// What can be asked: functions that draw an operator and a value, which is to be among those that the trait can have.
const compare = (random, values) => [random.pick(comparisons), String(random.pick(values))];
const compareWith = more => (random, values) => compare(random, [...values, ...more]);
const contains = (random, values) => [random.pick(['CONTAINS', 'NOT_CONTAINS']), String(random.pick(values)).slice(0, 1 + random.int(4))];
const isSet = random => [random.pick(['IS_SET', 'IS_NOT_SET']), ''];
const split = random => ['PERCENTAGE_SPLIT', random.pick(percentages)];
const regex = patterns => random => ['REGEX', random.pick(patterns)];
const modulo = values => random => ['MODULO', random.pick(values)];
/** With commas between the elements, or as JSON. */
const isIn = more => (random, values) => {
    const chosen = random.some(1, 6, () => String(random.pick([...values, ...more])));
    return ['IN', random.chance(0.5) ? chosen.join(',') : JSON.stringify(chosen)];
};

/**
 * The kinds of traits: what they hold, and what conditions ask of them. Among the values of conditions are those that Flagledger must refuse,
 * such as 1.0, 007, ^a|b: if it did not, they would be found here.
 */
const kinds = {
    // Texts do not read like numbers. Characters beyond the 16 bits of JavaScript's are two for its classes such as [^a]: only the kind word is
    // asked with them.
    text: {
        values: texts,
        ask: [compare, compare, isIn([]), contains, regex(['^a', '^(?:a|b)', '^[a-z]*@example\\.(?:com|org)$', '^[A-Z]{2}$', '^[^\\n]*ö', '^$', '^日+', '^(?:🙂)+$', 'a', '^a|b', '^(?i)us']), isSet]
    },
    word: {
        values: words,
        ask: [compare, regex(['^[A-Za-z0-9_]+$', '^[a-z]+@[a-z.]+$', '^[^0-9]*$', '^[^ \\t-\\r]+$', '^[a-z@.\\-]{2,7}$', '^[a-z]*?[0-9]', '^(a)(b)$', '^a[^\\n]?', '^[^a-z]', '^\\x61', '^(?!a)', '^\\w+$', '^a.?']), isSet, split]
    },
    // Numbers sent as texts cannot be ordered everywhere.
    digits: {
        values: counts.map(String),
        ask: [(random, values) => ['EQUAL', random.pick(values)], isIn(['007', 'a']), regex(['^1', '^[0-9]{2,4}$', '^-?[0-9]+$', '1']), modulo(['2|0', '3|2', '7|1']), isSet, split]
    },
    count: {
        values: counts,
        ask: [compare, compareWith(['1.0', ' 5', '+9', '0', '1e2', '1_000', 'inf', ' -Infinity', 'nan', '1e400']), isIn(['0', '007', '1.5', 'a']), contains, regex(['^1', '^[0-4]', '^1*0+$']), modulo(['2|1', '3|2', '100|99', '4|-1', '0|0']), isSet, split]
    },
    // The remainder of a negative number has the sign of the divisor in Python, that of the number elsewhere.
    integer: { values: integers, ask: [compare, compare, isIn(['-0']), modulo(['2|0', '3|0', '10|0']), regex(['^-', '^-?1']), isSet] },
    fraction: {
        values: fractions,
        ask: [compare, compareWith([1, 2, 10, 1000, '1e1']), isIn(['1', 'a']), modulo(['1|0.5', '2|0.25', '4|3.75', '0.5|0']), regex(['^[0-9]\\.', '^[^\\n]*5$', '^.*5$']), isSet]
    },
    bool: { values: [true, false], ask: [compareWith(['True', 'False', '1', '0', 'a']), isIn(['1', 'a']), isSet] },
    version: {
        values: versions,
        ask: [(random, values) => [random.pick(comparisons), `${random.pick(values)}:semver`], compare, isIn([]), regex(['^1\\.', '^[0-9]+\\.[0-9]+\\.[0-9]+$', '^2\\.0\\.0-', '^\\d']), isSet, split]
    },
    wild: {
        values: [...words, '', ' ', 'Größe', '-x', 'beta:semver', 'beta', ...numberTexts, ...dates, ...counts, ...integers, ...fractions, ...exponents, true, false],
        ask: [
            compareWith(['abc', 'm', '']), compareWith(['m', 'b']), isIn(['b', 'beta:semver']), contains,
            regex(['^a', '^0', '^0*7', '^0*7$', '^[0-9]', '^[0-9]{2}', '^[^\\n]*5', '^[^\\n]*0', '^-?0*[1-5]', '^[Tt]', '^t', '^[^-0-9]', '^[0-9]+-', '^2024-0[12]', '^-', '^$']),
            isSet, split, modulo(['2|0'])
        ]
    },
    // What Flagledger makes, and what is never empty.
    key: { ask: [regex(['^[^\\n]*1', '^[^\\n]*[a-m]$', '^[a-z]', '^$']), isSet, split] }
};

const traitNames = ['plan', 'country', 'age', 'app_version', 'first name', 'user-id', 'größe', '国', 'a.b', "it's", 'x[0]', 'Plan', '🙂', '_', 'é'];

/** How a condition can name a trait. */
const properties = (name, operator) => {
    const path = /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `$.identity.traits.${name}` : `$.identity.traits['${name}']`;
    return operator === 'PERCENTAGE_SPLIT' ? [path] : [name, name, path];
};

function randomCondition(random, world) {
    if (random.chance(0.05)) {
        return { property: '', operator: 'PERCENTAGE_SPLIT', value: random.pick(percentages) }; // of the identity's key
    }
    const { name, kind, path, values } = random.pick([
        ...world.traits,
        ...world.traits,
        { kind: world.odd ? 'wild' : world.numbered ? 'digits' : 'text', path: '$.identity.identifier', values: world.people },
        { kind: 'text', path: '$.environment.name', values: [world.name] },
        { kind: 'key', path: random.pick(['$.identity.key', '$.identity.identifier', '$.environment.key', '$.environment.name']) }
    ]);
    const [operator, value] = random.pick(kinds[kind].ask)(random, values ?? kinds[kind].values);
    const property = path ?? random.pick(properties(name, operator));
    if (kind === 'wild') {
        world.wild.add(property);
    }
    return { property, operator, value };
}

/** The rule that Flagledger offers for a condition on which engines do not agree; nothing for others. */
function agreed({ property, operator, value }) {
    const isSet = { property, operator: 'IS_SET', value: '' };
    const none = operator => ({ type: 'ALL', conditions: [isSet], rules: [{ type: 'NONE', conditions: [{ property, operator, value }], rules: [] }] });
    const beside = (type, guard, other) => ({ type, conditions: [{ property, operator: guard, value: other }, { property, operator, value }], rules: [] });
    const readsLikeNumber = /^-?[0-9]+(\.[0-9]+)?$/.test(value);
    // Expressions that match no number; see BesideText of domain/evaluation.
    const guard = ['^[^-0-9]', '^[0-9]+[^.0-9eE]'].find(g => new RegExp(g).test(value)) ??
        '^(?:[^-0-9]|-[^0-9]|-?[0-9]+(?:[^.0-9eE]|\\.[^0-9]|\\.[0-9]+[^0-9eE]|(?:\\.[0-9]+)?[eE](?:[^-+0-9]|[-+][^0-9]|[-+]?[0-9]+[^0-9])))';
    if (/^(GREATER|LESS)_THAN/.test(operator) && !(parseFloat(value) == value) && !value.endsWith(':semver')) {
        return beside('ALL', 'REGEX', guard);
    }
    if (property === '$.identity.identifier' && operator.endsWith('EQUAL') && readsLikeNumber) {
        const expression = value.replace(/^(-?)0*([0-9])/, '$10*$2').replace(/\.([0-9]*?)0*$/, '\\.$10*');
        const matches = { property, operator: 'REGEX', value: `^${expression}$` };
        return operator === 'EQUAL' ? { type: 'ALL', conditions: [matches], rules: [] } : { type: 'ALL', conditions: [isSet], rules: [{ type: 'NONE', conditions: [matches], rules: [] }] };
    }
    switch (operator) {
        case 'NOT_EQUAL':
            return /^-?[0-9]+$/.test(value) ? undefined : none('EQUAL');
        case 'NOT_CONTAINS':
            return none('CONTAINS');
        case 'MODULO':
            return value.endsWith('|0') ? undefined : beside('ALL', 'GREATER_THAN_INCLUSIVE', '0');
        case 'PERCENTAGE_SPLIT':
            return property.startsWith('$.identity.traits') ? beside('ALL', 'IS_SET', '') : undefined;
        case 'GREATER_THAN':
        case 'GREATER_THAN_INCLUSIVE':
            return /^-?[0-9]+\.[0-9]*[1-9]$/.test(value) ? beside('ANY', 'GREATER_THAN_INCLUSIVE', String(Math.ceil(value))) : undefined;
        case 'LESS_THAN':
        case 'LESS_THAN_INCLUSIVE':
            return /^-?[0-9]+\.[0-9]*[1-9]$/.test(value) ? beside('ANY', 'LESS_THAN_INCLUSIVE', String(Math.floor(value))) : undefined;
    }
}

function randomRule(random, world, depth) {
    const rule = { type: random.pick(['ALL', 'ANY', 'ANY', 'ANY', 'NONE']), conditions: [], rules: [] };
    rule.conditions = random.some(0, 3, () => randomCondition(random, world));
    if (depth < 5 && (rule.conditions.length === 0 || random.chance(0.35))) {
        rule.rules = random.some(rule.conditions.length === 0 ? 1 : 0, 2, () => randomRule(random, world, depth + 1));
    }
    if (depth < 4 && random.chance(0.95)) {
        rule.rules.push(...rule.conditions.map(agreed).filter(Boolean));
        rule.conditions = rule.conditions.filter(c => !agreed(c));
    }
    return rule;
}

export const randomRules = (random, world) => random.some(1, 2, () => randomRule(random, world, 1));

const flagValues = ['', 'on', 'größer 🙂', '{"a":[1,null]}', '007', 'true', 0, 1, -5, 2147483647, true, false, null];
const randomValue = random => random.pick(flagValues);

/** A weight for each variant, in percent with two decimals, at most 100 together. */
function randomWeights(random, variants) {
    let left = 10000;
    return variants.map(({ key }) => {
        const weight = Math.min(left, random.pick([0, 1, 1000, 3333, 3334, 5000, 6667, 10000]));
        left -= weight;
        return { key, weight: weight / 100 };
    });
}

const randomState = (random, variants) => ({ enabled: random.chance(0.6), value: randomValue(random), weights: randomWeights(random, variants) });

/** A feature with its overrides. The values of variants differ from each other and from all others, so that an answer tells its variant. */
function randomFeature(random, world, key) {
    const keys = random.chance(0.5) ? random.some(1, 4, i => ({ key: `v${i}` })) : [];
    const variants = randomWeights(random, keys).map((v, i) => ({ ...v, value: random.pick([`variant ${i}`, 1000 + i]) }));
    return {
        key,
        default_enabled: random.chance(0.5),
        initial_value: randomValue(random),
        variants,
        states: random.some(0, 1, () => randomState(random, variants)),
        overrides: random.subset(world.segments, 0.5).map(({ key }, i) => ({ segment: key, place: random.int(i + 1), ...randomState(random, variants) })),
        identities: random.subset(world.people, 0.05).filter(identifier => !/^-?0[0-9]|^-?[0-9]+\.[0-9]+$/.test(identifier)).map(identifier => ({
            identifier,
            enabled: random.chance(0.5),
            ...(variants.length > 0 && random.chance(0.5) ? { variant: random.pick(variants).key } : { value: randomValue(random) })
        }))
    };
}

/**
 * An environment: what its traits are, who lives there, features with all their overrides, segments. Each segment has a feature that is on for
 * it and off for all others, so that a difference in who belongs to it cannot hide.
 */
export function randomWorld(random, people) {
    const numbered = random.chance(0.2);
    const odd = random.chance(0.3);
    const names = random.subset(traitNames, 0.4);
    const world = {
        name: random.pick(['Test', 'Größe', '環境 🙂', 'a']),
        numbered,
        late: random.chance(0.3), // identity overrides are switched on for SDKs when all are there
        odd, // identifiers are anything, also what reads like a number
        wild: new Set(), // the properties about which conditions are to be saved without a warning
        traits: (names.length > 0 ? names : ['plan']).map(name => ({ name, kind: random.pick(['text', 'word', 'digits', 'count', 'integer', 'fraction', 'bool', 'version', 'wild', 'wild']) })),
        people: Array.from({ length: people }, (_, i) => odd && random.chance(0.7) ? random.pick([`0${i}`, `00${i}`, `${i}`, `-${i + 1}`, `${i}.50`, `${i}.0`, `2024-${i}`, `${i}x`]) : (numbered ? String(1 + i * 7919) : random.pick([`user-${i}`, `ada${i}@example.com`, `größe ${i}`, `名 ${i} 🙂`, `x${i}`])))
    };
    world.segments = random.some(2, 8, i => ({ key: `s${i}`, feature: random.chance(0.2) ? `in_s${i}` : undefined, rules: randomRules(random, world) }));
    const shared = { ...world, segments: world.segments.filter(s => !s.feature) };
    world.features = [
        ...world.segments.map(({ key }) => ({ key: `in_${key}`, default_enabled: false, variants: [], states: [], overrides: [{ segment: key, place: 0, enabled: true, weights: [] }], identities: [] })),
        ...random.some(2, 6, i => randomFeature(random, shared, `f${i}`))
    ];
    return world;
}

/**
 * Somebody who lives there, with most of the traits. In somebody with an override of his own the SDK drops traits that are 0, false or empty
 * (see IdentityModel.updateTraits of flagsmith-nodejs 8.1.2), about which no server can do anything.
 */
export function randomIdentity(random, world, i) {
    const identifier = world.people[i];
    const hasOverride = world.features.some(f => f.identities.some(o => o.identifier === identifier));
    const traits = random
        .subset(world.traits, 0.8)
        .map(({ name, kind }) => ({ name, value: random.chance(0.05) ? null : random.pick(kinds[kind].values) }));
    return { identifier, traits: traits.filter(({ value }) => !hasOverride || value) };
}

/** The change that makes the world, in an empty project. What refers to something that is not there is left out. */
export function commandsOf(world, clientKey) {
    const environment = 'test';
    const late = 'use_identity_overrides_in_local_eval';
    const commands = [{ command: 'create_environment', key: environment, name: world.name, client_key: clientKey, ...(world.late ? { [late]: false } : {}) }];
    for (const { states, overrides, identities, ...feature } of world.features) {
        commands.push({ command: 'create_feature', ...feature });
    }
    const segments = world.segments.filter(s => !s.feature || world.features.some(f => f.key === s.feature));
    for (const segment of segments) {
        commands.push({ command: 'create_segment', ...segment });
    }
    for (const { key: feature, variants, states, overrides, identities } of world.features) {
        const add = (command, { weights = [], ...state }) => {
            const there = weights.filter(w => variants.some(v => v.key === w.key)).map(({ key, weight }) => [key, weight]);
            commands.push({ command, environment, feature, ...state, ...(there.length > 0 ? { weights: Object.fromEntries(there) } : {}) });
        };
        states.forEach(state => add('set_feature_state', state));
        overrides
            .filter(o => segments.some(s => s.key === o.segment))
            .forEach((override, i) => add('set_segment_override', { ...override, place: Math.min(override.place, i) }));
        identities.forEach(override => add('set_identity_override', override));
    }
    if (world.late) {
        commands.push({ command: 'update_environment', environment, [late]: true });
    }
    return commands;
}

/** The operators of all conditions in a world. */
export function operators(world) {
    const inRules = rules => rules.flatMap(({ conditions, rules }) => [...conditions.map(c => c.operator), ...inRules(rules)]);
    return world.segments.flatMap(({ rules }) => inRules(rules));
}
