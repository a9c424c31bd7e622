// Asks the server. Every question has a deadline, and every refusal a sentence to show.

const DEADLINE_MS = 15_000;
const BASE = new URL("api/v1/", document.baseURI);

/** What the server did not do; `status` is 0 where it could not be asked at all. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The address of an API path, for elements and sockets that fetch on their own. */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** JSON in, JSON out; `null` where the answer is empty. Throws `Refused`. */
export async function ask(path, { method = "GET", body, query, signal } = {}) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-voice-bot"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  let answer;
  try {
    answer = await fetch(address(path, query), {
      method, headers, cache: "no-store", credentials: "same-origin",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const message = deadline.aborted
      ? `The server did not answer within ${DEADLINE_MS / 1000} s.`
      : "The server cannot be reached. Is it running, and is this machine online?";
    throw new Refused(0, "unreachable", message);
  }
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : null;
  const said = sentence(text);
  if (answer.status === 401 && path !== "session") {
    document.dispatchEvent(new CustomEvent("signed-out"));
  }
  throw new Refused(answer.status, said.code ?? "failed",
    said.message ?? `The server answered ${answer.status} ${answer.statusText}.`);
}

function sentence(text) {
  try {
    return JSON.parse(text).error ?? {};
  } catch {
    return {};
  }
}

export const post = (path, body) => ask(path, { method: "POST", body });
export const remove = (path) => ask(path, { method: "DELETE" });
/** A part of a path, so that no name can leave its place. */
export const part = (name) => encodeURIComponent(name);
