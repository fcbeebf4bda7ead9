"""Muon for the matrices inside layers, Adam for everything else.

Muon (Jordan 2024): the momentum of a matrix is replaced by the nearest orthogonal one, found by five
Newton-Schulz steps, and scaled as in Moonlight (2502.16982) so that an element moves by about
0.2 learning rates, as under Adam. Every expert is a matrix of its own.
"""

import math

import torch

STEP = (3.4445, -4.7750, 2.0315)
ADAM_NAMES = ("embed", "norm", "gate", "in_proj_ba", "conv1d", "dt_bias", "A_log", "shared_expert_gate")


def is_muon(name, parameter):
    return parameter.ndim >= 2 and name.split(".")[-1] not in ADAM_NAMES


def orthogonal(matrices):
    """The orthogonal factor, nearly, of [n, rows, columns]."""
    a, b, c = STEP
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Optimizer:
    def __init__(self, model, decay=0.05, betas=(0.9, 0.95), momentum=0.95):
        self.decay, self.betas, self.momentum, self.steps = decay, betas, momentum, 0
        self.groups, self.adam = {}, []
        for name, parameter in model.named_parameters():
            if is_muon(name, parameter):
                shape = tuple(parameter.shape[-2:])
                self.groups.setdefault(shape, []).append(parameter)
            else:
                self.adam.append(parameter)
        self.velocity = {shape: [torch.zeros_like(p) for p in group] for shape, group in self.groups.items()}
        self.first = [torch.zeros_like(p) for p in self.adam]
        self.second = [torch.zeros_like(p) for p in self.adam]

    def parameters(self):
        return self.adam + [p for group in self.groups.values() for p in group]

    @torch.no_grad()
    def clip(self, limit):
        gradients = [p.grad for p in self.parameters()]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
        return norm

    @torch.no_grad()
    def step(self, rate):
        self.steps += 1
        for shape, group in self.groups.items():
            gradients, velocity = [p.grad for p in group], self.velocity[shape]
            torch._foreach_mul_(velocity, self.momentum)
            torch._foreach_add_(velocity, gradients)
            looked_ahead = torch._foreach_add(gradients, velocity, alpha=self.momentum)
            stacked = torch.cat([t.reshape(-1, *shape) for t in looked_ahead])
            moves = orthogonal(stacked).split([p.numel() // (shape[0] * shape[1]) for p in group])
            moves = [m.reshape(p.shape) for m, p in zip(moves, group)]
            torch._foreach_mul_(group, 1.0 - rate * self.decay)
            torch._foreach_add_(group, moves, alpha=-0.2 * math.sqrt(max(shape)) * rate)
        gradients = [p.grad for p in self.adam]
        torch._foreach_lerp_(self.first, gradients, 1.0 - self.betas[0])
        torch._foreach_mul_(self.second, self.betas[1])
        torch._foreach_addcmul_(self.second, gradients, gradients, value=1.0 - self.betas[1])
        scale = math.sqrt(1.0 - self.betas[1] ** self.steps)
        size = torch._foreach_sqrt(self.second)
        torch._foreach_add_(size, 1e-8)
        torch._foreach_addcdiv_(self.adam, self.first, size, value=-rate * scale / (1.0 - self.betas[0] ** self.steps))
