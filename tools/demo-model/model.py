"""The two architectures in plain PyTorch, written for fast training of very small models.

Same formulas and parameter layout as Qwen3MoeForCausalLM and Qwen3NextForCausalLM of transformers
(verify.py compares them). Experts are computed for all tokens as one wide matrix product and
weighed with the routing weights, most of which are zero: at 16 experts of width 128 that is
quicker than sorting tokens. Parameters are float32; `compute` is the type of the matrix products.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    arch: str = "moe"  # "moe": Qwen3-MoE; "next": Qwen3-Next
    vocab: int = 8192
    hidden: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 128
    experts: int = 16
    top_k: int = 4
    expert_width: int = 128
    shared_width: int = 0
    rotary_share: float = 1.0
    full_interval: int = 1  # every how many layers attention is full; the others are GatedDeltaNet
    linear_key_heads: int = 2
    linear_value_heads: int = 4
    linear_head_dim: int = 128
    conv_width: int = 4
    rope_theta: float = 10000.0
    eps: float = 1e-6
    context: int = 2048
    compute: torch.dtype = field(default=torch.float32)

    @staticmethod
    def named(arch, **changes):
        if arch == "moe":
            return Config(**changes)
        return Config(**({"arch": "next", "shared_width": 128, "rotary_share": 0.25, "full_interval": 4} | changes))


def linear(x, weight):
    return F.linear(x, weight.to(x.dtype))


class Norm(nn.Module):
    """x / rms(x) * weight, in float32; Qwen3-Next keeps weight - 1 instead (`centred`)."""

    def __init__(self, width, config):
        super().__init__()
        self.eps, self.centred, self.compute = config.eps, config.arch == "next", config.compute
        self.weight = nn.Parameter(torch.zeros(width) if self.centred else torch.ones(width))

    def forward(self, x):
        x = x.float()
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return (x * (self.weight + 1.0 if self.centred else self.weight)).to(self.compute)


def matrix(*shape, scale=1.0):
    """Normal, standard deviation scale / sqrt(inputs)."""
    return nn.Parameter(torch.randn(*shape) * (scale / math.sqrt(shape[-1])))


def rotate(x, cos, sin):
    """Rotary embedding of the first 2 * cos.shape[-1] of each head; x [batch, heads, tokens, head_dim]."""
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    first, second = first.float(), second.float()
    turned = [first * cos - second * sin, second * cos + first * sin]
    return torch.cat([t.to(x.dtype) for t in turned] + [rest], dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.gated = config, config.arch == "next"
        rows = config.heads * config.head_dim
        self.q_proj = matrix(rows * (2 if self.gated else 1), config.hidden, scale=0.5)
        self.k_proj = matrix(config.kv_heads * config.head_dim, config.hidden, scale=0.5)
        self.v_proj = matrix(config.kv_heads * config.head_dim, config.hidden, scale=0.5)
        self.o_proj = matrix(config.hidden, rows, scale=0.5 / math.sqrt(2 * config.layers))
        self.q_norm, self.k_norm = Norm(config.head_dim, config), Norm(config.head_dim, config)

    def forward(self, x, cos, sin):
        config = self.config
        batch, tokens, _ = x.shape
        query = linear(x, self.q_proj).view(batch, tokens, config.heads, -1)
        if self.gated:
            query, gate = query.split(config.head_dim, dim=-1)
        key = linear(x, self.k_proj).view(batch, tokens, config.kv_heads, config.head_dim)
        value = linear(x, self.v_proj).view(batch, tokens, config.kv_heads, config.head_dim)
        query = rotate(self.q_norm(query).transpose(1, 2), cos, sin)
        key = rotate(self.k_norm(key).transpose(1, 2), cos, sin)
        repeat = config.heads // config.kv_heads
        key = key.repeat_interleave(repeat, dim=1)
        value = value.transpose(1, 2).repeat_interleave(repeat, dim=1)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
        if self.gated:
            out = out * torch.sigmoid(gate)
        return linear(out.reshape(batch, tokens, -1), self.o_proj)


# Two steps of the delta rule as operators of their own, so that a compiler takes them as they are.


@torch.library.custom_op("demo_model::unit_lower_inverse", mutates_args=())
def unit_lower_inverse(m: torch.Tensor) -> torch.Tensor:
    """M^-1 of unit lower triangular matrices [..., n, n]."""
    identity = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device).expand_as(m)
    return torch.linalg.solve_triangular(m, identity, upper=False, unitriangular=True).contiguous()


@unit_lower_inverse.register_fake
def _(m):
    return torch.empty(m.shape, dtype=m.dtype, device=m.device)


def inverse_backward(ctx, gradient):
    (inverse,) = ctx.saved_tensors
    turned = inverse.transpose(-1, -2)
    return -(turned @ gradient @ turned)


unit_lower_inverse.register_autograd(
    inverse_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(output)
)


@torch.library.custom_op("demo_model::scan", mutates_args=())
def scan(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """States before each chunk: S_0 = 0, S_(i+1) = P_i S_i + Q_i; all [n, chunks, d, d].

    One matrix product a chunk; whatever does not depend on the chunk before is done outside, for
    all chunks at once."""
    states = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    for i in range(q.shape[1] - 1):
        states[:, i + 1] = torch.baddbmm(q[:, i], p[:, i], states[:, i])
    return states


@torch.library.custom_op("demo_model::scan_backward", mutates_args=())
def scan_backward(p: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """dQ: G_i = dS_(i+1) + P_(i+1)^t G_(i+1), nothing from the last chunk."""
    after = torch.zeros(gradient.shape, dtype=gradient.dtype, device=gradient.device)
    chunks = gradient.shape[1]
    if chunks > 1:
        after[:, chunks - 2] = gradient[:, chunks - 1]
    for i in range(chunks - 3, -1, -1):
        after[:, i] = torch.baddbmm(gradient[:, i + 1], p[:, i + 1].transpose(-1, -2), after[:, i + 1])
    return after


@scan.register_fake
def _(p, q):
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


@scan_backward.register_fake
def _(p, gradient):
    return torch.empty(gradient.shape, dtype=gradient.dtype, device=gradient.device)


def scan_gradients(ctx, gradient):
    p, states = ctx.saved_tensors
    after = scan_backward(p, gradient)
    return after @ states.transpose(-1, -2), after


def keep_for_scan(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], output)


scan.register_autograd(scan_gradients, setup_context=keep_for_scan)


def delta_rule(query, key, value, decay, beta, chunk=64):
    """Gated delta rule over [batch, heads, tokens, d]: S <- exp(g_t) S; S <- S + k_t (beta_t (v_t -
    S^t k_t))^t; o_t = S^t q_t / sqrt(d). Chunked as in "Gated Delta Networks" (2412.06464): inside a
    chunk, u and w are the new values and the keys under which they read the state before.
    query and key are of unit length; decay (log, <= 0) and beta are [batch, heads, tokens]."""
    batch, heads, tokens, width = query.shape
    kind = query.dtype
    pad = -tokens % chunk
    if pad:
        query, key, value = (F.pad(t, (0, 0, 0, pad)) for t in (query, key, value))
        decay, beta = F.pad(decay, (0, pad)), F.pad(beta, (0, pad))
    chunks = (tokens + pad) // chunk
    query, key, value = (t.reshape(batch * heads, chunks, chunk, width) for t in (query, key, value))
    query = query * width**-0.5
    beta = beta.float().reshape(batch * heads, chunks, chunk, 1)
    total = decay.float().reshape(batch * heads, chunks, chunk).cumsum(-1)

    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=query.device).tril()
    difference = total.unsqueeze(-1) - total.unsqueeze(-2)
    pairs = torch.where(lower, difference, float("-inf")).exp()
    key_beta = (key * beta).to(kind)
    system = (key_beta @ key.transpose(-1, -2)).float() * pairs
    eye = torch.eye(chunk, dtype=system.dtype, device=system.device)
    inverse = unit_lower_inverse(torch.tril(system, -1) + eye).to(kind)
    u = inverse @ (value * beta).to(kind)
    w = inverse @ (key_beta * total.exp().unsqueeze(-1)).to(kind)

    last = total[..., -1:]
    key_out = (key * (last - total).exp().unsqueeze(-1)).to(kind).transpose(-1, -2)
    carry = torch.eye(width, dtype=torch.float32, device=query.device) * last.exp().unsqueeze(-1)
    states = scan(carry - (key_out @ w).float(), (key_out @ u).float()).to(kind)

    new = u - w @ states
    inside = ((query @ key.transpose(-1, -2)).float() * pairs).to(kind)
    out = (query * total.exp().unsqueeze(-1)).to(kind) @ states + inside @ new
    return out.reshape(batch, heads, chunks * chunk, width)[:, :, :tokens]


class GatedDeltaNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        keys, values = config.linear_key_heads, config.linear_value_heads
        self.key_width, self.value_width = keys * config.linear_head_dim, values * config.linear_head_dim
        self.in_proj_qkvz = matrix(2 * (self.key_width + self.value_width), config.hidden, scale=0.5)
        self.in_proj_ba = matrix(2 * values, config.hidden, scale=0.5)
        channels = 2 * self.key_width + self.value_width
        self.conv1d = nn.Parameter((torch.rand(channels, 1, config.conv_width) - 0.5))
        step = torch.exp(torch.linspace(math.log(0.001), math.log(0.1), values))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.A_log = nn.Parameter(torch.log(torch.linspace(1.0, 16.0, values)))
        self.norm = nn.Parameter(torch.ones(config.linear_head_dim))
        self.out_proj = matrix(config.hidden, self.value_width, scale=0.5 / math.sqrt(2 * config.layers))

    def forward(self, x, cos, sin):
        config = self.config
        batch, tokens, _ = x.shape
        keys, width = config.linear_key_heads, config.linear_head_dim
        repeat = config.linear_value_heads // keys
        mixed = linear(x, self.in_proj_qkvz).view(batch, tokens, keys, -1)
        query, key, value, z = mixed.split([width, width, repeat * width, repeat * width], dim=-1)
        b, a = linear(x, self.in_proj_ba).view(batch, tokens, keys, 2 * repeat).split(repeat, dim=-1)
        b, a = (t.reshape(batch, tokens, -1).transpose(1, 2).float().contiguous() for t in (b, a))

        mixed = torch.cat([t.reshape(batch, tokens, -1) for t in (query, key, value)], dim=-1)
        padded = F.pad(mixed, (0, 0, config.conv_width - 1, 0))
        taps = self.conv1d.to(mixed.dtype)
        mixed = F.silu(sum(padded[:, i : i + tokens] * taps[:, 0, i] for i in range(config.conv_width)))
        query, key, value = mixed.split([self.key_width, self.key_width, self.value_width], dim=-1)
        heads = [t.reshape(batch, tokens, -1, width).transpose(1, 2) for t in (query, key, value)]
        query, key = (self.unit(t).repeat_interleave(repeat, dim=1) for t in heads[:2])
        decay = -self.A_log.exp().unsqueeze(-1) * F.softplus(a + self.dt_bias.unsqueeze(-1))
        out = delta_rule(query, key, heads[2], decay, torch.sigmoid(b))

        out = out.transpose(1, 2).float()
        out = out * torch.rsqrt(out.square().mean(-1, keepdim=True) + config.eps) * self.norm
        out = out * F.silu(z.reshape(batch, tokens, -1, width).float())
        return linear(out.reshape(batch, tokens, -1).to(x.dtype), self.out_proj)

    def unit(self, x):
        long = x.float()
        return (long * torch.rsqrt(long.square().sum(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Experts(nn.Module):
    """Top-k of softmax routing with the k weights made to sum to one, and a load-balance loss."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        experts, width, hidden = config.experts, config.expert_width, config.hidden
        out_scale = 0.5 / math.sqrt(2 * config.layers)
        self.gate = matrix(experts, hidden, scale=0.5)
        self.gate_proj = matrix(experts, width, hidden)
        self.up_proj = matrix(experts, width, hidden)
        self.down_proj = matrix(experts, hidden, width, scale=out_scale)
        if config.shared_width:
            self.shared_gate_proj = matrix(config.shared_width, hidden)
            self.shared_up_proj = matrix(config.shared_width, hidden)
            self.shared_down_proj = matrix(hidden, config.shared_width, scale=out_scale)
            self.shared_expert_gate = matrix(1, hidden, scale=0.5)

    def forward(self, x):
        config = self.config
        probabilities = torch.softmax(F.linear(x.float(), self.gate), dim=-1)
        smallest = probabilities.detach().topk(config.top_k, dim=-1).values[..., -1:]
        chosen = probabilities >= smallest
        weights = torch.where(chosen, probabilities, 0.0)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        share = chosen.float().flatten(0, -2).mean(0) / config.top_k
        balance = config.experts * (share * probabilities.flatten(0, -2).mean(0)).sum()

        inner = F.silu(linear(x, self.gate_proj.flatten(0, 1))) * linear(x, self.up_proj.flatten(0, 1))
        inner = inner.unflatten(-1, (config.experts, config.expert_width)) * weights.unsqueeze(-1)
        down = self.down_proj.permute(1, 0, 2).reshape(config.hidden, -1)
        out = linear(inner.flatten(-2), down)
        if config.shared_width:
            inner = F.silu(linear(x, self.shared_gate_proj)) * linear(x, self.shared_up_proj)
            out = out + torch.sigmoid(linear(x, self.shared_expert_gate)) * linear(inner, self.shared_down_proj)
        return out, balance, share


