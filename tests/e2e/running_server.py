"""Starts `krasis serve` for a test and stops it."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request


class RunningServer:
    def __init__(self, program, model, *flags):
        self.folder = tempfile.mkdtemp(prefix="krasis-e2e-")
        # A copy: the test builds its expert cache there and leaves nothing behind.
        self.model = os.path.join(self.folder, "models", "demo")
        shutil.copytree(model, self.model, ignore=shutil.ignore_patterns(".krasis_cache"))
        environment = dict(os.environ, KRASIS_HOME=self.folder)
        self.process = subprocess.Popen(
            [program, "serve", "--model-path", "demo", "--port", "0", *flags],
            env=environment, stderr=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stderr:
            found = re.search(r"ready at http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if self.port is None:
            raise RuntimeError(f"the server ended with {self.process.wait()}")
        self.url = f"http://127.0.0.1:{self.port}"

    def health(self):
        with urllib.request.urlopen(self.url + "/health", timeout=10) as answer:
            return json.load(answer)

    def wait_idle(self, seconds=10):
        """The health once nothing runs or waits; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            health = self.health()
            if health["running"] == 0 and health["waiting"] == 0:
                return health
            if time.monotonic() > deadline:
                raise AssertionError(f"still busy: {health}")
            time.sleep(0.02)

    def engine_times(self):
        """ms waited, of the prompt and of the rest, of the next request that ends; with --log-level debug."""
        for line in self.process.stderr:
            found = re.search(r"waited ([0-9.]+) ms, prefill ([0-9.]+) ms, decode ([0-9.]+) ms", line)
            if found:
                return [float(number) for number in found.groups()]
        raise RuntimeError("the server has ended")

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.process.stderr.close()
        registered = os.listdir(os.path.join(self.folder, "servers"))
        shutil.rmtree(self.folder)
        return code, registered
