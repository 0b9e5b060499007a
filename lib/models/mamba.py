"""Mamba (Gu & Dao 2023): the selective state space block, with the parameter names and shapes of `mamba_ssm.Mamba`."""
import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import FAST, _exp, _silu, _softplus
from .linear import Linear, _frame_linear, by_kernel
from .scan import gated_scan, scan_step
from .short_conv import conv_silu, last_inputs


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
        x, z = (F.linear(x, weight) for weight in self.in_proj.weight.chunk(2))     # (batch, frames, d_inner) each
        if state:
            state.conv = last_inputs(x, self.d_conv).contiguous()
        x = conv_silu(x, self.conv1d.weight[:, 0], self.conv1d.bias)
        dt, B, C = self._split(x)
        dt = F.linear(dt, self.dt_proj.weight)                          # its bias is the scan's
        y, h = gated_scan(x, dt, -torch.exp(self.A_log), B, C, self.D, z, self.dt_proj.bias)
        if state:
            state.ssm = h
        return self.out_proj(y)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], -1)

    def initial_state(self, batch: int, frames: int = 0) -> MambaState:
        new = self.D.new_zeros
        return MambaState(new(batch, self.d_inner, self.d_conv - 1), new(batch, self.d_inner, self.d_state),
                          -torch.exp(self.A_log))

    def step(self, x: Tensor, state: MambaState) -> Tensor:             # (batch, d_model)
        """One frame by the fastest way there is; by the kernel, a row of a batch has the very bits that it has alone."""
        if not by_kernel(x):
            return self.step_reference(x, state)
        y = torch.empty_like(x)
        _step(*(s.contiguous().numpy() for s in (
            x, self.in_proj.weight, self.conv1d.weight[:, 0], self.conv1d.bias, self.x_proj.weight, self.dt_proj.weight,
            self.dt_proj.bias, state.A, self.D, self.out_proj.weight, state.conv, state.ssm, y)))
        return y

    def step_reference(self, x: Tensor, state: MambaState) -> Tensor:
        x, z = self.in_proj(x).chunk(2, -1)
        window = torch.cat([state.conv, x[..., None]], -1)              # (batch, d_inner, d_conv)
        state.conv.copy_(window[..., 1:])
        x = F.silu((window * self.conv1d.weight[:, 0]).sum(-1) + self.conv1d.bias)
        dt, B, C = self._split(x)
        y, h = scan_step(x, F.softplus(self.dt_proj(dt)), state.A, B, C, self.D, state.ssm)
        state.ssm.copy_(h)
        return self.out_proj(y * F.silu(z))

    def state_numbers(self, frames: int) -> int:
        return (self.d_conv - 1 + self.d_state) * self.d_inner

    def writers(self) -> list[nn.Linear]:
        return [self.out_proj]


class BothWays(nn.Module):
    """Two Mambas of half the channels each, the second from the last frame to the first, summed: (batch, frames, d_model) to the
    same. It has one Mamba's parameters, and no state (after Zhu et al. 2024, Vision Mamba)."""

    def __init__(self, d_model: int, d_inner: int, d_state: int = 16):
        super().__init__()
        self.ahead, self.back = (Mamba(d_model, d_inner // 2, d_state) for _ in range(2))

    def forward(self, x: Tensor, state: None = None) -> Tensor:
        return self.ahead(x) + self.back(x.flip(1)).flip(1)

    def writers(self) -> list[nn.Linear]:
        return [self.ahead.out_proj, self.back.out_proj]


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _step(x, w_in, w_conv, b_conv, w_x, w_dt, b_dt, A, D, w_out, conv, h, y):
    """x (batch, d_model) to y, the same; moves conv (batch, d_inner, d_conv - 1) and h (batch, d_inner, d_state)."""
    batch, (d_inner, d_conv), (_, rank), d_state = len(x), w_conv.shape, w_dt.shape, A.shape[1]
    xz = np.empty((batch, 2 * d_inner), x.dtype)
    u = np.empty((batch, d_inner), x.dtype)
    selected = np.empty((batch, rank + 2 * d_state), x.dtype)           # dt, B, C
    _frame_linear(x, w_in, None, xz, 1)
    for b in range(batch):
        for c in range(d_inner):
            window, last = conv[b, c], xz[b, c]
            total = b_conv[c] + w_conv[c, d_conv - 1] * last
            for k in range(d_conv - 1):
                total += w_conv[c, k] * window[k]
                window[k] = window[k + 1] if k < d_conv - 2 else last
            u[b, c] = _silu(total)
    _frame_linear(u, w_x, None, selected, 1)
    for b in range(batch):
        low, B, C = selected[b, :rank], selected[b, rank:rank + d_state], selected[b, rank + d_state:]
        for c in range(d_inner):
            dt, a, h_c = b_dt[c], A[c], h[b, c]
            for r in range(rank):
                dt += w_dt[c, r] * low[r]
            dt = _softplus(dt)
            total, dt_u = D[c] * u[b, c], dt * u[b, c]
            for n in range(d_state):
                h_c[n] = _exp(dt * a[n]) * h_c[n] + B[n] * dt_u
                total += C[n] * h_c[n]
            u[b, c] = total * _silu(xz[b, d_inner + c])
    _frame_linear(u, w_out, None, y, 1)