class Layer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.full = (index + 1) % config.full_interval == 0
        self.input_layernorm = Norm(config.hidden, config)
        self.mixer = Attention(config) if self.full else GatedDeltaNet(config)
        self.post_attention_layernorm = Norm(config.hidden, config)
        self.mlp = Experts(config)

    def forward(self, x, cos, sin):
        x = x + self.mixer(self.input_layernorm(x), cos, sin)
        out, balance, share = self.mlp(self.post_attention_layernorm(x))
        return x + out, balance, share


class Model(nn.Module):
    """Residual stream float32 [batch, tokens, hidden]; the embedding is also the output matrix."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed = nn.Parameter(torch.randn(config.vocab, config.hidden) * 0.02)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(config.layers)])
        self.norm = Norm(config.hidden, config)
        self.run_layer = {True: Layer.forward, False: Layer.forward}
        self.run_loss = type(self).head_loss

    def compile(self):
        """One compilation for each kind of layer, shared by all layers of that kind, and the loss."""
        for full in {layer.full for layer in self.layers}:
            self.run_layer[full] = torch.compile(Layer.forward, dynamic=False)
        self.run_loss = torch.compile(type(self).head_loss, dynamic=False)

    def rotary(self, tokens, device):
        half = int(self.config.head_dim * self.config.rotary_share) // 2
        frequency = self.config.rope_theta ** (-torch.arange(half, device=device).float() / half)
        angle = torch.outer(torch.arange(tokens, device=device).float(), frequency)
        return angle.cos(), angle.sin()

    def hidden_states(self, ids):
        """-> (states before the final norm, mean balance loss, expert shares [layers, experts])."""
        cos, sin = self.rotary(ids.shape[1], ids.device)
        x = F.embedding(ids, self.embed)
        balances, shares = [], []
        for layer in self.layers:
            x, balance, share = self.run_layer[layer.full](layer, x, cos, sin)
            balances.append(balance)
            shares.append(share)
        return x, torch.stack(balances).mean(), torch.stack(shares)

    def logits(self, x):
        return linear(self.norm(x), self.embed).float()

    def head_loss(self, x, targets, counts):
        """Sum of negative log-likelihoods over the targets that count."""
        losses = F.cross_entropy(self.logits(x).flatten(0, 1), targets.flatten(), reduction="none")
        return (losses * counts.flatten()).sum()

    def loss(self, ids, targets, counts):
        """-> (mean loss over the targets that count, balance loss, expert shares)."""
        x, balance, shares = self.hidden_states(ids)
        return self.run_loss(self, x, targets, counts) / counts.sum(), balance, shares
