"""A bot whose engine speaks by a script, and a Twilio that holds its calls."""

import contextlib
import json

import aiohttp

import programs
from fake_twilio import SETTINGS, FakeTwilio

API_TOKEN = "let-me-in-let-me-in"
PERSONA = 'name = "assistant"\nvoice = "NATF2.pt"\nprompt = "Be brief."\n'


@contextlib.asynccontextmanager
async def site(folder, script, persona="", config="", env=(), answered_by="human",
               stream_token="require"):
    """The bot, with `persona` behind the first lines of its persona's file, and the Twilio."""
    (folder / "personas").mkdir(exist_ok=True)
    (folder / "personas/assistant.toml").write_text(
        persona if persona.startswith("name") else PERSONA + persona)
    (folder / "script").write_text(script)
    async with FakeTwilio(answered_by=answered_by) as twilio:
        (folder / "voice-bot.toml").write_text(
            f'[twilio]\napi_url = "{twilio.url}"\n'
            f'stream_token = "{stream_token}"\n'
            f'[outbound]\nfrom = "+15550199"\nallow = ["+1555"]\n{config}')
        engine_port = programs.free_port()
        flags = ["--behaviour", "script", "--script", folder / "script", "--port", engine_port]
        with programs.voice_bot("engine", *flags, port=engine_port), \
                bot_program(folder, engine_port, env) as bot:
            twilio.base = bot.base
            yield bot, twilio


def bot_program(folder, engine_port, env=(), port=None):
    """The server in that folder, to be used in `with`."""
    port = port or programs.free_port()
    env = {**SETTINGS, "VOICE_BOT_API_TOKEN": API_TOKEN, **dict(env)}
    bot = programs.voice_bot("serve", "--port", port,
                             "--engine-url", f"ws://127.0.0.1:{engine_port}",
                             port=port, cwd=folder, env=env)
    bot.base, bot.engine_port = f"http://127.0.0.1:{port}", engine_port
    return bot


async def ask(bot, path, body=None):
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{bot.base}/api/v1/calls{path}", data=json.dumps(body),
                             headers=headers) as response:
            return response.status, await response.json()
