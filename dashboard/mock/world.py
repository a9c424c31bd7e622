"""An invented server's calls, engines, personas and settings. The same seed, the same world."""

import math
import random
import time

LINES = [
    ("bot", "Willow Street Dental, this is Maya. How can I help you?"),
    ("caller", "Hi, I have had a toothache since Friday and would like to come in."),
    ("bot", "Oh, I am sorry to hear that. Is it a sharp pain, or does it come and go?"),
    ("caller", "It comes and goes, mostly when I drink something cold."),
    ("bot", "Alright. The next free visits are Tuesday at ten and Thursday at fifteen hours."),
    ("caller", "Tuesday at ten is fine."),
    ("bot", "Good. May I have your name and a telephone number, please?"),
    ("caller", "Sure. It is Jordan Blake, five five five, zero one nine nine."),
    ("bot", "Thank you, Jordan. Tuesday at ten it is. A check-up costs ninety dollars."),
    ("caller", "Does that cover an x-ray too?"),
    ("bot", "It does not; an x-ray would be forty more. Shall I note that you may want one?"),
    ("caller", "Yes, please do."),
    ("bot", "Done. Is there anything else that I can do for you today?"),
    ("caller", "No, that is all. Thank you very much."),
    ("bot", "You are welcome. Until Tuesday, and take care!"),
]
REASONS = {
    "caller-hung-up": "the caller hung up", "hung-up": "the bot hung up",
    "transferred": "the caller was transferred", "caller-lost": "the caller's connection broke",
    "engine-lost": "the connection to the engine broke",
    "engine-busy": "no engine was free in time",
    "time-limit": "the call reached its greatest length",
}
WEIGHTS = [60, 14, 8, 5, 3, 6, 4]
ENGINES = ["ws://gpu-1:8998", "ws://gpu-2:8998", "vllm-omni+wss://gpu-3.internal:8443"]
VOICES = [f"{kind}{n}.pt" for kind in ("NATF", "NATM") for n in range(4)] \
    + [f"{kind}{n}.pt" for kind in ("VARF", "VARM") for n in range(5)]
PAUSE_MS = 1200
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def now_ms():
    return int(time.time() * 1000)


def script(random_, length_ms):
    """The bot's words and the caller's utterances with their times, in turns with pauses and a few
    overlaps, until `length_ms`."""
    said, at, line = [], 1200, 0
    while at < length_ms - 1500:
        who, text = LINES[line % len(LINES)]
        line += 1
        words = []
        for word in text.split():
            lasts = 110 + 45 * len(word) + random_.randint(0, 60)
            if at + lasts > length_ms:
                break
            words.append({"at_ms": at, "until_ms": at + lasts, "who": who, "text": word})
            at += lasts + random_.randint(10, 60)
        if who == "caller" and words:
            words = [words[0] | {"until_ms": words[-1]["until_ms"],
                                 "text": " ".join(word["text"] for word in words)}]
        said += words
        at += random_.choice([-150, 250, 420, 640, 900, 1600])
    return sorted(said, key=lambda one: one["at_ms"])


def told_ms(one):
    """When it is told: what a caller says is written down once it is over."""
    return one["until_ms"] + 400 if one["who"] == "caller" else one["at_ms"]


def transcript(said):
    """The lines of a call as the API gives them: the bot's end with a pause and name each word."""
    lines, last = [], None
    for one in said:
        if one["who"] == "caller":
            lines.append(one)
            continue
        word = {"at_ms": one["at_ms"], "text": one["text"]}
        if last and one["at_ms"] - last["until_ms"] < PAUSE_MS:
            last["text"] += f" {one['text']}"
            last["until_ms"] = one["at_ms"]
            last["words"].append(word)
        else:
            last = {"at_ms": one["at_ms"], "until_ms": one["at_ms"], "who": "bot",
                    "text": one["text"], "words": [word]}
            lines.append(last)
    return sorted(lines, key=lambda line: line["at_ms"])


def count(said):
    return sum(one["who"] == "bot" for one in said)


