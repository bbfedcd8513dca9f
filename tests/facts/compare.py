"""Hold one Architecture against the model that transformers builds from the same configuration."""

from __future__ import annotations

from oracle import MetaModel

from gpufit.facts.architecture import Architecture


def differences(ours: Architecture, truth: MetaModel) -> list[str]:
    """Every way in which a reader's inventory differs from transformers' model; empty when it is exact."""
    found = []
    shapes = ours.tensors.shapes()
    found += [f"missing {n} {s}" for n, s in truth.shapes.items() if n not in shapes]
    found += [f"extra {n} {s}" for n, s in shapes.items() if n not in truth.shapes]
    found += [f"shape of {n}: {s} is {truth.shapes[n]}" for n, s in shapes.items() if truth.shapes.get(n, s) != s]
    tied = {n: g.tied_to for g in ours.tensors.groups if g.tied_to for n in g.names()}
    ours_storages = {frozenset(pair) for pair in tied.items()}
    truth_storages = {frozenset(pair) for pair in truth.tied.items()}
    if len(tied) != len(truth.tied) or {n for s in ours_storages for n in s} != {n for s in truth_storages for n in s}:
        found.append(f"tied {sorted(map(sorted, ours_storages))[:3]} is {sorted(map(sorted, truth_storages))[:3]}")
    # torch orders parameters by module; the quantizers' "last module" rule needs our last one to be theirs
    untied = [n for n in truth.shapes if n not in truth.tied]
    ours_last = [g for g in ours.tensors.groups if g.module != "buffer" and not g.tied_to][-1]
    if untied and untied[-1] not in set(ours_last.names()):
        found.append(f"last parameter {ours_last.name} is {untied[-1]}")
    linears = {n.rpartition(".")[0] for g in ours.tensors.groups if g.module in ("linear", "conv1d") for n in g.names()}
    found += [f"linear module {n} not marked" for n in sorted(truth.linears - linears)[:5]]
    found += [f"{n} marked linear but is not" for n in sorted(linears - truth.linears)[:5]]
    buffers = {n: (g.shape, g.dtype, g.saved) for g in ours.tensors.groups if g.module == "buffer" for n in g.names()}
    # a buffer in the model's own dtype has no format of its own; these models are built in fp32
    names = {"None": "float32", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "bool": "bool",
             "int64": "int64", "int32": "int32", "uint8": "uint8", "complex64": "complex64"}  # fmt: skip
    theirs = {n: (s, d.removeprefix("torch."), saved) for n, (s, d, saved) in truth.buffers.items()}
    mine = {n: (s, names[str(d)], saved) for n, (s, d, saved) in buffers.items()}
    found += [f"buffer {n} {theirs.get(n)} vs ours {mine.get(n)}" for n in sorted(theirs.keys() | mine.keys())
              if theirs.get(n) != mine.get(n)]  # fmt: skip
    if ours.tensors.output != truth.output:
        found.append(f"output {ours.tensors.output} is {truth.output}")
    for attribute, mine_keep in (
        ("_keep_in_fp32_modules", ours.tensors.keep_fp32),
        ("_keep_in_fp32_modules_strict", ours.tensors.keep_fp32_strict),
    ):
        keep = set(getattr(truth.model, attribute, None) or ())
        live = {k for k in keep if any(k in n for n in truth.shapes)}
        if live != {k for k in mine_keep if any(k in n for n in truth.shapes)}:
            found.append(f"{attribute} {sorted(mine_keep)} is {sorted(live)}")
    return found
