"""Mamba (Gu & Dao 2023): the selective state space block, with the parameter names and shapes of `mamba_ssm.Mamba`."""
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .scan import scan_step, selective_scan


@dataclass
class MambaState:
    conv: Tensor    # (batch, d_conv - 1, d_inner): the last inputs of the short convolution
    ssm: Tensor     # (batch, d_inner, d_state)


class Mamba(nn.Module):
    """(batch, frames, d_model) to the same; causal, linear in frames."""

    def __init__(self, d_model: int, d_inner: int | None = None, d_state: int = 16, d_conv: int = 4):
        super().__init__()
        self.d_inner, self.d_state, self.d_conv = d_inner or 2 * d_model, d_state, d_conv
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1).float().log().repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        self.A_log._no_weight_decay = self.D._no_weight_decay = True
        # softplus(dt bias) is log-uniform in [0.001, 0.1] (paper, section 3.6)
        dt = torch.exp(torch.empty(self.d_inner).uniform_(math.log(1e-3), math.log(1e-1)))
        with torch.no_grad():
            self.dt_proj.weight.uniform_(-self.dt_rank ** -0.5, self.dt_rank ** -0.5)
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, -1)                             # (batch, frames, d_inner) each
        x = F.silu(self._convolve(F.pad(x, (0, 0, self.d_conv - 1, 0))))
        dt, B, C = self._select(x)
        y, _ = selective_scan(x, dt, -torch.exp(self.A_log), B, C, self.D)
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
        return MambaState(new(batch, self.d_conv - 1, self.d_inner), new(batch, self.d_inner, self.d_state))

    def step(self, x: Tensor, state: MambaState) -> Tensor:             # (batch, d_model)
        x, z = self.in_proj(x).chunk(2, -1)
        window = torch.cat([state.conv, x[:, None]], 1)                 # (batch, d_conv, d_inner)
        state.conv = window[:, 1:]
        x = F.silu((window * self.conv1d.weight[:, 0].T).sum(1) + self.conv1d.bias)
        dt, B, C = self._select(x)
        y, state.ssm = scan_step(x, dt, -torch.exp(self.A_log), B, C, self.D, state.ssm)
        return self.out_proj(y * F.silu(z))

    def state_numbers(self, frames: int) -> int:
        return (self.d_conv - 1 + self.d_state) * self.d_inner