class World:
    def __init__(self, seed=7, history=137):
        self.random = random.Random(seed)
        self.ended, self.running = {}, {}
        self.started = now_ms()
        # How long after a call's end its recording is noted.
        self.late_ms = 0
        self.personas = personas()
        self.engines = {name: engine(name, n) for n, name in enumerate(ENGINES)}
        for n in range(history):
            call = self.summary(self.started - 1_700_000 - int(n * 7_300_000 * (0.4 + n % 3 / 2)))
            self.ended[call["id"]] = call
        for n in range(3):
            self.begin(self.started - 47_000 * (n + 1))

    def new_id(self):
        return "C" + "".join(self.random.choices(DIGITS, k=15))

    def number(self):
        return f"+1555{self.random.randint(100_0000, 999_9999)}"

    def summary(self, started, length=None):
        pick = self.random
        some = int(1000 * min(590, pick.lognormvariate(4.4, 0.8)))
        reason = pick.choices(list(REASONS), WEIGHTS)[0]
        busy = reason == "engine-busy" and not length
        length = length or (pick.randint(8000, 12_000) if busy else some)
        direction = pick.choices(["inbound", "outbound", "browser"], [8, 2, 1])[0]
        other = self.number()
        out = direction == "outbound"
        words = [] if busy else script(random.Random(started), length)
        return {
            "id": self.new_id(), "direction": direction, "started_ms": started,
            "from": "+15550142" if out else other, "to": other if out else "+15550142",
            "persona": pick.choices(["receptionist", "assistant", "storyteller"], [6, 3, 1])[0],
            "engine": None if busy else pick.choice(ENGINES), "ended_ms": started + length,
            "duration_ms": length, "reason": reason, "reason_text": REASONS[reason],
            "words": count(words), "first_audio_ms": None if busy else pick.randint(380, 2900),
            "recording": None if busy else {"bytes": 44 + length * 32, "format": "wav"},
            "depth_p50_ms": None if busy else pick.randint(70, 190),
        }

    def begin(self, started, direction=None, to=None, persona=None):
        """A call that runs; it ends after some minutes of its own accord."""
        call = self.summary(started, self.random.randint(200_000, 400_000))
        call |= {"ended_ms": None, "reason": None, "reason_text": "", "recording": None}
        call |= {"engine": ENGINES[len(self.running) % 2]}
        if direction:
            call |= {"direction": direction, "from": "+15550142", "to": to, "persona": persona}
        call["script"] = script(random.Random(started), call["duration_ms"])
        call["told_ms"], call["notes"] = 0, [
            {"at_ms": 0, "kind": "phase", "text": "waiting"},
            {"at_ms": 240, "kind": "phase", "text": "priming"},
            {"at_ms": 900, "kind": "phase", "text": "live"}]
        self.running[call["id"]] = call
        return call

    def end(self, call_id, reason):
        call = self.running.pop(call_id)
        length = now_ms() - call["started_ms"]
        call |= {"ended_ms": now_ms(), "duration_ms": length, "reason": reason,
                 "reason_text": REASONS[reason],
                 "words": count(one for one in call["script"] if one["at_ms"] < length),
                 "recording": {"bytes": 44 + length * 32, "format": "wav"}}
        self.ended[call_id] = call
        return call

    def recording(self, call):
        """What is known of a call's recording."""
        late = call["ended_ms"] and now_ms() < call["ended_ms"] + self.late_ms
        return None if late else call["recording"]

    def live(self, call):
        """How a running call is now."""
        at = now_ms() - call["started_ms"]
        def loud(who):
            talks = any(word["who"] == who and word["at_ms"] - 250 <= at <= word["until_ms"] + 250
                        for word in call["script"])
            swing = 5 * math.sin(at / 173 + len(who))
            return round(-17 + swing, 1) if talks else round(-62 + swing / 2, 1)
        wobble = math.sin(at / 4000)
        keys = ("id", "direction", "from", "to", "persona", "engine", "started_ms")
        return {key: call[key] for key in keys} | {
            "phase": call.get("phase") or ("live" if at > 900 else "priming"), "elapsed_ms": at,
            "caller_dbfs": call.get("caller_dbfs", loud("caller")),
            "engine_dbfs": call.get("engine_dbfs", loud("bot")),
            "depth_ms": int(110 + 35 * wobble), "target_ms": 120,
            "queued_ms": int(40 + 30 * wobble),
            "real_time_factor": round(0.97 + 0.02 * wobble, 3)}

    def engine_list(self):
        for entry in self.engines.values():
            calls = [call for call in self.running.values() if call["engine"] == entry["name"]]
            for n, slot in enumerate(entry["slots"]):
                taken = calls[n] if n < len(calls) else None
                if taken:
                    slot |= {"state": "call", "call": taken["id"], "persona": taken["persona"],
                             "age_s": (now_ms() - taken["started_ms"]) // 1000}
                elif slot["state"] == "call":
                    slot |= {"state": "free", "call": None, "persona": None, "age_s": None}
        return list(self.engines.values())

    def said(self, call):
        """What was said in a call so far."""
        words = call.get("script")
        if words is None:
            length = call["duration_ms"]
            words = script(random.Random(call["started_ms"]), length) if call["words"] else []
        at = call["duration_ms"] if call["reason"] else now_ms() - call["started_ms"]
        return [one for one in words if (one["at_ms"] if call["reason"] else told_ms(one)) < at]

    def detail(self, call_id):
        """All of a call, ended or running; None where there is none."""
        call = self.ended.get(call_id) or self.running.get(call_id)
        if call is None:
            return None
        length = call["duration_ms"] if call["reason"] else now_ms() - call["started_ms"]
        said = self.said(call)
        shown = {key: value for key, value in call.items()
                 if key not in ("script", "told_ms", "pcm", "curve", "phase")}
        return shown | {
            "words": count(said), "duration_ms": length,
            "recording": self.recording(call), "transcript": transcript(said),
            "notes": call.get("notes") or notes(call),
            "curve": call.get("curve") or curve(said, length, call_id), "announced": True,
            "cost": {"seconds": length // 1000, "engine_seconds": round(length / 1000 + 2.1, 1)},
            "record": {"id": call_id, "persona": call["persona"], "reason": call["reason"],
                       "duration": {"secs": length // 1000, "nanos": length % 1000 * 1_000_000},
                       "recording": call["recording"] and {"late_ms": 0, "cleared_ms": 0,
                                                           "ahead_ms": 0},
                       "inbound": {"in_ms": length, "out_ms": length - 240, "unheard_ms": 240},
                       "governor": {"stretched_ms": 180, "shortened_ms": 210, "dropped_ms": 0}}}


def notes(call):
    found = [{"at_ms": 0, "kind": "phase", "text": "waiting"}]
    if call["reason"] == "engine-busy":
        return found
    length = call["duration_ms"]
    found += [{"at_ms": 240, "kind": "phase", "text": "priming"},
              {"at_ms": 900, "kind": "phase", "text": "live"}]
    if length > 60_000:
        found += [{"at_ms": length // 3, "kind": "digit", "text": "5"},
                  {"at_ms": length // 2, "kind": "speed", "text": "engine at 1.12× for 3 s"},
                  {"at_ms": length // 2 + 4000, "kind": "cleared", "text": "820 ms dropped"},
                  {"at_ms": length * 2 // 3, "kind": "succeeded", "text": "another engine went on"}]
    return found + [{"at_ms": length - 200, "kind": "phase", "text": "draining"}]


def curve(said, length, call_id):
    points = max(1, length // 1000)
    noise = random.Random(call_id)
    def level(who, second):
        at = second * 1000
        talks = any(w["who"] == who and w["at_ms"] - 500 < at < w["until_ms"] + 500 for w in said)
        return round(noise.uniform(-24, -14) if talks else noise.uniform(-70, -60), 1)
    bump = [max(0, 260 - 40 * abs(second - points // 2)) for second in range(points)]
    return {"every_ms": 1000,
            "depth_ms": [int(90 + 40 * noise.random() + bump[s]) for s in range(points)],
            "target_ms": [120 if s < points // 2 else 140 for s in range(points)],
            "queued_ms": [int(20 + 40 * noise.random() + bump[s] / 2) for s in range(points)],
            "caller_dbfs": [level("caller", s) for s in range(points)],
            "engine_dbfs": [level("bot", s) for s in range(points)],
            "real_time_factor": [None if s < 2 else round(0.96 + 0.03 * noise.random()
                                 + bump[s] / 1500, 3) for s in range(points)]}


def engine(name, n):
    slots = 4 if name.startswith("vllm") else 1
    return {"name": name, "state": ["busy", "busy", "ready"][n % 3], "rests_s": None,
            "on_trial": n == 1, "opened_ms": {"p50": 41, "p95": 88},
            "primed_ms": {"p50": 2140, "p95": 2870}, "real_time_factor": [0.97, 1.02, None][n % 3],
            "served": [412, 388, 1203][n % 3], "faults": [{}, {"lost": 1, "stalled": 2}, {}][n % 3],
            "slots": [{"state": ["primed", "priming", "free", "reserved"][i % 4] if slots > 1
                       else "free", "call": None, "age_s": 31 * (i + 1) if slots > 1 and i != 2
                       else None, "persona": "receptionist" if slots > 1 and i != 2 else None}
                      for i in range(slots)]}


def persona(name, voice, prompt, numbers, file):
    return {"name": name, "voice": voice, "prompt": prompt, "prompt_tokens": len(prompt) // 4,
            "primes_s": round(1.2 + len(prompt) / 120, 1), "horizon_s": 200 - len(prompt) // 12,
            "numbers": numbers, "file": file}


def personas():
    return {one["name"]: one for one in (
        persona("assistant", "NATF2.pt", "You are a helpful assistant. Answer in one or two "
                "short sentences, and ask back when something is not clear.", [], None),
        persona("receptionist", "NATF1.pt", "You work at the front desk of Willow Street Dental "
                "and your name is Maya. Greet the caller, find out what they need and take their "
                "name and telephone number. Information: open Monday to Friday from 8 to 17 "
                "hours. A check-up costs 90 dollars. The next free visits are Tuesday at 10 and "
                "Thursday at 15 hours.", ["+15550142", "+15550143"],
                "personas/receptionist.toml"),
        persona("storyteller", "VARM2.pt", "You are Captain Orso, an old sailor with a warm sense "
                "of humour who tells callers short tales of the sea.", [],
                "personas/storyteller.toml"))}
