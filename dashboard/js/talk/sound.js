// The microphone and the loudspeaker of one call: two worklets on one audio context.

import * as troubles from "./troubles.js";

const RATE = 24_000;
const CONSTRAINTS = { echoCancellation: true, noiseSuppression: true, autoGainControl: true,
  channelCount: 1 };

/** Opens both, until `signal` aborts: then, at whatever stage, the microphone and the context are
 * given back. Throws `{trouble}`. `told` gets what the worklets say: `{pcm, dbfs}` of the ear to
 * `frame`, reports of the mouth to `report`, marks to `played`; to `allowed` that there is a
 * microphone, to `muted` that it is gone. */
export async function openSound(told, signal) {
  const audio = navigator.mediaDevices;
  if (!window.isSecureContext) throw { trouble: troubles.INSECURE };
  if (!audio?.getUserMedia || !window.AudioWorkletNode) throw { trouble: troubles.UNABLE };
  let stream;
  try {
    stream = await audio.getUserMedia({ audio: CONSTRAINTS });
  } catch (error) {
    throw { trouble: troubles.microphone(error) };
  }
  // What is to be undone, the latest first.
  const ends = [() => stream.getTracks().forEach((track) => track.stop())];
  const close = () => {
    while (ends.length) ends.pop()();
  };
  const aborted = new Promise((_, fail) => {
    signal.addEventListener("abort", () => {
      close();
      fail(signal.reason);
    });
  });
  aborted.catch(() => {});
  try {
    signal.throwIfAborted();
    told.allowed();
    return await connect(stream, told, ends, (step) => Promise.race([step, aborted]));
  } catch (error) {
    close();
    throw { trouble: { title: troubles.UNABLE.title, text: error.message } };
  }
}

/** `within` waits for a step and throws when the call is over before: some steps never end. */
async function connect(stream, told, ends, within) {
  const { context, source } = context24(stream, ends);
  await within(context.audioWorklet.addModule(new URL("ear.js", import.meta.url)));
  await within(context.audioWorklet.addModule(new URL("mouth.js", import.meta.url)));
  const ear = new AudioWorkletNode(context, "ear", { numberOfOutputs: 0, channelCount: 1,
    channelCountMode: "explicit" });
  const mouth = new AudioWorkletNode(context, "mouth", { numberOfInputs: 0,
    outputChannelCount: [1] });
  ear.port.onmessage = ({ data }) => told.frame(data);
  mouth.port.onmessage = ({ data }) => (data.played ? told.played(data.played)
    : told.report(data));
  source.connect(ear);
  mouth.connect(context.destination);
  const [track] = stream.getAudioTracks();
  track.addEventListener("ended", told.muted);
  ends.push(() => track.removeEventListener("ended", told.muted));
  // Phones suspend sound for a call or another app.
  const wake = () => context.state !== "closed" && context.resume().catch(() => {});
  context.addEventListener("statechange", wake);
  ends.push(() => context.removeEventListener("statechange", wake));
  const output = () => (context.outputLatency || context.baseLatency || 0);
  const latency = setInterval(() => mouth.port.postMessage({ latency: output() }), 1000);
  mouth.port.postMessage({ latency: output() });
  ends.push(() => {
    clearInterval(latency);
    ear.port.onmessage = mouth.port.onmessage = null;
  });
  await within(context.resume());

  return {
    rate: context.sampleRate,
    play: (pcm) => mouth.port.postMessage({ pcm }, [pcm]),
    mark: (mark) => mouth.port.postMessage({ mark }),
    clear: () => mouth.port.postMessage({ clear: true }),
    mute: (muted) => { track.enabled = !muted; },
    /** Seconds between the microphone and the page, and between the page and the ear. */
    delays: () => ({ input: track.getSettings().latency ?? 0, output: output() }),
  };
}

// Some browsers refuse a microphone to a context of another rate; the worklets then resample.
function context24(stream, ends) {
  const open = (options) => {
    const context = new AudioContext({ ...options, latencyHint: "interactive" });
    ends.push(() => context.close().catch(() => {}));
    return { context, source: context.createMediaStreamSource(stream) };
  };
  const before = ends.length;
  try {
    return open({ sampleRate: RATE });
  } catch {
    // Then with the rate that the device has.
    while (ends.length > before) ends.pop()();
    return open({});
  }
}
