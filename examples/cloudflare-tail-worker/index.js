// A Tail Worker that hands every invocation of your Workers to obskit: outcome, logs, exceptions.
// Each batch is signed with the shared secret, which never travels, and sent again as it was until obskit has stored it:
// obskit knows a batch by its bytes, so none is stored twice.

const ATTEMPTS = 4;
const TIMEOUT_MS = 10_000;
const LARGEST_BATCH = 1_000_000; // characters; obskit takes 16 MB

export default {
  async tail(events, env, ctx) {
    const sending = batches(events).map((body) => send(body, env));
    ctx.waitUntil(Promise.allSettled(sending));
  },
};

function batches(events) {
  const bodies = [];
  let items = [];
  let size = 0;
  const close = () => {
    // The id tells batches of equal items apart.
    if (items.length) bodies.push(`{"id":"${crypto.randomUUID()}","items":[${items.join(",")}]}`);
    items = [];
    size = 0;
  };
  for (const event of events) {
    const item = JSON.stringify(event);
    if (size + item.length > LARGEST_BATCH) close();
    items.push(item);
    size += item.length;
  }
  close();
  return bodies;
}

async function send(body, env) {
  const headers = { "Content-Type": "application/json", "X-Obskit-Signature": await signature(body, env.OBSKIT_SECRET) };
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt) await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
    try {
      const answer = await fetch(env.OBSKIT_URL, { method: "POST", body, headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (answer.ok) return;
      if (answer.status < 500 && answer.status !== 429) throw new Error(`obskit refuses: HTTP ${answer.status}`);
    } catch (error) {
      if (String(error).includes("refuses")) throw error;
    }
  }
}

async function signature(body, secret) {
  const bytes = new TextEncoder();
  const key = await crypto.subtle.importKey("raw", bytes.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const made = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes.encode(body)));
  return "sha256=" + Array.from(made, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
