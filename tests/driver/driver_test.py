"""The program with a driver that is missing, too old, of an old GPU, or finds no memory: an answer, or one sentence
and exit code 3. What needs a GPU is skipped where there is none.
Usage: driver_test.py PROGRAM MODELS_DIR FAKE_DRIVER_DIR [TEST...]"""
import collections
import concurrent.futures
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

PROGRAM, MODELS, FAKE = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
SAMPLES = int(os.environ.get("KRASIS_DRIVER_SAMPLES", "40"))  # calls to fail, of each kind of run
SECONDS = float(os.environ.get("KRASIS_DRIVER_SECONDS", "300"))  # no new run of a kind after that
AT_ONCE = min(12, os.cpu_count() or 1)
PROMPT = ("Paris is the capital of France. Rome is the capital of Italy. Madrid is the capital of Spain. " * 5 +
          "What is a lighthouse?")
ANSWER = "A lighthouse is a tower"


def real_driver():
    """The path of a driver that has a GPU, or None."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return None
    return next(line.split()[-1] for line in open("/proc/self/maps") if "libcuda.so" in line)


DRIVER = real_driver()


class Program(unittest.TestCase):
    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="krasis-driver-"))
        self.model = self.home / "models" / "demo"
        shutil.copytree(MODELS / "demo", self.model, ignore=shutil.ignore_patterns(".krasis_cache"))

    def tearDown(self):
        shutil.rmtree(self.home)

    def environment(self, driver, settings):
        given = dict(os.environ, KRASIS_HOME=str(self.home))
        given |= {f"KRASIS_DRIVER_{name}": str(value) for name, value in settings.items()}
        given["LD_LIBRARY_PATH"] = f"{FAKE}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        if driver:
            given["KRASIS_DRIVER"] = driver
        return given

    def run_program(self, *words, driver=None, **settings):
        command = [PROGRAM, "run", str(self.model), "--temperature", "0", "--max-tokens", "12", "--threads", "2",
                   *map(str, words)]
        return subprocess.run(command, input=PROMPT, env=self.environment(driver, settings), capture_output=True,
                              text=True, timeout=120)

    def check_fallback(self, reason, driver=None, **settings):
        result = self.run_program(driver=driver, **settings)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(ANSWER, result.stdout)
        self.assertEqual(result.stderr.count("devices: running on the processor: "), 1, result.stderr)
        self.assertIn(f"devices: running on the processor: {reason}", result.stderr)

    def check_refused(self, reason, gpu, driver=None, **settings):
        result = self.run_program("--selected-gpus", gpu, driver=driver, **settings)
        self.assertEqual(result.returncode, 3, result.stderr)
        errors = [line for line in result.stderr.splitlines() if line.startswith("krasis: ")]
        self.assertEqual(len(errors), 1, result.stderr)
        self.assertRegex(errors[0], reason)


class WithoutAGpu(Program):
    def check(self, reason, **settings):
        self.check_fallback(reason, **settings)
        for gpu in (0, 7):
            self.check_refused(f"cuda: {reason}", gpu, **settings)
        self.assertNotIn("devices:", self.run_program("--selected-gpus", "none", **settings).stderr)

    def test_a_driver_that_is_too_old(self):
        self.check("the NVIDIA driver knows CUDA 12.4, CUDA 13.0 is needed; install a newer driver", VERSION=12040)

    def test_a_driver_without_a_gpu(self):
        self.check("no NVIDIA GPU was found")

    def test_a_driver_that_does_not_start(self):
        self.check("the NVIDIA driver answers: system not yet initialized", INIT=802)
        self.check("the NVIDIA driver answers: system has unsupported display driver", INIT=803)


@unittest.skipUnless(DRIVER, "no GPU")
class WithAGpu(Program):
    def test_a_gpu_that_is_too_old(self):
        reason = r"GPU 0 \(.*\) has compute capability 7.5, at least 8.0 is needed"
        self.check_refused("cuda: " + reason, 0, driver=DRIVER, CAPABILITY=75)
        self.check_fallback("GPU 0 (", driver=DRIVER, CAPABILITY=75)

    def test_a_number_that_no_gpu_has(self):
        self.check_refused("there is no GPU 99, this machine has", 99, driver=DRIVER)

    def test_a_gpu_whose_memory_is_taken(self):
        self.check_refused("the model needs at least .* GB of VRAM, .* may be used", 0, driver=DRIVER, FREE=100 << 20)
        self.check_fallback("GPU 0 (", driver=DRIVER, FREE=100 << 20)

    def chosen_calls(self, calls):
        """Every kind of call at its beginning and end, and others by chance: numbers counted from 1."""
        places = collections.defaultdict(list)
        for number, name in enumerate(calls, 1):
            places[name].append(number)
        chosen = {number for some in places.values() for number in (*some[:2], some[-1])}
        rest = [number for number in range(1, len(calls) + 1) if number not in chosen]
        random.seed(1)
        return sorted(chosen | set(random.sample(rest, min(len(rest), max(0, SAMPLES - len(chosen))))))

    def check_every_call(self, mode, *words):
        self.run_program(*words, driver=DRIVER)  # builds the cache
        file = self.home / "calls"
        good = self.run_program(*words, driver=DRIVER, CALLS=file)
        self.assertEqual(good.returncode, 0, good.stderr)
        self.assertIn(ANSWER, good.stdout)
        self.assertIn(mode, good.stderr)
        calls = file.read_text().split()

        start = time.monotonic()

        def fail(number, how):
            if time.monotonic() - start > SECONDS:
                return None
            result = self.run_program(*words, driver=DRIVER, FAIL=f"{number}{how}")
            return number, how, result.returncode, result.stdout, result.stderr

        outcomes, failing = collections.Counter(), collections.Counter()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            runs = [pool.submit(fail, number, how) for i, number in enumerate(self.chosen_calls(calls))
                    for how in (("", "-") if i % 4 == 0 else ("",))]
            results = [run.result() for run in runs]
            for number, how, code, out, errors in filter(None, results):
                with self.subTest(call=number, name=calls[number - 1], how=how):
                    kind = "all from there" if how else "one"
                    outcomes[f"{kind}: {'answer' if code == 0 else f'exit code {code}'}"] += 1
                    if code == 0:
                        self.assertEqual(out, good.stdout, errors)
                    else:
                        failing[calls[number - 1]] += 1
                        self.assertEqual(code, 3, errors)
                        self.assertEqual(len(re.findall("^krasis: ", errors, re.M)), 1, errors)
        print(f"{words}: {len(calls)} calls, {sum(outcomes.values())} runs in {time.monotonic() - start:.0f} s: "
              f"{dict(sorted(outcomes.items()))}; no answer after {dict(failing.most_common())}", flush=True)
        self.assertGreater(outcomes["one: answer"], 0)
        self.assertGreater(outcomes["one: exit code 3"], 0)

    def test_no_memory_for_any_call_with_all_experts_resident(self):
        self.check_every_call("of experts in VRAM", "--selected-gpus", 0, "--expert-divisor", 1)

    def test_no_memory_for_any_call_with_streamed_experts(self):
        self.check_every_call("grouped(2), 0 of", "--selected-gpus", 0, "--expert-divisor", 2)

    def test_no_memory_for_any_call_with_some_experts_resident(self):
        self.check_every_call("auto, ", "--selected-gpus", 0, "--vram-limit", "822MiB")

    def test_no_memory_anywhere_on_a_gpu_that_was_not_named(self):
        for number in (1, 5, 20, 60):
            result = self.run_program(driver=DRIVER, FAIL=f"{number}-")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(ANSWER, result.stdout)

    def start_server(self, **settings):
        process = subprocess.Popen(
            [PROGRAM, "serve", "--model-path", str(self.model), "--port", "0", "--selected-gpus", "0",
             "--max-concurrent", "4", "--threads", "2"],
            env=self.environment(DRIVER, settings), stderr=subprocess.PIPE, text=True)
        url = None
        for line in process.stderr:
            if found := re.search(r"ready at (http://[0-9.:]+)", line):
                url = found.group(1)
                break
        self.assertIsNotNone(url)
        log = []
        threading.Thread(target=lambda: log.extend(process.stderr), daemon=True).start()
        return process, url, log

    def stop_server(self, process):
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)

    @staticmethod
    def ask(url, question):
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": 8, "temperature": 0}
        request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return 200, json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]["message"]

    def test_a_server_outlives_calls_that_find_no_memory(self):
        lands = ("France", "Italy", "Spain", "Japan")
        questions = [f"What is the capital of {land}?" for land in lands] * 6
        file = self.home / "calls"
        self.stop_server(self.start_server()[0])  # has built the cache
        # Not loading a kernel, which the CUDA runtime never tries again.
        calls = {"CALLS": file, "FAIL_AMONG": "cuMemAlloc,cuMemHostAlloc,cuLaunchKernel,cuGraphLaunch,"
                                              "cuGraphInstantiate,cuStreamBeginCapture,cuMemcpyHtoDAsync"}
        process, url, _ = self.start_server(**calls)
        expected = {question: self.ask(url, question) for question in questions}
        self.stop_server(process)
        first = len(file.read_text().split()) + 1
        outcomes, errors = collections.Counter(), collections.Counter()
        for every in (3, 101, 1009):
            process, url, log = self.start_server(FAIL=f"{first}/{every}", **calls)
            for question in questions:
                self.assertEqual(self.ask(url, question), expected[question])
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = pool.map(lambda question: self.ask(url, question), questions * 2)
                for question, (code, text) in zip(questions * 2, answers):
                    outcomes[f"one of {every} calls: {code}"] += 1
                    self.assertIn(code, (200, 500), text)
                    errors[text] += code == 500
                    if code == 200:
                        self.assertEqual((code, text), expected[question])
            with urllib.request.urlopen(url + "/health", timeout=10) as answer:
                self.assertEqual(json.load(answer)["running"], 0)
            self.stop_server(process)
            process.stderr.close()
            outcomes[f"one of {every} calls: steps begun again"] += sum("begin again" in line for line in log)
        print(f"server: {dict(sorted(outcomes.items()))}; {errors.most_common(5)}", flush=True)
        self.assertGreater(outcomes["one of 1009 calls: 200"], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
