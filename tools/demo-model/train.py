"""Trains one model on the rows that prepare.py wrote, exports it, and says how good it is.

A step reads --chat-rows rows of dialogues and --text-rows rows of running text; the loss is
CHAT_SHARE of the mean over what the assistant says and the rest of the mean over the text. Warm-up,
then a constant rate, then linearly to nothing. The number of steps is fixed by --steps; without it,
it is chosen once so that training takes about --minutes, and printed.
"""

import argparse
import json
import os
import time

import numpy
import torch
from tokenizers import Tokenizer

from export import export
from model import Config, Model
from muon import Optimizer
from prepare import COUNTS, END, render

CHAT_SHARE = 0.6
BALANCE = 0.01  # weight of the load-balance loss
CLIP = 1.0


class Rows:
    """Rows in a random order, again in another once all were read."""

    def __init__(self, path, count, seed, device):
        self.rows, self.count, self.device = numpy.load(path, mmap_mode="r"), count, device
        self.random = numpy.random.default_rng(seed)
        self.order = numpy.empty(0, dtype=numpy.int64)

    def next(self):
        """-> (ids, targets, counts), [count, tokens] each."""
        while len(self.order) < self.count:
            self.order = numpy.concatenate([self.order, self.random.permutation(len(self.rows))])
        taken, self.order = self.order[: self.count], self.order[self.count :]
        return split(self.rows[numpy.sort(taken)], self.device)


def split(rows, device):
    rows = torch.from_numpy(rows.astype(numpy.int32))
    if device == "cuda":
        rows = rows.pin_memory().to(device, non_blocking=True)
    tokens = (rows & (COUNTS - 1)).long()
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), (rows[:, 1:] >= COUNTS).float()


def rate_at(step, steps, peak, warm_up, constant_share):
    if step < warm_up:
        return peak * (step + 1) / warm_up
    begin = constant_share * steps
    return peak if step < begin else peak * max(0.0, (steps - step) / (steps - begin))


def train_step(model, optimizer, batches, rate):
    """Two passes, one optimizer step. -> (chat loss, text loss, balance, gradient norm, least share)."""
    parts = []
    for (ids, targets, counts), weight in zip(batches, (CHAT_SHARE, 1.0 - CHAT_SHARE)):
        loss, balance, shares = model.loss(ids, targets, counts)
        (weight * loss + 0.5 * BALANCE * balance).backward()
        parts.append((loss.detach(), balance.detach(), shares.detach()))
    norm = optimizer.clip(CLIP)
    optimizer.step(rate)
    model.zero_grad(set_to_none=True)
    least = torch.minimum(parts[0][2], parts[1][2]).min()
    return parts[0][0], parts[1][0], 0.5 * (parts[0][1] + parts[1][1]), norm, least


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(model, optimizer, readers, arguments, count=30):
    """Seconds a step, compilation and warm-up left out; the model is not changed (rate 0)."""
    for _ in range(5):
        train_step(model, optimizer, [r.next() for r in readers], 0.0)
    wait(arguments.device)
    began = time.time()
    for _ in range(count):
        train_step(model, optimizer, [r.next() for r in readers], 0.0)
    wait(arguments.device)
    return (time.time() - began) / count


