"""Matrix products, normalizations, embeddings, attention kernels and the loss: the operators with kernels of their own.

Mirrors PyTorch 2.13 as ``ops`` does; ATen/native/LinearAlgebra.cpp (matmul, linear), transformers/attention.cpp.
"""

from __future__ import annotations

from typing import Literal

from gpufit.memory.training.tape.graph import Gradients, Node, only
from gpufit.memory.training.tape.ops import cast, like
from gpufit.memory.training.tape.tensor import FORMAT_BYTES, Shape, Tensor
from gpufit.memory.training.tape.views import contiguous, expand, reshape, view

AttentionPath = Literal["flash", "efficient", "cudnn", "math"]


def mm(x: Tensor, weight: Tensor, width: int, bias: Tensor | None = None) -> Tensor:
    """``x @ weight`` of (rows, inner) and (inner, width), plus ``bias``: mm or addmm.

    Saves ``x`` if the weight takes a gradient and the weight if ``x`` does. ``weight`` has the layout of the module
    that owns it; its gradient too.
    """
    node = x.tape.node("mm", (x, weight, bias), _mm_back)
    if node is not None:
        node.extra = weight.shape
        x.tape.save(node, x if node.needs(1) else None, weight if node.needs(0) else None)
    out = x.tape.empty((x.shape[0], width), x.dtype)
    x.tape.attach(node, out)
    return out


def _mm_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    kept = g.tape.saved(node)
    weight_shape: Shape = node.extra
    mine = theirs = None
    if node.needs(1):
        theirs = g.tape.empty(weight_shape, g.dtype)
    if node.needs(0):
        inner = kept[-1].elements // g.shape[-1]
        mine = g.tape.empty((g.shape[0], inner), g.dtype)
    return mine, theirs, g if node.needs(2) else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, width: int) -> Tensor:
    """``F.linear`` of (..., inner): folded into one product of matrices (LinearAlgebra.cpp, should_fold)."""
    lead = x.shape[:-1]
    if len(lead) == 1:
        return mm(x, weight, width, bias)
    rows = mm(reshape(contiguous(x), -1, x.shape[-1]), weight, width, bias)
    return view(rows, *lead, width)


def bmm(x: Tensor, y: Tensor) -> Tensor:
    """``bmm``: saves both factors."""
    low = x.tape.autocast
    if low:
        x, y = cast(x, low), cast(y, low)
    node = x.tape.node("bmm", (x, y), _bmm_back)
    if node is not None:
        x.tape.save(node, x if node.needs(1) else None, y if node.needs(0) else None)
    out = x.tape.empty((x.shape[0], x.shape[1], y.shape[2]), x.dtype)
    x.tape.attach(node, out)
    return out


def _bmm_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    kept = g.tape.saved(node)
    mine = theirs = None
    if node.needs(0):
        mine = g.tape.empty((g.shape[0], g.shape[1], kept[-1].shape[1]), g.dtype)
    if node.needs(1):
        theirs = g.tape.empty((g.shape[0], kept[0].shape[2], g.shape[2]), g.dtype)
    return mine, theirs


def baddbmm(base: Tensor, x: Tensor, y: Tensor, scaled: bool = True) -> Tensor:
    """``base.baddbmm(x, y)``: a bmm written over a broadcast base, which takes no gradient; ``scaled``: alpha is not 1.

    Source: derivatives.yaml, maybe_multiply: a gradient times one is not multiplied.
    """
    node = x.tape.node("baddbmm", (x, y), _baddbmm_back if scaled else _bmm_back)
    if node is not None:
        x.tape.save(node, x if node.needs(1) else None, y if node.needs(0) else None)
    out = x.tape.empty((x.shape[0], x.shape[1], y.shape[2]), x.dtype)
    x.tape.attach(node, out)
    return out


def _baddbmm_back(node: Node, grads: Gradients) -> Gradients:
    """maybe_multiply: each product is scaled by alpha into another tensor."""
    found = []
    for gradient in _bmm_back(node, grads):
        found.append(None if gradient is None else like(gradient))
        del gradient
    return found


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """``matmul`` of two batches of matrices: each is laid out whole where it cannot be seen as one batch."""
    low = x.tape.autocast
    if low:
        x, y = cast(x, low), cast(y, low)
    lead = tuple(max(sizes) for sizes in zip(x.shape[:-2], y.shape[:-2], strict=True))
    rows, columns = x.shape[-2], y.shape[-1]
    left = reshape(expand(x, *lead, *x.shape[-2:]), -1, *x.shape[-2:])
    right = reshape(expand(y, *lead, *y.shape[-2:]), -1, *y.shape[-2:])
    return view(bmm(left, right), *lead, rows, columns)


def grouped_mm(x: Tensor, weight: Tensor, width: int, offsets: Tensor) -> Tensor:
    """``grouped_mm`` of (rows, inner), sorted by group, and (groups, width, inner): saves what mm saves, and offsets.

    Rows of the result are padded to 16 bytes (GroupedMMUtils.h, create_grouped_gemm_output_tensor).
    """
    x = cast(x, weight.dtype)
    node = x.tape.node("grouped_mm", (x, weight), _grouped_mm_back)
    if node is not None:
        node.extra = weight.shape
        x.tape.save(node, offsets, x if node.needs(1) else None, weight if node.needs(0) else None)
    out = _padded_rows(x, x.shape[0], width)
    x.tape.attach(node, out)
    return out


