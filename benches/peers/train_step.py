"""The CCNF training step in PyTorch: the peer of `cargo xtask bench train_step.*`.

usage: train_step.py PROBLEM.safetensors THREADS eager|compile cpu|cuda

The file holds the start values of all parameters and one batch, so that both sides compute the same numbers.
"""

import math
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from line_protocol import serve
from tensors import load

CLAMP = 0.7
WEIGHTS = {"log_det": 2e-4, "balance": 1e-2, "latent": 0.05, "scale": 1e-3}


class CappedLinear(nn.Module):
    """Linear with weight `W / max(1, sigma)`; one power iteration per forward, u and v are constants for the gradient."""

    def __init__(self, tensors, name):
        super().__init__()
        self.weight = nn.Parameter(tensors[f"{name}.weight"])
        self.bias = nn.Parameter(tensors[f"{name}.bias"].flatten())
        self.register_buffer("u", tensors[f"{name}.u"].flatten())

    def forward(self, x):
        with torch.no_grad():
            v = F.normalize(torch.mv(self.weight.t(), self.u), dim=0)
            u = F.normalize(torch.mv(self.weight, v), dim=0)
            self.u.copy_(u)
        sigma = torch.dot(u, torch.mv(self.weight, v))
        return F.linear(x, self.weight / sigma.clamp(min=1.0), self.bias)


class Block(nn.Module):
    """Affine coupling with a FiLM-conditioned subnet, then a fixed rotation."""

    def __init__(self, tensors, name):
        super().__init__()
        self.layers = nn.ModuleList(CappedLinear(tensors, f"{name}.lin{i}") for i in range(3))
        self.film = nn.ModuleList()
        for i in range(2):
            weight, bias = tensors[f"{name}.film{i}.weight"], tensors[f"{name}.film{i}.bias"]
            generator = nn.Linear(weight.shape[1], weight.shape[0])
            generator.weight = nn.Parameter(weight)
            generator.bias = nn.Parameter(bias.flatten())
            self.film.append(generator)
        self.register_buffer("rotation", tensors[f"{name}.mix"])

    def forward(self, x, rows, label, position):
        x_a, x_b = x.chunk(2, dim=1)
        h = torch.cat([x_a, position], dim=1)
        for layer, generator in zip(self.layers, self.film):
            # The generator runs once per class, not once per token.
            gamma, beta = F.embedding(label, generator(rows)).chunk(2, dim=1)
            h = torch.addcmul(beta, F.relu(layer(h)), 1 + gamma)
        s, t = self.layers[2](h).chunk(2, dim=1)
        s = CLAMP * torch.tanh(s)
        y = torch.cat([x_a, x_b * torch.exp(s) + t], dim=1)
        return F.linear(y, self.rotation), s.sum(dim=1), s


class Flow(nn.Module):
    """The blocks and the class rows."""

    def __init__(self, tensors):
        super().__init__()
        classes = sum(name.startswith("row.") for name in tensors)
        self.rows = nn.Parameter(torch.cat([tensors[f"row.c{c}"] for c in range(classes)]))
        blocks = len({name.split(".")[0] for name in tensors if name.startswith("block")})
        self.blocks = nn.ModuleList(Block(tensors, f"block{b}") for b in range(blocks))

    def forward(self, x, label, position):
        log_det, scales = 0, []
        for block in self.blocks:
            x, block_log_det, s = block(x, self.rows, label, position)
            log_det = log_det + block_log_det
            scales.append(s)
        return x, log_det, scales


def loss_of(z, log_det, scales, averaging, label):
    """Negative log-likelihood per dim and the four penalties; `averaging` is [classes, N], the mean within each class."""
    dim = z.shape[1]
    log_prior = -0.5 * z.square().sum(dim=1) - 0.5 * dim * math.log(2 * math.pi)
    nll = -(log_prior + log_det).mean() / dim
    mean_abs_log_det = log_det.abs().mean()
    balance = (mean_abs_log_det - log_prior.abs().mean()).abs() / dim
    centred = z - F.embedding(label, averaging @ z)
    std = (averaging @ centred.square()).sqrt()
    latent = (std - 1).square().mean()
    scale = torch.stack([s.square().mean() for s in scales]).mean()
    return (
        nll
        + WEIGHTS["log_det"] * mean_abs_log_det / dim
        + WEIGHTS["balance"] * balance
        + WEIGHTS["latent"] * latent
        + WEIGHTS["scale"] * scale
    )


def main():
    torch.set_num_threads(int(sys.argv[2]))
    device = torch.device(sys.argv[4])
    tensors = {name: tensor.to(device) for name, tensor in load(sys.argv[1]).items()}
    x, label, cell, code = (tensors.pop(name) for name in ("x", "class", "cell", "position"))
    flow = Flow(tensors)
    optimiser = torch.optim.AdamW(flow.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    one_hot = F.one_hot(label).t().float()
    averaging = one_hot / one_hot.sum(dim=1, keepdim=True)
    position = code[cell]
    compiled = sys.argv[3] == "compile"

    def finish():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def forward():
        z, log_det, scales = flow(x, label, position)
        return loss_of(z, log_det, scales, averaging, label)

    if compiled:
        forward = torch.compile(forward)

    def step():
        optimiser.zero_grad()
        loss = forward()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        finish()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"loss": loss.item(), "peak_kib": peak}

    left, right = torch.full((4096, 512), 0.5, device=device), torch.full((512, 512), 0.25, device=device)

    def product():
        start = time.perf_counter()
        torch.mm(left, right)
        finish()
        return {"gemm_seconds": time.perf_counter() - start}

    parameters = sum(p.numel() for p in flow.parameters())
    mode = "compiled" if compiled else "eager"
    ready = {
        "version": f"PyTorch {torch.__version__} {mode}",
        "threads": torch.get_num_threads(),
        "parameters": parameters,
    }
    serve(step, ready, product)


main()
