// Leads a mock's webhooks to this machine: VOICE_BOT_LEAD holds, as JSON, where each public address
// really is. They are signed for the public address, as Twilio's are behind a gate that ends TLS.
const lead = Object.entries(JSON.parse(process.env.VOICE_BOT_LEAD));
const direct = globalThis.fetch;
globalThis.fetch = (url, init) => {
  const led = lead.find(([from]) => String(url).startsWith(from));
  return direct(led ? String(url).replace(led[0], led[1]) : url, init);
};
