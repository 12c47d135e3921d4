"""Products of chosen matrices, as each framework's users write them."""

from __future__ import annotations

from typing import Any

BLOCK, SEGMENTS = 64, 64


class Whole:
    """By operations for them. A row of x goes through the matrices w that `rows` names."""

    xp: Any

    def experts(self, x: Any, w: Any, rows: Any) -> Any:
        out = self.xp.gather_mm(x[:, None, None], w.mT, rhs_indices=rows % len(w))
        return out[:, :, 0]

    def experts_gradients(self, x: Any, w: Any, rows: Any, out: Any) -> Any:
        return self.xp.vjp(lambda x, w: self.experts(x, w, rows), [x, w], [out])[1]

    def packed_experts(self, x: Any, w: Any, scales: Any, biases: Any, rows: Any) -> Any:
        x = x[:, None, None]
        return self.xp.gather_qmm(x, w, scales, biases, rhs_indices=rows, group_size=64, bits=4)

    def masked(self, x: Any, y: Any, blocks: Any) -> Any:
        return self.xp.block_masked_mm(x, y, BLOCK, mask_lhs=blocks % 2 == 0)

    def segments(self, x: Any, y: Any) -> Any:
        each = x.shape[1] // SEGMENTS
        ends = self.xp.arange(SEGMENTS)[:, None] * each + self.xp.array([0, each])
        return self.xp.segmented_mm(x, y.T, ends)


class Composed:
    """The same in PyTorch, which has none of them."""

    xp: Any

    def experts(self, x: Any, w: Any, rows: Any) -> Any:
        flat = rows.flatten() % len(w)
        order, counts = flat.argsort(), flat.bincount(minlength=len(w)).tolist()
        parts = zip(x[order // rows.shape[1]].split(counts), w, strict=True)
        out = self.xp.cat([part @ matrix.T for part, matrix in parts])
        return self.xp.empty_like(out).index_copy(0, order, out).view(*rows.shape, -1)

    def experts_gradients(self, x: Any, w: Any, rows: Any, out: Any) -> Any:
        with self.xp.enable_grad():
            x, w = (a.detach().requires_grad_() for a in (x, w))
            return self.xp.autograd.grad(self.experts(x, w, rows), (x, w), out)

    def masked(self, x: Any, y: Any, blocks: Any) -> Any:
        mask = (blocks % 2 == 0).repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        return self.xp.where(mask, x, 0) @ y

    def segments(self, x: Any, y: Any) -> Any:
        each = x.shape[1] // SEGMENTS
        parts = zip(x.split(each, 1), y.split(each, 1), strict=True)
        return self.xp.stack([a @ b.T for a, b in parts])
