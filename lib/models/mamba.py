"""Mamba (Gu & Dao 2023): the selective state space block, with the parameter names and shapes of `mamba_ssm.Mamba`."""
import math
from dataclasses import dataclass

import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear, by_kernel, frame_linear
from .scan import FAST, _exp, scan_step, selective_scan


@dataclass
class MambaState:
    conv: Tensor    # (batch, d_inner, d_conv - 1): the last inputs of the short convolution
    ssm: Tensor     # (batch, d_inner, d_state)
    A: Tensor       # (d_inner, d_state), of the layer: the same at every frame


class Mamba(nn.Module):
    """(batch, frames, d_model) to the same; causal, linear in frames."""

    def __init__(self, d_model: int, d_inner: int | None = None, d_state: int = 16, d_conv: int = 4):
        super().__init__()
        self.d_inner, self.d_state, self.d_conv = d_inner or 2 * d_model, d_state, d_conv
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner)
        self.x_proj = Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1).float().log().repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = Linear(self.d_inner, d_model, bias=False)
        self.A_log._no_weight_decay = self.D._no_weight_decay = True
        # softplus(dt bias) is log-uniform in [0.001, 0.1] (paper, section 3.6)
        dt = torch.exp(torch.empty(self.d_inner).uniform_(math.log(1e-3), math.log(1e-1)))
        with torch.no_grad():
            self.dt_proj.weight.uniform_(-self.dt_rank ** -0.5, self.dt_rank ** -0.5)
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x: Tensor, state: MambaState | None = None) -> Tensor:
        x, z = self.in_proj(x).chunk(2, -1)                             # (batch, frames, d_inner) each
        padded = F.pad(x, (0, 0, self.d_conv - 1, 0))
        x = F.silu(self._convolve(padded))
        dt, B, C = self._select(x)
        y, h = selective_scan(x, dt, -torch.exp(self.A_log), B, C, self.D)
        if state:
            state.conv, state.ssm = padded[:, 1 - self.d_conv:].transpose(1, 2), h
        return self.out_proj(y * F.silu(z))

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], -1)
        return F.softplus(self.dt_proj(dt)), B, C

    def _convolve(self, padded: Tensor) -> Tensor:
        """Depthwise convolution over (batch, d_conv - 1 + frames, d_inner) as shifted products: no transpose."""
        frames = padded.shape[1] - self.d_conv + 1
        weight = self.conv1d.weight[:, 0]                               # (d_inner, d_conv)
        y = self.conv1d.bias
        for k in range(self.d_conv):
            y = torch.addcmul(y, padded[:, k:k + frames], weight[:, k])
        return y

    def initial_state(self, batch: int, frames: int = 0) -> MambaState:
        new = self.D.new_zeros
        return MambaState(new(batch, self.d_inner, self.d_conv - 1), new(batch, self.d_inner, self.d_state),
                          -torch.exp(self.A_log))

    def step(self, x: Tensor, state: MambaState) -> Tensor:             # (batch, d_model)
        x, z = self.in_proj(x).chunk(2, -1)
        window = torch.cat([state.conv, x[..., None]], -1)              # (batch, d_inner, d_conv)
        state.conv = window[..., 1:]
        x = F.silu(frame_linear(window.flatten(1), self.conv1d.weight[:, 0], self.conv1d.bias, self.d_inner))
        dt, B, C = self._select(x)
        y = advance(x, dt, state.A, B, C, self.D, state)
        return self.out_proj(y * F.silu(z))

    def state_numbers(self, frames: int) -> int:
        return (self.d_conv - 1 + self.d_state) * self.d_inner


def advance_reference(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: MambaState) -> Tensor:
    """One step of the scan, x to y (batch, d_inner), shapes as in `scan_step`; moves the state."""
    y, state.ssm = scan_step(x, dt, A, B, C, D, state.ssm)
    return y


def advance(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: MambaState) -> Tensor:
    """The same by the fastest way there is."""
    if not by_kernel(x):
        return advance_reference(x, dt, A, B, C, D, state)
    y = torch.empty_like(x)
    _advance(*(s.contiguous().numpy() for s in (x, dt, A, B, C, D, state.ssm, y)))
    return y


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _advance(x, dt, A, B, C, D, h, y):
    for b in range(len(x)):
        for c in range(x.shape[1]):
            u, total, a, h_c = dt[b, c] * x[b, c], D[c] * x[b, c], A[c], h[b, c]
            for n in range(len(a)):
                h_c[n] = _exp(dt[b, c] * a[n]) * h_c[n] + B[b, n] * u
                total += C[b, n] * h_c[n]
            y[b, c] = total
