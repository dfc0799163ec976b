"""HGAD's training step in PyTorch, structured as the released code is: the peer of `cargo xtask bench hgad_step`.

usage: hgad_step.py PROBLEM.safetensors THREADS cpu|cuda

Position codes are concatenated to every token, the rotation is a product of its own after the global affine, and the distances to
the intra-class centres are taken between every token and the gathered centres of its class. The quantity that two of the loss's
terms share is computed once here, which the released code does twice.
"""

import math
import sys

import torch
import torch.nn.functional as F
from torch import nn

from line_protocol import serve
from tensors import load

ALPHA = 1.9
SMOOTHING = 0.02
INFORMATION = 100.0


class Block(nn.Module):
    """Affine coupling with soft clamp, global affine, fixed rotation."""

    def __init__(self, tensors, name):
        super().__init__()
        layers = []
        for i in range(2):
            weight, bias = tensors[f"{name}.lin{i}.weight"], tensors[f"{name}.lin{i}.bias"]
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight = nn.Parameter(weight)
            linear.bias = nn.Parameter(bias.flatten())
            layers += [linear, nn.ReLU()]
        self.subnet = nn.Sequential(*layers[:-1])
        self.gamma = nn.Parameter(tensors[f"{name}.gamma"])
        self.offset = nn.Parameter(tensors[f"{name}.offset"])
        self.register_buffer("rotation", tensors[f"{name}.rotation"])

    def forward(self, x, position):
        kept = (x.shape[1] + 1) // 2
        x_a, x_b = x[:, :kept], x[:, kept:]
        a = 0.1 * self.subnet(torch.cat([x_a, position], dim=1))
        changed = x_b.shape[1]
        s = ALPHA * torch.tanh(a[:, :changed])
        u = torch.cat([x_a, x_b * torch.exp(s) + a[:, changed:]], dim=1)
        scale = 0.1 * F.softplus(self.gamma, beta=0.5)
        y = F.linear(u * scale + self.offset, self.rotation)
        return y, s.sum(dim=1) + scale.log().sum()


class Mixture(nn.Module):
    """The hierarchical mixture and the loss."""

    def __init__(self, tensors):
        super().__init__()
        classes = sum(name.startswith("mu.") for name in tensors)

        def gather(what):
            return torch.stack([tensors[f"{what}.c{c}"] for c in range(classes)])

        self.mus = nn.Parameter(gather("mu").squeeze(1))
        self.mu_deltas = nn.Parameter(gather("mu_deltas"))
        self.phi_inters = nn.Parameter(gather("phi_inter").flatten())
        self.phi_intras = nn.Parameter(gather("phi_intra").squeeze(1))

    def loss(self, z, log_det, label, smoothed):
        dim = z.shape[1]
        distance = z.square().sum(1, keepdim=True) - 2 * z @ self.mus.t() + self.mus.square().sum(1)
        logits = -0.5 * distance
        log_pi = F.log_softmax(self.phi_inters, dim=0)
        inter = -(torch.logsumexp(logits + log_pi, dim=1) + log_det).mean() / dim
        stopped = log_pi.detach()
        information = (smoothed * (F.log_softmax(logits + stopped, dim=1) - stopped)).sum(1).mean()
        q = F.softmax(logits, dim=1)
        entropy = -(q * F.log_softmax(logits, dim=1)).sum(1).mean()
        main = self.mus.detach().unsqueeze(1)
        centres = torch.cat([main, main + self.mu_deltas], dim=1)[label]
        within = -0.5 * (z.unsqueeze(1) - centres).square().sum(2) + F.log_softmax(self.phi_intras, dim=1)[label]
        joint = torch.logsumexp(within, dim=1) + log_det
        intra = -joint.mean() / dim
        logistic = -F.logsigmoid((joint - 0.5 * dim * math.log(2 * math.pi)) / dim).mean()
        return inter - INFORMATION * information + entropy + intra + logistic


def main():
    torch.set_num_threads(int(sys.argv[2]))
    device = torch.device(sys.argv[3])
    tensors = {name: tensor.to(device) for name, tensor in load(sys.argv[1]).items()}
    x, label, cell, code = (tensors.pop(name) for name in ("x", "class", "cell", "position"))
    names = {name.split(".")[0] for name in tensors if name.startswith("block")}
    flow = nn.ModuleList(Block(tensors, f"block{b}") for b in range(len(names)))
    mixture = Mixture(tensors)
    optimiser = torch.optim.Adam(
        [
            {"params": flow.parameters(), "weight_decay": 1e-4},
            {"params": mixture.parameters(), "weight_decay": 0.0},
        ],
        lr=2e-4,
        betas=(0.95, 0.99),
    )
    one_hot = F.one_hot(label).float()
    smoothed = one_hot * (1 - SMOOTHING) + SMOOTHING / one_hot.shape[1]
    position = code[cell]

    def step():
        optimiser.zero_grad()
        z, log_det = x, 0
        for block in flow:
            z, block_log_det = block(z, position)
            log_det = log_det + block_log_det
        loss = mixture.loss(z, log_det, label, smoothed)
        loss.backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return {"loss": loss.item()}

    parameters = sum(p.numel() for p in [*flow.parameters(), *mixture.parameters()])
    ready = {
        "version": f"PyTorch {torch.__version__} eager",
        "threads": torch.get_num_threads(),
        "parameters": parameters,
    }
    serve(step, ready)


main()
