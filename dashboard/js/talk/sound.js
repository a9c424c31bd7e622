// The microphone and the loudspeaker of one call: two worklets on one audio context.

import * as troubles from "./troubles.js";

const RATE = 24_000;
const CONSTRAINTS = { echoCancellation: true, noiseSuppression: true, autoGainControl: true,
  channelCount: 1 };

/** Opens both. Throws `{trouble}`. `told` gets what the worklets say: `{pcm, dbfs}` of the ear to
 * `frame`, reports of the mouth to `report`, marks to `played`; to `muted` that the microphone is
 * gone. */
export async function openSound(told) {
  const audio = navigator.mediaDevices;
  if (!window.isSecureContext) throw { trouble: troubles.INSECURE };
  if (!audio?.getUserMedia || !window.AudioWorkletNode) throw { trouble: troubles.UNABLE };
  let stream;
  try {
    stream = await audio.getUserMedia({ audio: CONSTRAINTS });
  } catch (error) {
    throw { trouble: troubles.microphone(error) };
  }
  try {
    return await connect(stream, told);
  } catch (error) {
    for (const track of stream.getTracks()) track.stop();
    throw { trouble: { title: troubles.UNABLE.title, text: error.message } };
  }
}

async function connect(stream, told) {
  const { context, source } = await context24(stream);
  await context.audioWorklet.addModule(new URL("ear.js", import.meta.url));
  await context.audioWorklet.addModule(new URL("mouth.js", import.meta.url));
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
  // Phones suspend sound for a call or another app.
  const wake = () => context.state !== "closed" && context.resume().catch(() => {});
  context.addEventListener("statechange", wake);
  const output = () => (context.outputLatency || context.baseLatency || 0);
  const latency = setInterval(() => mouth.port.postMessage({ latency: output() }), 1000);
  mouth.port.postMessage({ latency: output() });
  await context.resume();

  return {
    rate: context.sampleRate,
    play: (pcm) => mouth.port.postMessage({ pcm }, [pcm]),
    mark: (mark) => mouth.port.postMessage({ mark }),
    clear: () => mouth.port.postMessage({ clear: true }),
    mute: (muted) => { track.enabled = !muted; },
    /** Seconds between the microphone and the page, and between the page and the ear. */
    delays: () => ({ input: track.getSettings().latency ?? 0, output: output() }),
    close() {
      clearInterval(latency);
      context.removeEventListener("statechange", wake);
      track.removeEventListener("ended", told.muted);
      for (const one of stream.getTracks()) one.stop();
      ear.port.onmessage = mouth.port.onmessage = null;
      context.close().catch(() => {});
    },
  };
}

// Some browsers refuse a microphone to a context of another rate; the worklets then resample.
async function context24(stream) {
  try {
    const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    try {
      return { context, source: context.createMediaStreamSource(stream) };
    } catch {
      await context.close();
    }
  } catch {
    // Then with the rate that the device has.
  }
  const context = new AudioContext({ latencyHint: "interactive" });
  return { context, source: context.createMediaStreamSource(stream) };
}
