// The studio's API as this page uses it. What goes wrong is a Trouble whose `kind` says what to do about it.

export class Trouble extends Error {
  // offline | signed_out | other_person | busy | refused | fault
  constructor(kind, message = "", { status = 0, after = 0 } = {}) {
    super(message);
    Object.assign(this, { kind, status, after });
  }
}

const PATIENCE = 20000; // ms

export class Api {
  #csrf;

  constructor({ csrf, person }) {
    this.#csrf = csrf;
    this.person = person;
  }

  get(path) {
    return this.#call("GET", path);
  }

  post(path, body) {
    return this.#call("POST", path, body);
  }

  // Any other write; a body is JSON, or a form with a file. It may take longer than a judgement.
  send(method, path, body, patience = PATIENCE) {
    return this.#call(method, path, body, true, patience);
  }

  async #call(method, path, body, again = true, patience = PATIENCE) {
    const headers = { accept: "application/json", ...(method !== "GET" && { "x-csrf": this.#csrf }) };
    const form = body instanceof FormData;
    const sent = body === undefined ? {} : { body: form ? body : JSON.stringify(body) };
    if (body !== undefined && !form) headers["content-type"] = "application/json";
    let reply, said;
    try {
      const signal = AbortSignal.timeout(patience);
      reply = await fetch(path, { method, headers, signal, credentials: "same-origin", cache: "no-store", ...sent });
      said = await reply.json().catch(() => null);
    } catch {
      throw new Trouble("offline");
    }
    if (reply.status === 204) return {};
    if (reply.ok && said !== null) return said;
    const message = said?.error?.message || `the studio answered with ${reply.status}`;
    const code = said?.error?.code;
    if (reply.status === 403 && code === "csrf" && again) {
      await this.#refresh();
      return this.#call(method, path, body, false, patience);
    }
    throw troubleOf(reply, message);
  }

  // The session has changed under this page: the same person signed in again (go on), or somebody else did.
  async #refresh() {
    const me = await this.#call("GET", "/api/me", undefined, false);
    if (String(me.person) !== String(this.person)) throw new Trouble("other_person", me.name);
    this.#csrf = me.csrf;
  }
}

function troubleOf(reply, message) {
  const after = 1000 * Number(reply.headers.get("retry-after") || 0);
  const status = reply.status;
  if (status === 401) return new Trouble("signed_out", message, { status });
  if (status === 429 || status === 503) return new Trouble("busy", message, { status, after });
  return new Trouble(status >= 500 ? "fault" : "refused", message, { status });
}
