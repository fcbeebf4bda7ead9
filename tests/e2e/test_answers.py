"""What the official client sees: streams, stops, counts, cancels, errors."""
import concurrent.futures
import subprocess

import openai

from served import MODEL, PROGRAM, ServedTest


class Answers(ServedTest):
    def test_a_stream_says_what_the_whole_answer_says(self):
        whole = self.ask("hello")
        chunks = list(self.ask("hello", stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
        self.assertEqual(reasons, [whole.choices[0].finish_reason])
        self.assertEqual(chunks[-1].usage, whole.usage)

    def test_counts_tokens(self):
        answer = self.ask("count", max_tokens=7, extra_body={"logit_bias": {"500": -100}})
        self.assertEqual(answer.usage.completion_tokens, 7)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 7)
        prompt = self.client().completions.create(model=MODEL, prompt=[1, 2, 3, 4], max_tokens=1)
        self.assertEqual(prompt.usage.prompt_tokens, 4)

    def test_stops_at_a_string(self):
        text = self.ask("stop", max_tokens=60).choices[0].message.content
        stop = text[10:13]
        answer = self.ask("stop", max_tokens=60, stop=[stop, "never said"])
        self.assertEqual(answer.choices[0].message.content, text[: text.index(stop)])
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        streamed = self.ask("stop", max_tokens=60, stop=stop, stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in streamed), text[: text.index(stop)])

    def test_a_seed_repeats_itself(self):
        def say(seed):
            return self.ask("seed", temperature=1.5, seed=seed).choices[0].message.content

        self.assertEqual(say(1), say(1))
        self.assertNotEqual(say(1), say(2))

    def test_gives_several_choices_and_logprobs(self):
        answer = self.ask("n", n=3, temperature=1.5, seed=1, logprobs=True, top_logprobs=2)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        for choice in answer.choices:
            self.assertLessEqual(len(choice.logprobs.content), 24)
            self.assertTrue(all(len(token.top_logprobs) == 2 for token in choice.logprobs.content))
        completion = self.client().completions.create(model=MODEL, prompt="x", logprobs=1, temperature=0, max_tokens=4)
        self.assertEqual(len(completion.choices[0].logprobs.tokens), 4)

    def test_leaving_a_stream_frees_its_place(self):
        stream = self.ask("leave", max_tokens=1800, stream=True, extra_body={"logit_bias": {"500": -100}})
        for _ in range(3):
            next(stream)
        stream.close()
        self.wait_until(self.is_idle, 5)

    def test_eight_at_once_say_what_each_says_alone(self):
        questions = [f"question {i} " + "and more " * (i * 11 % 30) for i in range(8)]
        alone = [self.ask(text, max_tokens=48).choices[0].message.content for text in questions]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda text: self.ask(text, max_tokens=48).choices[0].message.content, questions))
        self.assertEqual(together, alone)

    def test_lists_its_model(self):
        self.assertEqual([model.id for model in self.client().models.list()], [MODEL])

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask("x", max_tokens=5000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError):
            self.ask("x", temperature="hot")
        with self.assertRaises(openai.BadRequestError):
            self.ask("x", tools=[{"type": "function", "function": {"name": "f"}}])
        with self.assertRaises(openai.NotFoundError):
            self.ask("x", model="other")

    def test_the_chat_client_finds_it_and_answers(self):
        done = subprocess.run([PROGRAM, "chat", "--port", str(self.port)], input="hello\n", text=True,
                              errors="replace", capture_output=True, env=self.environment, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.strip())


class WithAKey(ServedTest):
    flags = ["--api-key", "secret"]

    def test_asks_for_it(self):
        with self.assertRaises(openai.AuthenticationError):
            self.ask("x")
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="secret", max_retries=0)
        self.assertEqual([model.id for model in client.models.list()], [MODEL])

    def test_registers_itself_while_it_runs(self):
        folder = self.model_dir.parent / "home" / "servers"
        self.assertEqual([file.name for file in folder.iterdir()], [f"{self.process.pid}.json"])
        self.process.terminate()
        self.assertEqual(self.process.wait(30), 0)
        self.assertEqual(list(folder.iterdir()), [])
