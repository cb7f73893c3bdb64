"""What `mutransfer rules --format json` says, put into an optax optimizer."""
import json

import jax
import optax


def name_of(path):
    """("params", "h_0", "kernel") -> "params.h_0.kernel"."""
    return ".".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k))))
                    for k in path)


def write_shapes(path, params, base, delta):
    """shapes.json: a dimension that differs between base and delta grows. A
    kernel of flax is (fan_in, fan_out): turned round."""
    def entry(path, p, b, d):
        name = name_of(path)
        turn = -1 if name.endswith("kernel") else 1
        grows = [x if x != y else None for x, y in zip(b.shape, d.shape)]
        return {"name": name, "shape": list(p.shape)[::turn],
                "base_shape": grows[::turn]}
    tree = jax.tree_util.tree_map_with_path(entry, params, base, delta)
    tensors = jax.tree_util.tree_leaves(tree, is_leaf=lambda x: "base_shape" in x)
    with open(path, "w") as f:
        json.dump(tensors, f, indent=1)


def adamw(rules_path, params, lr, weight_decay=0.0, eps=1e-8, **kwargs):
    """lr: a number, tuned at base. One optax.adamw for each set of factors."""
    with open(rules_path) as f:
        rules = {r["name"]: r for r in json.load(f)}

    def label(path, _):
        r = rules[name_of(path)]
        return f"lr {r['lr_mult']} wd {r['wd_mult']} eps {r['eps_mult']}"
    labels = jax.tree_util.tree_map_with_path(label, params)
    factors = {label(r["name"].split("."), 0): r for r in rules.values()}
    return optax.multi_transform(
        {name: optax.adamw(r["lr_mult"] * lr, eps=r["eps_mult"] * eps,
                           weight_decay=r["wd_mult"] * weight_decay, **kwargs)
         for name, r in factors.items()}, labels)
