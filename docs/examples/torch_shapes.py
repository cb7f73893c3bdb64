"""shapes.json of a PyTorch model, for `mutransfer rules --shapes`.

Build three models: the one to train, the base model on which hyperparameters
were tuned, and a delta that differs from the base in every width (and in
nothing else): a dimension that differs between base and delta grows. Under
`with torch.device("meta")` none of them needs memory."""
import json


def write_shapes(path, model, base, delta):
    base, delta = dict(base.named_parameters()), dict(delta.named_parameters())
    tensors = [{"name": name, "shape": list(p.shape),
                "base_shape": [b if b != d else None for b, d in
                               zip(base[name].shape, delta[name].shape)]}
               for name, p in model.named_parameters()]
    with open(path, "w") as f:
        json.dump(tensors, f, indent=1)
