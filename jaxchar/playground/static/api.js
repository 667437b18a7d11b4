/** What the server can be asked: plain answers, and streams of events that end with the request. */

/** An error that the server told, or that kept it from answering. */
export class ApiError extends Error {}

const TOKEN = new URLSearchParams(location.search).get("token");

/** Ask for a plain answer. Without a body it is a GET. */
export async function ask(path, { body = null, signal = null } = {}) {
  return (await request(path, body, signal)).json();
}

/**
 * Ask for a stream of events.
 * @yields {{event: string, data: Object}} until the server ends it; an "error" event is thrown.
 */
export async function* stream(path, { body = null, signal = null } = {}) {
  const response = await request(path, body, signal);
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of chunks(response.body)) {
    const blocks = (rest + decoder.decode(bytes, { stream: true })).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const told = parsed(block);
      if (told?.event === "error") throw new ApiError(told.data.error);
      if (told) yield told;
    }
  }
}

/** Bytes as they arrive; leaving the loop closes the connection, which frees the server. */
async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "event") event = value;
    if (name === "data") data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}

async function request(path, body, signal) {
  const headers = { ...(body && { "Content-Type": "application/json" }) };
  const address = TOKEN ? `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(TOKEN)}` : path;
  let response;
  try {
    const what = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) };
    response = await fetch(address, what);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is `jaxchar play` still running?");
  }
  if (!response.ok) throw new ApiError(await reason(response));
  return response;
}

async function reason(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The server answered ${response.status} ${response.statusText}`;
  }
}

/** One action at a time: a new one breaks off the one before. */
export class Latest {
  #controller = null;

  /** Begin an action, and return the signal that breaks it off. */
  begin() {
    this.stop();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  /** Break the action off; what it then tells is still listened to. */
  stop() {
    this.#controller?.abort();
  }

  /** Break the action off, and listen to it no more. */
  drop() {
    this.stop();
    this.#controller = null;
  }

  /** Whether this is the signal of the action that was begun last. */
  isLast(signal) {
    return this.#controller?.signal === signal;
  }
}
