"""The commands as a user types them: answers, exit codes, one sentence for every error.
Usage: commands_test.py PROGRAM MODELS_DIR"""
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, MODELS = sys.argv[1], pathlib.Path(sys.argv[2])


class Commands(unittest.TestCase):
    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="krasis-e2e-"))
        self.model = self.home / "models" / "small"
        shutil.copytree(MODELS / "demo", self.model, ignore=shutil.ignore_patterns(".krasis_cache"))

    def tearDown(self):
        shutil.rmtree(self.home)

    def run_program(self, *words, text=""):
        environment = dict(os.environ, KRASIS_HOME=str(self.home))
        words = [word if isinstance(word, bytes) else str(word) for word in words]
        return subprocess.run([PROGRAM, *words], input=text, env=environment,
                              capture_output=True, text=True, timeout=300)

    def check_refused(self, code, hint, *words, text=""):
        result = self.run_program(*words, text=text)
        self.assertEqual(result.returncode, code, result.stderr)
        errors = [line for line in result.stderr.splitlines() if line.startswith("krasis: ")]
        self.assertEqual(len(errors), 1, result.stderr)
        self.assertIn(hint, errors[0])

    def test_demo_answers(self):
        result = self.run_program("demo")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("tower", result.stdout)

    def test_run_reads_the_prompt_from_standard_input(self):
        for model in ("small", MODELS / "demo-next"):
            result = self.run_program("run", model, "--temperature", 0, text="What is a castle?")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("mansion", result.stdout)
        shutil.rmtree(MODELS / "demo-next" / ".krasis_cache", ignore_errors=True)

    def test_the_cache_may_be_fp8(self):
        words = ("run", "small", "-p", "What is the capital of France?", "--temperature", 0)
        for kind in ("bf16", "fp8_e4m3"):
            self.assertIn("Paris", self.run_program(*words, "--kv-dtype", kind).stdout)
        self.check_refused(2, "fp8 not in {bf16,fp8_e4m3}", *words, "--kv-dtype", "fp8")

    def test_quantize_builds_once(self):
        self.assertIn("built", self.run_program("quantize", "small").stdout)
        self.assertIn("was there already", self.run_program("quantize", "small").stdout)
        cache = self.model / ".krasis_cache" / "experts_int4_g128.krt"
        self.assertTrue(cache.exists())
        os.utime(self.model / "model-00001-of-00003.safetensors")
        self.assertIn("built", self.run_program("quantize", "small").stdout)

    def test_a_damaged_cache_is_built_again_and_a_foreign_file_refused(self):
        self.run_program("quantize", "small")
        cache = self.model / ".krasis_cache" / "experts_int4_g128.krt"
        right = self.run_program("run", "small", "-p", "What is bread?", "--temperature", 0).stdout
        data = bytearray(cache.read_bytes())
        data[len(data) // 2] ^= 0x55
        cache.write_bytes(data)
        again = self.run_program("run", "small", "-p", "What is bread?", "--temperature", 0)
        self.assertEqual((again.returncode, again.stdout), (0, right))
        cache.write_bytes(b"something else entirely" * 1000)
        self.check_refused(1, "experts_int4_g128.krt", "run", "small", "-p", "hi")

    def test_a_truncated_checkpoint_is_refused_by_name(self):
        shard = self.model / "model-00002-of-00003.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1000])
        self.check_refused(1, shard.name, "run", "small", "-p", "hi")
        shard.unlink()
        self.check_refused(2, shard.name, "run", "small", "-p", "hi")

    def test_a_corrupted_tokenizer_is_refused_by_name(self):
        tokenizer = self.model / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text()[:5000])
        self.check_refused(1, "tokenizer.json", "run", "small", "-p", "hi")

    def test_an_unknown_architecture_is_refused_by_name(self):
        config = json.loads((self.model / "config.json").read_text())
        config["model_type"] = "mamba_9"
        (self.model / "config.json").write_text(json.dumps(config))
        self.check_refused(2, "mamba_9", "run", "small", "-p", "hi")

    def test_wrong_command_lines(self):
        self.check_refused(2, '"nonsense" is no command', "nonsense")
        self.check_refused(2, "no command is named; `krasis --help` lists the commands")
        self.check_refused(2, "--help", "run", "small", "--no-such-flag")
        self.check_refused(2, "no-such-model", "run", "no-such-model", "-p", "hi")
        self.check_refused(2, "prompt is empty", "run", "small")
        self.check_refused(2, "--load-format dummy", "run", "small", "-p", "hi", "--layers", 2)
        self.check_refused(2, "no server runs", "chat", text="hi\n") if not self.any_server() else None

    def test_numbers_and_sizes_are_refused_with_their_value(self):
        for command, option in (("run", "--max-tokens"), ("run", "--context-length"), ("serve", "--max-waiting"),
                                ("serve", "--prompt-chunk"), ("plan", "--layers"),
                                ("plan", "--gpu-prefill-threshold"), ("demo", "--context-length")):
            model = () if command == "demo" else ("small",)
            for value, hint in (("-5", "is -5, choose 0 or more"), ("5x", 'is "5x", choose a whole number, 0 or more')):
                self.check_refused(2, f"{option}: {hint}; `krasis {command} --help`", command, *model, option, value)
        for option in ("--vram", "--vram-limit", "--vram-reserve"):
            for value in ("-1", "+1", "nan", "GiB", "", "1.5GiB", "0x10", "16 Gibi", "99999999999GiB"):
                self.check_refused(2, f'{option}: is "{value}", choose a size such as 16GiB', "plan", "small",
                                   option, value)
        for value in (0, "67108863", "63MiB"):
            self.check_refused(2, f'--vram: is "{value}", choose 64 MiB or more', "plan", "small", "--vram", value)
        for option in ("--link-rate", "--ram-rate", "--vram-rate", "--gpu-rate"):
            for value in ("nan", "inf", "0", "-1", "1e300", "fast"):
                self.check_refused(2, f'{option}: is "{value}", choose 0.001 to 1000000', "plan", "small",
                                   option, value)

    def test_more_than_one_gpu_is_refused(self):
        for command, model in (("run", ("small",)), ("serve", ("--model-path", "small")), ("plan", ("small",)),
                               ("demo", ()), ("bench", ("small",))):
            for option, value, hint in (("--selected-gpus", "0,1", '"0,1" names several GPUs, a model runs on one'),
                                        ("--num-gpus", "2", 'is "2", but a model runs on one GPU'),
                                        ("--pp-partition", "24,24", 'is "24,24", but all layers run on one GPU')):
                self.check_refused(2, f"{option}: {hint}", command, *model, option, value)
        self.assertEqual(self.run_program("plan", "small", "--num-gpus", 1, "--selected-gpus", "none").returncode, 0)

    def test_sampling_is_refused_with_its_value_before_weights_are_read(self):
        for option, value, hint in (("--temperature", "-1", 'is "-1", choose 0 to 100'),
                                    ("--temperature", "nan", 'is "nan", choose 0 to 100'),
                                    ("--top-p", "0", 'is "0", choose 1e-06 to 1'), ("--min-p", "7", 'is "7", choose 0 to 1'),
                                    ("--top-k", "-3", "is -3, choose 0 or more"), ("--seed", "-1", "is -1, choose 0 or more"),
                                    ("--seed", "9" * 30, f"is {'9' * 30}, choose less than 2^63")):
            self.check_refused(2, f"{option}: {hint}; `krasis run --help`", "run", "small", "-p", "hi", option, value)

    def refused_before_loading(self, code, hint, *words, text=""):
        self.check_refused(code, hint, *words, text=text)
        self.assertNotIn("layers) in", self.run_program(*words, text=text).stderr)

    def test_what_is_wrong_beside_the_weights_is_said_before_they_are_read(self):
        text, out = self.home / "text.txt", self.home / "no-such-folder" / "x"
        text.write_text("1 2 3")
        self.refused_before_loading(2, "no folder", "trace", "small", "--ids", text, "--out", out)
        self.refused_before_loading(2, "cannot open", "perplexity", "small", self.home / "nothing")
        self.refused_before_loading(2, "--window 99999, but the model was made for 2048", "perplexity", "small", text,
                                    "--window", 99999)
        self.refused_before_loading(2, "stride 5000", "perplexity", "small", text, "--stride", 5000)
        self.refused_before_loading(2, "mean nothing", "perplexity", "small", text, "--expert-group", 64)
        self.refused_before_loading(2, "cannot open", "bench", "small", "--text", self.home / "nothing")
        self.refused_before_loading(2, "--expert-group 64", "run", "small", "-p", "hi", "--cpu-expert-bits", 16,
                                    "--expert-group", 64)
        self.refused_before_loading(2, "--vram-limit means nothing", "run", "small", "-p", "hi", "--selected-gpus",
                                    "none", "--vram-limit", "4GiB")
        self.refused_before_loading(2, "prompt is not valid UTF-8", "run", "small", "-p", b"\xff")
        self.refused_before_loading(2, "--host: is empty", "serve", "small", "--host", "")
        (self.model / "tokenizer_config.json").unlink()
        self.refused_before_loading(2, "there is none in tokenizer_config.json", "run", "small", "-p", "hi")
        (self.model / "tokenizer.json").unlink()
        self.refused_before_loading(2, "tokenizer.json", "run", "small", "-p", "hi")

    def test_damaged_json_is_named_in_one_sentence(self):
        config = self.model / "config.json"
        for data, problem in ((b'{"model_type":', "is cut off in line 1, more JSON must follow"),
                              (b"\xff\xfe\x00", "is not JSON from line 1, column 1 on"), (b"", "is empty, not JSON")):
            config.write_bytes(data)
            for command in (("plan", "small"), ("run", "small", "-p", "hi"), ("quantize", "small")):
                self.check_refused(1, f"{config}: {problem}; download it again", *command)

    def test_the_model_may_be_named_by_an_option(self):
        text, ids = self.home / "text.txt", self.home / "ids"
        text.write_text("A lighthouse is a tower.")
        ids.write_text("1 2")
        for words in (("quantize",), ("tokenize",), ("render",), ("plan",), ("perplexity", text),
                      ("trace", "--ids", ids, "--out", self.home / "out")):
            result = self.run_program(*words, "--model-path", "small")
            self.assertEqual(result.returncode, 0, result.stderr)
        for command in ("run", "serve", "plan", "quantize", "bench", "perplexity", "tokenize", "render", "trace"):
            lines = self.run_program(command, "--help").stdout.splitlines()
            self.assertEqual(sum("model TEXT REQUIRED" in line for line in lines), 1, command)
            self.assertEqual([line.split() for line in lines if "--model-path" in line],
                             [["--model-path", "TEXT", "the", "same,", "by", "name"]], command)

    def test_output_that_cannot_be_written_is_an_error(self):
        environment = dict(os.environ, KRASIS_HOME=str(self.home))
        for words in (("plan", "small", "--selected-gpus", "none"), ("run", "small", "-p", "hi"), ("--help",),
                      ("--version",), ("quantize", "small"), ("tokenize", "small")):
            for redirect in (">/dev/full", ">&-"):
                result = subprocess.run(["bash", "-c", f'"$@" {redirect}', "bash", PROGRAM, *words], text=True,
                                        input='{"text": "x"}\n', env=environment, stderr=subprocess.PIPE, timeout=300)
                self.assertEqual(result.returncode, 1, (words, redirect, result.stderr))
                self.assertIn("krasis: output: standard output cannot be written: ", result.stderr)
        # What is opened first must not become standard error.
        subprocess.run(["bash", "-c", '"$@" 2>&-', "bash", PROGRAM, "quantize", "small", "--cpu-expert-bits", "8"],
                       env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)
        self.assertEqual(self.run_program("quantize", "small", "--cpu-expert-bits", 8).stdout.count("already"), 1)

    def test_ctrl_c_stops_long_measurements(self):
        environment = dict(os.environ, KRASIS_HOME=str(self.home))
        for words in (("bench", "small", "--prompt-tokens", "1500", "--repeat", "1000"),
                      ("perplexity", "small", MODELS / "demo" / "heldout.txt", "--path", "decode")):
            process = subprocess.Popen([PROGRAM, *map(str, words)], env=environment, text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for line in process.stderr:
                if "layers) in" in line:
                    break
            process.send_signal(signal.SIGINT)
            self.assertIn("cancelled", process.communicate(timeout=60)[1])
            self.assertEqual(process.returncode, 1)

    def test_folders_may_have_any_name(self):
        folder = os.fsencode(self.home / "models") + b"/non\xffutf"
        os.rename(self.model, folder)
        text = MODELS / "demo" / "heldout.txt"
        result = subprocess.run([PROGRAM, "bench", folder, "--text", text, "--prompt-tokens", "20", "--generate", "4",
                                 "--repeat", "1", "--json"], capture_output=True, timeout=300)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["model"], "non\ufffdutf")

    def test_sizes_take_units_of_1024(self):
        for size in ("24GiB", "24 gib", "24G", "24gb", "24Gi", "024GiB", "25769803776", "25769803776b"):
            self.assertEqual(self.plan("small", "--vram", size)["vram_budget_bytes"], 24 << 30, size)

    def any_server(self):
        ports = (8012, 8013, 8014, 8015, 8000, 8080)
        listening = pathlib.Path("/proc/net/tcp").read_text()
        return any(f":{port:04X} 00000000" in listening for port in ports)

    def test_tokenize_and_render_go_on_after_a_bad_line(self):
        lines = '{"text": "Hello"}\nnonsense\n{"text": "a\\u00e9"}\n'
        out = [json.loads(line) for line in self.run_program("tokenize", "small", text=lines).stdout.splitlines()]
        self.assertEqual([out[0]["decoded"], out[2]["decoded"]], ["Hello", "a\u00e9"])
        self.assertIn("error", out[1])
        lines = '{"messages": [{"role": "user", "content": "x"}], "kwargs": {"add_generation_prompt": true}}\n{}\n'
        out = [json.loads(line) for line in self.run_program("render", "small", text=lines).stdout.splitlines()]
        self.assertEqual(out[0]["rendered"], "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n")
        self.assertIn("error", out[1])

    def test_trace_writes_the_tensors(self):
        ids, out = self.home / "ids.txt", self.home / "out.safetensors"
        ids.write_text("1 2 3\n4")
        self.assertEqual(self.run_program("trace", "small", "--ids", ids, "--out", out).returncode, 0)
        data = out.read_bytes()
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        self.assertEqual(header["logits"]["shape"], [4, 8192])
        self.assertEqual(header["hidden.7"]["shape"], [4, 256])
        self.assertEqual(header["router_logits.0"]["shape"], [4, 16])
        ids.write_text("1 2 x")
        self.check_refused(2, "x", "trace", "small", "--ids", ids, "--out", out)
        ids.write_text("99999")
        self.check_refused(2, "99999", "trace", "small", "--ids", ids, "--out", out)

    def test_bench_and_perplexity_report_json(self):
        result = self.run_program("bench", self.model, "--load-format", "dummy", "--layers", 2, "--prompt-tokens",
                                  "64", "--generate", 8, "--repeat", 1, "--json")
        report = json.loads(result.stdout.splitlines()[-1])
        self.assertEqual(report["layers"], 2)
        self.assertGreater(report["decode"]["tokens_per_second"]["median"], 0)
        text = self.home / "text.txt"
        text.write_text((MODELS / "demo" / "heldout.txt").read_text()[:6000])
        results = {}
        for path in ("prefill", "decode"):
            out = self.run_program("perplexity", "small", text, "--path", path, "--json")
            results[path] = json.loads(out.stdout.splitlines()[-1])
        self.assertLess(abs(results["prefill"]["perplexity"] / results["decode"]["perplexity"] - 1), 1e-3)

    def plan(self, *words):
        device = () if "--vram" in words else ("--selected-gpus", "none", "--ram", "256GiB")
        result = self.run_program("plan", *words, *device, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        for memory in (report["vram"], report["ram"]):
            self.assertEqual(sum(bytes for name, bytes in memory.items() if name != "total_bytes"),
                             memory["total_bytes"])
        return report

    def write_config(self, **changes):
        config = {"model_type": "qwen3_moe", "hidden_size": 4096, "vocab_size": 151936, "num_hidden_layers": 94,
                  "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "num_attention_heads": 64,
                  "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
                  "moe_intermediate_size": 1536, "intermediate_size": 12288, "norm_topk_prob": True,
                  "rope_theta": 1e6, "tie_word_embeddings": False, "eos_token_id": 1} | changes
        folder = self.home / "config-only"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def test_plan_needs_config_json_alone(self):
        folder = self.write_config()
        card = self.plan(folder, "--vram", "24GiB")
        self.assertEqual(card["mode"], "auto")
        self.assertLessEqual(card["vram"]["total_bytes"], 24 << 30)
        self.assertAlmostEqual(card["ram"]["experts_bytes"] / 1e9, 117, delta=1)
        self.assertEqual(card["vram"]["resident_experts_bytes"] + card["streamed_bytes_per_pass"],
                         94 * 128 * 9732096)
        self.assertGreater(card["context_tokens"], 4096)
        processor = self.plan(folder)
        self.assertEqual(processor["mode"], "processor")
        for plan in (card, processor):
            for rows in (plan["decode"], plan["prefill"]):
                for rates in rows:
                    self.assertGreater(rates["expected_tokens_per_second"], 0)
                    self.assertLess(rates["expected_tokens_per_second"], rates["bound_tokens_per_second"])
            steps = [row["bound_tokens_per_second"] for row in plan["decode"]]
            self.assertEqual(steps, sorted(steps, reverse=True))
            self.assertGreater(steps[0], steps[-1])  # the context is read too
        self.assertIn("kv cache", self.run_program("plan", folder, "--vram", "24GiB").stdout)

    def test_plan_takes_the_settings_of_a_run(self):
        folder = self.write_config()
        asked = self.plan(folder, "--vram", "40GiB", "--context-length", 32768, "--expert-divisor", 47)
        self.assertEqual(asked["mode"], "grouped(47)")
        self.assertEqual(asked["context_tokens"], 32768)
        rates = [self.plan(folder, "--vram", vram, "--expert-divisor", 2)["prefill"][1]["expected_tokens_per_second"]
                 for vram in ("32GiB", "48GiB", "80GiB")]
        self.assertGreater(min(rates[1:]), rates[0] * 0.95)
        less = self.plan(folder, "--vram", "24GiB", "--vram-reserve", "4GiB")
        self.assertLessEqual(less["vram"]["total_bytes"], 20 << 30)
        for words in (("--vram", "80GiB", "--vram-limit", "24GiB"), ("--vram", "24GiB", "--vram-limit", 0)):
            self.assertEqual(self.plan(folder, *words), self.plan(folder, "--vram", "24GiB"))
        self.check_refused(3, "4.29 GB may be used", "plan", folder, "--vram", "80GiB", "--vram-limit", "4GiB")
        for gpus in ("none", 0):
            self.check_refused(2, f"--selected-gpus {gpus}", "plan", folder, "--vram", "24GiB",
                               "--selected-gpus", gpus)
        for model in ("demo", "demo-next"):
            self.assertEqual(self.plan(MODELS / model, "--vram", "8GiB")["mode"], "persistent")

    def test_plan_promises_no_prompt_longer_than_the_context(self):
        folder = self.write_config()
        for vram in ("22GiB", "24GiB", "32GiB", "80GiB"):
            card = self.plan(folder, "--vram", vram, "--max-concurrent", 1)
            self.assertEqual([row["tokens"] for row in card["prefill"]],
                             [tokens for tokens in (2048, 8192, 32768) if tokens <= card["context_tokens"]])
            self.assertLessEqual(card["pass_tokens"], card["context_tokens"])
        card = self.plan(folder, "--vram", "24GiB", "--context-length", 4096, "--max-concurrent", 1)
        self.assertEqual([row["tokens"] for row in card["prefill"]], [2048])
        self.assertEqual(card["pass_tokens"], 4096)
        words = ("plan", folder, "--vram", "24GiB", "--context-length", 4096)
        self.assertNotIn("prompt of 8192", self.run_program(*words).stdout)

    def test_plan_counts_ram(self):
        folder = self.write_config()
        hint = "GB of RAM, 95 % of the 68.72 GB that are free may be used; no setting makes it fit"
        self.check_refused(3, hint, "plan", folder, "--vram", "24GiB", "--ram", "64GiB")
        self.check_refused(3, hint, "plan", folder, "--selected-gpus", "none", "--ram", "64GiB")
        forced = self.plan(folder, "--vram", "24GiB", "--ram", "64GiB", "--force-load")
        self.assertEqual(forced["ram_budget_bytes"], 64 << 30)
        self.assertEqual(len(self.plan(folder, "--vram", "24GiB", "--ram", "128GiB")["notes"]), 1)
        self.assertEqual(self.plan(folder, "--vram", "24GiB", "--ram", "256GiB")["notes"], [])

    def test_plan_takes_as_many_requests_as_serve(self):
        helps = [self.run_program(command, "--help").stdout for command in ("plan", "serve")]
        lines = [[line for line in text.splitlines() if "--max-concurrent" in line] for text in helps]
        self.assertEqual(lines[0], lines[1])
        self.assertIn("=8", lines[0][0])

    def test_plan_refuses_in_one_sentence(self):
        folder = self.write_config()
        self.check_refused(2, "gpu-prefill-threshold 500", "plan", folder, "--vram", "40GiB", "--expert-divisor", "-1",
                           "--gpu-prefill-threshold", 500)
        self.check_refused(3, "--attention-quant int8 makes it fit", "plan", folder, "--vram", "14GiB")
        self.check_refused(3, "more memory", "plan", folder, "--vram", "1GiB")
        self.check_refused(2, "made for 40960", "plan", folder, "--context-length", 50000)
        self.check_refused(2, "expert-divisor", "plan", folder, "--expert-divisor", "-2")
        self.check_refused(2, "config.json", "plan", self.home)
        huge = self.write_config(num_experts=65536, hidden_size=1 << 22, moe_intermediate_size=1 << 22,
                                 num_hidden_layers=1000)
        self.check_refused(2, "more than any machine holds", "plan", huge, "--vram", "16GiB")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
