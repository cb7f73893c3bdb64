"""Runs the loaders of docs/examples on small models; tests/examples.sh calls it:

    examples_check.py torch|optax MUTRANSFER EXAMPLES WORK [stub]

With "stub" the package is replaced by what the loader uses of it."""
import contextlib
import json
import math
import os
import subprocess
import sys
import types

kind, program, examples, work = sys.argv[1:5]
stub = len(sys.argv) > 5
sys.path.insert(0, examples)
WIDTHS = 256, 64, 128  # model, base, delta: a factor of 4
LR, DECAY, EPS = 2 ** -8, 0.125, 2 ** -30


def rules(shapes, out, *flags):
    with open(out, "w") as f:
        subprocess.run([program, "rules", "--shapes", shapes, "--format", "json",
                        *flags], stdout=f, check=True)


class StubTensor:
    def __init__(self, *shape):
        self.shape, self.calls = shape, []

    def normal_(self, std):
        self.calls.append(("normal", std))

    def mul_(self, x):
        self.calls.append(("mul", x))


class StubLinear:
    def __init__(self, fan_out, fan_in):
        self.weight, self.hooks = StubTensor(fan_out, fan_in), []

    def register_forward_pre_hook(self, hook):
        self.hooks.append(hook)


class StubModel:
    def __init__(self, width):
        self.parts = {"embedding": types.SimpleNamespace(weight=StubTensor(100, width)),
                      "up": StubLinear(4 * width, width),
                      "norm": types.SimpleNamespace(weight=StubTensor(width)),
                      "lm_head": StubLinear(100, width)}

    def named_parameters(self):
        return [(f"{k}.weight", v.weight) for k, v in self.parts.items()]

    def named_modules(self):
        return self.parts.items()


def torch_model(width):
    import torch
    if stub:
        return StubModel(width)
    model = torch.nn.Module()
    model.embedding = torch.nn.Embedding(100, width)
    model.up = torch.nn.Linear(width, 4 * width, bias=False)
    model.norm = torch.nn.LayerNorm(width, bias=False)
    model.lm_head = torch.nn.Linear(width, 100, bias=False)
    return model


def near(x, y):
    return math.isclose(x, y, rel_tol=1e-12)


def check_torch():
    if stub:
        sys.modules["torch"] = types.SimpleNamespace(
            no_grad=contextlib.nullcontext,
            nn=types.SimpleNamespace(Linear=StubLinear))
    import torch
    import torch_groups
    import torch_shapes
    shapes, answer = os.path.join(work, "shapes.json"), os.path.join(work, "rules.json")
    model, base, delta = map(torch_model, WIDTHS)
    torch_shapes.write_shapes(shapes, model, base, delta)
    rules(shapes, answer)
    table = torch_groups.read_rules(answer)
    torch_groups.init(model, table, 0.5)
    torch_groups.add_multipliers(model, table)
    groups = torch_groups.groups(model, table, LR, DECAY, EPS)
    by = {id(p): g for g in groups for p in g["params"]}
    named = dict(model.named_parameters())
    assert len(by) == len(named)
    for name, lr, decay, eps in (("embedding", 1, 1, 1 / 4), ("up", 1 / 4, 4, 1 / 4),
                                 ("norm", 1, 0, 1 / 4), ("lm_head", 1, 1, 1 / 4)):
        g = by[id(named[f"{name}.weight"])]
        assert near(g["lr"], LR * lr) and near(g["eps"], EPS * eps), name
        assert near(g["weight_decay"], DECAY * decay), name
    if stub:
        assert named["up.weight"].calls == [("normal", 0.25)]
        assert named["norm.weight"].calls == [("mul", 1)]
        assert model.parts["lm_head"].hooks[0](None, (8,)) == (2,)
        return
    assert abs(named["up.weight"].std().item() - 0.25) < 0.01
    x = torch.randn(3, WIDTHS[0])
    with torch.no_grad():
        want = x @ named["lm_head.weight"].T / 4
        assert torch.allclose(model.lm_head(x), want, rtol=1e-5, atol=1e-5)
    optimizer = torch.optim.AdamW(groups)
    before = named["up.weight"].detach().clone()
    model.up(x).sum().backward()
    optimizer.step()
    # Adam's first step is the sign of the gradient, beside what decays.
    moved = (before * (1 - LR * DECAY) - named["up.weight"]).abs()
    assert torch.allclose(moved, torch.full_like(moved, LR / 4), rtol=1e-3)


def stub_tree_map(f, tree, *rest, path=()):
    if not isinstance(tree, dict):
        return f(path, tree, *rest)
    return {k: stub_tree_map(f, v, *(r[k] for r in rest), path=path + (k,))
            for k, v in tree.items()}


def stub_leaves(tree, is_leaf):
    if is_leaf(tree):
        return [tree]
    return [x for v in tree.values() for x in stub_leaves(v, is_leaf)]


def optax_params(width):
    if stub:
        array = StubTensor
    else:
        import jax
        array = lambda *shape: jax.numpy.ones(shape)
    return {"embedding": array(100, width), "norm": {"scale": array(width)},
            "up": {"kernel": array(width, 2 * width)},
            "lm_head": {"kernel": array(width, 100)}}


def check_optax():
    if stub:
        sys.modules["jax"] = types.SimpleNamespace(tree_util=types.SimpleNamespace(
            tree_map_with_path=stub_tree_map, tree_leaves=stub_leaves))
        sys.modules["optax"] = types.SimpleNamespace(
            adamw=lambda lr, eps, weight_decay: (lr, eps, weight_decay),
            multi_transform=lambda transforms, labels: (transforms, labels))
    import optax_labels
    shapes, answer = os.path.join(work, "shapes.json"), os.path.join(work, "rules.json")
    params, base, delta = map(optax_params, WIDTHS)
    optax_labels.write_shapes(shapes, params, base, delta)
    with open(shapes) as f:
        found = {t["name"]: t for t in json.load(f)}
    assert found["up.kernel"] == {"name": "up.kernel", "shape": [512, 256],
                                  "base_shape": [128, 64]}
    assert found["lm_head.kernel"]["base_shape"] == [None, 64]
    rules(shapes, answer)
    optimizer = optax_labels.adamw(answer, params, LR, DECAY, EPS)
    if stub:
        transforms, labels = optimizer
        assert transforms[labels["up"]["kernel"]] == (LR / 4, EPS / 4, DECAY * 4)
        assert transforms[labels["lm_head"]["kernel"]] == (LR, EPS / 4, DECAY)
        assert transforms[labels["norm"]["scale"]] == (LR, EPS / 4, 0)
        return
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    # Adam's first step is the sign of the gradient; the weights are 1.
    for name, lr in (("up", LR / 4), ("lm_head", LR)):
        got = -float(updates[name]["kernel"][0, 0])
        assert math.isclose(got, lr + LR * DECAY, rel_tol=1e-5), (name, got)


check_torch() if kind == "torch" else check_optax()
