// Plays a call's recording: left the caller, right the bot, each alone if one wants.

import { address, part } from "../api.js";
import { fill, h, icon, say } from "../dom.js";
import { clock, place } from "../format.js";
import { key } from "../keys.js";

const SPEEDS = ["0.75", "1", "1.25", "1.5", "2"];
// How much of caller and bot goes to each ear.
const MIXES = { stereo: ["Both, left and right", [1, 0, 0, 1]],
  middle: ["Both, in the middle", [0.7, 0.7, 0.7, 0.7]],
  caller: ["Caller alone", [1, 0, 1, 0]], bot: ["Bot alone", [0, 1, 0, 1]] };

export function player(call, view) {
  const audio = h("audio", { preload: "metadata",
    src: address(`calls/${part(call.id)}/recording`) });
  const play = h("button", { type: "button", class: "button main round" });
  const time = h("span", { class: "time" });
  const fault = h("span", { class: "small soft", role: "status" });
  const speed = h("select", { "aria-label": "Speed" }, ...SPEEDS.map((value) =>
    h("option", { value }, `${value}×`)));
  speed.value = "1";
  const mix = h("select", { "aria-label": "What is heard" }, ...Object.entries(MIXES).map(
    ([value, [name]]) => h("option", { value }, name)));
  const element = h("div", { class: "row player" }, play, time, speed, mix, fault, audio);
  let frame = 0;
  let mixer = null;

  const paint = () => {
    fill(play, icon(audio.paused ? "play" : "pause"));
    play.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    play.title = audio.paused ? "Play (Space)" : "Pause (Space)";
  };
  const tell = () => say(time, `${place(view.at)} / ${clock(view.duration)}`);
  const follow = () => {
    view.move(audio.currentTime * 1000);
    if (!audio.paused) frame = requestAnimationFrame(follow);
  };
  const toggle = () => {
    if (audio.paused) audio.play().catch((error) => { fault.textContent = error.message; });
    else audio.pause();
  };
  const step = (sign) => (event) => view.seek(view.at + sign * (event.shiftKey ? 1000 : 5000));

  play.addEventListener("click", toggle);
  audio.addEventListener("play", () => { paint(); follow(); });
  audio.addEventListener("pause", () => { paint(); cancelAnimationFrame(frame); });
  audio.addEventListener("error", () => {
    fault.textContent = "The recording cannot be played by this browser; download it instead.";
    play.disabled = true;
  });
  speed.addEventListener("change", () => { audio.playbackRate = Number(speed.value); });
  mix.addEventListener("change", () => {
    mixer ??= makeMixer(audio);
    mixer.set(MIXES[mix.value][1]);
  });
  view.on("seek", () => { audio.currentTime = view.at / 1000; });
  view.on("at", tell);
  paint();
  tell();
  const ends = [key(" ", toggle), key("ArrowLeft", step(-1)), key("ArrowRight", step(1))];
  return { element, audio,
    close() {
      ends.forEach((end) => end());
      cancelAnimationFrame(frame);
      audio.pause();
      // Without a load the browser keeps what it has of the recording, and its connection.
      audio.removeAttribute("src");
      audio.load();
      mixer?.close();
    } };
}

function makeMixer(audio) {
  const context = new AudioContext();
  const apart = context.createChannelSplitter(2);
  const joined = context.createChannelMerger(2);
  context.createMediaElementSource(audio).connect(apart);
  const gains = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([from, to]) => {
    const gain = context.createGain();
    apart.connect(gain, from);
    gain.connect(joined, 0, to);
    return gain;
  });
  joined.connect(context.destination);
  audio.addEventListener("play", () => context.resume());
  context.resume();
  return { set: (parts) => parts.forEach((part_, at) => { gains[at].gain.value = part_; }),
    close: () => context.close() };
}
