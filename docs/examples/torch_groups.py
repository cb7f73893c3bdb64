"""What `mutransfer rules --format json` says, put into a PyTorch model."""
import json

import torch


def read_rules(path):
    with open(path) as f:
        return {r["name"]: r for r in json.load(f)}


def init(model, rules, std):
    """Matrices anew, std tuned at base; gains keep their constant, biases are 0
    (torch.nn.Linear's are random, with a std that depends on the width)."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            how = rules[name]["init"]
            if how["dist"] == "normal":
                p.normal_(std=std * how["std_mult"])
            elif name.endswith("bias"):
                p.zero_()
            else:
                p.mul_(how["std_mult"])


def add_multipliers(model, rules):
    """Forward factors of table8 and table3; biases stay outside, as they do in
    microsoft/mup. A tied table needs its readout_mult where logits are made."""
    left = {n: r["forward_mult"] for n, r in rules.items() if r["forward_mult"] != 1}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in left:
            mult = left.pop(f"{name}.weight")
            module.register_forward_pre_hook(lambda _, x, m=mult: (m * x[0],))
    if left:
        raise ValueError(f"no torch.nn.Linear, multiply what they compute: {left}")


def groups(model, rules, lr, weight_decay=0.0, eps=1e-8):
    """Parameter groups of torch.optim.AdamW; schedulers multiply each."""
    found = {}
    for name, p in model.named_parameters():
        r = rules[name]
        key = r["lr_mult"] * lr, r["wd_mult"] * weight_decay, r["eps_mult"] * eps
        found.setdefault(key, []).append(p)
    return [{"params": p, "lr": key[0], "weight_decay": key[1], "eps": key[2]}
            for key, p in found.items()]
