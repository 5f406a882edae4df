// What the tests in this folder need of a running Flagledger: where it is, and an administrator's hands. ../e2e_test.go starts it and passes
// its address and a token.
const { FLAGLEDGER_URL, FLAGLEDGER_ADMIN_TOKEN } = process.env;

export const url = FLAGLEDGER_URL;
export const apiUrl = `${FLAGLEDGER_URL}/api/v1/`;

/** A request that Flagledger refused; problem is what it said. */
export class Refused extends Error {
    constructor(request, problem) {
        super(`${request}: ${problem.status} ${problem.field ?? ''} ${problem.detail ?? ''}`);
        this.problem = problem;
    }
}

/** One request of an administrator, to a path below /admin/v1. As soon as a write is answered it is recorded and visible. */
export async function administer(method, path, body = {}) {
    const why = { reason: 'end-to-end test', ticket: 'E2E-2' };
    const hasBody = method !== 'GET' && method !== 'DELETE';
    const response = await fetch(`${FLAGLEDGER_URL}/admin/v1${path}${method === 'DELETE' ? `?${new URLSearchParams(why)}` : ''}`, {
        method,
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${FLAGLEDGER_ADMIN_TOKEN}` },
        body: hasBody ? JSON.stringify({ ...body, ...why }) : undefined
    });
    const answer = await response.text();
    if (!response.ok) {
        throw new Refused(`${method} ${path}`, JSON.parse(answer));
    }
    return answer && JSON.parse(answer);
}