def _padded_rows(x: Tensor, rows: int, width: int) -> Tensor:
    each = 16 // FORMAT_BYTES[x.dtype]
    padded = -(-width // each) * each
    return x.tape.empty((rows, padded), x.dtype).alias((rows, width), (padded, 1))


def _grouped_mm_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    _, *kept = g.tape.saved(node)
    weight_shape: Shape = node.extra
    mine = _padded_rows(g, g.shape[0], weight_shape[-1]) if node.needs(0) else None
    theirs = g.tape.empty(weight_shape, g.dtype) if node.needs(1) else None
    del kept
    return mine, theirs


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``native_layer_norm``: saves input, means and inverse deviations (fp32 a row)."""
    if x.tape.autocast:
        x = cast(x, "fp32")  # autocast_mode.cpp: layer_norm runs in fp32
    tape = x.tape
    node = tape.node("layer_norm", (x, weight, bias), _layer_norm_back)
    if node is not None:
        node.extra = weight
    tape.save(node, x)
    out = tape.empty(x.shape, x.dtype)
    rows = (*x.shape[:-1], 1)
    means, deviations = tape.empty(rows, "fp32"), tape.empty(rows, "fp32")
    tape.save(node, means, deviations)
    tape.attach(node, out)
    return out


def _layer_norm_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    x = g.tape.saved(node)[0]
    weight: Tensor | None = node.extra
    mine = g.tape.empty(x.shape, x.dtype) if node.needs(0) else None
    parts = [
        g.tape.empty(weight.shape, weight.dtype) if weight is not None and node.needs(at) else None for at in (1, 2)
    ]
    return mine, *parts


def embedding(ids: Tensor, weight: Tensor, width: int) -> Tensor:
    """``embedding``: saves the ids; the gradient is as large as the table (embedding_dense_backward)."""
    tape = ids.tape
    node = tape.node("embedding", (weight,), _embedding_back)
    if node is not None:
        node.extra = weight.shape
    tape.save(node, ids)
    out = tape.empty((*ids.shape, width), weight.dtype)
    tape.attach(node, out)
    return out


def _embedding_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    kept = g.tape.saved(node)
    whole: Shape = node.extra
    table = g.tape.empty(whole, g.dtype)
    del kept
    return (table,)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, path: AttentionPath) -> Tensor:
    """scaled_dot_product_attention's fused kernels: save queries, keys, values, mask, output and fp32 row sums.

    Layouts are (batch, heads, tokens, dim). Flash writes its output and gradients laid out as their inputs are, the
    memory-efficient kernel token by token.
    """
    tape = q.tape
    node = tape.node("attention", (q, k, v, mask), _attention_back)
    tape.save(node, q, k, v, mask)
    batch, heads, tokens, _ = q.shape
    if node is not None:
        node.extra = path
    out = like(q) if path == "flash" else by_token(q, v.shape[-1])  # flash_api.cpp: empty_like(q)
    sums = tape.empty((batch, heads, tokens), "fp32")
    tape.save(node, out, sums)
    tape.attach(node, out)
    return out


def by_token(q: Tensor, dim: int) -> Tensor:
    """A new (batch, heads, tokens, dim) tensor that lies token by token."""
    batch, heads, tokens, _ = q.shape
    return q.tape.empty((batch, heads, tokens, dim), q.dtype, (heads * tokens * dim, dim, heads * dim, 1))


def _attention_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    q, k, v = g.tape.saved(node)[:3]
    flash = node.extra == "flash"
    found = [
        None if not node.needs(at) else like(t) if flash else by_token(t, t.shape[-1]) for at, t in enumerate((q, k, v))
    ]
    return (*found, _mask_gradient(q, k, g.dtype) if node.needs(3) else None)


def _mask_gradient(q: Tensor, k: Tensor, dtype: str) -> Tensor:
    """cuda/attention_backward.cu: rows of grad_bias are padded to multiples of 16."""
    batch, heads, tokens, _ = q.shape
    keys = k.shape[2]
    padded = q.tape.empty((batch, heads, tokens, -(-keys // 16) * 16), dtype)
    return padded.alias((batch, heads, tokens, keys), padded.strides)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``cross_entropy`` of (rows, classes): log-softmax, then nll_loss, each a tensor of all logits to go back through.

    ``labels`` are saved with the log-softmax; a scalar comes out.
    """
    if logits.tape.autocast:
        logits = cast(logits, "fp32")
    tape = logits.tape
    node = tape.node("log_softmax", (logits,), _softmax_like_back)
    if node is not None:
        node.extra = logits.dtype
    scores = like(logits)
    tape.save(node, scores)
    tape.attach(node, scores)
    node = tape.node("nll_loss", (scores,), _nll_back)
    tape.save(node, scores, labels)
    loss, weight = tape.empty((), scores.dtype), tape.empty((), scores.dtype)
    tape.save(node, weight)
    tape.attach(node, loss)
    return loss


def _softmax_like_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    (kept,) = g.tape.saved(node)
    dtype: str = node.extra
    return (g.tape.empty(kept.shape, dtype),)


def _nll_back(node: Node, grads: Gradients) -> Gradients:
    g = only(grads)
    return (like(g.tape.saved(node)[0]),)