def round_to_bf16(model):
    """What is evaluated is what is exported."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())


@torch.no_grad()
def held_out_loss(model, path, device):
    """Mean negative log-likelihood a token of the held-out rows."""
    rows = numpy.load(path)
    total = tokens = 0.0
    for start in range(0, len(rows), 4):
        ids, targets, counts = split(rows[start : start + 4], device)
        x, _, _ = model.hidden_states(ids)
        total += float(model.head_loss(x, targets, counts))
        tokens += float(counts.sum())
    return total / tokens, int(tokens)


@torch.no_grad()
def answer(model, tokenizer, questions, device, limit=96):
    """Greedy answers, all questions side by side; what follows a row's end is cut off."""
    prompts = [tokenizer.encode(render([("user", q)]) + "<|im_start|>assistant\n").ids for q in questions]
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest + limit, dtype=torch.long, device=device)
    for row, prompt in zip(ids, prompts):
        row[: len(prompt)] = torch.tensor(prompt)
    at = torch.tensor([len(p) for p in prompts], device=device)
    every = torch.arange(len(prompts), device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for _ in range(limit):
        x, _, _ = model.hidden_states(ids[:, : int(at.max())])
        token = model.logits(x[every, at - 1]).argmax(-1)
        ids[every, at] = token
        done |= (token == END) | (token == 0)
        at += 1
        if bool(done.all()):
            break
    answers = []
    for row, prompt in zip(ids.tolist(), prompts):
        said = row[len(prompt) : len(prompt) + limit]
        ended = END in said
        said = said[: said.index(END)] if ended else said
        answers.append(tokenizer.decode(said) + ("" if ended else " [no end]"))
    return answers


def open_rows(arguments):
    return [
        Rows(os.path.join(arguments.rows, name + ".npy"), count, [arguments.seed, index], arguments.device)
        for index, (name, count) in enumerate((("chat", arguments.chat_rows), ("text", arguments.text_rows)))
    ]


def memory(device):
    return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device == "cuda" else "on the CPU"


def train(model, optimizer, readers, steps, arguments, log):
    began = last = time.time()
    step = 0
    tokens = arguments.chat_rows * 512 + arguments.text_rows * 2048
    compressed = None
    while step < steps:
        if arguments.max_minutes and step % 20 == 0 and compressed is None:
            # Out of time: what is left of the schedule is run down in 150 steps.
            late = time.time() - began > 60 * arguments.max_minutes
            if late and steps - step > 150:
                compressed = (step, rate_at(step, steps, arguments.rate, arguments.warm_up, arguments.constant))
                steps = step + 150
                log(f"train: out of time at step {step}, ending at {steps}")
        rate = rate_at(step, steps, arguments.rate, arguments.warm_up, arguments.constant)
        if compressed:
            rate = compressed[1] * (steps - step) / 150
        figures = train_step(model, optimizer, [r.next() for r in readers], rate)
        step += 1
        if step % arguments.log_every == 0 or step == steps:
            chat, text, balance, norm, least = (float(f) for f in figures)
            speed = arguments.log_every * tokens / (time.time() - last) / 1e3
            last = time.time()
            log(f"step {step}/{steps} chat {chat:.4f} text {text:.4f} balance {balance:.3f} norm {norm:.2f} "
                f"least share {least:.4f} rate {rate:.5f} {speed:.0f} k tokens/s {last - began:.0f} s")  # fmt: skip
            if not numpy.isfinite(chat + text):
                raise SystemExit("train: the loss is not finite")
    return step


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=["moe", "next"], default="moe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", default="build/demo-rows", help="what prepare.py wrote")
    parser.add_argument("--tokenizer", default="build/demo-data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, default=6.0, help="aimed at where --steps is not given")
    parser.add_argument("--max-minutes", type=float, default=0.0, help="run down and export after this long")
    parser.add_argument("--probe", action="store_true", help="print tokens/s and stop")
    parser.add_argument("--chat-rows", type=int, default=32)
    parser.add_argument("--text-rows", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--constant", type=float, default=0.3, help="share of the steps before the rate falls")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--changes", type=json.loads, default={}, help="JSON of Config fields, for trials")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    os.makedirs(arguments.out, exist_ok=True)
    device = arguments.device
    with open(os.path.join(arguments.out, "train.log"), "w", encoding="utf-8") as stream:

        def log(text):
            print(text, flush=True)
            stream.write(text + "\n")
            stream.flush()

        torch.manual_seed(arguments.seed)
        torch.set_float32_matmul_precision("high")
        compute = torch.bfloat16 if device == "cuda" else torch.float32
        config = Config.named(arguments.arch, compute=compute, **arguments.changes)
        model = Model(config).to(device)
        optimizer = Optimizer(model)
        log(f"train: {arguments.arch}, {sum(p.numel() for p in model.parameters())} parameters, seed {arguments.seed}")
        if not arguments.no_compile:
            model.compile()
        began = time.time()
        if arguments.probe or not arguments.steps:
            seconds = measure(model, Optimizer(model), open_rows(arguments), arguments)
            tokens = arguments.chat_rows * 512 + arguments.text_rows * 2048
            steps = int(60 * arguments.minutes / seconds)
            log(f"probe: {1e3 * seconds:.1f} ms a step, {tokens / seconds / 1e3:.0f} k tokens/s, {memory(device)}, "
                f"after {time.time() - began:.0f} s; {arguments.minutes} minutes are {steps} steps")  # fmt: skip
            if arguments.probe:
                return
        steps = arguments.steps or steps
        log(f"train: {steps} steps")
        done = train(model, optimizer, open_rows(arguments), steps, arguments, log)
        wait(device)
        log(f"train: {done} steps in {time.time() - began:.0f} s, compilation included, {memory(device)}")
        finish(model, arguments, log)


def finish(model, arguments, log):
    round_to_bf16(model)
    export(model, arguments.out, arguments.tokenizer)
    model.run_layer = {full: type(model.layers[0]).forward for full in (True, False)}
    loss, tokens = held_out_loss(model, os.path.join(arguments.rows, "heldout.npy"), arguments.device)
    log(f"held out: {loss:.4f} a token, perplexity {numpy.exp(loss):.2f}, {tokens} tokens")
    tokenizer = Tokenizer.from_file(os.path.join(arguments.tokenizer, "tokenizer.json"))
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "questions.txt"), encoding="utf-8") as stream:
        questions = stream.read().split("\n")[:-1]
    answers = answer(model, tokenizer, questions, arguments.device)
    with open(os.path.join(arguments.out, "answers.txt"), "w", encoding="utf-8") as stream:
        for question, text in zip(questions, answers):
            stream.write(f"Q: {question}\nA: {text}\n\n")
            log(f"Q: {question}  A: {text}")


if __name__ == "__main__":
    main()
