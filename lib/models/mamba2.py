"""Mamba-2 (Dao & Gu 2024, https://arxiv.org/abs/2405.21060, section 7), with the parameter names and shapes of
`mamba_ssm.Mamba2` with one group."""
import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import FAST, _exp, _silu, _softplus
from .linear import Linear, _frame_linear, by_kernel
from .norm import EPS, RMSNorm, norm
from .short_conv import conv_silu, last_inputs
from .ssd import ssd, ssd_step


@dataclass
class Mamba2State:
    conv: Tensor    # (batch, d_inner + 2 d_state, d_conv - 1): the last inputs of the short convolution
    ssm: Tensor     # (batch, heads, headdim, d_state)


class GatedRMSNorm(RMSNorm):
    """The norm of y silu(z), (…, width) each."""

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        return super().forward(y * F.silu(z))


class Mamba2(nn.Module):
    """(batch, frames, d_model) to the same; causal, linear in frames. Raises where heads of `headdim` don't fill d_inner."""

    def __init__(self, d_model: int, d_inner: int, d_state: int = 64, headdim: int = 64, d_conv: int = 4):
        super().__init__()
        if d_inner % headdim:
            raise ValueError(f"d_inner {d_inner} does not split into heads of {headdim}")
        self.d_inner, self.d_state, self.headdim, self.d_conv = d_inner, d_state, headdim, d_conv
        self.heads, channels = d_inner // headdim, d_inner + 2 * d_state
        self.in_proj = Linear(d_model, d_inner + channels + self.heads, bias=False)     # z; x, B, C; dt
        self.conv1d = nn.Conv1d(channels, channels, d_conv, groups=channels)
        # softplus(dt bias) is log-uniform in [0.001, 0.1], as in Mamba
        dt = torch.exp(torch.empty(self.heads).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = GatedRMSNorm(d_inner)
        self.out_proj = Linear(d_inner, d_model, bias=False)
        self.A_log._no_weight_decay = self.D._no_weight_decay = self.dt_bias._no_weight_decay = True

    def _split(self, zxBCdt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, xBC, dt = zxBCdt.split([self.d_inner, self.d_inner + 2 * self.d_state, self.heads], -1)
        return z, xBC, F.softplus(dt + self.dt_bias)

    def _select(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, B, C = xBC.split([self.d_inner, self.d_state, self.d_state], -1)
        return x.unflatten(-1, (self.heads, self.headdim)), B, C

    def forward(self, x: Tensor, state: Mamba2State | None = None) -> Tensor:
        z, xBC, dt = self._split(self.in_proj(x))
        convolved = conv_silu(xBC, self.conv1d.weight[:, 0], self.conv1d.bias)
        x, B, C = self._select(convolved)                               # x (batch, frames, heads, headdim)
        y, h = ssd(x, dt, -torch.exp(self.A_log), B, C, self.D)
        if state:
            state.conv.copy_(last_inputs(xBC, self.d_conv))
            state.ssm.copy_(h)
        return self.out_proj(self.norm(y.flatten(2), z))

    def initial_state(self, batch: int, frames: int = 0) -> Mamba2State:
        new = self.D.new_zeros
        return Mamba2State(new(batch, self.conv1d.in_channels, self.d_conv - 1),
                           new(batch, self.heads, self.headdim, self.d_state))

    def step(self, x: Tensor, state: Mamba2State) -> Tensor:            # (batch, d_model)
        """One frame by the fastest way there is; by the kernel, a row of a batch has the very bits that it has alone."""
        if not by_kernel(x):
            return self.step_reference(x, state)
        y = torch.empty_like(x)
        _step(*(s.contiguous().numpy() for s in (
            x, self.in_proj.weight, self.conv1d.weight[:, 0], self.conv1d.bias, self.dt_bias, self.A_log, self.D,
            self.norm.weight, self.out_proj.weight, state.conv, state.ssm, y)))
        return y

    def step_reference(self, x: Tensor, state: Mamba2State) -> Tensor:
        """The state's tensors stay where they are: a step that can be recorded."""
        z, xBC, dt = self._split(self.in_proj(x))
        window = torch.cat([state.conv, xBC[..., None]], -1)            # (batch, d_inner + 2 d_state, d_conv)
        state.conv.copy_(window[..., 1:])
        x, B, C = self._select(F.silu((window * self.conv1d.weight[:, 0]).sum(-1) + self.conv1d.bias))
        y, h = ssd_step(x, dt, -torch.exp(self.A_log), B, C, self.D, state.ssm)
        state.ssm.copy_(h)
        return self.out_proj(self.norm(y.flatten(1), z))

    def state_numbers(self, frames: int) -> int:
        return (self.d_conv - 1) * self.conv1d.in_channels + self.d_inner * self.d_state


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _step(x, w_in, w_conv, b_conv, dt_bias, A_log, D, w_norm, w_out, conv, h, y):
    """x (batch, d_model) to y, the same; moves conv (batch, d_inner + 2 d_state, d_conv - 1) and h (batch, heads, headdim,
    d_state)."""
    (channels, d_conv), (batch, heads, headdim, d_state) = w_conv.shape, h.shape
    d_inner, zero = heads * headdim, x.dtype.type(0)
    zxBCdt, xBC = np.empty((batch, len(w_in)), x.dtype), np.empty(channels, x.dtype)
    gated = np.empty((batch, d_inner), x.dtype)
    _frame_linear(x, w_in, None, zxBCdt, 1)
    for b in range(batch):
        for c in range(channels):
            window, last = conv[b, c], zxBCdt[b, d_inner + c]
            total = b_conv[c] + w_conv[c, d_conv - 1] * last
            for i in range(d_conv - 1):
                total += w_conv[c, i] * window[i]
                window[i] = window[i + 1] if i < d_conv - 2 else last
            xBC[c] = _silu(total)
        B, C, squares = xBC[d_inner:d_inner + d_state], xBC[d_inner + d_state:], zero
        for k in range(heads):
            dt = zxBCdt[b, d_inner + channels + k] + dt_bias[k]
            dt = _softplus(dt)
            decay = _exp(-dt * np.exp(A_log[k]))
            for p in range(headdim):
                c = k * headdim + p
                h_p, u, total = h[b, k, p], dt * xBC[c], D[k] * xBC[c]
                for n in range(d_state):
                    h_p[n] = decay * h_p[n] + u * B[n]
                    total += C[n] * h_p[n]
                gated[b, c] = total * _silu(zxBCdt[b, c])
                squares += gated[b, c] * gated[b, c]
        scale = x.dtype.type(1 / math.sqrt(squares / d_inner + EPS))
        for c in range(d_inner):
            gated[b, c] *= scale * w_norm[c]
    _frame_linear(gated, w_out, None, y, 1)


class Mamba2Block(nn.Module):
    """x + mixer(norm(x)), (batch, frames, width) to the same."""

    def __init__(self, width: int, d_inner: int, d_state: int = 64, headdim: int = 64, recipe: tuple[str, ...] = ()):
        super().__init__()
        self.norm, self.mixer = norm(width, recipe), Mamba2(width, d_inner, d_state, headdim)

    def forward(self, x: Tensor, state: Mamba2State | None = None) -> Tensor:
        return x + self.mixer(self.norm(x), state)

    def initial_state(self, batch: int, frames: int) -> Mamba2State:
        return self.mixer.initial_state(batch, frames)

    def step(self, x: Tensor, state: Mamba2State) -> Tensor:            # (batch, width)
        return x + self.mixer.step(self.norm(x), state)

    def state_numbers(self, frames: int) -> int:
        return self.mixer.state_numbers(frames)

    def writers(self) -> list[nn.Linear]:
        return [self.mixer.out_proj]
