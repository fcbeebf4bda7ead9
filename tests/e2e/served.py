"""A running `krasis serve` with the tiny model, shared by the tests of one class."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import openai

import tiny_model

PROGRAM = os.environ["KRASIS_PROGRAM"]
MODEL = "tiny"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServedTest(unittest.TestCase):
    flags = []

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="krasis-e2e-")
        root = pathlib.Path(cls.folder.name)
        cls.environment = {**os.environ, "KRASIS_HOME": str(root / "home")}
        cls.model_dir = tiny_model.write(os.environ["KRASIS_REFERENCE_DIR"], root / MODEL)
        cls.port = free_port()
        cls.log = open(root / "log", "w+")
        cls.process = subprocess.Popen(
            [PROGRAM, "serve", "--model-path", str(cls.model_dir), "--port", str(cls.port),
             "--cpu-expert-bits", "8", "--context-length", "2048", *cls.flags],
            env=cls.environment, stderr=cls.log, stdout=cls.log)
        cls.addClassCleanup(cls.stop)
        cls.wait_until(lambda: cls.health_status() == 200, 120)

    @classmethod
    def stop(cls):
        if cls.process.poll() is None:
            cls.process.send_signal(signal.SIGTERM)
            try:
                cls.process.wait(30)
            except subprocess.TimeoutExpired:
                cls.process.kill()
                cls.process.wait()
        cls.log.close()
        cls.folder.cleanup()

    @classmethod
    def wait_until(cls, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            if cls.process.poll() is not None:
                cls.log.seek(0)
                raise AssertionError(f"the server has ended: {cls.log.read()}")
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s")
            time.sleep(0.02)

    @classmethod
    def request(cls, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @classmethod
    def health_status(cls):
        try:
            return cls.request("GET", "/health")[0]
        except OSError:
            return 0

    @classmethod
    def health(cls):
        return json.loads(cls.request("GET", "/health")[1])

    @classmethod
    def is_idle(cls):
        health = cls.health()
        return health["running"] == 0 and health["waiting"] == 0 and health["pages_free"] == health["pages_total"]

    @classmethod
    def client(cls, **options):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{cls.port}/v1", api_key="none", max_retries=0, **options)

    def ask(self, text, **options):
        options = {"model": MODEL, "temperature": 0, "max_tokens": 24, **options}
        return self.client().chat.completions.create(messages=[{"role": "user", "content": text}], **options)
