"""What goes to Sentry says what went wrong and where, and nothing of anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRETS = ("Wilhelmina", "featherstonehaugh", "correct horse")
PROGRAM = """
import asyncio, json, logging
from sentry_sdk.transport import Transport
from api import observability
from api.app import create_app
from api.bootstrap import Application
from api.settings import Settings
from commands.account import Register

class Kept(Transport):
    events = []
    def capture_envelope(self, envelope):
        self.events += [item.payload.json for item in envelope.items]

async def register(command, *, ledger):
    password = command.password
    logging.getLogger("somewhere").error("cannot welcome %s", command.name)
    raise ValueError(f"{command.name} <{command.email}> cannot come in with {password}")

async def main():
    application = Application(Settings.from_environment({}), database_url="", secret=bytes(32))
    application.handlers[Register] = register
    app = create_app(application)
    app.state.application = application
    who = {"email": "w@featherstonehaugh.test", "password": "correct horse", "name": "Wilhelmina"}
    body = json.dumps(who).encode()
    lines = {"content-type": "application/json", "content-length": str(len(body)), "host": "tickets.example",
             "user-agent": "Wilhelmina's", "x-request-id": "featherstonehaugh"}
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
             "path": "/v1/auth/register", "raw_path": b"/v1/auth/register", "query_string": b"for=featherstonehaugh",
             "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    answers = []
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}
    async def send(message):
        answers.append(message)
    await app(scope, receive, send)
    return answers[0]["status"]

observability.report_errors("https://key@sentry.invalid/1", Kept())
print(json.dumps({"status": asyncio.run(main()), "events": Kept.events}))
"""


def test_a_registration_that_fails_is_reported_without_who_it_was() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["status"] == 500
    (error,) = [event["exception"]["values"][-1] for event in told["events"] if "exception" in event]
    assert error["type"] == "ValueError"
    assert error["stacktrace"]["frames"][-1]["function"] == "register"
    assert [event["request"]["url"] for event in told["events"] if "exception" in event] == [
        "http://tickets.example/v1/auth/register"
    ]
    assert any(event.get("logger") == "somewhere" for event in told["events"])
    for secret in SECRETS:
        assert secret not in json.dumps(told["events"])
